/* SPDX-License-Identifier: BSD-3-Clause
 *
 * once.c: waiters get the result of the loader, and can stop waiting.
 */

#include <errno.h>
#include <pthread.h>

#include "tests/unit/unit.h"

#include "base/monotonic.h"
#include "base/once.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct once once;
static unsigned waiting;

/* The client of this thread has disconnected. */
static __thread bool left;

static int
sleep_unless_left (void *opaque, unsigned ms)
{
  (void) opaque;
  (void) ms;
  return left ? -1 : 0;
}

static const struct qcow_hooks hooks = { .sleep = sleep_unless_left };

static void *
waiter (void *leaves)
{
  int err;

  left = leaves != NULL;
  pthread_mutex_lock (&lock);
  waiting++;
  err = once_wait (&once, &lock, &hooks);
  waiting--;
  pthread_mutex_unlock (&lock);
  return (void *) (intptr_t) err;
}

static void
wait_for_waiters (unsigned n)
{
  bool all = false;

  while (!all) {
    const struct timespec t = { .tv_nsec = 1000000 };

    nanosleep (&t, NULL);
    pthread_mutex_lock (&lock);
    all = waiting == n;
    pthread_mutex_unlock (&lock);
  }
}

/* Half of the waiters leave.  The others get the result, and so do later ones.
 */
static void
results (void **state)
{
  enum { WAITERS = 8 };
  static const int errs[] = { 0, EIO, ENOMEM, ESHUTDOWN };
  static int leaves;
  pthread_t t[WAITERS];
  size_t i, j;
  void *r;

  (void) state;
  for (i = 0; i < sizeof errs / sizeof errs[0]; ++i) {
    once_begin (&once);
    for (j = 0; j < WAITERS; ++j)
      assert_int_equal (
        pthread_create (&t[j], NULL, waiter, j % 2 ? &leaves : NULL), 0);
    for (j = 1; j < WAITERS; j += 2) {
      pthread_join (t[j], &r);
      assert_int_equal ((intptr_t) r, ESHUTDOWN);
    }
    wait_for_waiters (WAITERS / 2);
    assert_int_equal (once.state, ONCE_LOADING);
    pthread_mutex_lock (&lock);
    once_end (&once, errs[i]);
    pthread_mutex_unlock (&lock);
    for (j = 0; j < WAITERS; j += 2) {
      pthread_join (t[j], &r);
      assert_int_equal ((intptr_t) r, errs[i]);
    }
    assert_int_equal (once.state, errs[i] == 0 ? ONCE_READY : ONCE_FAILED);
    assert_int_equal ((intptr_t) waiter (NULL), errs[i]);
    assert_int_equal ((intptr_t) waiter (&leaves), errs[i]);
    left = false;
    once_destroy (&once);
  }
}

/* The sleep hook can be NULL. */
static void
no_hook (void **state)
{
  static const struct qcow_hooks none;

  (void) state;
  once_begin (&once);
  pthread_mutex_lock (&lock);
  once_end (&once, 0);
  assert_int_equal (once_wait (&once, &lock, &none), 0);
  pthread_mutex_unlock (&lock);
  once_destroy (&once);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (results),
  cmocka_unit_test (no_hook),
};

UNIT_MAIN (tests)
