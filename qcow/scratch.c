/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A bounded pool of working memory.  See scratch.h.
 *
 * Last in, first out: the memory that was used last is the one that the
 * processor's cache still knows.
 */

#include <pthread.h>
#include <stdlib.h>

#include "scratch.h"

/* All of it: small beside the 64 MiB that a server may take beyond
 * nbdkit's own.
 */
#define POOL_BYTES (24U << 20)

/* Never more than this many, however small the clusters: inflating is
 * bound by the processor, and waiting for a disk gains little beyond.
 */
#define MAX_SCRATCHES 16
#define MIN_SCRATCHES 2

/* Compressed clusters that lie together are read in pieces of up to this
 * size: enough to make the system calls cheap, little enough for the
 * processor's L2 cache to hold until it is inflated.
 */
#define IN_BYTES (256U << 10)

struct scratch_pool {
  pthread_mutex_t lock;
  pthread_cond_t returned;
  size_t in_size, out_size;
  unsigned max, made; /* made <= max */
  struct scratch *idle;
};

struct scratch_pool *
scratch_pool_new (size_t cluster_size)
{
  struct scratch_pool *pool = calloc (1, sizeof *pool);

  if (pool == NULL)
    return NULL;
  pthread_mutex_init (&pool->lock, NULL);
  pthread_cond_init (&pool->returned, NULL);
  /* A compressed cluster may take twice its inflated size. */
  pool->in_size = 2 * cluster_size > IN_BYTES ? 2 * cluster_size : IN_BYTES;
  pool->out_size = cluster_size;
  pool->max = (unsigned) (POOL_BYTES / (pool->in_size + pool->out_size));
  if (pool->max > MAX_SCRATCHES)
    pool->max = MAX_SCRATCHES;
  if (pool->max < MIN_SCRATCHES)
    pool->max = MIN_SCRATCHES;
  return pool;
}

static void
free_scratch (struct scratch *s)
{
  if (s == NULL)
    return;
  codec_free (s->codec);
  free (s->in);
  free (s->out);
  free (s);
}

void
scratch_pool_free (struct scratch_pool *pool)
{
  struct scratch *s;

  if (pool == NULL)
    return;
  while ((s = pool->idle) != NULL) {
    pool->idle = s->next;
    free_scratch (s);
  }
  pthread_cond_destroy (&pool->returned);
  pthread_mutex_destroy (&pool->lock);
  free (pool);
}

static struct scratch *
make_scratch (const struct scratch_pool *pool)
{
  struct scratch *s = calloc (1, sizeof *s);

  if (s == NULL)
    return NULL;
  s->codec = codec_new ();
  s->in = malloc (pool->in_size);
  s->out = malloc (pool->out_size);
  s->in_size = pool->in_size;
  if (s->codec == NULL || s->in == NULL || s->out == NULL) {
    free_scratch (s);
    return NULL;
  }
  return s;
}

struct scratch *
scratch_get (struct scratch_pool *pool)
{
  struct scratch *s;

  pthread_mutex_lock (&pool->lock);
  while (pool->idle == NULL && pool->made == pool->max)
    pthread_cond_wait (&pool->returned, &pool->lock);
  s = pool->idle;
  if (s)
    pool->idle = s->next;
  else
    pool->made++;
  pthread_mutex_unlock (&pool->lock);
  if (s)
    return s;

  s = make_scratch (pool);
  if (s == NULL) {
    pthread_mutex_lock (&pool->lock);
    pool->made--;
    pthread_cond_signal (&pool->returned);
    pthread_mutex_unlock (&pool->lock);
  }
  return s;
}

void
scratch_put (struct scratch_pool *pool, struct scratch *s)
{
  pthread_mutex_lock (&pool->lock);
  s->next = pool->idle;
  pool->idle = s;
  pthread_cond_signal (&pool->returned);
  pthread_mutex_unlock (&pool->lock);
}
