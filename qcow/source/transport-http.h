/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transport for http, https and s3 URLs.
 */

#ifndef QCOW_SOURCE_TRANSPORT_HTTP_H
#define QCOW_SOURCE_TRANSPORT_HTTP_H

#include "http/http.h"
#include "source/transport.h"

/* Open a web object; 'ref' as http_open.  Takes over *url's strings, also on
 * failure.  NULL with the error reported and errno as http_open.
 */
struct transport *transport_http_open (struct http *http, struct url *url,
                                       const struct reference *ref,
                                       const struct qcow_hooks *hooks);

#endif /* QCOW_SOURCE_TRANSPORT_HTTP_H */
