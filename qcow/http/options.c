/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks of the user's options for web servers.  See options.h.
 */

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "http/libcurl.h"
#include "http/options.h"
#include "http/url-s3.h"
#include "http/url-show.h"

int
http_options_protocols (const char *list, bool *http, bool *https,
                        const struct qcow_hooks *hooks)
{
  const char *p = list ? list : "http,https";

  *http = *https = false;
  while (*p) {
    const size_t n = strcspn (p, ", ");

    if (n == 4 && strncmp (p, "http", n) == 0)
      *http = true;
    else if (n == 5 && strncmp (p, "https", n) == 0)
      *https = true;
    else if (n > 0)
      return error_report (hooks, EINVAL, "protocols=",
                           "'%.*s' is not supported: must be http, https or "
                           "both, with a comma between",
                           (int) n, p);
    p += n;
    p += strspn (p, ", ");
  }
  if (!*http && !*https)
    return error_report (hooks, EINVAL, "protocols=", "allows nothing");
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
  if ((curl_version_info (CURLVERSION_NOW)->features & needs) == needs)
    return 0;
  return error_report (hooks, EINVAL,
                       "http-version=", "'%s': libcurl was built without it",
                       name);
}

int
http_options_version (const char *name, long *version,
                      const struct qcow_hooks *hooks)
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
  };
  size_t i;

  /* Parallel connections are faster than the streams of one. */
  *version = CURL_HTTP_VERSION_1_1;
  if (name == NULL)
    return 0;
  for (i = 0; i < sizeof versions / sizeof versions[0]; ++i)
    if (strcmp (versions[i].name, name) == 0) {
      *version = versions[i].version;
      return check_version (name, versions[i].needs, hooks);
    }
  return error_report (hooks, EINVAL, "http-version=",
                       "'%s': must be none, 1.0, 1.1, 2.0, 2TLS, "
                       "2-prior-knowledge or 3",
                       name);
}

/* A text from a file of another system may have a line break. */
static bool
has_line_break (const char *text)
{
  return text && strpbrk (text, "\r\n");
}

/* A line break in a header would start another header. */
static int
check_headers (const char *const *headers, size_t n,
               const struct qcow_hooks *hooks)
{
  size_t i;

  for (i = 0; i < n; ++i)
    if (has_line_break (headers[i]) || strpbrk (headers[i], ":;") == NULL)
      return error_report (
        hooks, EINVAL, "header=", "must be one line such as 'Name: value'");
  return 0;
}

/* "HOST:PORT:ADDRESS[,ADDRESS]", also with a '+' before it (as curl has it);
 * "-HOST:PORT" takes an entry back.  libcurl looks at the addresses.
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
check_resolve (const char *const *resolve, size_t n,
               const struct qcow_hooks *hooks)
{
  size_t i;

  for (i = 0; i < n; ++i)
    if (!is_resolve (resolve[i]))
      return error_report (hooks, EINVAL,
                           "resolve=", "must be HOST:PORT:ADDRESS");
  return 0;
}

static int
check_endpoint (const char *text, const struct qcow_hooks *hooks)
{
  const struct url_s3 none = { NULL, "" };
  struct url url = { .name = NULL };
  struct problem problem;
  struct url_room room;
  int r, err = EINVAL;

  if (strncasecmp (text, "http", 4) != 0)
    r = problem_set (&problem, "must be an http or https URL");
  else if (text[strcspn (text, "?#")] != '\0')
    r = problem_set (&problem, "must have no query and no fragment");
  else {
    r = url_parse (text, &none, &url, &problem);
    err = errno;
    url_free (&url);
  }
  if (r == 0)
    return 0;
  return error_report (hooks, err, "endpoint-url=", "%s: %s",
                       url_hide (text, &room), problem.text);
}

/* The region becomes a part of host names. */
static bool
is_region (const char *s)
{
  return s[0] != '\0'
         && s[strspn (s, "abcdefghijklmnopqrstuvwxyz"
                         "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")]
              == '\0';
}

static int
check_s3_server (const struct qcow_s3_options *s,
                 const struct qcow_hooks *hooks)
{
  if (s->region && !is_region (s->region))
    return error_report (hooks, EINVAL, "region=", "is not a region's name");
  return s->endpoint_url ? check_endpoint (s->endpoint_url, hooks) : 0;
}

static int
check_s3_keys (const struct qcow_s3_options *s, const struct qcow_hooks *hooks)
{
  if ((s->access_key == NULL) != (s->secret_key == NULL))
    return error_report (hooks, EINVAL, "s3",
                         "access-key and secret-key belong together: %s is "
                         "missing",
                         s->access_key ? "secret-key" : "access-key");
  if (has_line_break (s->access_key) || has_line_break (s->secret_key)
      || has_line_break (s->session_token))
    return error_report (hooks, EINVAL, "s3",
                         "access-key, secret-key or session-token has a line "
                         "break in it");
  return 0;
}

int
http_options_check_s3 (const struct qcow_s3_options *s,
                       const struct qcow_hooks *hooks)
{
  return check_s3_keys (s, hooks) == -1 ? -1 : check_s3_server (s, hooks);
}

int
http_options_check_values (const struct qcow_http_options *o,
                           const struct qcow_hooks *hooks)
{
  bool http, https;
  long version;

  if (o->timeout > INT_MAX / 1000)
    return error_report (
      hooks, EINVAL, "timeout=", "must be at most %d seconds", INT_MAX / 1000);
  if (o->connections == 0 || o->connections > HTTP_MAX_CONNECTIONS)
    return error_report (hooks, EINVAL,
                         "connections=", "%u is too %s: must be from 1 to %d",
                         o->connections, o->connections == 0 ? "few" : "many",
                         HTTP_MAX_CONNECTIONS);
  if (has_line_break (o->cookie) || has_line_break (o->user_agent))
    return error_report (
      hooks, EINVAL, has_line_break (o->cookie) ? "cookie=" : "user-agent=",
      "must be one line");
  if (check_headers (o->headers, o->nr_headers, hooks) == -1
      || check_resolve (o->resolve, o->nr_resolve, hooks) == -1
      || http_options_protocols (o->protocols, &http, &https, hooks) == -1
      || http_options_version (o->http_version, &version, hooks) == -1)
    return -1;
  return 0;
}

const char *
http_options_own_url (const struct qcow_options *options)
{
  size_t i;

  if (options->url)
    return options->url;
  for (i = 0; i < options->nr_backing; ++i)
    if (url_is_one (options->backing[i]))
      return options->backing[i];
  for (i = 0; i < options->nr_data_files; ++i)
    if (url_is_one (options->data_files[i]))
      return options->data_files[i];
  return NULL;
}

/* Can there be a URL that is opened? */
static bool
may_use_url (const struct qcow_options *options)
{
  size_t i;

  if (http_options_own_url (options))
    return true;
  for (i = 0; i < options->nr_allow; ++i)
    if (strcmp (options->allow[i], "any") == 0
        || url_is_one (options->allow[i]))
      return true;
  return false;
}

int
http_options_check (const struct qcow_options *options,
                    const struct qcow_hooks *hooks)
{
  const struct qcow_http_options *o = &options->http;

  if (http_options_check_values (o, hooks) == -1)
    return -1;
  if (o->given && !may_use_url (options))
    return error_report (hooks, EINVAL, options->filename,
                         "is a local file, and no URL is named or allowed "
                         "(backing=, data-file=, allow=), so there is no use "
                         "for %s=",
                         o->given);
  if (check_s3_server (&o->s3, hooks) == -1)
    return -1;
  /* If the image is at a URL, its opening checks the keys, and whether they
   * are used at all.
   */
  return options->url ? 0 : check_s3_keys (&o->s3, hooks);
}
