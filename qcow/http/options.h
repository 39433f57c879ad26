/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks of the user's options for web servers.
 *
 * An option that can't work is refused at start-up, with any image.  libcurl
 * is loaded only if it must be asked.  Options for s3:// URLs may come from
 * the environment: such defaults are checked when an s3:// URL is opened.
 *
 * All functions that return int return 0, or -1 with the error reported and
 * errno.  No state: any thread may call them.
 */

#ifndef QCOW_HTTP_OPTIONS_H
#define QCOW_HTTP_OPTIONS_H

#include <stdbool.h>

#include "base/hooks.h"
#include "base/options.h"

#define HTTP_MAX_CONNECTIONS 256

/* Check all that can be checked before a URL is opened, and that the options
 * are of use for the image.
 */
int http_options_check (const struct qcow_options *options,
                        const struct qcow_hooks *hooks);

/* Check the values that do not depend on the URL. */
int http_options_check_values (const struct qcow_http_options *o,
                               const struct qcow_hooks *hooks);

/* Check what only s3:// URLs need. */
int http_options_check_s3 (const struct qcow_s3_options *s,
                           const struct qcow_hooks *hooks);

/* Parse protocols=, such as "http,https".  NULL: both. */
int http_options_protocols (const char *list, bool *http, bool *https,
                            const struct qcow_hooks *hooks);

/* Parse http-version=: CURL_HTTP_VERSION_*.  NULL: the default. */
int http_options_version (const char *name, long *version,
                          const struct qcow_hooks *hooks);

/* The URL that the user trusts with secrets: the image's, or if that is a
 * local file, the first one that the user names.  NULL: none.
 */
const char *http_options_own_url (const struct qcow_options *options);

#endif /* QCOW_HTTP_OPTIONS_H */
