/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The user's parameters for web servers, checked and copied.  They do not
 * change after http_settings_take, so any thread may read them.
 */

#ifndef QCOW_HTTP_SETTINGS_H
#define QCOW_HTTP_SETTINGS_H

#include <stdbool.h>

#include "base/hooks.h"
#include "base/options.h"
#include "http/libcurl.h"
#include "http/redact.h"

/* NULL: not given. */
struct http_settings {
  char *own_origin; /* the only one that gets what is secret */
  char *user, *password, *cookie;
  struct curl_slist *headers, *resolve;
  char *proxy, *proxy_user, *proxy_password;
  char *cainfo, *capath;
  char *unix_socket_path, *user_agent;
  bool allow_http, allow_https;
  bool sslverify, followlocation, tcp_keepalive;
  long http_version; /* CURL_HTTP_VERSION_* */
  long timeout;      /* seconds; 0: none */
  unsigned connections;

  char *access_key, *secret_key, *session_token;
  char *endpoint_url, *region;

  struct secrets secrets; /* all of the above that are */
};

/* 0, or -1 with the error reported and errno. */
int http_settings_take (struct http_settings *s,
                        const struct qcow_options *options,
                        const struct qcow_hooks *hooks);

/* The same for what only s3:// URLs need. */
int http_settings_check_s3 (const struct http_settings *s,
                            const struct qcow_hooks *hooks);
void http_settings_free (struct http_settings *s);

/* Wipe and free a list of headers, among which there may be secrets. */
void http_free_headers (struct curl_slist *list);

#endif /* QCOW_HTTP_SETTINGS_H */
