/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An image with its chain, snapshots, bitmaps, cache and working memory.  See
 * qcow.h.
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
#include "qcow.h"

struct qcow {
  struct qcow_hooks hooks;
  struct context context;
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

  bool debug_cache;
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
  error_report (&q->hooks, ENOENT, name_of (q),
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
  return error_report (&q->hooks, EINVAL, name_of (q),
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
    return error_report (&q->hooks, EINVAL, name_of (q),
                         "since=%s: there is nothing to compare with: the "
                         "image has neither snapshots nor a backing file",
                         name);
  return error_report (&q->hooks, EINVAL, name_of (q),
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
  return error_report (&q->hooks, EINVAL, name_of (q),
                       "bitmap=%s: none of the image's %u bitmaps has this "
                       "name ('qemu-img info' lists them)",
                       name, q->bitmaps->count);
}

static int
choose_view (struct qcow *q, const struct qcow_options *options)
{
  q->only = options->snapshot || options->since || options->bitmap;
  if (options->bitmap && (options->snapshot || options->since))
    return error_report (&q->hooks, EINVAL, name_of (q),
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

  q->snapshots = snapshot_table_load (top->source, &top->header);
  if (q->snapshots == NULL)
    return -1;
  q->bitmaps = bitmap_table_load (top);
  if (q->bitmaps == NULL)
    return -1;
  q->parts = (struct view_parts){ .context = &q->context,
                                  .chain = q->chain,
                                  .snapshots = q->snapshots,
                                  .bitmaps = q->bitmaps };
  return 0;
}

static int
no_memory (const struct qcow *q, const struct qcow_options *options)
{
  return error_no_memory (&q->hooks,
                          options->filename ? options->filename : "url=");
}

/* Return how many layers can have compressed clusters: raw files and images
 * with a data file have none.
 */
static unsigned
count_inflating_layers (const struct chain *chain)
{
  unsigned i, n = 0;

  for (i = 0; i < chain->nr_layers; ++i) {
    const struct image *image = chain->layers[i].image;

    if (image && image->data == image->source)
      ++n;
  }
  return n;
}

static int
open_all (struct qcow *q, const struct qcow_options *options)
{
  if (http_check_options (options, &q->hooks) == -1)
    return -1;
  /* First, because opening a remote file caches its beginning. */
  q->context.cache = cache_new (options->cache_size, MAP_LARGEST_CACHED);
  q->context.l1_tables = l1_tables_new ();
  if (q->context.cache == NULL || q->context.l1_tables == NULL)
    return no_memory (q, options);
  q->chain = chain_open (&q->context, options);
  if (q->chain == NULL || open_tables (q) == -1
      || choose_view (q, options) == -1)
    return -1;
  q->context.workspaces = workspace_pool_new (
    chain_largest_cluster (q->chain), count_inflating_layers (q->chain));
  if (q->context.workspaces == NULL)
    return no_memory (q, options);
  http_hang_up (q->context.http);
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

static void
debug_source (const struct qcow *q, unsigned layer, const char *what,
              const struct source *source)
{
  char *real = source->remote ? NULL : realpath (source->name, NULL);

  error_debug (&q->hooks, source->name, "layer %u: %s %s, %" PRIu64 " bytes",
               layer, what, real ? real : source->name, source->size);
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

struct qcow *
qcow_open (const struct qcow_options *options, const struct qcow_hooks *hooks)
{
  struct qcow *q = calloc (1, sizeof *q);

  if (q == NULL) {
    error_no_memory (hooks, "qcow");
    return NULL;
  }
  q->hooks = *hooks;
  q->context.hooks = &q->hooks;
  q->context.force_share = options->force_share;
  q->context.debug_runs = options->debug_runs;
  if (open_all (q, options) == 0) {
    q->debug_cache = options->debug_cache;
    debug_chain (q);
    return q;
  }
  qcow_close (q);
  return NULL;
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
        &q->hooks, image->name,
        "can't lock the key in memory, so it may be swapped out: %m");
  }
}

int
qcow_after_fork (struct qcow *q)
{
  q->hooks.serving = true;
  lock_keys (q);
  return http_start (q->context.http);
}

void
qcow_close (struct qcow *q)
{
  KEEP_ERRNO;

  if (q == NULL)
    return;
  /* First, because its fetches use the cache and the layers. */
  http_stop (q->context.http);
  if (q->debug_cache) {
    const struct cache_stats s = cache_stats (q->context.cache);

    error_debug (&q->hooks, name_of (q),
                 "cache: %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64
                 " waits, %" PRIu64 " evictions, %" PRIu64 " bytes, peak "
                 "%" PRIu64,
                 s.hits, s.misses, s.waits, s.evictions, s.bytes,
                 s.peak_bytes);
  }
  qcow_view_close (q->view);
  bitmap_table_free (q->bitmaps);
  snapshot_table_free (q->snapshots);
  chain_close (q->chain);
  l1_tables_free (q->context.l1_tables);
  workspace_pool_free (q->context.workspaces);
  cache_free (q->context.cache);
  http_free (q->context.http);
  free (q);
}
