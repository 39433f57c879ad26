/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A remote object as a source.  Small reads go through the cache, in blocks.
 */

#ifndef QCOW_SOURCE_REMOTE_H
#define QCOW_SOURCE_REMOTE_H

#include "base/cache.h"
#include "base/transport.h"
#include "source/source.h"

/* Create a source that reads through the transport.  Takes over the transport,
 * also on failure, and caches its prefix.  The cache must outlive the source.
 * No other source of the cache may have the same 'id'.  Call this before there
 * are other threads.  Returns NULL if the transport is NULL (errno stays as it
 * is), or with the error reported and errno ENOMEM.
 */
struct source *source_remote_new (struct transport *t, struct cache *cache,
                                  uint64_t id, const struct qcow_hooks *hooks);

#endif /* QCOW_SOURCE_REMOTE_H */
