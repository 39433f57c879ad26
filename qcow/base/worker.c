/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Starting threads.  See worker.h.
 */

#include <errno.h>
#include <signal.h>

#include "base/worker.h"

int
worker_start (pthread_t *thread, void *(*run) (void *), void *opaque)
{
  sigset_t all, old;
  int err;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  err = pthread_create (thread, NULL, run, opaque);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  if (err == 0)
    return 0;
  errno = err;
  return -1;
}
