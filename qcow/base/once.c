/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Single-flight.  See once.h.
 */

#include <errno.h>

#include "base/monotonic.h"
#include "base/once.h"
#include "base/wait.h"

void
once_begin (struct once *o)
{
  o->state = ONCE_LOADING;
  o->err = 0;
  monotonic_cond_init (&o->changed);
}

void
once_end (struct once *o, int err)
{
  o->state = err == 0 ? ONCE_READY : ONCE_FAILED;
  o->err = err;
  pthread_cond_broadcast (&o->changed);
}

int
once_wait (struct once *o, pthread_mutex_t *lock,
           const struct qcow_hooks *hooks)
{
  struct timespec next_poll = monotonic_deadline (HOOKS_POLL_MS);

  while (o->state == ONCE_LOADING)
    if (hooks_wait (hooks, &o->changed, lock, &next_poll) == -1
        && o->state == ONCE_LOADING)
      return ESHUTDOWN;
  return o->err;
}

void
once_destroy (struct once *o)
{
  pthread_cond_destroy (&o->changed);
}
