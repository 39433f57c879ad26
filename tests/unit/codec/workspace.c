/* SPDX-License-Identifier: BSD-3-Clause
 *
 * workspace.c: the pool is bounded, keeps a workspace for each client without
 * one, and a returned workspace wakes a thread that may take it.
 */

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "tests/unit/unit.h"

#include "codec/workspace.h"

/* Four workspaces, of which one is kept for clients without one. */
#define CLUSTER (2U << 20)
#define SLOTS 4

static struct workspace_pool *
pool_for (struct quota_client *clients, unsigned n)
{
  struct workspace_pool *pool = workspace_pool_new ();
  unsigned i;

  assert_non_null (pool);
  for (i = 0; i < n; ++i)
    workspace_pool_join (pool, &clients[i], CLUSTER);
  return pool;
}

/* A thread that waits for a workspace. */
struct waiter {
  pthread_t thread;
  struct workspace_pool *pool;
  struct quota_client *client;
  struct workspace *workspace; /* the result */
  unsigned polls;              /* of the sleep hook; atomic */
  bool done;                   /* atomic */
  bool leaves;                 /* at the next poll; atomic */
};

static int
poll_hook (void *opaque, unsigned ms)
{
  struct waiter *w = opaque;

  (void) ms;
  __atomic_add_fetch (&w->polls, 1, __ATOMIC_SEQ_CST);
  return __atomic_load_n (&w->leaves, __ATOMIC_SEQ_CST) ? -1 : 0;
}

static void *
wait_for_workspace (void *opaque)
{
  struct waiter *w = opaque;
  const struct qcow_hooks hooks = { .opaque = w, .sleep = poll_hook };

  w->workspace = workspace_get (w->pool, w->client, &hooks);
  __atomic_store_n (&w->done, true, __ATOMIC_SEQ_CST);
  return NULL;
}

static void
pause_ms (unsigned ms)
{
  const struct timespec t = { .tv_nsec = (long) ms * 1000000 };

  nanosleep (&t, NULL);
}

static bool
is_done (const struct waiter *w)
{
  return __atomic_load_n (&w->done, __ATOMIC_SEQ_CST);
}

/* Start a thread, and return when it waits: after its first poll. */
static void
start (struct waiter *w, struct workspace_pool *pool, struct quota_client *c)
{
  *w = (struct waiter){ .pool = pool, .client = c };
  assert_int_equal (pthread_create (&w->thread, NULL, wait_for_workspace, w),
                    0);
  while (__atomic_load_n (&w->polls, __ATOMIC_SEQ_CST) == 0)
    pause_ms (1);
  pause_ms (2);
}

/* Take a workspace without waiting.  NULL: there is none for this client. */
static struct workspace *
try (struct workspace_pool *pool, struct quota_client *client)
{
  struct waiter w = { .pool = pool, .client = client, .leaves = true };

  errno = 0;
  wait_for_workspace (&w);
  if (w.workspace == NULL)
    assert_int_equal (errno, ESHUTDOWN);
  return w.workspace;
}

static void
bounded (void **state)
{
  struct quota_client client = { 0 };
  struct workspace_pool *pool = pool_for (&client, 1);
  struct workspace *w[SLOTS], *again;
  unsigned i;

  (void) state;
  for (i = 0; i < SLOTS; ++i) {
    w[i] = try (pool, &client);
    assert_non_null (w[i]);
    assert_int_equal (w[i]->in_size, 2 * CLUSTER);
    memset (w[i]->in, 0, w[i]->in_size);
    memset (w[i]->out, 0, CLUSTER);
  }
  assert_null (try (pool, &client));
  workspace_put (pool, &client, w[1]);
  workspace_put (pool, &client, w[2]);
  again = try (pool, &client);
  assert_ptr_equal (again, w[2]); /* the one that was used last */
  workspace_put (pool, &client, again);
  workspace_put (pool, &client, w[0]);
  workspace_put (pool, &client, w[3]);
  workspace_pool_free (pool);
}

static void
keeps_one (void **state)
{
  struct quota_client clients[2] = { 0 };
  struct quota_client *const greedy = &clients[0], *const other = &clients[1];
  struct workspace_pool *pool = pool_for (clients, 2);
  struct workspace *w[SLOTS];
  unsigned i;

  (void) state;
  for (i = 0; i < SLOTS - 1; ++i)
    assert_non_null (w[i] = try (pool, greedy));
  assert_null (try (pool, greedy));
  assert_non_null (w[i] = try (pool, other));
  workspace_put (pool, other, w[i]);
  assert_null (try (pool, greedy));
  while (i > 0)
    workspace_put (pool, greedy, w[--i]);
  workspace_pool_free (pool);
}

/* A client with larger clusters comes: small workspaces, idle or in use, are
 * not handed out any more, and fewer large ones take their place.
 */
static void
grows (void **state)
{
  struct workspace_pool *pool = workspace_pool_new ();
  struct quota_client small = { 0 }, large = { 0 };
  struct workspace *used, *idle, *w[SLOTS];
  unsigned i;

  (void) state;
  assert_non_null (pool);
  workspace_pool_join (pool, &small, 65536);
  assert_non_null (used = try (pool, &small));
  assert_non_null (idle = try (pool, &small));
  assert_int_equal (used->out_size, 65536);
  workspace_put (pool, &small, idle);
  workspace_pool_join (pool, &large, CLUSTER);
  assert_non_null (w[0] = try (pool, &large));
  assert_int_equal (w[0]->out_size, CLUSTER);
  workspace_put (pool, &small, used);
  for (i = 1; i < SLOTS; ++i) {
    assert_non_null (w[i] = try (pool, i == 1 ? &small : &large));
    assert_int_equal (w[i]->in_size, 2 * CLUSTER);
    assert_int_equal (w[i]->out_size, CLUSTER);
  }
  assert_null (try (pool, &small));
  for (i = 0; i < SLOTS; ++i)
    workspace_put (pool, i == 1 ? &small : &large, w[i]);

  /* Without the other client, all are for the one that stays. */
  workspace_pool_leave (pool, &large);
  for (i = 0; i < SLOTS; ++i)
    assert_non_null (w[i] = try (pool, &small));
  for (i = 0; i < SLOTS; ++i)
    workspace_put (pool, &small, w[i]);
  workspace_pool_free (pool);
}

/* All workspaces are in use, and three threads of clients without one wait.
 * Two of them belong to one client.  After one of these has got a workspace,
 * the other may not take the next one, which is kept for clients without one.
 * The third thread may, and must be woken: it leaves when it polls.  Returns
 * whether it was woken.
 */
static bool
third_is_woken (void)
{
  struct quota_client clients[5] = { 0 };
  struct workspace_pool *pool = pool_for (clients, 5);
  struct workspace *w[SLOTS];
  struct waiter first, second, third;
  unsigned i;
  bool woken;

  for (i = 0; i < SLOTS - 1; ++i)
    assert_non_null (w[i] = try (pool, &clients[0]));
  assert_non_null (w[i] = try (pool, &clients[1]));
  start (&first, pool, &clients[2]);
  start (&second, pool, &clients[2]);
  start (&third, pool, &clients[3]);

  workspace_put (pool, &clients[0], w[0]);
  while (!is_done (&first) && !is_done (&second) && !is_done (&third))
    pause_ms (1);
  __atomic_store_n (&third.leaves, true, __ATOMIC_SEQ_CST);
  workspace_put (pool, &clients[0], w[1]);
  pthread_join (third.thread, NULL);
  woken = third.workspace != NULL;
  if (woken)
    workspace_put (pool, &clients[3], third.workspace);

  workspace_put (pool, &clients[0], w[2]);
  workspace_put (pool, &clients[1], w[3]);
  pthread_join (first.thread, NULL);
  pthread_join (second.thread, NULL);
  assert_non_null (first.workspace);
  assert_non_null (second.workspace);
  workspace_put (pool, &clients[2], first.workspace);
  workspace_put (pool, &clients[2], second.workspace);
  workspace_pool_free (pool);
  return woken;
}

static void
wakes (void **state)
{
  unsigned tries = 10;

  (void) state;
  /* The third thread polls every 50 ms: that can happen to be just now. */
  while (tries > 0 && !third_is_woken ())
    tries--;
  assert_true (tries > 0);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (bounded),
  cmocka_unit_test (keeps_one),
  cmocka_unit_test (grows),
  cmocka_unit_test (wakes),
};

UNIT_MAIN (tests)
