/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Waits that the user of the module can interrupt.  Every wait that may last
 * longer than a few milliseconds uses these functions, so it ends within
 * 100 ms after the server shuts down or the client disconnects: HOOKS_POLL_MS,
 * and what it takes to cancel what was waited for.
 */

#ifndef QCOW_BASE_WAIT_H
#define QCOW_BASE_WAIT_H

#include <pthread.h>
#include <time.h>

#include "base/hooks.h"

/* How often a waiter calls the sleep hook to learn whether to continue. */
#define HOOKS_POLL_MS 50

/* Sleep for 'ms' milliseconds through the sleep hook, and return its result.
 */
int hooks_sleep (const struct qcow_hooks *hooks, unsigned ms);

/* Wait with 'lock' held for a condition that monotonic_cond_init initialized,
 * at most until *next_poll.  Then release the lock, call the sleep hook,
 * advance *next_poll, and take the lock again.  Returns 0 (check the
 * condition again), or -1 if the hook says that the caller must stop waiting.
 */
int hooks_wait (const struct qcow_hooks *hooks, pthread_cond_t *cond,
                pthread_mutex_t *lock, struct timespec *next_poll);

#endif /* QCOW_BASE_WAIT_H */
