/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A remote object as a source: what is worth it goes through the cache, in
 * blocks.
 */

#ifndef QCOW_SOURCE_REMOTE_H
#define QCOW_SOURCE_REMOTE_H

#include "base/cache.h"
#include "base/transport.h"
#include "source/source.h"

/* A source that reads through the transport, which belongs to it from now on,
 * also on failure.  The cache must outlive the source, no other source of the
 * cache may have the same 'id', and a single thread runs yet.  What came with
 * the object's size is cached.  NULL if the transport is NULL (errno stays as
 * it is), or with the error reported and errno ENOMEM.
 */
struct source *source_remote_new (struct transport *t, struct cache *cache,
                                  uint32_t id, const struct qcow_hooks *hooks);

#endif /* QCOW_SOURCE_REMOTE_H */
