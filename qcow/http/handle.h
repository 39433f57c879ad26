/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Setting libcurl's easy handles up: the user's parameters, and one request
 * for a range of an object.
 *
 * User names, passwords, cookies, headers and keys go to the origin of the
 * user's own URL, and what is in an object's URL to its origin: never
 * anywhere that an image or a redirect names.
 */

#ifndef QCOW_HTTP_HANDLE_H
#define QCOW_HTTP_HANDLE_H

#include <stdint.h>

#include "http/response.h"
#include "http/settings.h"
#include "http/url.h"

/* What a try asks for. */
struct handle_request {
  const struct url *object;      /* the object's own URL */
  const struct url *url;         /* the one that is asked */
  uint64_t first, last;          /* bytes of the object */
  const struct version *version; /* the one that is wanted; NULL: any */
};

/* Set the options that are the same for all requests. */
CURLcode handle_prepare (CURL *easy, const struct http_settings *s,
                         curl_write_callback on_body);

/* Set a prepared handle up for a request.  'opaque' is CURLINFO_PRIVATE and
 * for on_body; 'error' has CURL_ERROR_SIZE bytes.  The headers are a new list,
 * for http_free_headers when the transfer is over, also after a failure.
 */
CURLcode handle_set_up (CURL *easy, const struct http_settings *s,
                        const struct handle_request *r, void *opaque,
                        char *error, struct curl_slist **headers);

/* Make a handle forget its request. */
void handle_release (CURL *easy);

#endif /* QCOW_HTTP_HANDLE_H */
