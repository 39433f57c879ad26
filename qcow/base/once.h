/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Single-flight: of the threads that want the same thing, the first one loads
 * it, and the others wait for that.
 *
 * A struct once is a member of what is loaded.  Its owner has a lock, which
 * guards the struct and is held around each call here, and counts the users of
 * the whole: the last one destroys it.
 */

#ifndef QCOW_BASE_ONCE_H
#define QCOW_BASE_ONCE_H

#include <pthread.h>

#include "base/hooks.h"

enum once_state { ONCE_LOADING, ONCE_READY, ONCE_FAILED };

struct once {
  enum once_state state;
  int err;                /* if it failed: an errno value */
  pthread_cond_t changed; /* it left LOADING */
};

/* LOADING: the calling thread loads it, and calls once_end whatever happens.
 */
void once_begin (struct once *o);

/* READY if err is 0, else FAILED with this errno value.  Wakes the waiters. */
void once_end (struct once *o, int err);

/* Wait until it is not LOADING, or until the sleep hook ends the wait.  'lock'
 * is released meanwhile.  0: READY; ESHUTDOWN: the hook ended the wait, which
 * changes nothing for others; else the loader's errno value, which may be
 * ESHUTDOWN, too.
 */
int once_wait (struct once *o, pthread_mutex_t *lock,
               const struct qcow_hooks *hooks);

/* When nobody waits. */
void once_destroy (struct once *o);

#endif /* QCOW_BASE_ONCE_H */
