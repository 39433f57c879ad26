/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What went wrong with a request, in words that say who is at fault: the
 * server, what is between it and us, or a parameter.  See internal.h.
 *
 * Texts of servers and of libcurl are shown by request_show alone.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

const struct url *
request_url (const struct request *r)
{
  const struct http_object *o = r->object;

  if (r->hop.text)
    return &r->hop;
  return r->target.text ? &r->target : &o->url;
}

bool
request_is_redirected (const struct request *r)
{
  return r->hop.text || r->target.text;
}

/* --- Secrets --- */

static void
add_url (struct secrets *s, const struct url *url)
{
  secrets_add_login (s, url->user, url->password);
  if (url->text && url_has_query (url->text))
    secrets_add_values (s, strchr (url->text, '?') + 1, "&");
}

void
request_show (const struct http *h, const struct request *r,
              char out[REDACTED_MAX], const char *text)
{
  struct secrets of_urls = { .list = NULL };

  add_url (&of_urls, &r->object->url);
  add_url (&of_urls, &r->target);
  add_url (&of_urls, &r->hop);
  redact (out, text, &h->settings.secrets, &of_urls);
  secrets_free (&of_urls);
}

/* --- Statuses --- */

/* Servers that expect TLS answer a request without it by 400 and a page that
 * says so, each in its own words.
 */
static bool
expects_tls (const struct request *r, long status)
{
  static const char *const words[]
    = { "to HTTPS port", "to an HTTPS server", "SSL-enabled server port" };
  const size_t length
    = r->body_length < sizeof r->body ? r->body_length : sizeof r->body;
  size_t i;

  if (status != 400 || url_is_https (request_url (r)))
    return false;
  for (i = 0; i < sizeof words / sizeof words[0]; ++i)
    if (memmem (r->body, length, words[i], strlen (words[i])))
      return true;
  return false;
}

void
request_describe_status (const struct http *h, const struct request *r,
                         long status, char out[FAILURE_MAX])
{
  char code[64], shown[REDACTED_MAX];
  bool bracketed;

  response_s3_code (
    r->body, r->body_length < sizeof r->body ? r->body_length : sizeof r->body,
    code, sizeof code);
  request_show (h, r, shown, code);
  bracketed = shown[0] == '('; /* it is not shown, and that says why */
  snprintf (out, FAILURE_MAX, "the web server answers %ld %s%s%s%s%s", status,
            response_status_text (status),
            code[0] == '\0' ? ""
            : bracketed     ? " "
                            : " (",
            shown, code[0] == '\0' || bracketed ? "" : ")",
            expects_tls (r, status)
              ? ", since its port is one for https (the URL says http)"
              : "");
}

/* --- Transfers --- */

/* "host port 80", as libcurl calls the server. */
static void
name_server (const struct url *url, char *out, size_t max)
{
  const char *host = url->origin + strcspn (url->origin, ":") + 3;
  const bool brackets = *host == '[';
  const char *end = brackets ? strchr (host, ']') : strchr (host, ':');
  const size_t length = end ? (size_t) (end - host) : strlen (host);
  const char *port = strchr (host + length, ':');

  snprintf (out, max, "%.*s port %s", (int) length - brackets, host + brackets,
            port                 ? port + 1
            : url_is_https (url) ? "443"
                                 : "80");
}

/* What libcurl has tried to reach is another host than the URL's; 8.23 also
 * says that it is a proxy.
 */
static bool
names_proxy (const struct request *r)
{
  static const char begin[] = "Failed to connect to ";
  const size_t n = strlen (begin);
  char server[512];

  if (strstr (r->error, " over proxy "))
    return true;
  if (strncmp (r->error, begin, n) != 0
      || strstr (r->error + n, " port ") == NULL)
    return false;
  name_server (request_url (r), server, sizeof server);
  return strncmp (r->error + n, server, strlen (server)) != 0;
}

/* Was it the proxy that could not be reached?  After a time-out libcurl does
 * not say what it has tried; there may be servers that need no proxy.
 */
static bool
is_proxy (const struct http *h, const struct request *r, CURLcode code)
{
  const char *proxy = h->settings.proxy;

  if (code == CURLE_COULDNT_CONNECT)
    return names_proxy (r);
  return proxy && proxy[0] != '\0' && getenv ("no_proxy") == NULL
         && getenv ("NO_PROXY") == NULL;
}

/* Without a login. */
static const char *
name_proxy (const struct http_settings *s)
{
  const char *name = s->proxy, *p;

  if (name == NULL || name[0] == '\0')
    return "that the environment names (http_proxy, https_proxy, all_proxy)";
  p = strstr (name, "://");
  name = p ? p + 3 : name;
  p = strrchr (name, '@');
  return p ? p + 1 : name;
}

static const char *
connection_error (const struct request *r, CURLcode code)
{
  const char *text = NULL;
  long err = 0;

  curl_easy_getinfo (r->easy, CURLINFO_OS_ERRNO, &err);
  if (code == CURLE_COULDNT_CONNECT && err > 0)
    text = strerrordesc_np ((int) err);
  return text ? text : curl_easy_strerror (code);
}

/* Did it get as far as that before the time was over?  (Where a connection is
 * used again, there is no time of connecting; libcurl 8.23 has one in any
 * case, but says what has timed out.)
 */
static bool
is_connected (const struct request *r, CURLcode code)
{
  static const char connecting[] = "Connection time";
  curl_off_t connected = 0, sent = 0;

  if (code != CURLE_OPERATION_TIMEDOUT)
    return code != CURLE_COULDNT_CONNECT;
  curl_easy_getinfo (r->easy, CURLINFO_CONNECT_TIME_T, &connected);
  curl_easy_getinfo (r->easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
  return (connected > 0 || sent > 0)
         && strncmp (r->error, connecting, strlen (connecting)) != 0;
}

/* False if it is not something between us and the server that could not be
 * reached.
 */
static bool
describe_connection (const struct http *h, const struct request *r,
                     CURLcode code, char out[FAILURE_MAX])
{
  const struct http_settings *s = &h->settings;

  if (is_connected (r, code))
    return false;
  if (s->unix_socket_path)
    snprintf (out, FAILURE_MAX,
              "can't connect to the Unix domain socket '%.300s' "
              "(unix-socket-path=): %s",
              error_name (h->hooks, s->unix_socket_path),
              connection_error (r, code));
  else if (is_proxy (h, r, code))
    snprintf (out, FAILURE_MAX, "can't connect to the proxy %.300s: %s",
              name_proxy (s), connection_error (r, code));
  else
    return false;
  return true;
}

/* What libcurl says may quote what the server has sent, the URL of a proxy,
 * and the password in it, or the entry of resolve= that it does not
 * understand.
 */
static const char *
reason_of (const struct request *r, CURLcode code)
{
  const char *text = r->error[0] ? r->error : curl_easy_strerror (code);

  if (strchr (text, '@') || strstr (text, "://"))
    return strcasestr (text, "proxy")
             ? "libcurl can't use a proxy of that kind, or its URL is not "
               "valid"
             : curl_easy_strerror (code);
  if (code == CURLE_SETOPT_OPTION_SYNTAX && strstr (text, "RESOLVE"))
    return "libcurl does not understand resolve=: must be HOST:PORT:ADDRESS";
  return text;
}

/* What may help, or "". */
static const char *
hint_for (const struct request *r, CURLcode code)
{
  static const char *const no_tls[]
    = { "wrong version number", "unexpected TLS packet", "http request",
        "packet length too long" };
  size_t i;

  if (code == CURLE_PEER_FAILED_VERIFICATION)
    return " (cainfo=FILE names authorities to trust)";
  if (code == CURLE_UNSUPPORTED_PROTOCOL && strstr (r->error, "HTTP/0.9"))
    return ": what listens there does not speak HTTP, or only https";
  if (code != CURLE_SSL_CONNECT_ERROR)
    return "";
  for (i = 0; i < sizeof no_tls / sizeof no_tls[0]; ++i)
    if (strstr (r->error, no_tls[i]))
      return ": what listens there does not speak TLS (is it http instead of "
             "https?)";
  return "";
}

void
request_describe_failure (const struct http *h, const struct request *r,
                          CURLcode code, char out[FAILURE_MAX])
{
  char shown[REDACTED_MAX];

  if (code == CURLE_OK)
    snprintf (out, FAILURE_MAX, "the web server sent less than it said");
  else if (!describe_connection (h, r, code, out)) {
    request_show (h, r, shown, reason_of (r, code));
    snprintf (out, FAILURE_MAX, "%s%s", shown, hint_for (r, code));
  }
}
