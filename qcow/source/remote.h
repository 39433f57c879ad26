/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A remote object as a source, in blocks that go through the cache.
 */

#ifndef QCOW_SOURCE_REMOTE_H
#define QCOW_SOURCE_REMOTE_H

#include "source/source.h"
#include "source/transport.h"

/* A source that reads through the transport, which belongs to it from now on,
 * also on failure.  No other source of the cache has the same 'id'.  NULL if
 * the transport is NULL (then errno stays as it is), or with the error
 * reported and errno ENOMEM.
 */
struct source *source_remote_new (struct transport *t, uint32_t id,
                                  const struct qcow_hooks *hooks);

/* What of a remote file is kept in the cache at once. */
#define SOURCE_BLOCK_BYTES (64U << 10)

#endif /* QCOW_SOURCE_REMOTE_H */
