/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transports of a chain's remote files.  Each is made when the first URL
 * of its kind is parsed, so local images load no library for them.
 *
 * remotes_parse_url and remotes_open are for the thread that opens the chain.
 */

#ifndef QCOW_SOURCE_REMOTES_H
#define QCOW_SOURCE_REMOTES_H

#include "base/options.h"
#include "base/transport.h"
#include "url/reference.h"

struct http;
struct nbd;

/* Starts as zeros. */
struct remotes {
  struct http *http;
  struct nbd *nbd;
};

/* Parse a URL and check that the options allow it.  0, or -1 with errno and
 * the error reported.  'holder' is the image that names the URL, or "": the
 * message about an invalid URL begins with it.
 */
int remotes_parse_url (struct remotes *r, const struct qcow_options *options,
                       const struct qcow_hooks *hooks, const char *text,
                       const char *holder, struct url *url);

/* Open the object of ref->url, and read its beginning as the transport's
 * prefix.  Takes over the URL's strings, also on failure.  Not after
 * remotes_start.  NULL with the error reported, and errno ENOENT, EACCES,
 * EINVAL, EIO, ENOMEM or ESHUTDOWN.
 */
struct transport *remotes_open (struct remotes *r, struct reference *ref);

/* Close the connections that a fork must not copy. */
void remotes_hang_up (struct remotes *r);

/* Start the worker threads.  0, or -1 with the error reported and errno. */
int remotes_start (struct remotes *r);

/* End the worker threads.  Fetches that are not done fail with ESHUTDOWN, and
 * so do those that are submitted later.
 */
void remotes_stop (struct remotes *r);

/* All transports must be closed. */
void remotes_free (struct remotes *r);

#endif /* QCOW_SOURCE_REMOTES_H */
