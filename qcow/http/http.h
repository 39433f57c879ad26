/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transport of web objects: http, https and s3 URLs.  Private to qcow/.
 *
 * One struct http does all transfers of an image and its layers, through
 * libcurl's multi interface.  One thread drives them: before http_start the
 * thread that waits for a fetch, afterwards a worker thread.  Callers submit
 * fetches and can wait for them; they hold no lock while they wait.
 *
 * A fetch is retried where that can help, follows redirects, and delivers only
 * bytes of the version of the object that was seen first.
 */

#ifndef QCOW_HTTP_HTTP_H
#define QCOW_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/options.h"
#include "base/transport.h"
#include "url/reference.h"
#include "url/url.h"

struct http;

/* Check the options as far as possible before a URL is opened.  Refuses them
 * if neither the image nor a file that it may name can be at a URL.  Loads
 * libcurl only if a value depends on it.  Returns 0, or -1 with the error
 * reported and errno.
 */
int http_check_options (const struct qcow_options *options,
                        const struct qcow_hooks *hooks);

/* The options' strings and lists must outlive the result.  NULL with the
 * error reported and errno.
 */
struct http *http_new (const struct qcow_options *options,
                       const struct qcow_hooks *hooks);

/* Close all connections: a fork must not copy them. */
void http_hang_up (struct http *h);

/* Start the worker thread.  0, or -1 with the error reported and errno. */
int http_start (struct http *h);

/* End the worker thread.  Fetches that are not done fail with ESHUTDOWN, and
 * so do those that are submitted later.
 */
void http_stop (struct http *h);
void http_free (struct http *h);

/* Parse a URL and check that the options allow it.  0, or -1 with errno and
 * the error reported.  'holder' is the image that names the URL, or "": the
 * message about an invalid URL begins with it.
 */
int http_parse_url (const struct http *h, const char *text, const char *holder,
                    struct url *url);

/* Bytes that http_open reads. */
#define HTTP_PREFIX_BYTES (256U << 10)

/* Open an object, and read its beginning as the transport's prefix.  'ref'
 * says where its name is from, for messages.  Takes over *url's strings, also
 * on failure.  Not after http_start.  NULL with the error reported, and errno
 * ENOENT, EACCES, EIO, ENOMEM or ESHUTDOWN.
 */
struct transport *http_open (struct http *h, struct url *url,
                             const struct reference *ref);

#endif /* QCOW_HTTP_HTTP_H */
