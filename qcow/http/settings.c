/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copies of the user's options for web servers.  See settings.h.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "http/options.h"
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
  const char *text = http_options_own_url (options);
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

int
http_settings_check_s3 (const struct http_settings *s,
                        const struct qcow_hooks *hooks)
{
  const struct qcow_s3_options s3 = { .access_key = s->access_key,
                                      .secret_key = s->secret_key,
                                      .session_token = s->session_token,
                                      .endpoint_url = s->endpoint_url,
                                      .region = s->region };

  return http_options_check_s3 (&s3, hooks);
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

int
http_settings_take (struct http_settings *s,
                    const struct qcow_options *options,
                    const struct qcow_hooks *hooks)
{
  const struct qcow_http_options *o = &options->http;

  if (http_options_check_values (o, hooks) == -1)
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
  if (http_options_protocols (o->protocols, &s->allow_http, &s->allow_https,
                              hooks)
        == -1
      || http_options_version (o->http_version, &s->http_version, hooks) == -1
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
