/* SPDX-License-Identifier: BSD-3-Clause
 *
 * struct transport in terms of http.h, which does the work and the locking.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/secret.h"
#include "source/transport-http.h"

struct transport_http {
  struct transport transport;
  struct http_object *object; /* NULL: not open yet */
};

static struct http_object *
object_of (struct transport *t)
{
  return ((struct transport_http *) t)->object;
}

static void
submit (struct transport *t, struct fetch *f)
{
  http_submit (object_of (t), f);
}

static int
fetch_all (struct transport *t, struct fetch *fetches, size_t n)
{
  return http_fetch_all (object_of (t), fetches, n);
}

static bool
is_near (struct transport *t)
{
  return http_object_is_near (object_of (t));
}

static void
close_object (struct transport *t)
{
  KEEP_ERRNO;

  http_close (object_of (t));
  secret_free_string (t->identity);
  free (t->name);
  free (t->prefix);
  free (t);
}

static const struct transport_ops http_ops = {
  .submit = submit,
  .fetch_all = fetch_all,
  .is_near = is_near,
  .close = close_object,
};

struct transport *
transport_http_open (struct http *http, struct url *url,
                     const struct reference *ref,
                     const struct qcow_hooks *hooks)
{
  struct transport_http *h = calloc (1, sizeof *h);
  struct transport *t;

  if (h == NULL) {
    error_no_memory (hooks, url->name);
    url_free (url);
    errno = ENOMEM;
    return NULL;
  }
  t = &h->transport;
  t->ops = &http_ops;
  t->name = strdup (url->name);
  t->identity = strdup (url->text);
  t->prefix = malloc (HTTP_PREFIX_BYTES);
  if (t->name == NULL || t->identity == NULL || t->prefix == NULL) {
    error_no_memory (hooks, url->name);
    url_free (url);
    errno = ENOMEM;
  }
  else
    h->object = http_open (http, url, ref, t->prefix);
  if (h->object == NULL) {
    close_object (t);
    return NULL;
  }
  t->size = http_object_size (h->object);
  t->prefix_length = (size_t) min64 (t->size, HTTP_PREFIX_BYTES);
  return t;
}
