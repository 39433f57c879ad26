/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Working memory of requests that inflate: a bounded pool.
 *
 * If all workspaces are in use, a thread waits until another returns one, so
 * memory does not grow with the number of clients.  To avoid a deadlock, a
 * thread that calls workspace_get must hold nothing that another thread waits
 * for, for example a cache entry with CACHE_MINE.
 */

#ifndef QCOW_CODEC_WORKSPACE_H
#define QCOW_CODEC_WORKSPACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/quota.h"
#include "codec/inflate.h"

struct workspace {
  struct inflater *inflater;
  uint8_t *in; /* in_size bytes, for compressed data */
  size_t in_size;
  uint8_t *out; /* out_size bytes, for one cluster */
  size_t out_size;
  struct workspace *next;
};

struct workspace_pool;

/* Create a pool without clients.  Returns NULL if out of memory. */
struct workspace_pool *workspace_pool_new (void);
void workspace_pool_free (struct workspace_pool *pool);

/* Add a client (quota.h): a layer that can have compressed clusters, of
 * cluster_size bytes.  Workspaces become large enough for the largest clusters
 * so far; then there are fewer.
 */
void workspace_pool_join (struct workspace_pool *pool,
                          struct quota_client *client, size_t cluster_size);

/* Remove a client, which has no workspace.  Nothing happens if it has not
 * joined.
 */
void workspace_pool_leave (struct workspace_pool *pool,
                           struct quota_client *client);

/* Wait for a workspace.  Returns NULL with errno ENOMEM, or ESHUTDOWN if the
 * sleep hook says that the thread must stop waiting.
 */
struct workspace *workspace_get (struct workspace_pool *pool,
                                 struct quota_client *client,
                                 const struct qcow_hooks *hooks);

/* Return a workspace to the pool.  Keeps errno. */
void workspace_put (struct workspace_pool *pool, struct quota_client *client,
                    struct workspace *s);

#endif /* QCOW_CODEC_WORKSPACE_H */
