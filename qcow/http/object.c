/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Objects.  See http.h.
 */

#include <errno.h>
#include <stdlib.h>

#include "base/fetch-wait.h"
#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/wait.h"
#include "http/internal.h"

/* --- Fetching --- */

/* Before http_start. */
static void
drive (struct transport *t)
{
  driver_step (((struct http_object *) t)->http, HOOKS_POLL_MS);
}

static const char *
why (const struct transport *t)
{
  const struct http *h = ((const struct http_object *) t)->http;
  const struct request *r = h->requests;

  if (r == NULL)
    return "";
  return r->needs_script           ? scripts_waited_for (h)
         : h->renewal.failures > 0 ? h->renewal.why
                                   : r->why;
}

static int
fetch_all (struct transport *t, struct fetch *fetches, size_t n)
{
  const struct http *h = ((struct http_object *) t)->http;
  const struct fetch_wait how = { .hooks = h->hooks,
                                  .drive = h->serving ? NULL : drive,
                                  .server = "web server",
                                  .why = why,
                                  .wake = driver_wake };

  return fetch_wait_all (&how, t, fetches, n);
}

/* --- Objects --- */

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
  o->transport.latency = UINT64_MAX;
  o->ref = ref;
  error_filter_init (&o->errors);
  o->transport.ops = &object_ops;
  o->transport.prefix = malloc (HTTP_PREFIX_BYTES);
  o->origin = http_origin (h, url->origin);
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
