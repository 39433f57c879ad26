/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Threads that the module starts, which only begin after serving starts.
 */

#ifndef QCOW_BASE_WORKER_H
#define QCOW_BASE_WORKER_H

#include <pthread.h>

/* Start a thread with all signals blocked: they are for the program's own
 * threads.  0, or -1 with errno.
 */
int worker_start (pthread_t *thread, void *(*run) (void *), void *opaque);

#endif /* QCOW_BASE_WORKER_H */
