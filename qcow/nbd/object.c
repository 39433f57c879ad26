/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Objects.  See nbd.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetch-wait.h"
#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/secret.h"
#include "base/wait.h"
#include "nbd/internal.h"
#include "url/url-name.h"

/* Before nbd_start. */
static void
drive (struct transport *t)
{
  nbd_step (((struct nbd_object *) t)->nbd, HOOKS_POLL_MS);
}

static const char *
why (const struct transport *t)
{
  return ((const struct nbd_object *) t)->why;
}

static int
fetch_all (struct transport *t, struct fetch *fetches, size_t n)
{
  const struct nbd *nbd = ((struct nbd_object *) t)->nbd;
  const struct fetch_wait how = { .hooks = nbd->hooks,
                                  .drive = nbd->serving ? NULL : drive,
                                  .server = "NBD server",
                                  .why = why,
                                  .wake = nbd_wake };

  return fetch_wait_all (&how, t, fetches, n);
}

static void
close_object (struct transport *t)
{
  KEEP_ERRNO;
  struct nbd_object *o = (struct nbd_object *) t;

  object_hang_up (o);
  nbd_remove (o->nbd, o);
  error_filter_destroy (&o->errors);
  secrets_free (&o->secrets);
  secret_free_string (o->uri);
  free (o->export.description);
  free (t->name);
  free (t->prefix);
  free (o);
}

static const struct transport_ops object_ops = {
  .submit = nbd_submit,
  .fetch_all = fetch_all,
  .close = close_object,
};

/* NULL: out of memory. */
static struct nbd_object *
new_object (struct nbd *n, const char *uri, const char *name, bool local_files)
{
  struct nbd_object *o
    = calloc (1, sizeof *o + n->connections * sizeof o->connections[0]);
  unsigned i;

  if (o == NULL)
    return NULL;
  o->nbd = n;
  o->local_files = local_files;
  o->transport.latency = UINT64_MAX;
  for (i = 0; i < n->connections; ++i)
    o->connections[i].object = o;
  error_filter_init (&o->errors);
  nbd_uri_host (uri, o->host);
  nbd_uri_add_secrets (uri, &o->secrets);
  o->uri = strdup (uri);
  o->transport.ops = &object_ops;
  o->transport.name = strdup (name);
  o->transport.identity = o->uri;
  if (o->uri && o->transport.name && nbd_add (n, o) == 0)
    return o;
  close_object (&o->transport);
  return NULL;
}

/* Read the prefix. */
static int
read_prefix (struct nbd_object *o)
{
  struct transport *t = &o->transport;
  struct fetch_piece piece;
  struct fetch f = { .pieces = &piece, .nr_pieces = 1 };

  t->prefix_length = (size_t) min64 (t->size, NBD_PREFIX_BYTES);
  if (t->prefix_length == 0)
    return 0;
  t->prefix = malloc (t->prefix_length);
  if (t->prefix == NULL)
    return error_no_memory (o->nbd->hooks, t->name);
  piece = (struct fetch_piece){ t->prefix, t->prefix_length };
  return fetch_all (t, &f, 1);
}

/* Find the first object on the same server that the user names.  NULL: there
 * is none.
 */
static const struct nbd_object *
find_own (const struct nbd *n, const char *name)
{
  const struct nbd_object *o, *found = NULL;

  for (o = n->objects; o; o = o->next)
    if (o->local_files && nbd_uri_same_server (o->transport.name, name))
      found = o; /* the list has the last one first */
  return found;
}

/* A URI that an image names gets the user and the keys that the user has given
 * for that server.  NULL: out of memory.
 */
static struct nbd_object *
new_object_for (struct nbd *n, const char *uri, const char *name,
                const struct reference *ref)
{
  const struct nbd_object *own = ref->image ? find_own (n, name) : NULL;
  struct nbd_object *o;
  char *with_keys;

  if (own == NULL)
    return new_object (n, uri, name, ref->image == NULL);
  with_keys = nbd_uri_with_path (own->uri, name);
  o = with_keys ? new_object (n, with_keys, name, true) : NULL;
  secret_free_string (with_keys);
  return o;
}

struct transport *
nbd_open (struct nbd *n, const char *uri, const char *name,
          const struct reference *ref)
{
  struct nbd_object *o;
  struct transport *t;
  struct fetch nothing = { .nr_pieces = 0 }; /* waits for a connection */

  if (!url_is_nbd (uri)) {
    error_report (n->hooks, EINVAL, name,
                  "this is not the URI of an NBD "
                  "server");
    return NULL;
  }
  o = new_object_for (n, uri, name, ref);
  if (o == NULL) {
    error_no_memory (n->hooks, name);
    return NULL;
  }
  o->ref = ref;
  t = &o->transport;
  if (fetch_all (t, &nothing, 1) == 0) {
    t->size = o->export.size;
    t->has_holes = o->export.allocation;
    t->cheap = true;
    if (read_prefix (o) == 0) {
      o->ref = NULL;
      return t;
    }
  }
  close_object (t);
  return NULL;
}
