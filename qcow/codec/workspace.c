/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A bounded pool of working memory.  See workspace.h.
 *
 * Last in, first out: the CPU's cache may still hold the workspace that was
 * used last.
 *
 * Locking: the pool's lock guards the pool and the clients' counts.  A
 * workspace belongs to the thread that took it.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/monotonic.h"
#include "base/wait.h"
#include "codec/workspace.h"

/* Limit of all workspaces together: a part of the 64 MiB that the server may
 * use beyond nbdkit's own memory.
 */
#define POOL_BYTES (24U << 20)

/* Enough even for small clusters: inflating is CPU-bound, and more requests
 * that wait for a disk gain little.
 */
#define MAX_WORKSPACES 16
#define MIN_WORKSPACES 2

/* Adjacent compressed clusters are read in pieces of up to this size: large
 * enough to make system calls cheap, small enough to stay in the CPU's L2
 * cache until they are inflated.
 */
#define IN_BYTES (256U << 10)

struct workspace_pool {
  pthread_mutex_t lock;
  /* Signalled when there may be a slot for a client that has none ... */
  pthread_cond_t for_first;
  unsigned waiting_first; /* threads that wait for it */
  /* ... or for any client. */
  pthread_cond_t for_more;
  size_t in_size, out_size; /* of new workspaces; they only grow */
  struct quota quota;
  struct workspace *idle;
};

struct workspace_pool *
workspace_pool_new (void)
{
  struct workspace_pool *pool = calloc (1, sizeof *pool);

  if (pool == NULL)
    return NULL;
  pthread_mutex_init (&pool->lock, NULL);
  monotonic_cond_init (&pool->for_first);
  monotonic_cond_init (&pool->for_more);
  return pool;
}

/* Under the lock. */
static void
set_size (struct workspace_pool *pool, size_t cluster_size)
{
  size_t fit;

  /* A compressed cluster can take twice its inflated size. */
  pool->in_size = (size_t) max64 (2 * cluster_size, IN_BYTES);
  pool->out_size = cluster_size;
  fit = POOL_BYTES / (pool->in_size + pool->out_size);
  pool->quota.slots
    = (unsigned) max64 (min64 (fit, MAX_WORKSPACES), MIN_WORKSPACES);
}

static void
free_workspace (struct workspace *s)
{
  if (s == NULL)
    return;
  inflater_free (s->inflater);
  free (s->in);
  free (s->out);
  free (s);
}

static void
free_list (struct workspace *list)
{
  struct workspace *s;

  while ((s = list) != NULL) {
    list = s->next;
    free_workspace (s);
  }
}

void
workspace_pool_free (struct workspace_pool *pool)
{
  if (pool == NULL)
    return;
  free_list (pool->idle);
  pthread_cond_destroy (&pool->for_first);
  pthread_cond_destroy (&pool->for_more);
  pthread_mutex_destroy (&pool->lock);
  free (pool);
}

/* Under the lock: take the idle workspaces that are too small for new clients
 * out of the pool.  Those in use are freed when they are returned.
 */
static struct workspace *
take_small (struct workspace_pool *pool)
{
  struct workspace *small = NULL, **p = &pool->idle;

  while (*p) {
    struct workspace *s = *p;

    if (s->out_size >= pool->out_size)
      p = &s->next;
    else {
      *p = s->next;
      s->next = small;
      small = s;
    }
  }
  return small;
}

void
workspace_pool_join (struct workspace_pool *pool, struct quota_client *client,
                     size_t cluster_size)
{
  struct workspace *small = NULL;

  pthread_mutex_lock (&pool->lock);
  quota_join (&pool->quota, client);
  if (cluster_size > pool->out_size) {
    set_size (pool, cluster_size);
    small = take_small (pool);
  }
  pthread_mutex_unlock (&pool->lock);
  free_list (small);
}

void
workspace_pool_leave (struct workspace_pool *pool, struct quota_client *client)
{
  pthread_mutex_lock (&pool->lock);
  quota_leave (&pool->quota, client);
  /* Fewer slots are kept for clients without one. */
  pthread_cond_broadcast (&pool->for_more);
  pthread_mutex_unlock (&pool->lock);
}

static struct workspace *
make_workspace (size_t in_size, size_t out_size)
{
  struct workspace *s = calloc (1, sizeof *s);

  if (s == NULL)
    return NULL;
  s->inflater = inflater_new ();
  s->in = malloc (in_size);
  s->out = malloc (out_size);
  s->in_size = in_size;
  s->out_size = out_size;
  if (s->inflater == NULL || s->in == NULL || s->out == NULL) {
    free_workspace (s);
    return NULL;
  }
  return s;
}

static int
wait_a_while (struct workspace_pool *pool, const struct quota_client *client,
              const struct qcow_hooks *hooks, struct timespec *next_poll)
{
  int r;

  if (client->used > 0)
    return hooks_wait (hooks, &pool->for_more, &pool->lock, next_poll);
  pool->waiting_first++;
  r = hooks_wait (hooks, &pool->for_first, &pool->lock, next_poll);
  pool->waiting_first--;
  return r;
}

/* Wait for a slot and take it.  Returns false if the sleep hook says that the
 * thread must stop waiting.  The first call of the hook is before the first
 * wait, so that many requests of a disconnected client do not wait one after
 * another.
 */
static bool
wait_for_slot (struct workspace_pool *pool, struct quota_client *client,
               const struct qcow_hooks *hooks)
{
  struct timespec next_poll = { .tv_sec = 0 };
  bool given_up = false;

  while (!quota_may_take (&pool->quota, client) && !given_up)
    given_up = wait_a_while (pool, client, hooks, &next_poll) == -1;
  if (!given_up)
    quota_take (&pool->quota, client);
  return !given_up;
}

static void
give_slot (struct workspace_pool *pool, struct quota_client *client)
{
  quota_give (&pool->quota, client);
  /* Wake all threads that wait for a first slot: a thread whose client got a
   * slot meanwhile may not take this one, but another thread may.
   */
  if (pool->waiting_first > 0)
    pthread_cond_broadcast (&pool->for_first);
  /* The client has no slot left, so for each of its waiting threads the next
   * slot would be the client's first.
   */
  if (client->used == 0)
    pthread_cond_broadcast (&pool->for_more);
  else if (pool->waiting_first == 0)
    pthread_cond_signal (&pool->for_more);
}

struct workspace *
workspace_get (struct workspace_pool *pool, struct quota_client *client,
               const struct qcow_hooks *hooks)
{
  struct workspace *s = NULL;
  size_t in_size, out_size;
  bool taken;

  pthread_mutex_lock (&pool->lock);
  taken = wait_for_slot (pool, client, hooks);
  if (taken)
    s = pool->idle;
  if (s)
    pool->idle = s->next;
  in_size = pool->in_size;
  out_size = pool->out_size;
  pthread_mutex_unlock (&pool->lock);
  if (!taken)
    errno = ESHUTDOWN;
  if (s || !taken)
    return s;

  s = make_workspace (in_size, out_size);
  if (s == NULL) {
    pthread_mutex_lock (&pool->lock);
    give_slot (pool, client);
    pthread_mutex_unlock (&pool->lock);
    errno = ENOMEM;
  }
  return s;
}

void
workspace_put (struct workspace_pool *pool, struct quota_client *client,
               struct workspace *s)
{
  KEEP_ERRNO;
  struct workspace *small = NULL;

  pthread_mutex_lock (&pool->lock);
  if (s->out_size < pool->out_size)
    small = s;
  else {
    s->next = pool->idle;
    pool->idle = s;
  }
  give_slot (pool, client);
  pthread_mutex_unlock (&pool->lock);
  free_workspace (small);
}
