/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The user's options for web servers, checked, and what is derived from them.
 * They do not change after http_settings_take, so any thread may read them.
 */

#ifndef QCOW_HTTP_SETTINGS_H
#define QCOW_HTTP_SETTINGS_H

#include <stdbool.h>

#include "base/hooks.h"
#include "base/libcurl.h"
#include "base/options.h"
#include "http/credentials-source.h"
#include "url/redact.h"
#include "url/url.h"

#define HTTP_MAX_CONNECTIONS 256

/* Options that are paths. */
#define HTTP_NR_PATHS 7

struct http_settings {
  const struct qcow_hooks *hooks;

  /* The strings are the user's.  Paths are absolute; user and password can be
   * those of 'own'.
   */
  struct qcow_http_options options;
  struct qcow_s3_options s3; /* with what was found elsewhere */

  /* Where the keys come from.  s3:// URLs are refused if that can't be found
   * out, with errno 's3_errno' and the reason 's3_problem'.
   */
  struct credentials_source credentials;
  int s3_errno;
  struct problem s3_problem;

  /* The URL that the user trusts: no other origin gets the secrets of the
   * options.  Zeros: none.
   */
  struct url own;
  const char *own_text; /* of the options; NULL: none, or it is not valid */

  bool allow_http, allow_https;
  long http_version; /* CURL_HTTP_VERSION_* */
  long ip_resolve;   /* CURL_IPRESOLVE_* */
  long ssl_version;  /* CURL_SSLVERSION_* */
  struct curl_slist *resolve;
  char *paths[HTTP_NR_PATHS]; /* owned, for 'options' */
  struct secrets secrets;     /* all secret parts of the above */
};

/* --- values.c --- */

/* Set *s to the options, and check and take what does not depend on a URL.
 * Nothing has to be freed.  Returns 0, or -1 with the error reported and
 * errno.
 */
int http_settings_take_values (struct http_settings *s,
                               const struct qcow_http_options *o,
                               const struct qcow_hooks *hooks);

/* A text from a file of another system can have a line break.  NULL has none.
 */
bool http_settings_has_line_break (const char *text);

/* --- settings.c --- */

/* Add what messages must not show of a header, "Name: value", or of the value
 * of a Cookie header.
 */
void http_settings_header_secrets (struct secrets *secrets,
                                   const char *header);
void http_settings_cookie_secrets (struct secrets *secrets,
                                   const char *cookie);

/* Returns 0, or -1 with the error reported and errno.  Free the settings in
 * both cases.  libcurl must be loaded.
 */
int http_settings_take (struct http_settings *s,
                        const struct qcow_options *options,
                        const struct qcow_hooks *hooks);

/* Check what only s3:// URLs need.  Such options can come from the
 * environment, so this is done when such a URL is opened.  Returns 0, or -1
 * with the error reported and errno.
 */
int http_settings_check_s3 (const struct http_settings *s);
void http_settings_free (struct http_settings *s);

#endif /* QCOW_HTTP_SETTINGS_H */
