/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bytes of web objects, many ranges at a time.  Private to qcow/.
 *
 * One struct http does all transfers of an image and its layers, through
 * libcurl's multi interface, which a single thread drives: before
 * http_start whoever waits for a fetch, then a worker thread.  Callers
 * submit fetches and wait, or do not wait; no lock is held while they do.
 *
 * A fetch is tried again where that may help, follows redirects, and only
 * ever delivers bytes of the version of the object that was seen first.
 * What it does to get there is request.c's business.
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

/* Are the options for web servers valid, and used?  Asks libcurl only if it
 * depends on that, and loads it then.  0, or -1 with the error reported and
 * errno.
 */
int http_check_options (const struct qcow_options *options,
                        const struct qcow_hooks *hooks);

/* Copies what the options say.  NULL with the error reported. */
struct http *http_new (const struct qcow_options *options,
                       const struct qcow_hooks *hooks);

/* Close all connections, which must not be carried over a fork. */
void http_hang_up (struct http *h);

/* Start the worker.  0, or -1 with the error reported and errno. */
int http_start (struct http *h);

/* End the worker; fetches that are not done fail.  None may be submitted
 * after that.
 */
void http_stop (struct http *h);
void http_free (struct http *h);

/* Take a URL apart; url_parse with what the options say.  -1 with the error
 * reported as one about 'holder' (the image that names it), or "": the URL.
 */
int http_parse_url (const struct http *h, const char *text, const char *holder,
                    struct url *url);

/* The beginning of an object that is opened. */
#define HTTP_PREFIX_BYTES (256U << 10)

/* Open an object, and read its beginning to 'head': HTTP_PREFIX_BYTES, or all
 * if it has less.  'ref' says for messages who names it.  Takes over *url's
 * strings, also on failure.  Not after http_start.  NULL with the error
 * reported, and errno ENOENT, EACCES, EINVAL, EIO or ENOMEM.
 */
struct http_object *http_open (struct http *h, struct url *url,
                               const struct reference *ref,
                               uint8_t head[HTTP_PREFIX_BYTES]);
/* All its fetches must be done. */
void http_close (struct http_object *o);

/* For messages; lives as long as the object. */
const char *http_object_name (const struct http_object *o);
uint64_t http_object_size (const struct http_object *o);

/* Did its server ever begin to answer so soon that waiting for that is not
 * what takes the time?
 */
bool http_object_is_near (const struct http_object *o);

/* Hand over a fetch, which will be done some time; not before http_start. */
void http_submit (struct http_object *o, struct fetch *f);

/* Fetch n of them, side by side, and wait for all.  Their 'done' is set here.
 * 0, or -1 with errno EIO, ENOMEM, or ESHUTDOWN if the server is ending or
 * the client is gone.
 */
int http_fetch_all (struct http_object *o, struct fetch *fetches, size_t n);

#endif /* QCOW_HTTP_HTTP_H */
