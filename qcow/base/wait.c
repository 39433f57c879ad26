/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Interruptible waiting.  See wait.h.
 */

#include <errno.h>
#include <time.h>

#include "base/monotonic.h"
#include "base/wait.h"

int
hooks_sleep (const struct qcow_hooks *hooks, unsigned ms)
{
  const struct timespec t = { .tv_sec = (time_t) (ms / 1000),
                              .tv_nsec = (long) (ms % 1000) * 1000000 };

  if (hooks->sleep)
    return hooks->sleep (hooks->opaque, ms);
  nanosleep (&t, NULL);
  return 0;
}

int
hooks_wait (const struct qcow_hooks *hooks, pthread_cond_t *cond,
            pthread_mutex_t *lock, struct timespec *next_poll)
{
  int r;

  if (pthread_cond_timedwait (cond, lock, next_poll) != ETIMEDOUT)
    return 0;
  pthread_mutex_unlock (lock);
  r = hooks_sleep (hooks, 0);
  *next_poll = monotonic_deadline (HOOKS_POLL_MS);
  pthread_mutex_lock (lock);
  return r;
}
