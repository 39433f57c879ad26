/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Descriptions of failed tries.  See internal.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/minmax.h"
#include "http/internal.h"

void
request_redact (const struct request *r, char out[REDACTED_MAX],
                const char *text)
{
  redact (out, text, &r->object->http->secrets, &r->target->secrets);
}

/* --- Statuses --- */

static size_t
body_length (const struct request *r)
{
  return (size_t) min64 (r->body_length, sizeof r->body);
}

/* True if the text contains one of the words, which NULL ends. */
static bool
has_any (const char *text, size_t length, const char *const *words)
{
  for (; *words; ++words)
    if (memmem (text, length, *words, strlen (*words)))
      return true;
  return false;
}

/* Servers that expect TLS respond to plain HTTP with 400 and a page that says
 * so, each in its own words.
 */
static bool
expects_tls (const struct request *r, long status)
{
  static const char *const words[] = { "to HTTPS port", "to an HTTPS server",
                                       "SSL-enabled server port", NULL };

  return status == 400 && !url_is_https (&r->target->url)
         && has_any (r->body, body_length (r), words);
}

/* Append " (CODE)".  The placeholder for a secret has its own brackets. */
static void
append_code (const struct request *r, char out[FAILURE_MAX])
{
  const size_t n = strlen (out);
  char code[64], shown[REDACTED_MAX];

  response_s3_code (r->body, body_length (r), code, sizeof code);
  if (code[0] == '\0')
    return;
  request_redact (r, shown, code);
  snprintf (out + n, FAILURE_MAX - n, shown[0] == '(' ? " %s" : " (%s)",
            shown);
}

void
failure_of_status (const struct request *r, long status, char out[FAILURE_MAX])
{
  snprintf (out, FAILURE_MAX, "the web server responded with %ld %s", status,
            response_status_text (status));
  append_code (r, out);
  if (expects_tls (r, status))
    strncat (out, ": it expects https on this port (the URL says http)",
             FAILURE_MAX - 1 - strlen (out));
}

/* --- Transfers --- */

/* Write "HOST port PORT", as libcurl's texts have it. */
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

/* True if libcurl's text names another host than the URL's, or says that it is
 * a proxy (8.23).
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
  name_server (&r->target->url, server, sizeof server);
  return strncmp (r->error + n, server, strlen (server)) != 0;
}

/* True if it was the proxy that could not be reached.  After a time-out
 * libcurl does not say.  Then assume the proxy, unless some servers need none.
 */
static bool
is_proxy (const struct request *r, CURLcode code)
{
  const char *proxy = r->object->http->settings.options.proxy;

  if (code == CURLE_COULDNT_CONNECT)
    return names_proxy (r);
  return proxy && proxy[0] != '\0' && getenv ("no_proxy") == NULL
         && getenv ("NO_PROXY") == NULL;
}

/* The proxy without its login. */
static const char *
name_proxy (const struct http_settings *s)
{
  const char *name = s->options.proxy, *p;

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

  libcurl.easy_getinfo (r->easy, CURLINFO_OS_ERRNO, &err);
  if (code == CURLE_COULDNT_CONNECT && err > 0)
    text = strerrordesc_np ((int) err);
  return text ? text : libcurl.easy_strerror (code);
}

/* True if there was a connection.  After a time-out: a reused connection has
 * no connect time, but a pre-transfer time.  libcurl 8.23 always has a connect
 * time, but its text says what has timed out.
 */
static bool
is_connected (const struct request *r, CURLcode code)
{
  static const char connecting[] = "Connection time";
  curl_off_t connected = 0, sent = 0;

  if (code != CURLE_OPERATION_TIMEDOUT)
    return code != CURLE_COULDNT_CONNECT;
  libcurl.easy_getinfo (r->easy, CURLINFO_CONNECT_TIME_T, &connected);
  libcurl.easy_getinfo (r->easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
  return (connected > 0 || sent > 0)
         && strncmp (r->error, connecting, strlen (connecting)) != 0;
}

/* Describe that a proxy or a socket could not be reached.  False: that is not
 * the reason.
 */
static bool
describe_connection (const struct request *r, CURLcode code,
                     char out[FAILURE_MAX])
{
  const struct http_settings *s = &r->object->http->settings;

  if (is_connected (r, code))
    return false;
  if (s->options.unix_socket_path)
    snprintf (out, FAILURE_MAX,
              "can't connect to the Unix domain socket '%.300s' "
              "(unix-socket-path=): %s",
              error_name (r->object->http->hooks, s->options.unix_socket_path),
              connection_error (r, code));
  else if (is_proxy (r, code))
    snprintf (out, FAILURE_MAX, "can't connect to the proxy %.300s: %s",
              name_proxy (s), connection_error (r, code));
  else
    return false;
  return true;
}

/* libcurl's text can quote what the server has sent, the URL of a proxy with a
 * password, or the entry of resolve= that it does not understand.
 */
static const char *
reason_of (const struct request *r, CURLcode code)
{
  const char *text = r->error[0] ? r->error : libcurl.easy_strerror (code);

  if (strchr (text, '@') || strstr (text, "://"))
    return strcasestr (text, "proxy")
             ? "libcurl can't use a proxy of that kind, or its URL is not "
               "valid"
             : libcurl.easy_strerror (code);
  if (code == CURLE_SETOPT_OPTION_SYNTAX && strstr (text, "RESOLVE"))
    return "libcurl does not understand resolve=: must be HOST:PORT:ADDRESS";
  return text;
}

/* A hint, or "". */
static const char *
hint_for (const struct request *r, CURLcode code)
{
  static const char *const no_tls[]
    = { "wrong version number", "unexpected TLS packet", "http request",
        "packet length too long", NULL };

  if (code == CURLE_UNSUPPORTED_PROTOCOL && strstr (r->error, "HTTP/0.9"))
    return " (the server speaks only https there, or something else)";
  if (code == CURLE_SSL_CONNECT_ERROR
      && has_any (r->error, strlen (r->error), no_tls))
    return " (the server does not speak TLS there: is it http instead of "
           "https?)";
  return "";
}

void
failure_of_transfer (const struct request *r, CURLcode code,
                     char out[FAILURE_MAX])
{
  char shown[REDACTED_MAX];

  if (code == CURLE_OK)
    snprintf (out, FAILURE_MAX,
              "the web server closed the connection too early");
  else if (!describe_connection (r, code, out)) {
    request_redact (r, shown, reason_of (r, code));
    snprintf (
      out, FAILURE_MAX, "%s%s" HINT, shown, hint_for (r, code),
      HINT_ARGS (r->object->http->hooks, code == CURLE_PEER_FAILED_VERIFICATION
                                           ? QCOW_HINT_CAINFO
                                           : QCOW_HINT_NONE));
  }
}
