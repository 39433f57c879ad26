/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A remote object as a source, in blocks that go through the cache.
 */

#ifndef QCOW_SOURCE_REMOTE_H
#define QCOW_SOURCE_REMOTE_H

#include "http/http.h"
#include "source/source.h"

/* A web object; 'ref' as http_open.  'id' is one that no other source of the
 * cache has.  Takes over *url's strings.  NULL with the error reported; errno
 * as qcow_open.
 */
struct source *source_remote_open (struct http *http, struct url *url,
                                   const struct reference *ref, uint32_t id,
                                   const struct qcow_hooks *hooks);

/* What of a remote file is kept in the cache at once. */
#define SOURCE_BLOCK_BYTES (64U << 10)

#endif /* QCOW_SOURCE_REMOTE_H */
