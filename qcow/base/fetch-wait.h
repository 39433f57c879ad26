/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Threads that wait for fetches of a transport.
 *
 * A waiting thread calls the sleep hook at least every 50 ms.  If nbdkit is
 * shutting down or the client has disconnected, the thread cancels its fetches
 * and waits until they are done, which takes little time.  So nothing writes
 * to memory that the thread has left.
 */

#ifndef QCOW_BASE_FETCH_WAIT_H
#define QCOW_BASE_FETCH_WAIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/hooks.h"
#include "base/transport.h"

/* What the transport does meanwhile. */
struct fetch_wait {
  const struct qcow_hooks *hooks;

  /* Do transfers for up to HOOKS_POLL_MS, but not longer than until one is
   * over.  NULL: another thread does the transfers.
   */
  void (*drive) (struct transport *t);

  /* For a warning that opening the object takes long: the kind of server, and
   * the last failure, or "".
   */
  const char *server;
  const char *(*why) (const struct transport *t);

  /* Make the thread that does the transfers look at the 'cancel' members of
   * fetches soon (atomic).  Their 'done' is to be called with ESHUTDOWN.
   */
  void (*wake) (struct transport *t);
};

/* Submit the fetches and wait for them, as transport_ops.fetch_all. */
int fetch_wait_all (const struct fetch_wait *how, struct transport *t,
                    struct fetch *fetches, size_t n);

#endif /* QCOW_BASE_FETCH_WAIT_H */
