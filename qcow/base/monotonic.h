/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Time and timed waits by CLOCK_MONOTONIC, which jumps neither when the system
 * time is set nor for leap seconds.
 */

#ifndef QCOW_BASE_MONOTONIC_H
#define QCOW_BASE_MONOTONIC_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* Microseconds since some point in the past. */
static inline uint64_t
monotonic_us (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

/* The same in milliseconds. */
static inline uint64_t
monotonic_ms (void)
{
  return monotonic_us () / 1000;
}

/* Initialize a condition whose timed waits use this clock. */
static inline void
monotonic_cond_init (pthread_cond_t *cond)
{
  pthread_condattr_t attr;

  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (cond, &attr);
  pthread_condattr_destroy (&attr);
}

/* 'ms' milliseconds from now, for pthread_cond_timedwait. */
static inline struct timespec
monotonic_deadline (long ms)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  t.tv_sec += ms / 1000;
  t.tv_nsec += ms % 1000 * 1000000; /* < 2 s: fits 32 bits */
  t.tv_sec += t.tv_nsec / 1000000000;
  t.tv_nsec %= 1000000000;
  return t;
}

#endif /* QCOW_BASE_MONOTONIC_H */
