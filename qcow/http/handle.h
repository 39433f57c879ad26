/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Setting libcurl's easy handles up, each for one request for a range of an
 * object.  (A handle costs 1.5 microseconds.  With a new one for each request,
 * no request sees what another one was given.)
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

  curl_write_callback on_body;
  void *opaque; /* for on_body, and CURLINFO_PRIVATE */
  char *error;  /* CURL_ERROR_SIZE bytes */
};

/* Set a new handle up.  *headers, which is NULL before, must stay until the
 * handle is freed; then libcurl_free_secrets frees it, also after a failure.
 */
CURLcode handle_set_up (CURL *easy, const struct http_settings *s,
                        const struct handle_request *r,
                        struct curl_slist **headers);

#endif /* QCOW_HTTP_HANDLE_H */
