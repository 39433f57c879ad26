/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Working memory of requests that inflate: a bounded pool.
 *
 * A thread that finds the pool empty waits until another is done, so the
 * memory does not grow with the number of clients.  That can't end in a
 * deadlock as long as whoever waits here holds nothing that another
 * thread waits for (claims of the cache above all).
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
  uint8_t *out; /* one cluster */
  struct workspace *next;
};

struct workspace_pool;

/* For clusters of at most that many bytes, and so many parties (quota.h).
 * NULL if out of memory.
 */
struct workspace_pool *workspace_pool_new (size_t cluster_size,
                                           unsigned clients);
void workspace_pool_free (struct workspace_pool *pool);

/* Wait for a scratch, give it back.  NULL with errno ENOMEM, or ESHUTDOWN if
 * the hook says that it is of no use to wait.
 */
struct workspace *workspace_get (struct workspace_pool *pool,
                                 struct quota_client *client,
                                 const struct qcow_hooks *hooks);
void workspace_put (struct workspace_pool *pool, struct quota_client *client,
                    struct workspace *s);

#endif /* QCOW_CODEC_WORKSPACE_H */
