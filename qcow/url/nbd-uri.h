/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What messages may show of NBD URIs.  Pure.  libnbd parses the URIs.
 *
 *   SCHEME://[USER@][HOST][:PORT]/[EXPORT][?QUERY]
 */

#ifndef QCOW_URL_NBD_URI_H
#define QCOW_URL_NBD_URI_H

#include <stdbool.h>

#include "base/error.h"
#include "url/redact.h"

/* The URI without user, and of its query only the socket.  Scheme and host are
 * in lower case, and the path is never empty, so that names can be compared. A
 * new string, or NULL: out of memory.
 */
char *nbd_uri_name (const char *uri);

/* Check what libnbd and this module could understand differently, and paths.
 * libnbd decodes names, and takes the last of equal ones.  0, or -1 and the
 * reason.
 */
int nbd_uri_check (const char *uri, struct problem *problem);

/* True if the query has other parameters than the socket: they say how TLS is
 * used.
 */
bool nbd_uri_has_options (const char *uri);

/* True if two names (nbd_uri_name) have the same scheme, host, port and
 * socket.
 */
bool nbd_uri_same_server (const char *a, const char *b);

/* A URI with the path of a name, which is the export: user and query stay.  A
 * new, secret string, or NULL: out of memory.
 */
char *nbd_uri_with_path (const char *uri, const char *name);

/* The name of a host that has to be resolved, or "". */
#define NBD_URI_HOST_MAX 256
void nbd_uri_host (const char *uri, char host[NBD_URI_HOST_MAX]);

/* The user, or NULL: there is none, or out of memory. */
char *nbd_uri_user (const char *uri);

/* Add the user, and the values of the query that can be secret: the names of
 * files with keys, and all that is not known.
 */
void nbd_uri_add_secrets (const char *uri, struct secrets *secrets);

#endif /* QCOW_URL_NBD_URI_H */
