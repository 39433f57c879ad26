/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The values of the user's options for web servers, as far as no URL is needed
 * to check them.  See settings.h.
 */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "http/settings.h"

/* "http,https" */
static int
take_protocols (struct http_settings *s)
{
  const char *p = s->options.protocols ? s->options.protocols : "http,https";

  while (*p) {
    const size_t n = strcspn (p, ", ");

    if (n == 4 && strncmp (p, "http", n) == 0)
      s->allow_http = true;
    else if (n == 5 && strncmp (p, "https", n) == 0)
      s->allow_https = true;
    else if (n > 0)
      return error_report (s->hooks, EINVAL, "protocols=",
                           "'%.*s' is not supported: must be http, https or "
                           "both, with a comma between",
                           (int) n, p);
    p += n;
    p += strspn (p, ", ");
  }
  if (!s->allow_http && !s->allow_https)
    return error_report (s->hooks, EINVAL,
                         "protocols=", "must name http, https or both");
  return 0;
}

static int
check_version (const char *name, int needs, const struct qcow_hooks *hooks)
{
  struct problem problem;

  if (needs == 0)
    return 0;
  if (libcurl_load (&problem) == -1)
    return error_report (hooks, EIO, "http-version=", "%s", problem.text);
  if ((libcurl.version_info (CURLVERSION_NOW)->features & needs) == needs)
    return 0;
  return error_report (hooks, EINVAL,
                       "http-version=", "'%s': libcurl was built without it",
                       name);
}

static int
take_version (struct http_settings *s)
{
  static const struct {
    const char *name;
    long version;
    int needs; /* of libcurl's features */
  } versions[] = {
    { "none", CURL_HTTP_VERSION_NONE, 0 },
    { "1.0", CURL_HTTP_VERSION_1_0, 0 },
    { "1.1", CURL_HTTP_VERSION_1_1, 0 },
    { "2.0", CURL_HTTP_VERSION_2_0, CURL_VERSION_HTTP2 },
    { "2TLS", CURL_HTTP_VERSION_2TLS, CURL_VERSION_HTTP2 },
    { "2-prior-knowledge", CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE,
      CURL_VERSION_HTTP2 },
    { "3", CURL_HTTP_VERSION_3, CURL_VERSION_HTTP3 },
    { "3only", CURL_HTTP_VERSION_3ONLY, CURL_VERSION_HTTP3 },
  };
  const char *name = s->options.http_version;
  size_t i;

  /* Parallel connections are faster than the streams of one. */
  s->http_version = CURL_HTTP_VERSION_1_1;
  if (name == NULL)
    return 0;
  for (i = 0; i < sizeof versions / sizeof versions[0]; ++i)
    if (strcmp (versions[i].name, name) == 0) {
      s->http_version = versions[i].version;
      return check_version (name, versions[i].needs, s->hooks);
    }
  return error_report (s->hooks, EINVAL, "http-version=",
                       "'%s': must be none, 1.0, 1.1, 2.0, 2TLS, "
                       "2-prior-knowledge, 3 or 3only",
                       name);
}

static int
take_ip_resolve (struct http_settings *s)
{
  const char *name = s->options.ipresolve;

  if (name == NULL || strcmp (name, "any") == 0
      || strcmp (name, "whatever") == 0)
    s->ip_resolve = CURL_IPRESOLVE_WHATEVER;
  else if (strcmp (name, "v4") == 0 || strcmp (name, "4") == 0)
    s->ip_resolve = CURL_IPRESOLVE_V4;
  else if (strcmp (name, "v6") == 0 || strcmp (name, "6") == 0)
    s->ip_resolve = CURL_IPRESOLVE_V6;
  else
    return error_report (s->hooks, EINVAL,
                         "ipresolve=", "'%s': must be any, v4 or v6", name);
  return 0;
}

/* The names of the curl plugin.  It takes sslv2 and sslv3, too, but libcurl
 * ignores them.
 */
static int
take_ssl_version (struct http_settings *s)
{
  static const struct {
    const char *name;
    long version;
  } versions[] = {
    { "default", CURL_SSLVERSION_DEFAULT },
    { "tlsv1", CURL_SSLVERSION_TLSv1 },
    { "tlsv1.0", CURL_SSLVERSION_TLSv1_0 },
    { "tlsv1.1", CURL_SSLVERSION_TLSv1_1 },
    { "tlsv1.2", CURL_SSLVERSION_TLSv1_2 },
    { "tlsv1.3", CURL_SSLVERSION_TLSv1_3 },
    { "max-default", CURL_SSLVERSION_MAX_DEFAULT },
    { "max-tlsv1.0", CURL_SSLVERSION_MAX_TLSv1_0 },
    { "max-tlsv1.1", CURL_SSLVERSION_MAX_TLSv1_1 },
    { "max-tlsv1.2", CURL_SSLVERSION_MAX_TLSv1_2 },
    { "max-tlsv1.3", CURL_SSLVERSION_MAX_TLSv1_3 },
  };
  const char *name = s->options.ssl_version;
  size_t i;

  s->ssl_version = CURL_SSLVERSION_DEFAULT;
  if (name == NULL)
    return 0;
  for (i = 0; i < sizeof versions / sizeof versions[0]; ++i)
    if (strcmp (versions[i].name, name) == 0) {
      s->ssl_version = versions[i].version;
      return 0;
    }
  if (strcmp (name, "sslv2") == 0 || strcmp (name, "sslv3") == 0)
    return error_report (s->hooks, EINVAL,
                         "ssl-version=", "'%s': libcurl has dropped it", name);
  return error_report (s->hooks, EINVAL, "ssl-version=",
                       "'%s': must be default, tlsv1, tlsv1.0, tlsv1.1, "
                       "tlsv1.2, tlsv1.3, or one of these with 'max-' before "
                       "it",
                       name);
}

bool
http_settings_has_line_break (const char *text)
{
  return text && strpbrk (text, "\r\n");
}

/* For libcurl "-" would be the standard input. */
static int
check_cookie_files (const struct http_settings *s)
{
  const struct qcow_http_options *o = &s->options;
  const bool file = o->cookiefile && strcmp (o->cookiefile, "-") == 0;
  const bool jar = o->cookiejar && strcmp (o->cookiejar, "-") == 0;

  if (!file && !jar)
    return 0;
  return error_report (s->hooks, EINVAL, file ? "cookiefile=" : "cookiejar=",
                       "must be the name of a file, not '-'");
}

/* 'given' says whether 'key' is. */
static int
check_script (const struct http_settings *s, const char *key, bool given,
              const char *script_key, bool script, const char *renew_key,
              unsigned renew)
{
  if (script && given)
    return error_report (s->hooks, EINVAL, script_key,
                         "can't be combined with %s", key);
  if (renew > 0 && !script)
    return error_report (s->hooks, EINVAL, renew_key,
                         "can't be used without %s", script_key);
  return 0;
}

static int
check_scripts (const struct http_settings *s)
{
  const struct qcow_http_options *o = &s->options;

  return check_script (s, "cookie=", o->cookie != NULL,
                       "cookie-script=", o->cookie_script != NULL,
                       "cookie-script-renew=", o->cookie_script_renew)
             == -1
           ? -1
           : check_script (s, "header=", o->nr_headers > 0,
                           "header-script=", o->header_script != NULL,
                           "header-script-renew=", o->header_script_renew);
}

/* A line break in a header would start another header. */
static int
check_headers (const struct http_settings *s)
{
  const struct qcow_http_options *o = &s->options;
  size_t i;

  for (i = 0; i < o->nr_headers; ++i)
    if (http_settings_has_line_break (o->headers[i])
        || strpbrk (o->headers[i], ":;") == NULL)
      return error_report (
        s->hooks, EINVAL, "header=", "must be one line such as 'Name: value'");
  return 0;
}

/* "HOST:PORT:ADDRESS[,ADDRESS]", also with a '+' before it (as in curl);
 * "-HOST:PORT" removes an entry.  libcurl checks the addresses.
 */
static bool
is_resolve (const char *s)
{
  const bool removes = s[0] == '-';
  const char *port;
  size_t n;

  if (removes || s[0] == '+')
    ++s;
  n = s[0] == '[' ? strcspn (s, "]") + 1 : strcspn (s, ":");
  if (n == 0 || n > strlen (s) || s[n] != ':')
    return false;
  port = s + n + 1;
  n = strspn (port, "0123456789");
  if (n == 0 || n > 5)
    return false;
  return removes ? port[n] == '\0' : port[n] == ':' && port[n + 1] != '\0';
}

static int
check_resolve (const struct http_settings *s)
{
  size_t i;

  for (i = 0; i < s->options.nr_resolve; ++i)
    if (!is_resolve (s->options.resolve[i]))
      return error_report (s->hooks, EINVAL,
                           "resolve=", "must be HOST:PORT:ADDRESS");
  return 0;
}

int
http_settings_take_values (struct http_settings *s,
                           const struct qcow_http_options *o,
                           const struct qcow_hooks *hooks)
{
  *s = (struct http_settings){ .hooks = hooks, .options = *o };
  if (o->timeout > INT_MAX / 1000)
    return error_report (
      hooks, EINVAL, "timeout=", "must be at most %d seconds", INT_MAX / 1000);
  if (o->connections == 0 || o->connections > HTTP_MAX_CONNECTIONS)
    return error_report (hooks, EINVAL,
                         "connections=", "%u is not between 1 and %d",
                         o->connections, HTTP_MAX_CONNECTIONS);
  if (http_settings_has_line_break (o->cookie))
    return error_report (hooks, EINVAL, "cookie=", "must be one line");
  if (http_settings_has_line_break (o->user_agent))
    return error_report (hooks, EINVAL, "user-agent=", "must be one line");
  if (check_cookie_files (s) == -1 || check_scripts (s) == -1
      || check_headers (s) == -1 || check_resolve (s) == -1
      || take_protocols (s) == -1 || take_version (s) == -1
      || take_ip_resolve (s) == -1)
    return -1;
  return take_ssl_version (s);
}
