/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Working memory of requests that inflate: a bounded pool.
 *
 * A thread that finds the pool empty waits until another is done, so the
 * memory does not grow with the number of clients.  That can't end in a
 * deadlock as long as whoever waits here holds nothing that another
 * thread waits for (claims of the cache above all).
 */

#ifndef QCOW_SCRATCH_H
#define QCOW_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "error.h"
#include "share.h"

struct scratch {
  struct codec *codec;
  uint8_t *in; /* in_size bytes, for compressed data */
  size_t in_size;
  uint8_t *out; /* one cluster */
  struct scratch *next;
};

struct scratch_pool;

/* For clusters of at most that many bytes, and so many parties (share.h).
 * NULL if out of memory.
 */
struct scratch_pool *scratch_pool_new (size_t cluster_size, unsigned parties);
void scratch_pool_free (struct scratch_pool *pool);

/* Wait for a scratch, give it back.  NULL with errno ENOMEM, or ESHUTDOWN if
 * the hook says that it is of no use to wait.
 */
struct scratch *scratch_get (struct scratch_pool *pool, struct party *party,
                             const struct qcow_hooks *hooks);
void scratch_put (struct scratch_pool *pool, struct party *party,
                  struct scratch *s);

#endif /* QCOW_SCRATCH_H */
