/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An image with its chain, snapshots and bitmaps, and the cache and working
 * memory, which several images can share.  See qcow.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/keep-errno.h"
#include "base/libcurl.h"
#include "base/secret.h"
#include "codec/cipher.h"
#include "codec/libgcrypt.h"
#include "disk/export-name.h"
#include "disk/map.h"
#include "http/http.h"
#include "image/info.h"
#include "nbd/libnbd.h"
#include "source/file.h"
#include "qcow.h"

struct qcow {
  struct context *context;
  struct qcow_shared *own; /* of the context; NULL: several images share it */
  struct chain *chain;
  struct snapshot_table *snapshots;
  struct bitmap_table *bitmaps;
  struct view_parts parts; /* the above, for views */

  /* The default view, which the options select.  If 'only' is set, no other
   * view is served.
   */
  bool only, is_delta;
  struct view_point point, since;
  const struct bitmap_entry *bitmap;
  /* Stays open until qcow_close, so that its tables are read only once. */
  struct qcow_view *view;
};

int
qcow_load (void)
{
  return libgcrypt_load ();
}

char *
qcow_secret (char *text)
{
  const size_t length = strlen (text) + 1;
  char *secret = secret_new (length);

  if (secret)
    memcpy (secret, text, length);
  secret_free_string (text);
  return secret;
}

void
qcow_secret_free (char *secret)
{
  if (secret)
    secret_free (secret, strlen (secret) + 1);
}

static const char *
name_of (const struct qcow *q)
{
  return q->chain->layers[0].image->name;
}

static struct qcow_view *
open_default (const struct qcow *q)
{
  if (q->is_delta)
    return view_open_delta (&q->parts, q->since, q->point);
  if (q->bitmap)
    return view_open_bitmap (&q->parts, q->bitmap);
  return view_open_point (&q->parts, q->point);
}

struct qcow_view *
qcow_view_open (struct qcow *q, const char *name)
{
  if (name[0] == '\0')
    return open_default (q);
  if (!q->only)
    return export_name_open_view (&q->parts, name);
  error_report (q->context->hooks, ENOENT, name_of (q),
                "there is no export '%s': only one view of the image is "
                "served, as the default export ''",
                name);
  return NULL;
}

int
qcow_list (struct qcow *q, qcow_list_fn fn, void *opaque)
{
  if (fn (opaque, "", qcow_view_description (q->view)) == -1)
    return -1;
  return q->only ? 0 : export_names_list (&q->parts, fn, opaque);
}

/* --- Opening --- */

static int
choose_snapshot (struct qcow *q, const char *name)
{
  q->point.snapshot = export_name_to_snapshot (&q->parts, name, strlen (name));
  if (q->point.snapshot)
    return 0;
  return error_report (q->context->hooks, EINVAL, name_of (q),
                       "snapshot=%s: none of the image's %u snapshots has "
                       "this id or name ('qemu-img snapshot -l' lists them)",
                       name, q->snapshots->count);
}

static int
choose_since (struct qcow *q, const char *name)
{
  q->is_delta
    = export_name_to_old_point (&q->parts, name, strlen (name), &q->since);
  if (q->is_delta)
    return 0;
  if (q->snapshots->count == 0 && q->chain->nr_layers == 1)
    return error_report (q->context->hooks, EINVAL, name_of (q),
                         "since=%s: there is nothing to compare with: the "
                         "image has neither snapshots nor a backing file",
                         name);
  return error_report (q->context->hooks, EINVAL, name_of (q),
                       "since=%s: must be the id or name of one of the "
                       "image's %u snapshots, or 'backing', or 'layer:N' "
                       "with N up to the number of backing files, %u",
                       name, q->snapshots->count, q->chain->nr_layers - 1);
}

static int
choose_bitmap (struct qcow *q, const char *name)
{
  q->bitmap = bitmap_table_find (q->bitmaps, name, strlen (name));
  if (q->bitmap)
    return 0;
  return error_report (q->context->hooks, EINVAL, name_of (q),
                       "bitmap=%s: none of the image's %u bitmaps has this "
                       "name ('qemu-img info' lists them)",
                       name, q->bitmaps->count);
}

static int
choose_view (struct qcow *q, const struct qcow_options *options)
{
  q->only = options->snapshot || options->since || options->bitmap;
  if (options->bitmap && (options->snapshot || options->since))
    return error_report (q->context->hooks, EINVAL, name_of (q),
                         "bitmap= can't be combined with snapshot= or "
                         "since=");
  if ((options->snapshot && choose_snapshot (q, options->snapshot) == -1)
      || (options->since && choose_since (q, options->since) == -1)
      || (options->bitmap && choose_bitmap (q, options->bitmap) == -1))
    return -1;
  q->view = open_default (q);
  return q->view ? 0 : -1;
}

static int
open_tables (struct qcow *q)
{
  const struct image *top = q->chain->layers[0].image;

  q->snapshots = snapshot_table_load (top);
  if (q->snapshots == NULL)
    return -1;
  q->bitmaps = bitmap_table_load (top);
  if (q->bitmaps == NULL)
    return -1;
  q->parts = (struct view_parts){ .context = q->context,
                                  .chain = q->chain,
                                  .snapshots = q->snapshots,
                                  .bitmaps = q->bitmaps };
  return 0;
}

/* Raw files, and images with a data file, have no compressed clusters. */
static void
join_workspaces (const struct qcow *q)
{
  unsigned i;

  for (i = 0; i < q->chain->nr_layers; ++i) {
    struct image *image = q->chain->layers[i].image;

    if (image && image->data == image->source)
      workspace_pool_join (q->context->workspaces, &image->workspaces,
                           (size_t) image_cluster_size (image));
  }
}

static void
leave_workspaces (const struct qcow *q)
{
  unsigned i;

  for (i = 0; q->chain && i < q->chain->nr_layers; ++i) {
    struct image *image = q->chain->layers[i].image;

    if (image)
      workspace_pool_leave (q->context->workspaces, &image->workspaces);
  }
}

static int
open_all (struct qcow *q, const struct qcow_options *options)
{
  q->chain = chain_open (q->context, options);
  if (q->chain == NULL || open_tables (q) == -1
      || choose_view (q, options) == -1)
    return -1;
  join_workspaces (q);
  remotes_hang_up (&q->context->remotes);
  return 0;
}

const char *
qcow_curl_version (void)
{
  struct problem problem;

  if (libcurl_load (&problem) == -1)
    return NULL;
  return libcurl.version_info (CURLVERSION_NOW)->version;
}

const char *
qcow_nbd_version (void)
{
  struct problem problem;

  return libnbd_load (&problem) == -1 ? NULL : libnbd_version ();
}

static void
debug_source (const struct qcow *q, unsigned layer, const char *what,
              const struct source *source)
{
  char *real = source->remote || source->nameless
                 ? NULL
                 : realpath (source->name, NULL);

  error_debug (q->context->hooks, source->name,
               "layer %u: %s %s, %" PRIu64 " bytes", layer, what,
               real ? real : source->name, source->size);
  free (real);
}

/* While serving, errors and warnings name files by their last component.
 * These messages give the full paths.
 */
static void
debug_chain (const struct qcow *q)
{
  unsigned i;

  for (i = 0; i < q->chain->nr_layers; ++i) {
    const struct image *image = q->chain->layers[i].image;

    if (image == NULL)
      debug_source (q, i, "raw file", q->chain->layers[i].raw);
    else {
      debug_source (q, i, "image", image->source);
      if (image->data != image->source)
        debug_source (q, i, "data file", image->data);
    }
  }
}

/* --- What images share --- */

static void
debug_cache (const struct qcow_shared *shared)
{
  const struct cache_stats s = cache_stats (shared->context.cache);

  error_debug (&shared->hooks, "cache",
               "%" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " waits, "
               "%" PRIu64 " evictions, %" PRIu64 " bytes, peak %" PRIu64,
               s.hits, s.misses, s.waits, s.evictions, s.bytes, s.peak_bytes);
}

void
qcow_shared_free (struct qcow_shared *shared)
{
  KEEP_ERRNO;

  if (shared == NULL)
    return;
  if (shared->debug_cache && shared->context.cache)
    debug_cache (shared);
  l1_tables_free (shared->context.l1_tables);
  workspace_pool_free (shared->context.workspaces);
  cache_free (shared->context.cache);
  remotes_free (&shared->context.remotes);
  free (shared);
}

static unsigned
file_flags (const struct qcow_options *options)
{
  return (options->force_share ? SOURCE_FILE_FORCE_SHARE : 0)
         | (options->no_page_cache ? SOURCE_FILE_NO_PAGE_CACHE : 0);
}

/* 'largest' is the size of the cache's largest entries so far, in bytes. */
static struct qcow_shared *
new_shared (const struct qcow_options *options, const struct qcow_hooks *hooks,
            size_t largest)
{
  struct qcow_shared *shared = calloc (1, sizeof *shared);

  if (shared) {
    shared->hooks = *hooks;
    shared->debug_cache = options->debug_cache;
    shared->context = (struct context){
      .hooks = &shared->hooks,
      .cache = cache_new (options->cache_size, largest),
      .workspaces = workspace_pool_new (),
      .l1_tables = l1_tables_new (),
      .file_flags = file_flags (options),
      .debug_runs = options->debug_runs,
    };
    if (shared->context.cache && shared->context.workspaces
        && shared->context.l1_tables)
      return shared;
    shared->debug_cache = false;
  }
  error_no_memory (hooks, "qcow");
  qcow_shared_free (shared);
  return NULL;
}

/* The largest possible clusters, because the cache can't grow while several
 * threads use it.
 */
struct qcow_shared *
qcow_shared_new (const struct qcow_options *options,
                 const struct qcow_hooks *hooks)
{
  struct qcow_shared *shared
    = new_shared (options, hooks, (size_t) 1 << QCOW_MAX_CLUSTER_BITS);

  if (shared)
    shared->context.is_shared = true;
  return shared;
}

void
qcow_shared_after_fork (struct qcow_shared *shared)
{
  shared->hooks.serving = true;
}

/* --- An image --- */

struct qcow *
qcow_open_shared (struct qcow_shared *shared,
                  const struct qcow_options *options)
{
  struct qcow *q = calloc (1, sizeof *q);

  if (q == NULL) {
    error_no_memory (&shared->hooks, "qcow");
    return NULL;
  }
  q->context = &shared->context;
  if (open_all (q, options) == 0) {
    debug_chain (q);
    return q;
  }
  qcow_close (q);
  return NULL;
}

struct qcow *
qcow_open (const struct qcow_options *options, const struct qcow_hooks *hooks)
{
  struct qcow_shared *own;
  struct qcow *q;

  if (http_check_options (options, hooks) == -1)
    return NULL;
  own = new_shared (options, hooks, MAP_LARGEST_CACHED);
  if (own == NULL)
    return NULL;
  q = qcow_open_shared (own, options);
  if (q)
    q->own = own;
  else
    qcow_shared_free (own);
  return q;
}

int
qcow_print_info (const struct qcow_options *options,
                 const struct qcow_hooks *hooks, FILE *out)
{
  struct qcow_shared *own;
  struct chain *chain;
  int r = -1;

  if (http_check_options (options, hooks) == -1)
    return -1;
  own = new_shared (options, hooks, MAP_LARGEST_CACHED);
  if (own == NULL)
    return -1;
  chain = chain_open_top (&own->context, options);
  if (chain)
    r = info_print (chain->layers[0].image, out);
  remotes_stop (&own->context.remotes);
  chain_close (chain);
  qcow_shared_free (own);
  return r;
}

/* A fork ends memory locks. */
static void
lock_keys (const struct qcow *q)
{
  unsigned i;

  for (i = 0; i < q->chain->nr_layers; ++i) {
    const struct image *image = q->chain->layers[i].image;

    if (image && image->cipher && cipher_lock_key (image->cipher) == -1)
      error_debug (
        q->context->hooks, image->name,
        "can't lock the key in memory, so it may be swapped out: %m");
  }
}

int
qcow_after_fork (struct qcow *q)
{
  qcow_shared_after_fork (q->own);
  lock_keys (q);
  return remotes_start (&q->context->remotes);
}

void
qcow_close (struct qcow *q)
{
  KEEP_ERRNO;

  if (q == NULL)
    return;
  /* First, because its fetches use the cache and the layers. */
  remotes_stop (&q->context->remotes);
  qcow_view_close (q->view);
  bitmap_table_free (q->bitmaps);
  snapshot_table_free (q->snapshots);
  leave_workspaces (q);
  chain_close (q->chain);
  qcow_shared_free (q->own);
  free (q);
}
