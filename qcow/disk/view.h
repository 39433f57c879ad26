/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Opening views.  A view is what one client sees: a stack of layers, possibly
 * compared with an older view or a dirty bitmap (layer.h).
 *
 * A view is constant once it is open, so it needs no lock.  Any thread may
 * call these functions.  qcow_view_close (qcow.h) closes a view.
 */

#ifndef QCOW_DISK_VIEW_H
#define QCOW_DISK_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/layer.h"
#include "image/chain.h"
#include "image/snapshot-table.h"

/* What views are opened from.  Everything here is constant, and outlives the
 * views.
 */
struct view_parts {
  struct context *context;
  const struct chain *chain;
  const struct snapshot_table *snapshots;
  const struct bitmap_table *bitmaps;
};

/* One state of the disk. */
struct view_point {
  const struct snapshot_entry *snapshot; /* NULL: the active layer */
  unsigned depth; /* > 0: a layer this far below the top; then 'snapshot' is
                     NULL */
};

/* Open a view of one state.  NULL with the error reported and errno EINVAL,
 * EIO, ENOMEM or ESHUTDOWN.
 */
struct qcow_view *view_open_point (const struct view_parts *p,
                                   struct view_point point);

/* Open a view of 'new', and compare it with the older state 'old'.  new.depth
 * must be 0.
 */
struct qcow_view *view_open_delta (const struct view_parts *p,
                                   struct view_point old,
                                   struct view_point new);

/* Open a view of the active layer, and compare it with a dirty bitmap. */
struct qcow_view *view_open_bitmap (const struct view_parts *p,
                                    const struct bitmap_entry *bitmap);

/* Describe a state or a bitmap for the user.  The caller frees the string.
 * NULL if out of memory.
 */
char *view_describe_point (const struct view_parts *p,
                           struct view_point point);
char *view_describe_bitmap (const struct bitmap_entry *bitmap);

#endif /* QCOW_DISK_VIEW_H */
