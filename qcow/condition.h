/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Conditions whose time-outs are of CLOCK_MONOTONIC, the clock that nobody
 * sets.
 */

#ifndef QCOW_CONDITION_H
#define QCOW_CONDITION_H

#include <pthread.h>
#include <time.h>

static inline void
condition_init (pthread_cond_t *cond)
{
  pthread_condattr_t attr;

  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (cond, &attr);
  pthread_condattr_destroy (&attr);
}

#endif /* QCOW_CONDITION_H */
