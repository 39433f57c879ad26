/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a client sees: layers, one over the other; perhaps compared with
 * an older view, or with a dirty bitmap.  Private to qcow/.
 *
 * Constant once it is open, so it needs no lock.
 */

#ifndef QCOW_DISK_VIEW_H
#define QCOW_DISK_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "image/bitmap-table.h"
#include "image/chain.h"
#include "image/snapshot-table.h"

/* An image as one of its L1 tables maps it, or a raw file. */
struct layer {
  struct image *image;       /* NULL: a raw file */
  const struct l1_table *l1; /* NULL: a raw file */
  struct source *source;     /* the raw file, or the image's data */
  uint64_t size; /* bytes from guest offset 0 that are of interest: not more
                    than it has, nor than the layers above it have */
};

/* Ids of views begin here, those of images are below. */
#define VIEW_FIRST_ID (UINT32_C (1) << 31)

struct qcow_view {
  struct context *context;
  const char *name; /* of the image, for messages */
  char *description;
  uint32_t id; /* which view of the chain: the owner in cache keys; 0: it
                  has none */
  unsigned cluster_bits; /* of the image */
  uint64_t size;         /* bytes */
  struct l1_table *l1;   /* of the top layer; the view holds one use of it;
                            NULL: none */

  /* What extents are about, if not just what there is: at most one. */
  struct diff_base *since;
  struct open_bitmap *bitmap;

  bool remote;           /* at least one layer is */
  unsigned nr_layers;    /* >= 1 */
  struct layer layers[]; /* the top first */
};

/* What views are made of: all constant. */
struct view_parts {
  struct context *context;
  const struct chain *chain;
  const struct snapshot_table *snapshots;
  const struct bitmap_table *bitmaps;
};

/* A state of the disk: a snapshot, or the active layer if it is NULL, or
 * if 'depth' is not 0 the layer so many below the top.
 */
struct view_point {
  const struct snapshot_entry *snapshot;
  unsigned depth;
};

/* The state, as it is.  NULL with the error reported, and errno EINVAL,
 * EIO or ENOMEM.
 */
struct qcow_view *view_open_point (const struct view_parts *p,
                                   struct view_point point);

/* The same, with what changed since an older one.  new.depth is 0. */
struct qcow_view *view_open_delta (const struct view_parts *p,
                                   struct view_point old,
                                   struct view_point new);

/* The active layer, with what the bitmap says has changed. */
struct qcow_view *view_open_bitmap (const struct view_parts *p,
                                    const struct bitmap_entry *bitmap);

/* For people: new strings, NULL if out of memory. */
char *view_describe_point (const struct view_parts *p,
                           struct view_point point);
char *view_describe_bitmap (const struct bitmap_entry *bitmap);

#endif /* QCOW_DISK_VIEW_H */
