/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Signing requests to S3: which headers a request gets for that, and which
 * of all are signed.
 */

#ifndef QCOW_HTTP_SIGN_H
#define QCOW_HTTP_SIGN_H

#include <stdbool.h>
#include <time.h>

#include "http/settings.h"
#include "http/url.h"

/* True if requests to the user's own S3 server are signed.  Without keys they
 * are not, nor if the user gives an Authorization header.
 */
bool sign_is_wanted (const struct http_settings *s);

/* True if signing replaces this header of the user. */
bool sign_replaces (const struct http_settings *s, const char *header);

/* Sign a request for the URL with all headers in the list, and append the
 * headers of the signature.  0, or -1 with errno ENOMEM, or EIO: see
 * libgcrypt_reason.
 */
int sign_request (const struct http_settings *s, const struct url *url,
                  time_t now, struct curl_slist **list);

#endif /* QCOW_HTTP_SIGN_H */
