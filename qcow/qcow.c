/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An image with everything that belongs to it: its chain, its snapshots,
 * cache and working memory; and the views of it.  See qcow.h.
 *
 * A view puts together the top layer, as one of its L1 tables maps it, and
 * the layers below.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chain.h"
#include "map.h"
#include "snapshots.h"
#include "text.h"
#include "view.h"

struct qcow {
  struct qcow_hooks hooks;
  struct shared shared;
  struct chain *chain;
  struct snapshots *snapshots;
  const struct snapshot *only; /* the one that is served; NULL: all is */
  struct l1_table *default_l1; /* so that it is read only once */
  bool debug_cache;
};

/* An image's name and number for messages. */
#define SNAPSHOT_LABEL_MAX 600

static struct image *
top (const struct qcow *q)
{
  return q->chain->layers[0].image;
}

static int
no_memory (const struct qcow *q)
{
  return error_report (&q->hooks, ENOMEM, top (q)->name, "out of memory");
}

/* --- Words --- */

static void
label_snapshot (char out[SNAPSHOT_LABEL_MAX], const struct snapshot *s)
{
  char id[128], name[256];

  text_escape (id, sizeof id, s->id, s->id_length);
  text_escape (name, sizeof name, s->name, s->name_length);
  snprintf (out, SNAPSHOT_LABEL_MAX, "snapshot %s '%s'", id, name);
}

static uint64_t
snapshot_size (const struct qcow *q, const struct snapshot *s)
{
  return s->has_disk_size ? s->disk_size : top (q)->header.size;
}

static char *
describe_snapshot (const struct qcow *q, const struct snapshot *s)
{
  char label[SNAPSHOT_LABEL_MAX], date[64] = "", *text;
  const time_t seconds = (time_t) s->date_seconds;
  struct tm tm;

  label_snapshot (label, s);
  if (gmtime_r (&seconds, &tm))
    strftime (date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &tm);
  if (asprintf (&text,
                "%s, %s, VM state %" PRIu64 " bytes, virtual size %" PRIu64
                " bytes",
                label, date, s->vm_state_size, snapshot_size (q, s))
      == -1)
    text = NULL;
  return text;
}

static char *
describe_image (const struct qcow *q)
{
  const struct header *h = &top (q)->header;
  const uint64_t size = image_cluster_size (top (q));
  char layers[64] = "", *text;

  if (q->chain->nr_layers > 1)
    snprintf (layers, sizeof layers, ", backing files: %u",
              q->chain->nr_layers - 1);
  if (asprintf (
        &text,
        "%s version %" PRIu32 ", clusters of %" PRIu64 " %s, %s compression%s",
        h->version == 1 ? "QCOW" : "QCOW2", h->version,
        size >= 1024 ? size / 1024 : size, size >= 1024 ? "KiB" : "bytes",
        h->compression == QCOW_COMPRESSION_ZSTD ? "zstd" : "zlib", layers)
      == -1)
    text = NULL;
  return text;
}

/* NULL: the active layer. */
static char *
describe (const struct qcow *q, const struct snapshot *s)
{
  return s ? describe_snapshot (q, s) : describe_image (q);
}

/* --- Views --- */

/* What the snapshot table says of an L1 table is checked only now: one bad
 * snapshot harms no other.
 */
static struct l1_table *
snapshot_l1 (const struct qcow *q, const struct snapshot *s)
{
  struct image *image = top (q);
  char label[SNAPSHOT_LABEL_MAX], what[SNAPSHOT_LABEL_MAX + 32];

  label_snapshot (label, s);
  if (s->l1_size > QCOW_MAX_L1_BYTES / sizeof (uint64_t)) {
    error_report (&q->hooks, EINVAL, image->name,
                  "%s: l1_size is %" PRIu32 ": the largest L1 table has %zu "
                  "entries",
                  label, s->l1_size, QCOW_MAX_L1_BYTES / sizeof (uint64_t));
    return NULL;
  }
  if (s->l1_table_offset & (image_cluster_size (image) - 1)) {
    error_report (&q->hooks, EINVAL, image->name,
                  "%s: l1_table_offset is 0x%" PRIx64 ": must be a multiple "
                  "of the cluster size, %" PRIu64,
                  label, s->l1_table_offset, image_cluster_size (image));
    return NULL;
  }
  if (snapshot_size (q, s) > INT64_MAX) {
    error_report (&q->hooks, EINVAL, image->name,
                  "%s: its size is %" PRIu64 ": the largest virtual disk "
                  "has 2^63 - 1 bytes",
                  label, snapshot_size (q, s));
    return NULL;
  }
  snprintf (what, sizeof what, "the L1 table of %s", label);
  return image_get_l1 (image, s->l1_table_offset, s->l1_size, what);
}

/* NULL: that of the active layer. */
static struct l1_table *
get_l1 (const struct qcow *q, const struct snapshot *s)
{
  return s ? snapshot_l1 (q, s) : image_get_active_l1 (top (q));
}

/* The layers below the top one: each is cut where one above it ends. */
static void
add_lower_layers (struct qcow_view *v, const struct chain *chain)
{
  unsigned i;

  for (i = 1; i < chain->nr_layers; ++i) {
    const struct chain_layer *from = &chain->layers[i];
    struct layer *layer = &v->layers[i];

    layer->image = from->image;
    layer->l1 = from->l1;
    layer->source = from->image ? from->image->data : from->raw;
    layer->size = from->image ? from->image->header.size : from->raw->size;
    if (layer->size > v->layers[i - 1].size)
      layer->size = v->layers[i - 1].size;
  }
}

static struct qcow_view *
open_view (struct qcow *q, const struct snapshot *s)
{
  const unsigned n = q->chain->nr_layers;
  struct qcow_view *v = calloc (1, sizeof *v + n * sizeof v->layers[0]);
  int err;

  if (v == NULL || (v->description = describe (q, s)) == NULL) {
    free (v);
    no_memory (q);
    return NULL;
  }
  v->shared = &q->shared;
  v->l1 = get_l1 (q, s);
  if (v->l1 == NULL) {
    err = errno;
    qcow_view_close (v);
    errno = err;
    return NULL;
  }
  v->id = VIEW_FIRST_ID + (s ? (uint32_t) (s - q->snapshots->list) + 1 : 0);
  v->size = s ? snapshot_size (q, s) : top (q)->header.size;
  v->nr_layers = n;
  v->layers[0] = (struct layer){
    .image = top (q), .l1 = v->l1, .source = top (q)->data, .size = v->size
  };
  add_lower_layers (v, q->chain);
  return v;
}

struct qcow_view *
qcow_view_open (struct qcow *q, const char *name)
{
  const struct snapshot *s;

  if (name[0] == '\0')
    return open_view (q, q->only);
  if (q->only) {
    error_report (&q->hooks, ENOENT, top (q)->name,
                  "there is no export '%s': only one snapshot is served, as "
                  "the default export ''",
                  name);
    return NULL;
  }
  s = snapshots_find (q->snapshots, name);
  if (s == NULL) {
    error_report (&q->hooks, ENOENT, top (q)->name,
                  "there is no export '%s': the image has no snapshot with "
                  "this id or name ('nbdinfo --list' shows what there is)",
                  name);
    return NULL;
  }
  return open_view (q, s);
}

void
qcow_view_close (struct qcow_view *v)
{
  if (v == NULL)
    return;
  l1_table_put (v->shared->l1_tables, v->l1);
  free (v->description);
  free (v);
}

uint64_t
qcow_view_size (const struct qcow_view *v)
{
  return v->size;
}

uint32_t
qcow_view_cluster_size (const struct qcow_view *v)
{
  return (uint32_t) image_cluster_size (v->layers[0].image);
}

const char *
qcow_view_description (const struct qcow_view *v)
{
  return v->description;
}

static int
list_one (const struct qcow *q, const struct snapshot *s, const char *name,
          qcow_list_fn fn, void *opaque)
{
  char *description = describe (q, s);
  int r;

  if (description == NULL)
    return no_memory (q);
  r = fn (opaque, name, description);
  free (description);
  return r;
}

int
qcow_list (struct qcow *q, qcow_list_fn fn, void *opaque)
{
  const struct snapshots *all = q->snapshots;
  unsigned i;

  if (list_one (q, q->only, "", fn, opaque) == -1)
    return -1;
  if (q->only)
    return 0;
  for (i = 0; i < all->count; ++i) {
    char *name = snapshots_export_name (all, &all->list[i]);
    int r;

    if (name == NULL)
      return no_memory (q);
    r = list_one (q, &all->list[i], name[0] ? name : NULL, fn, opaque);
    free (name);
    if (r == -1)
      return -1;
  }
  return 0;
}

/* --- The whole --- */

static int
choose_snapshot (struct qcow *q, const char *id_or_name)
{
  if (id_or_name == NULL)
    return 0;
  q->only = snapshots_find (q->snapshots, id_or_name);
  if (q->only)
    return 0;
  return error_report (&q->hooks, EINVAL, top (q)->name,
                       "snapshot=%s: none of the image's %u snapshots has "
                       "this id or name ('qemu-img snapshot -l' lists them)",
                       id_or_name, q->snapshots->count);
}

static int
open_all (struct qcow *q, const struct qcow_options *options)
{
  uint64_t largest;

  q->shared.l1_tables = l1_tables_new ();
  if (q->shared.l1_tables == NULL)
    return error_report (&q->hooks, ENOMEM, options->filename,
                         "out of memory");
  q->chain = chain_open (&q->shared, options);
  if (q->chain == NULL)
    return -1;
  q->snapshots = snapshots_load (top (q)->source, &top (q)->header);
  if (q->snapshots == NULL || choose_snapshot (q, options->snapshot) == -1)
    return -1;
  q->default_l1 = get_l1 (q, q->only);
  if (q->default_l1 == NULL)
    return -1;

  largest = chain_largest_cluster (q->chain);
  if (largest < MAP_LARGEST_CACHED)
    largest = MAP_LARGEST_CACHED;
  q->shared.cache = cache_new (options->cache_size, largest);
  q->shared.scratches = scratch_pool_new (largest);
  if (q->shared.cache == NULL || q->shared.scratches == NULL)
    return no_memory (q);
  return 0;
}

struct qcow *
qcow_open (const struct qcow_options *options, const struct qcow_hooks *hooks)
{
  struct qcow *q = calloc (1, sizeof *q);
  int err;

  if (q == NULL) {
    error_report (hooks, ENOMEM, options->filename, "out of memory");
    return NULL;
  }
  q->hooks = *hooks;
  q->shared.hooks = &q->hooks;
  q->shared.force_share = options->force_share;
  q->shared.debug_runs = options->debug_runs;
  if (open_all (q, options) == 0) {
    q->debug_cache = options->debug_cache;
    return q;
  }
  err = errno;
  qcow_close (q);
  errno = err;
  return NULL;
}

void
qcow_close (struct qcow *q)
{
  if (q == NULL)
    return;
  if (q->debug_cache) {
    const struct cache_stats s = cache_stats (q->shared.cache);

    error_debug (&q->hooks, top (q)->name,
                 "cache: %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64
                 " waits, %" PRIu64 " evictions, %" PRIu64 " bytes, at most "
                 "%" PRIu64,
                 s.hits, s.misses, s.waits, s.evictions, s.bytes,
                 s.peak_bytes);
  }
  l1_table_put (q->shared.l1_tables, q->default_l1);
  snapshots_free (q->snapshots);
  chain_close (q->chain);
  l1_tables_free (q->shared.l1_tables);
  scratch_pool_free (q->shared.scratches);
  cache_free (q->shared.cache);
  free (q);
}
