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

#include "disk/layer.h"
#include "image/chain.h"
#include "image/snapshot-table.h"

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
