/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Single-flight: the first thread that needs an object loads it, and the
 * others wait for the result.
 *
 * A struct once is a member of the object.  The object's owner has a lock,
 * which guards the struct, and holds it around each call here.  The owner also
 * counts the users of the object: the last one destroys it.
 */

#ifndef QCOW_BASE_ONCE_H
#define QCOW_BASE_ONCE_H

#include <pthread.h>

#include "base/hooks.h"

enum once_state { ONCE_LOADING, ONCE_READY, ONCE_FAILED };

struct once {
  enum once_state state;
  int err;                /* if FAILED: an errno value */
  pthread_cond_t changed; /* the state is no longer LOADING */
};

/* Set LOADING.  The calling thread loads the object, and always calls
 * once_end.
 */
void once_begin (struct once *o);

/* Set READY if err is 0, else FAILED with this errno value.  Wake the waiters.
 */
void once_end (struct once *o, int err);

/* Wait until the state is not LOADING, or until the sleep hook ends the wait.
 * Releases 'lock' meanwhile.  Returns 0 if READY; ESHUTDOWN if the hook ended
 * the wait, which does not affect others; else the loader's errno value, which
 * can be ESHUTDOWN, too.
 */
int once_wait (struct once *o, pthread_mutex_t *lock,
               const struct qcow_hooks *hooks);

/* Call this when no thread waits. */
void once_destroy (struct once *o);

#endif /* QCOW_BASE_ONCE_H */
