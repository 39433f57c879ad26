/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http and https URLs that may name an object in S3 or on a server like it.
 * For hints in messages.  Pure.
 */

#ifndef QCOW_HTTP_URL_S3_H
#define QCOW_HTTP_URL_S3_H

#include <stdbool.h>

#include "http/url.h"

/* The parameters that name the same object: "url=s3://BUCKET/KEY ...".  A new
 * string, or NULL: the URL names no object, or out of memory.
 */
char *url_as_s3 (const struct url *url);

/* Does the prefix s3://... cover the object, as far as the URL's path and host
 * tell?  Another server may have a bucket of that name.
 */
bool url_covers_as_s3 (const char *prefix, const struct url *url);

#endif /* QCOW_HTTP_URL_S3_H */
