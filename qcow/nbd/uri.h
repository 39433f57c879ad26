/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What messages may show of NBD URIs.  Pure.  libnbd parses the URIs.
 *
 *   SCHEME://[USER@][HOST][:PORT]/[EXPORT][?QUERY]
 */

#ifndef QCOW_NBD_URI_H
#define QCOW_NBD_URI_H

#include <stdbool.h>

#include "url/redact.h"

/* True if the scheme is one of nbd, nbds, nbd+unix, nbds+unix, nbd+vsock and
 * nbds+vsock.
 */
bool uri_is_nbd (const char *uri);

/* The URI without user, and of its query only the socket.  A new string, or
 * NULL: out of memory.
 */
char *uri_name (const char *uri);

/* Add the user, and the values of the query that can be secret: the names of
 * files with keys, and all that is not known.
 */
void uri_add_secrets (const char *uri, struct secrets *secrets);

#endif /* QCOW_NBD_URI_H */
