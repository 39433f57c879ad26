/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transport of objects on NBD servers.  Private to qcow/.
 *
 * One struct nbd does all transfers of an image and its layers, through
 * libnbd.  One thread drives them: before nbd_start the thread that waits for
 * a fetch, afterwards a worker thread.  Callers submit fetches and can wait
 * for them; they hold no lock while they wait.
 *
 * Connections survive a fork before nbd_start: only the process that calls it
 * uses them on.  The first client need not wait for a new handshake.
 *
 * Lost connections are made again, and what was in flight is requested again.
 * Only bytes of an export of the size and description that were seen first are
 * delivered.
 */

#ifndef QCOW_NBD_NBD_H
#define QCOW_NBD_NBD_H

#include <stdbool.h>

#include "base/hooks.h"
#include "base/transport.h"
#include "url/reference.h"

struct nbd;

/* 'connections' > 0 is how many there may be for each object.  Loads libnbd.
 * NULL with the error reported and errno.
 */
struct nbd *nbd_new (unsigned connections, const struct qcow_hooks *hooks);

/* Start the worker thread.  0, or -1 with the error reported and errno. */
int nbd_start (struct nbd *n);

/* End the worker thread.  Fetches that are not done fail with ESHUTDOWN, and
 * so do those that are submitted later.
 */
void nbd_stop (struct nbd *n);

/* All objects must be closed. */
void nbd_free (struct nbd *n);

/* Bytes that nbd_open reads. */
#define NBD_PREFIX_BYTES (256U << 10)

/* Connect to an object, and read its beginning as the transport's prefix.
 * Messages show 'name' (see nbd_uri_name).  'ref' says where the URI is from:
 * only the user's own URIs may have a user, or name files with keys for TLS.
 * An image's URI gets those of the first one on the same server.  Not after
 * nbd_start; the object may be closed before nbd_start and after nbd_stop.
 * NULL with the error reported, and errno ENOENT, EACCES, EINVAL, EIO, ENOMEM
 * or ESHUTDOWN.
 */
struct transport *nbd_open (struct nbd *n, const char *uri, const char *name,
                            const struct reference *ref);

#endif /* QCOW_NBD_NBD_H */
