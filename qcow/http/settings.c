/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The user's options for web servers.  See settings.h.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "http/http.h"
#include "http/settings.h"
#include "url/url-name.h"
#include "url/url.h"

/* --- S3 --- */

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
  if (http_settings_has_line_break (s->access_key)
      || http_settings_has_line_break (s->secret_key)
      || http_settings_has_line_break (s->session_token))
    return error_report (hooks, EINVAL, "s3",
                         "access-key, secret-key or session-token contains a "
                         "line break");
  return 0;
}

int
http_settings_check_s3 (const struct http_settings *s)
{
  if (s->s3_errno != 0)
    return error_report (s->hooks, s->s3_errno, "s3", "%s",
                         s->s3_problem.text);
  return check_s3_keys (&s->s3, s->hooks) == -1
           ? -1
           : check_s3_server (&s->s3, s->hooks);
}

static const char *
first (const char *a, const char *b)
{
  return a ? a : b;
}

/* --- What the options are for --- */

/* The first wanted name of n, or NULL.  NULLs are ignored. */
static const char *const *
find (const char *const *names, size_t n, bool (*is_wanted) (const char *))
{
  size_t i;

  for (i = 0; i < n; ++i)
    if (names[i] && is_wanted (names[i]))
      return &names[i];
  return NULL;
}

static bool
is_any (const char *name)
{
  return strcmp (name, "any") == 0;
}

/* True if the image's chain can lead to a file with such a name. */
static bool
can_reach (const struct qcow_options *o, bool (*is_wanted) (const char *))
{
  return find (o->backing, o->nr_backing, is_wanted)
         || find (o->data_files, o->nr_data_files, is_wanted)
         || find (o->allow, o->nr_allow, is_wanted)
         || find (o->allow, o->nr_allow, is_any);
}

/* Find the keys, if a URL can need them. */
static void
take_s3 (struct http_settings *s, const struct qcow_options *options)
{
  const struct qcow_s3_options *own = &s->options.s3;
  const struct qcow_s3_options *defaults = &s->options.s3_defaults;
  struct credentials_source *source = &s->credentials;

  if (((options->url && url_is_s3 (options->url))
       || can_reach (options, url_is_s3))
      && credentials_source_find (source, &s->options, &s->s3_problem) == -1)
    s->s3_errno = errno;
  s->s3.access_key = source->access_key;
  s->s3.secret_key = source->secret_key;
  s->s3.session_token = source->session_token;
  s->s3.endpoint_url = first (own->endpoint_url, defaults->endpoint_url);
  s->s3.region = first (first (own->region, defaults->region),
                        first (source->region, "us-east-1"));
}

/* True if a request can use the parameters for web servers that were given.
 * NBD servers have 'connections', too.
 */
static bool
have_use (const struct qcow_options *options)
{
  const bool for_nbd = strcmp (options->http.given, "connections") == 0;

  if (options->url && (for_nbd || !url_is_nbd (options->url)))
    return true;
  return can_reach (options, for_nbd ? url_is_one : url_is_web);
}

int
http_check_options (const struct qcow_options *options,
                    const struct qcow_hooks *hooks)
{
  const struct qcow_http_options *o = &options->http;
  struct http_settings s;

  if (http_settings_take_values (&s, o, hooks) == -1)
    return -1;
  if (o->given && !have_use (options))
    return error_report (
      hooks, EINVAL, qcow_options_object (options),
      "%s= has no effect: no URL%s is named or allowed", o->given,
      strcmp (o->given, "connections") == 0 ? "" : " of a web server");
  if (check_s3_server (&o->s3, hooks) == -1)
    return -1;
  /* If the image is at a URL, opening it checks the keys, and whether they are
   * used at all.
   */
  return options->url && !url_is_nbd (options->url)
           ? 0
           : check_s3_keys (&o->s3, hooks);
}

/* True if objects at endpoint-url= have the origin of this URL, the only one
 * to which keys are sent.
 */
static bool
is_at_endpoint (const struct http_settings *s, const struct url *url)
{
  const struct url_s3 s3 = { s->s3.endpoint_url, s->s3.region };
  struct problem problem;
  struct url object;
  bool same;

  if (s->s3.endpoint_url == NULL)
    return false;
  same = url_parse ("s3://bucket/key", &s3, &object, &problem) == 0
         && strcmp (object.origin, url->origin) == 0;
  url_free (&object);
  return same;
}

/* Refuse keys that sign nothing: the server would only respond with 403. */
static int
check_keys_are_used (const struct http_settings *s,
                     const struct qcow_options *options)
{
  const struct qcow_s3_options *own = &options->http.s3;
  const struct url *url = &s->own;

  if (!own->access_key && !own->secret_key && !own->session_token
      && !options->http.profile && !options->http.instance_metadata)
    return 0;
  if (options->url == NULL || url_is_nbd (options->url) || url->s3
      || (is_at_endpoint (s, url) && can_reach (options, url_is_s3)))
    return 0;
  return error_report (
    s->hooks, EINVAL, url->name,
    "access-key=, secret-key=, session-token=, profile= and "
    "instance-metadata= are only used for s3:// URLs of the server of "
    "url=" HINT,
    HINT_ARGS (s->hooks, QCOW_HINT_S3));
}

/* Take the URL that the user trusts with secrets: the image's, or if that is
 * not on a web server, the first one that the user names.
 */
static int
take_own_url (struct http_settings *s, const struct qcow_options *options)
{
  const struct url_s3 s3 = { s->s3.endpoint_url, s->s3.region };
  const char *const *text = options->url ? &options->url : NULL;
  struct problem problem;

  if (text == NULL || url_is_nbd (*text))
    text = find (options->backing, options->nr_backing, url_is_web);
  if (text == NULL)
    text = find (options->data_files, options->nr_data_files, url_is_web);
  if (text == NULL)
    return 0;
  if (url_parse (*text, &s3, &s->own, &problem) == -1) {
    const bool no_memory = errno == ENOMEM;

    url_free (&s->own);
    /* Opening the URL reports what else is wrong. */
    return no_memory ? error_no_memory (s->hooks, "http") : 0;
  }
  s->own_text = *text;
  if (s->options.user == NULL && s->own.user) {
    s->options.user = s->own.user;
    if (s->options.password == NULL)
      s->options.password = s->own.password;
  }
  return check_keys_are_used (s, options);
}

/* --- Settings --- */

/* Make a path absolute: the server leaves the directory in which it was
 * started.  NULL and "" stay.
 */
static int
take_path (const char **path, char **absolute, const struct qcow_hooks *hooks)
{
  char *here;
  int r;

  if (*path == NULL || (*path)[0] == '/' || (*path)[0] == '\0')
    return 0;
  here = realpath (".", NULL);
  if (here == NULL)
    return error_report (hooks, errno, *path,
                         "can't find the current directory: %m");
  r = asprintf (absolute, "%s/%s", here, *path);
  free (here);
  if (r == -1) {
    *absolute = NULL;
    return error_no_memory (hooks, "http");
  }
  *path = *absolute;
  return 0;
}

static int
take_paths (struct http_settings *s)
{
  struct qcow_http_options *o = &s->options;
  const char **const paths[HTTP_NR_PATHS] = {
    &o->cainfo,           &o->capath,     &o->proxy_cainfo, &o->proxy_capath,
    &o->unix_socket_path, &o->cookiefile, &o->cookiejar,
  };
  size_t i;

  for (i = 0; i < HTTP_NR_PATHS; ++i)
    if (take_path (paths[i], &s->paths[i], s->hooks) == -1)
      return -1;
  return 0;
}

static int
take_resolve (struct http_settings *s)
{
  size_t i;

  for (i = 0; i < s->options.nr_resolve; ++i)
    if (libcurl_append (&s->resolve, s->options.resolve[i]) == -1)
      return error_no_memory (s->hooks, "http");
  return 0;
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

void
http_settings_header_secrets (struct secrets *secrets, const char *header)
{
  const char *value = header + strcspn (header, ":;");

  value += strspn (value, ":; \t");
  secrets_add (secrets, value);
  secrets_add_values (secrets, value, " ,;");
}

void
http_settings_cookie_secrets (struct secrets *secrets, const char *cookie)
{
  secrets_add (secrets, cookie);
  secrets_add_values (secrets, cookie, "; ");
}

/* Collect what no message may contain, even if a server repeats it. */
static int
collect_secrets (struct http_settings *s)
{
  const struct qcow_http_options *o = &s->options;
  struct secrets *secrets = &s->secrets;
  size_t i;

  secrets_add_login (secrets, o->user, o->password);
  secrets_add_login (secrets, o->proxy_user, o->proxy_password);
  http_settings_cookie_secrets (secrets, o->cookie);
  for (i = 0; i < o->nr_headers; ++i)
    http_settings_header_secrets (secrets, o->headers[i]);
  secrets_add (secrets, s->s3.access_key);
  secrets_add (secrets, s->s3.secret_key);
  secrets_add (secrets, s->s3.session_token);
  if ((o->proxy && add_proxy (secrets, o->proxy) == -1) || secrets->incomplete)
    return error_no_memory (s->hooks, "http");
  return 0;
}

int
http_settings_take (struct http_settings *s,
                    const struct qcow_options *options,
                    const struct qcow_hooks *hooks)
{
  if (http_settings_take_values (s, &options->http, hooks) == -1
      || take_paths (s) == -1 || take_resolve (s) == -1)
    return -1;
  take_s3 (s, options);
  return take_own_url (s, options) == -1 ? -1 : collect_secrets (s);
}

void
http_settings_free (struct http_settings *s)
{
  size_t i;

  url_free (&s->own);
  credentials_source_free (&s->credentials);
  libcurl.slist_free_all (s->resolve);
  for (i = 0; i < HTTP_NR_PATHS; ++i)
    free (s->paths[i]);
  secrets_free (&s->secrets);
}
