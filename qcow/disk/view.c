/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Opening views.  See view.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/utf8.h"
#include "disk/view.h"
#include "qcow.h"

/* The most bytes of a snapshot's id and name in messages. */
#define LABEL_MAX 600

static struct image *
top (const struct view_parts *p)
{
  return p->chain->layers[0].image;
}

/* --- Descriptions --- */

static void
label_snapshot (char out[LABEL_MAX], const struct snapshot_entry *s)
{
  char id[128], name[256];

  utf8_escape (id, sizeof id, s->id, s->id_length);
  utf8_escape (name, sizeof name, s->name, s->name_length);
  snprintf (out, LABEL_MAX, "snapshot %s '%s'", id, name);
}

static uint64_t
snapshot_size (const struct view_parts *p, const struct snapshot_entry *s)
{
  return s->has_disk_size ? s->disk_size : top (p)->header.size;
}

static char *
describe_snapshot (const struct view_parts *p, const struct snapshot_entry *s)
{
  char label[LABEL_MAX], date[64] = "", *text;
  const time_t seconds = (time_t) s->date_seconds;
  struct tm tm;

  label_snapshot (label, s);
  if (gmtime_r (&seconds, &tm))
    strftime (date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &tm);
  if (asprintf (&text,
                "%s, %s, VM state %" PRIu64 " bytes, virtual size %" PRIu64
                " bytes",
                label, date, s->vm_state_size, snapshot_size (p, s))
      == -1)
    text = NULL;
  return text;
}

static char *
describe_image (const struct view_parts *p)
{
  const struct header *h = &top (p)->header;
  const uint64_t size = image_cluster_size (top (p));
  static const char *const encryption[] = {
    [QCOW_CRYPT_NONE] = "",
    [QCOW_CRYPT_AES] = ", encrypted (AES)",
    [QCOW_CRYPT_LUKS] = ", encrypted (LUKS)",
  };
  char layers[64] = "", *text;

  if (p->chain->nr_layers > 1)
    snprintf (layers, sizeof layers, ", backing files: %u",
              p->chain->nr_layers - 1);
  if (asprintf (
        &text,
        "%s version %" PRIu32 ", clusters of %" PRIu64 " %s, %s compression"
        "%s%s",
        h->version == 1 ? "QCOW" : "QCOW2", h->version,
        size >= 1024 ? size / 1024 : size, size >= 1024 ? "KiB" : "bytes",
        h->compression == QCOW_COMPRESSION_ZSTD ? "zstd" : "zlib",
        encryption[h->crypt_method], layers)
      == -1)
    text = NULL;
  return text;
}

static char *
describe_layer (unsigned depth)
{
  char *text;

  if (asprintf (&text, "layer %u", depth) == -1)
    text = NULL;
  return text;
}

char *
view_describe_point (const struct view_parts *p, struct view_point point)
{
  if (point.depth > 0)
    return describe_layer (point.depth);
  return point.snapshot ? describe_snapshot (p, point.snapshot)
                        : describe_image (p);
}

char *
view_describe_bitmap (const struct bitmap_entry *bitmap)
{
  char name[256], *text;

  utf8_escape (name, sizeof name, bitmap->name, bitmap->name_length);
  if (asprintf (&text, "dirty bitmap '%s', %sgranularity %" PRIu64 " bytes",
                name, bitmap->flags & QCOW_BITMAP_AUTO ? "" : "disabled, ",
                bitmap->granularity_bits < 64
                  ? UINT64_C (1) << bitmap->granularity_bits
                  : 0)
      == -1)
    text = NULL;
  return text;
}

/* --- One state of the disk --- */

/* The L1 table of a snapshot is checked only when it is opened, so that a
 * damaged snapshot does not affect others.
 */
static struct l1_table *
snapshot_l1 (const struct view_parts *p, const struct snapshot_entry *s)
{
  struct image *image = top (p);
  char label[LABEL_MAX], what[LABEL_MAX + 32];

  label_snapshot (label, s);
  if (s->l1_size > QCOW_MAX_L1_BYTES / sizeof (uint64_t)) {
    error_report (p->context->hooks, EINVAL, image->name,
                  "%s: l1_size is %" PRIu32 ": must be at most %zu", label,
                  s->l1_size, QCOW_MAX_L1_BYTES / sizeof (uint64_t));
    return NULL;
  }
  if (s->l1_table_offset % image_cluster_size (image) != 0) {
    error_report (p->context->hooks, EINVAL, image->name,
                  "%s: l1_table_offset is 0x%" PRIx64 ": must be a multiple "
                  "of the cluster size, %" PRIu64,
                  label, s->l1_table_offset, image_cluster_size (image));
    return NULL;
  }
  if (snapshot_size (p, s) > INT64_MAX) {
    error_report (p->context->hooks, EINVAL, image->name,
                  "%s: its size is %" PRIu64 ": must be at most 2^63 - 1",
                  label, snapshot_size (p, s));
    return NULL;
  }
  snprintf (what, sizeof what, "the L1 table of %s", label);
  return image_get_l1 (image, s->l1_table_offset, s->l1_size, what);
}

/* A view of 'nr_layers' layers, which are not set yet.  Takes ownership of the
 * description, which is NULL if out of memory.
 */
static struct qcow_view *
new_view (const struct view_parts *p, unsigned nr_layers, char *description)
{
  struct qcow_view *v
    = description ? calloc (1, sizeof *v + nr_layers * sizeof v->layers[0])
                  : NULL;

  if (v == NULL) {
    free (description);
    image_no_memory (top (p));
    return NULL;
  }
  v->context = p->context;
  v->name = top (p)->name;
  v->cluster_bits = top (p)->header.cluster_bits;
  v->description = description;
  v->nr_layers = nr_layers;
  return v;
}

/* Set layer n of the view to a layer of the chain, cut off where the layer
 * above ends.
 */
static void
set_layer (struct qcow_view *v, unsigned n, const struct chain_layer *from)
{
  struct layer *layer = &v->layers[n];

  layer->image = from->image;
  layer->l1 = from->l1;
  layer->source = from->image ? from->image->data : from->raw;
  layer->size = from->image ? from->image->header.size : from->raw->size;
  if (n > 0)
    layer->size = min64 (layer->size, v->layers[n - 1].size);
  v->remote
    |= layer->source->remote || (layer->image && layer->image->source->remote);
}

_Static_assert(CONTEXT_FIRST_VIEW_ID + QCOW_MAX_SNAPSHOTS + QCOW_MAX_DEPTH
                 < CONTEXT_IDS,
               "ids of views are below those of the next chain");

/* The active layer has the first id, then snapshots, then lower layers. */
static uint64_t
point_id (const struct view_parts *p, struct view_point point)
{
  const uint64_t first = p->chain->first_id + CONTEXT_FIRST_VIEW_ID;

  if (point.depth > 0)
    return first + QCOW_MAX_SNAPSHOTS + point.depth;
  if (point.snapshot)
    return first + 1 + (uint64_t) (point.snapshot - p->snapshots->list);
  return first;
}

static int
add_top (const struct view_parts *p, struct qcow_view *v,
         const struct snapshot_entry *s)
{
  v->l1 = s ? snapshot_l1 (p, s) : image_get_active_l1 (top (p));
  if (v->l1 == NULL)
    return -1;
  v->layers[0] = (struct layer){
    .image = top (p),
    .l1 = v->l1,
    .source = top (p)->data,
    .size = s ? snapshot_size (p, s) : top (p)->header.size,
  };
  v->remote = top (p)->source->remote || top (p)->data->remote;
  return 0;
}

struct qcow_view *
view_open_point (const struct view_parts *p, struct view_point point)
{
  const unsigned n = p->chain->nr_layers - point.depth;
  struct qcow_view *v = new_view (p, n, view_describe_point (p, point));
  unsigned i;

  if (v == NULL)
    return NULL;
  if (point.depth > 0)
    set_layer (v, 0, &p->chain->layers[point.depth]);
  else if (add_top (p, v, point.snapshot) == -1) {
    qcow_view_close (v);
    return NULL;
  }
  for (i = 1; i < n; ++i)
    set_layer (v, i, &p->chain->layers[point.depth + i]);
  v->id = point_id (p, point);
  v->size = v->layers[0].size;
  return v;
}

/* Also closes the older view.  NULL is ignored. */
static void
diff_base_free (struct diff_base *base)
{
  KEEP_ERRNO;

  if (base == NULL)
    return;
  qcow_view_close (base->new_upper);
  qcow_view_close (base->old_upper);
  qcow_view_close (base->old);
  free (base);
}

void
qcow_view_close (struct qcow_view *v)
{
  KEEP_ERRNO;
  struct view_owner *owner;

  if (v == NULL)
    return;
  owner = v->owner;
  diff_base_free (v->since);
  bitmap_close (v->bitmap);
  l1_table_put (v->context->l1_tables, v->l1);
  free (v->description);
  free (v);
  if (owner)
    owner->release (owner);
}

/* --- What changed --- */

struct qcow_view *
view_open_bitmap (const struct view_parts *p,
                  const struct bitmap_entry *bitmap)
{
  struct qcow_view *v = view_open_point (p, (struct view_point){ NULL, 0 });

  if (v == NULL)
    return NULL;
  v->bitmap = bitmap_open (top (p), bitmap);
  if (v->bitmap)
    return v;
  qcow_view_close (v);
  return NULL;
}

/* A view of the upper n layers of 'v'.  Only 'v' holds a reference to the L1
 * table.
 */
static struct qcow_view *
upper_part (const struct view_parts *p, const struct qcow_view *v, unsigned n)
{
  struct qcow_view *part = new_view (p, n, describe_layer (0));
  unsigned i;

  if (part == NULL)
    return NULL;
  part->size = v->size;
  part->remote = v->remote;
  for (i = 0; i < n; ++i)
    part->layers[i] = v->layers[i];
  return part;
}

static uint64_t
lower_size (const struct qcow_view *v, unsigned upper)
{
  return upper < v->nr_layers ? v->layers[upper].size : 0;
}

/* Make the base that 'new' is compared with.  Takes ownership of 'old', also
 * on failure.
 */
static struct diff_base *
make_base (const struct view_parts *p, struct qcow_view *old,
           struct view_point old_point, const struct qcow_view *new)
{
  /* How many layers of each view are not shared: the top one, if both are
   * states of the top image; else those above the older state, which has none.
   */
  const unsigned new_upper = old_point.depth > 0 ? old_point.depth : 1;
  const unsigned old_upper = old_point.depth > 0 ? 0 : 1;
  struct diff_base *b = calloc (1, sizeof *b);

  if (b == NULL) {
    image_no_memory (top (p));
    qcow_view_close (old);
    return NULL;
  }
  b->old = old;
  b->new_lower_size = lower_size (new, new_upper);
  b->old_lower_size = lower_size (old, old_upper);
  b->new_upper = upper_part (p, new, new_upper);
  if (old_upper > 0)
    b->old_upper = upper_part (p, old, old_upper);
  if (b->new_upper && (b->old_upper || old_upper == 0))
    return b;
  diff_base_free (b);
  errno = ENOMEM;
  return NULL;
}

struct qcow_view *
view_open_delta (const struct view_parts *p, struct view_point old_point,
                 struct view_point new_point)
{
  struct qcow_view *v = view_open_point (p, new_point);
  struct qcow_view *old = v ? view_open_point (p, old_point) : NULL;

  if (old)
    v->since = make_base (p, old, old_point, v);
  if (v && v->since)
    return v;
  qcow_view_close (v);
  return NULL;
}

uint64_t
qcow_view_size (const struct qcow_view *v)
{
  return v->size;
}

uint32_t
qcow_view_cluster_size (const struct qcow_view *v)
{
  return UINT32_C (1) << v->cluster_bits;
}

const char *
qcow_view_description (const struct qcow_view *v)
{
  return v->description;
}
