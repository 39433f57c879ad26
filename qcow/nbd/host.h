/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Resolving the name of a host without waiting, by a thread of glibc's.
 *
 * libnbd resolves names itself when it connects, and waits for that, which can
 * take half a minute if the network is down.  So the driver asks here first.
 */

#ifndef QCOW_NBD_HOST_H
#define QCOW_NBD_HOST_H

struct host_lookup;

/* Begin a lookup if *lookup is NULL.  EAI_INPROGRESS: call this again.  Else
 * the lookup is over, and *lookup is NULL: 0, or another EAI_ value.  Only
 * once serving has started: a fork must not copy the thread.
 */
int host_lookup_step (struct host_lookup **lookup, const char *host);

/* End a lookup, if there is one. */
void host_lookup_abandon (struct host_lookup **lookup);

#endif /* QCOW_NBD_HOST_H */
