/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Objects.  See http.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fetch-wait.h"
#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/monotonic.h"
#include "base/wait.h"
#include "http/internal.h"
#include "url/url-name.h"

/* While an image is opened, warn if the server takes longer. */
#define SLOW_MS 2000

/* A server that once responded this quickly is near. */
#define NEAR_US 1000

/* --- Fetching --- */

/* Warn once, with the reason, while the image is being opened. */
static void
warn_if_slow (struct http_object *o, uint64_t began)
{
  const struct http *h = o->http;
  const struct request *r = h->requests;

  if (o->slow_start || r == NULL || monotonic_ms () - began < SLOW_MS)
    return;
  o->slow_start = true;
  error_warn (h->hooks, o->own->url.name,
              "still waiting for the web server: %s",
              r->why[0] ? r->why : "it has not responded");
}

/* Before http_start. */
static void
drive (struct transport *t, uint64_t began)
{
  struct http_object *o = (struct http_object *) t;

  driver_step (o->http, HOOKS_POLL_MS);
  warn_if_slow (o, began);
}

static int
fetch_all (struct transport *t, struct fetch *fetches, size_t n)
{
  const struct http *h = ((struct http_object *) t)->http;
  const struct fetch_wait how = { .hooks = h->hooks,
                                  .drive = h->serving ? NULL : drive,
                                  .wake = driver_wake };

  return fetch_wait_all (&how, t, fetches, n);
}

/* --- Objects --- */

static bool
is_near (struct transport *t)
{
  const struct http_object *o = (const struct http_object *) t;

  return __atomic_load_n (&o->latency, __ATOMIC_RELAXED) < NEAR_US;
}

static void
close_object (struct transport *t)
{
  KEEP_ERRNO;
  struct http_object *o = (struct http_object *) t;

  target_release (o->own);
  target_release (o->remembered);
  error_filter_destroy (&o->errors);
  free (t->prefix);
  free (o);
}

static const struct transport_ops object_ops = {
  .submit = driver_submit,
  .fetch_all = fetch_all,
  .is_near = is_near,
  .close = close_object,
};

/* Takes over *url's strings, unless it returns NULL: out of memory. */
static struct http_object *
new_object (struct http *h, struct url *url, const struct reference *ref)
{
  struct http_object *o = calloc (1, sizeof *o);

  if (o == NULL)
    return NULL;
  o->http = h;
  o->latency = UINT64_MAX;
  o->ref = ref;
  error_filter_init (&o->errors);
  o->transport.ops = &object_ops;
  o->transport.prefix = malloc (HTTP_PREFIX_BYTES);
  o->origin = driver_origin (h, url->origin);
  if (o->transport.prefix && o->origin)
    o->own = target_new (url, NULL);
  if (o->own) {
    o->transport.name = o->own->url.name;
    o->transport.identity = o->own->url.text;
    return o;
  }
  close_object (&o->transport);
  return NULL;
}

struct transport *
http_open (struct http *h, struct url *url, const struct reference *ref)
{
  struct http_object *o = new_object (h, url, ref);
  struct transport *t = (struct transport *) o;
  struct fetch_piece piece = { .length = HTTP_PREFIX_BYTES };
  struct fetch f = { .offset = 0, .pieces = &piece, .nr_pieces = 1 };

  if (o == NULL) {
    error_no_memory (h->hooks, url->name);
    url_free (url);
    errno = ENOMEM;
    return NULL;
  }
  piece.buf = t->prefix;
  if (fetch_all (t, &f, 1) == -1) {
    close_object (t);
    return NULL;
  }
  o->ref = NULL;
  t->size = o->version.size;
  t->prefix_length = (size_t) min64 (t->size, HTTP_PREFIX_BYTES);
  return t;
}

/* --- URLs --- */

/* -1 with errno 'err'. */
static int
refuse_url (const struct http *h, const char *text, const char *holder,
            int err, const struct problem *problem)
{
  struct url_room room;
  const char *shown = url_hide (text, &room);

  if (holder[0] == '\0')
    return error_report (h->hooks, err, shown, "%s", problem->text);
  return error_report (h->hooks, err, holder,
                       "can't use the URL '%s' that is named in it: %s", shown,
                       problem->text);
}

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

int
http_parse_url (const struct http *h, const char *text, const char *holder,
                struct url *url)
{
  const struct http_settings *s = &h->settings;
  const struct url_s3 s3 = { s->s3.endpoint_url, s->s3.region };
  struct problem problem;

  *url = (struct url){ .name = NULL };
  if (strncasecmp (text, "s3:", 3) == 0 && http_settings_check_s3 (s) == -1)
    return -1;
  if (url_parse (text, &s3, url, &problem) == -1)
    refuse_url (h, text, holder, errno, &problem);
  else if (check_url (h, url) == 0)
    return 0;
  KEEP_ERRNO;
  url_free (url);
  return -1;
}
