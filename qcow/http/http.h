/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A transport for byte ranges of web objects.  Private to qcow/.
 *
 * One struct http does all transfers of an image and its layers, through
 * libcurl's multi interface.  One thread drives them: before http_start the
 * thread that waits for a fetch, then a worker thread.  Callers submit fetches
 * and may wait for them; no lock is held while they wait.
 *
 * A fetch is retried where that may help, follows redirects, and delivers only
 * bytes of the version of the object that was seen first.
 */

#ifndef QCOW_HTTP_HTTP_H
#define QCOW_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/fetch.h"
#include "base/options.h"
#include "http/reference.h"
#include "http/url.h"

struct http;
struct http_object;

/* Check all options that can be checked before a URL is opened, and that the
 * image can have a use for them.  Loads libcurl only if it must be asked.
 * Returns 0, or -1 with the error reported and errno.
 */
int http_check_options (const struct qcow_options *options,
                        const struct qcow_hooks *hooks);

/* The options' strings and lists must outlive the result.  NULL with the
 * error reported and errno.
 */
struct http *http_new (const struct qcow_options *options,
                       const struct qcow_hooks *hooks);

/* Close all connections: they must not be carried over a fork. */
void http_hang_up (struct http *h);

/* Start the worker thread.  0, or -1 with the error reported and errno. */
int http_start (struct http *h);

/* End the worker thread.  Fetches that are not done fail with ESHUTDOWN, and
 * so do those that are submitted later.
 */
void http_stop (struct http *h);
void http_free (struct http *h);

/* Parse a URL and check that the options allow it.  0, or -1 with errno and
 * the error reported as one about 'holder', the image that names the URL; "":
 * about the URL.
 */
int http_parse_url (const struct http *h, const char *text, const char *holder,
                    struct url *url);

/* Bytes that http_open reads. */
#define HTTP_PREFIX_BYTES (256U << 10)

/* Open an object, and read its beginning to 'head': HTTP_PREFIX_BYTES, or all
 * if it is shorter.  'ref' tells messages who names it.  Takes over *url's
 * strings, also on failure.  Not after http_start.  NULL with the error
 * reported, and errno ENOENT, EACCES, EINVAL, EIO or ENOMEM.
 */
struct http_object *http_open (struct http *h, struct url *url,
                               const struct reference *ref,
                               uint8_t head[HTTP_PREFIX_BYTES]);
/* All its fetches must be done. */
void http_close (struct http_object *o);

uint64_t http_object_size (const struct http_object *o);

/* True if its server once responded so quickly that latency does not matter.
 * Any thread may call this.
 */
bool http_object_is_near (const struct http_object *o);

/* Submit a fetch.  Not before http_start. */
void http_submit (struct http_object *o, struct fetch *f);

/* Do n fetches in parallel, and wait for all; 'done' is set here.  0, or -1
 * with errno: ESHUTDOWN if the server is ending or the client is gone, else
 * EIO, ENOMEM, or while opening also ENOENT or EACCES.
 */
int http_fetch_all (struct http_object *o, struct fetch *fetches, size_t n);

#endif /* QCOW_HTTP_HTTP_H */
