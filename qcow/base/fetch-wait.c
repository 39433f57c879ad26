/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Waiting for fetches.  See fetch-wait.h.
 */

#include <errno.h>
#include <pthread.h>

#include "base/error.h"
#include "base/fetch-wait.h"
#include "base/monotonic.h"
#include "base/wait.h"

/* While an image is opened, warn if the server takes longer. */
#define SLOW_MS 2000

struct waiter {
  pthread_mutex_t lock;
  pthread_cond_t done;
  size_t left; /* under the lock */
  int err;     /* under the lock */
};

static void
fetch_done (struct fetch *f, int err)
{
  struct waiter *w = f->waiter;

  pthread_mutex_lock (&w->lock);
  w->left--;
  if (err != 0 && w->err == 0)
    w->err = err;
  if (w->left == 0)
    pthread_cond_signal (&w->done);
  pthread_mutex_unlock (&w->lock);
}

/* Wait for another thread.  -1: cancel the fetches.  fetch_done may still hold
 * the lock when it was called for the last fetch: *w outlives that, since this
 * takes the lock, too.
 */
static int
wait_for_driver (const struct fetch_wait *how, struct waiter *w)
{
  struct timespec next_poll = monotonic_deadline (HOOKS_POLL_MS);
  int r = 0;

  pthread_mutex_lock (&w->lock);
  while (w->left > 0 && r == 0)
    r = hooks_wait (how->hooks, &w->done, &w->lock, &next_poll);
  pthread_mutex_unlock (&w->lock);
  return r;
}

/* Warn once, with the reason, while the object is being opened. */
static void
warn_if_slow (const struct fetch_wait *how, struct transport *t,
              uint64_t began)
{
  const char *why = how->why (t);

  if (t->slow_start || monotonic_ms () - began < SLOW_MS)
    return;
  t->slow_start = true;
  error_warn (how->hooks, t->name, "still waiting for the %s: %s", how->server,
              why[0] ? why : "it has not responded");
}

static int
drive_once (const struct fetch_wait *how, struct transport *t,
            const struct waiter *w, uint64_t began)
{
  how->drive (t);
  if (w->left == 0)
    return 0;
  warn_if_slow (how, t, began);
  return hooks_sleep (how->hooks, 0);
}

/* There is no other thread.  -1: cancel the fetches. */
static int
drive (const struct fetch_wait *how, struct transport *t,
       const struct waiter *w)
{
  const uint64_t began = monotonic_ms ();
  int r = 0;

  while (w->left > 0 && r == 0)
    r = drive_once (how, t, w, began);
  return r;
}

static void
cancel (const struct fetch_wait *how, struct transport *t,
        struct fetch *fetches, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i)
    __atomic_store_n (&fetches[i].cancel, true, __ATOMIC_RELEASE);
  how->wake (t);
}

int
fetch_wait_all (const struct fetch_wait *how, struct transport *t,
                struct fetch *fetches, size_t n)
{
  struct waiter w = { .lock = PTHREAD_MUTEX_INITIALIZER, .left = n };
  bool cancelled = false;
  size_t i;

  monotonic_cond_init (&w.done);
  for (i = 0; i < n; ++i) {
    fetches[i].waiter = &w;
    fetches[i].done = fetch_done;
    t->ops->submit (t, &fetches[i]);
  }
  while ((how->drive ? drive (how, t, &w) : wait_for_driver (how, &w)) == -1) {
    cancel (how, t, fetches, n);
    cancelled = true;
  }
  pthread_cond_destroy (&w.done);
  pthread_mutex_destroy (&w.lock);
  if (cancelled)
    w.err = ESHUTDOWN;
  if (w.err == 0)
    return 0;
  errno = w.err;
  return -1;
}
