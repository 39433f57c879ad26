/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The life of a struct http: from its settings and libcurl's multi handle to
 * the worker thread; and the URLs that it accepts.  See http.h.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/keep-errno.h"
#include "base/monotonic.h"
#include "http/internal.h"

/* --- URLs --- */

/* Check that a valid URL may be used; results as http_parse_url. */
static int
check_url (const struct http *h, const struct url *url)
{
  const bool https = url_is_https (url);
  const char *name = url->name;

  if (url->s3 && name[strlen (name) - 1] == '/')
    return error_report (h->hooks, EINVAL, name,
                         "the key %s: must be s3://BUCKET/KEY of an object",
                         strchr (name + strlen ("s3://"), '/')
                             == name + strlen (name) - 1
                           ? "is missing"
                           : "ends in '/', so it names a folder");
  if (https ? h->settings.allow_https : h->settings.allow_http)
    return 0;
  return error_report (h->hooks, EINVAL, name, "protocols= does not allow %s",
                       https ? "https" : "http");
}

/* The parts of a URL; the settings have parsed the user's own one already. */
static int
take_url (const struct http *h, const char *text, const char *holder,
          struct url *url)
{
  const struct http_settings *s = &h->settings;
  const struct url_s3 s3 = { s->s3.endpoint_url, s->s3.region };

  if (strncasecmp (text, "s3:", 3) == 0 && http_settings_check_s3 (s) == -1)
    return -1;
  if (text != s->own_text)
    return url_take (text, &s3, holder, h->hooks, url);
  return url_copy (&s->own, url) == 0
           ? 0
           : error_no_memory (h->hooks, s->own.name);
}

int
http_parse_url (const struct http *h, const char *text, const char *holder,
                struct url *url)
{
  *url = (struct url){ .name = NULL };
  if (take_url (h, text, holder, url) == 0 && check_url (h, url) == 0)
    return 0;
  KEEP_ERRNO;
  url_free (url);
  return -1;
}

/* --- Life --- */

struct origin *
http_origin (struct http *h, const char *name)
{
  const size_t size = strlen (name) + 1;
  struct origin *o;

  for (o = h->origins; o; o = o->next)
    if (strcmp (o->name, name) == 0)
      return o;
  o = calloc (1, sizeof *o + size);
  if (o == NULL)
    return NULL;
  memcpy (o->name, name, size);
  o->next = h->origins;
  h->origins = o;
  quota_join (&h->connections, &o->client);
  return o;
}

static int
new_multi (struct http *h)
{
  CURLMcode code;

  h->multi = libcurl.multi_init ();
  if (h->multi == NULL)
    return error_no_memory (h->hooks, "http");
  code = libcurl.multi_setopt (h->multi, CURLMOPT_MAXCONNECTS,
                               (long) h->connections.slots);
  if (code == CURLM_OK)
    return 0;
  return error_report (h->hooks, EIO, "http", "libcurl can't be set up: %s",
                       libcurl.multi_strerror (code));
}

struct http *
http_new (const struct qcow_options *options, const struct qcow_hooks *hooks)
{
  struct http *h = calloc (1, sizeof *h);
  struct problem problem;

  if (libcurl_load (&problem) == -1) {
    free (h);
    error_report (hooks, EIO, "http", "%s", problem.text);
    return NULL;
  }
  if (h == NULL) {
    error_no_memory (hooks, "http");
    return NULL;
  }
  h->hooks = hooks;
  h->debug = options->debug_http;
  h->seed = (unsigned) monotonic_ms ();
  inbox_init (&h->inbox);
  command_set_directory ();
  if (http_settings_take (&h->settings, options, hooks) == 0) {
    h->connections.slots = h->settings.options.connections;
    if (renewal_init (&h->renewal, &h->settings) == -1)
      error_no_memory (hooks, "s3");
    else if (new_multi (h) == 0 && cookies_begin (h) == 0) {
      scripts_begin (h);
      return h;
    }
  }
  http_free (h);
  return NULL;
}

void
http_hang_up (struct http *h)
{
  if (h == NULL)
    return;
  scripts_hang_up (h);
  if (h->renewal.easy)
    libcurl.multi_remove_handle (h->multi, h->renewal.easy);
  renewal_cancel (&h->renewal);
  if (h->multi)
    libcurl.multi_cleanup (h->multi);
  h->multi = NULL;
}

/* libcurl's multi handles work without a descriptor for wake-ups, so a lack of
 * descriptors only shows here.
 */
int
http_start (struct http *h)
{
  CURLMcode code;

  if (h == NULL)
    return 0;
  if (h->multi == NULL && new_multi (h) == -1)
    return -1;
  code = libcurl.multi_wakeup (h->multi);
  if (code != CURLM_OK)
    return error_report (h->hooks, EIO, "http",
                         "libcurl can't wake a thread: %s",
                         libcurl.multi_strerror (code));
  scripts_start (h);
  return driver_start (h);
}

void
http_stop (struct http *h)
{
  if (h)
    driver_stop (h);
}

void
http_free (struct http *h)
{
  KEEP_ERRNO;
  struct origin *o;

  if (h == NULL)
    return;
  http_hang_up (h);
  cookies_end (h);
  scripts_end (h);
  while ((o = h->origins) != NULL) {
    h->origins = o->next;
    free (o);
  }
  renewal_free (&h->renewal);
  http_settings_free (&h->settings);
  inbox_destroy (&h->inbox);
  free (h);
}
