/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The user's options for web servers: checked and copied.  See settings.h.
 *
 * http_check_options checks whatever can be checked without a URL, so that an
 * option that can't work is refused at start-up with any image.  The defaults
 * of s3:// URLs may come from the environment: they are checked when such a
 * URL is opened.
 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "http/http.h"
#include "http/settings.h"
#include "http/url-s3.h"
#include "http/url-show.h"

/* NULL stays NULL. */
static int
copy (char **out, const char *in, const struct qcow_hooks *hooks)
{
  if (in == NULL)
    return 0;
  *out = strdup (in);
  return *out ? 0 : error_no_memory (hooks, "http");
}

/* The name of a file or a directory, which is still the same when the server
 * has left the directory in which it was started.
 */
static int
copy_path (char **out, const char *in, const struct qcow_hooks *hooks)
{
  char *here;
  int r;

  if (in == NULL || in[0] == '/' || in[0] == '\0')
    return copy (out, in, hooks);
  here = realpath (".", NULL);
  if (here == NULL)
    return error_report (hooks, errno, in, "where is the directory: %m");
  r = asprintf (out, "%s/%s", here, in);
  free (here);
  if (r >= 0)
    return 0;
  *out = NULL;
  return error_no_memory (hooks, "http");
}

static int
copy_list (struct curl_slist **out, const char *const *list, size_t n,
           const struct qcow_hooks *hooks)
{
  size_t i;

  for (i = 0; i < n; ++i) {
    struct curl_slist *longer = curl_slist_append (*out, list[i]);

    if (longer == NULL)
      return error_no_memory (hooks, "http");
    *out = longer;
  }
  return 0;
}

/* "http,https" */
static int
take_protocols (struct http_settings *s, const char *list,
                const struct qcow_hooks *hooks)
{
  const char *p = list ? list : "http,https";

  while (*p) {
    const size_t n = strcspn (p, ", ");

    if (n == 4 && strncmp (p, "http", n) == 0)
      s->allow_http = true;
    else if (n == 5 && strncmp (p, "https", n) == 0)
      s->allow_https = true;
    else if (n > 0)
      return error_report (hooks, EINVAL, "protocols=",
                           "'%.*s' is not supported: must be http, https or "
                           "both, with a comma between",
                           (int) n, p);
    p += n;
    p += strspn (p, ", ");
  }
  if (!s->allow_http && !s->allow_https)
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

static int
take_version (struct http_settings *s, const char *name,
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
  s->http_version = CURL_HTTP_VERSION_1_1;
  if (name == NULL)
    return 0;
  for (i = 0; i < sizeof versions / sizeof versions[0]; ++i)
    if (strcmp (versions[i].name, name) == 0) {
      s->http_version = versions[i].version;
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

/* The URL that the user trusts with secrets: url=, or if the image is a
 * local file the first that he names.
 */
static const char *
own_url (const struct qcow_options *options)
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

static bool
is_s3 (const char *name)
{
  return strncasecmp (name, "s3://", 5) == 0;
}

/* Do objects at endpoint-url= have the origin of this URL, the only one to
 * which keys are sent?
 */
static bool
is_at_endpoint (const struct http_settings *s, const struct url *url)
{
  const struct url_s3 s3 = { s->endpoint_url, s->region };
  struct problem problem;
  struct url object;
  bool same;

  if (s->endpoint_url == NULL)
    return false;
  same = url_parse ("s3://bucket/key", &s3, &object, &problem) == 0
         && strcmp (object.origin, url->origin) == 0;
  url_free (&object);
  return same;
}

/* Does anything but url= perhaps lead to an object in S3 at its server? */
static bool
may_use_s3 (const struct http_settings *s, const struct qcow_options *options,
            const struct url *url)
{
  size_t i;

  if (!is_at_endpoint (s, url))
    return false;
  for (i = 0; i < options->nr_backing; ++i)
    if (is_s3 (options->backing[i]))
      return true;
  for (i = 0; i < options->nr_data_files; ++i)
    if (is_s3 (options->data_files[i]))
      return true;
  for (i = 0; i < options->nr_allow; ++i)
    if (is_s3 (options->allow[i]) || strcmp (options->allow[i], "any") == 0)
      return true;
  return false;
}

static bool
has_keys (const struct qcow_s3_options *s3)
{
  return s3->access_key || s3->secret_key || s3->session_token;
}

/* Without a signature, the server would only say 403. */
static int
check_keys_are_used (const struct http_settings *s,
                     const struct qcow_options *options, const struct url *url,
                     const struct qcow_hooks *hooks)
{
  char *s3;

  if (!has_keys (&options->http.s3) || options->url == NULL || url->s3
      || may_use_s3 (s, options, url))
    return 0;
  s3 = url_as_s3 (url);
  error_report (hooks, EINVAL, url->name,
                "access-key=, secret-key= and session-token= are only used "
                "for s3:// URLs of the server of url= (to sign requests, use "
                "%s; else omit the keys)",
                s3 ? s3 : "url=s3://BUCKET/KEY and endpoint-url=");
  free (s3);
  errno = EINVAL;
  return -1;
}

static int
take_own_origin (struct http_settings *s, const struct qcow_options *options,
                 const struct qcow_hooks *hooks)
{
  const struct url_s3 s3 = { s->endpoint_url, s->region };
  const char *text = own_url (options);
  struct problem problem;
  struct url url;
  int r = 0;

  /* What is wrong with a URL is said when it is opened. */
  if (text && url_parse (text, &s3, &url, &problem) == 0) {
    r = check_keys_are_used (s, options, &url, hooks);
    if (r == 0)
      r = copy (&s->own_origin, url.origin, hooks);
    if (r == 0 && s->user == NULL && url.user
        && (copy (&s->user, url.user, hooks) == -1
            || (s->password == NULL
                && copy (&s->password, url.password, hooks) == -1)))
      r = -1;
  }
  else if (text && errno == ENOMEM)
    r = error_no_memory (hooks, "http");
  else
    r = copy (&s->own_origin, "", hooks);
  if (text)
    url_free (&url);
  return r;
}

static const char *
first (const char *a, const char *b)
{
  return a ? a : b;
}

static int
take_s3 (struct http_settings *s, const struct qcow_http_options *o,
         const struct qcow_hooks *hooks)
{
  const struct qcow_s3_options *own = &o->s3, *defaults = &o->s3_defaults;
  const struct qcow_s3_options *keys
    = own->access_key || own->secret_key ? own : defaults;
  const char *token = keys == own
                        ? own->session_token
                        : first (own->session_token, defaults->session_token);

  if (copy (&s->access_key, keys->access_key, hooks) == -1
      || copy (&s->secret_key, keys->secret_key, hooks) == -1
      || copy (&s->session_token, token, hooks) == -1
      || copy (&s->endpoint_url,
               first (own->endpoint_url, defaults->endpoint_url), hooks)
           == -1
      || copy (&s->region,
               first (first (own->region, defaults->region), "us-east-1"),
               hooks)
           == -1)
    return -1;
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
http_settings_check_s3 (const struct http_settings *s,
                        const struct qcow_hooks *hooks)
{
  const struct qcow_s3_options s3 = { .access_key = s->access_key,
                                      .secret_key = s->secret_key,
                                      .session_token = s->session_token,
                                      .endpoint_url = s->endpoint_url,
                                      .region = s->region };

  if (check_s3_keys (&s3, hooks) == -1)
    return -1;
  return check_s3_server (&s3, hooks);
}

/* "http://USER:PASSWORD@proxy" */
static int
add_proxy (struct secrets *secrets, const char *proxy)
{
  const char *begin = strstr (proxy, "://"), *end = strrchr (proxy, '@');
  char *login, *password;
  size_t length;

  begin = begin ? begin + 3 : proxy;
  if (end == NULL || end < begin)
    return 0;
  length = (size_t) (end - begin);
  login = strndup (begin, length);
  if (login == NULL)
    return -1;
  secrets_add (secrets, login);
  password = strchr (login, ':');
  if (password)
    *password++ = '\0';
  url_unescape (login);
  if (password)
    url_unescape (password);
  secrets_add_login (secrets, login, password);
  secret_free_buffer (login, length);
  return 0;
}

/* What must be in no message, whatever a server repeats. */
static int
collect_secrets (struct http_settings *s, const struct qcow_hooks *hooks)
{
  struct secrets *secrets = &s->secrets;
  const struct curl_slist *l;

  secrets_add_login (secrets, s->user, s->password);
  secrets_add_login (secrets, s->proxy_user, s->proxy_password);
  secrets_add (secrets, s->cookie);
  secrets_add_values (secrets, s->cookie, "; ");
  for (l = s->headers; l; l = l->next) {
    const char *value = l->data + strcspn (l->data, ":;");

    value += strspn (value, ":; \t");
    secrets_add (secrets, value);
    secrets_add_values (secrets, value, " ,;");
  }
  secrets_add (secrets, s->access_key);
  secrets_add (secrets, s->secret_key);
  secrets_add (secrets, s->session_token);
  if ((s->proxy && add_proxy (secrets, s->proxy) == -1) || secrets->incomplete)
    return error_no_memory (hooks, "http");
  return 0;
}

/* What is wrong whatever the URL is. */
static int
check_values (const struct qcow_http_options *o,
              const struct qcow_hooks *hooks)
{
  struct http_settings not_taken = { .own_origin = NULL };

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
      || take_protocols (&not_taken, o->protocols, hooks) == -1
      || take_version (&not_taken, o->http_version, hooks) == -1)
    return -1;
  return 0;
}

/* Can there be a URL that is opened? */
static bool
may_use_url (const struct qcow_options *options)
{
  size_t i;

  if (own_url (options))
    return true;
  for (i = 0; i < options->nr_allow; ++i)
    if (strcmp (options->allow[i], "any") == 0
        || url_is_one (options->allow[i]))
      return true;
  return false;
}

int
http_check_options (const struct qcow_options *options,
                    const struct qcow_hooks *hooks)
{
  const struct qcow_http_options *o = &options->http;

  if (check_values (o, hooks) == -1)
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

int
http_settings_take (struct http_settings *s,
                    const struct qcow_options *options,
                    const struct qcow_hooks *hooks)
{
  const struct qcow_http_options *o = &options->http;

  if (check_values (o, hooks) == -1)
    return -1;
  s->sslverify = o->sslverify;
  s->followlocation = o->followlocation;
  s->tcp_keepalive = o->tcp_keepalive;
  s->timeout = (long) o->timeout;
  s->connections = o->connections;
  if (copy (&s->user, o->user, hooks) == -1
      || copy (&s->password, o->password, hooks) == -1
      || copy (&s->cookie, o->cookie, hooks) == -1
      || copy_list (&s->headers, o->headers, o->nr_headers, hooks) == -1
      || copy_list (&s->resolve, o->resolve, o->nr_resolve, hooks) == -1
      || copy (&s->proxy, o->proxy, hooks) == -1
      || copy (&s->proxy_user, o->proxy_user, hooks) == -1
      || copy (&s->proxy_password, o->proxy_password, hooks) == -1
      || copy_path (&s->cainfo, o->cainfo, hooks) == -1
      || copy_path (&s->capath, o->capath, hooks) == -1
      || copy_path (&s->unix_socket_path, o->unix_socket_path, hooks) == -1
      || copy (&s->user_agent, o->user_agent, hooks) == -1)
    return -1;
  if (take_protocols (s, o->protocols, hooks) == -1
      || take_version (s, o->http_version, hooks) == -1
      || take_s3 (s, o, hooks) == -1)
    return -1;
  if (take_own_origin (s, options, hooks) == -1)
    return -1;
  return collect_secrets (s, hooks);
}

void
http_free_headers (struct curl_slist *list)
{
  struct curl_slist *l;

  for (l = list; l; l = l->next)
    explicit_bzero (l->data, strlen (l->data));
  curl_slist_free_all (list);
}

void
http_settings_free (struct http_settings *s)
{
  free (s->own_origin);
  secret_free_string (s->user);
  secret_free_string (s->password);
  secret_free_string (s->cookie);
  http_free_headers (s->headers);
  curl_slist_free_all (s->resolve);
  secret_free_string (s->proxy);
  secret_free_string (s->proxy_user);
  secret_free_string (s->proxy_password);
  free (s->cainfo);
  free (s->capath);
  free (s->unix_socket_path);
  free (s->user_agent);
  secret_free_string (s->access_key);
  secret_free_string (s->secret_key);
  secret_free_string (s->session_token);
  free (s->endpoint_url);
  free (s->region);
  secrets_free (&s->secrets);
}
