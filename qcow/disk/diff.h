/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What changed from one view to another.  Private to qcow/.
 *
 * Two views of one chain have their lower layers in common: both see the
 * same in them, so what neither has above them is unchanged without
 * looking there.  No data is read: equal bytes at different places count
 * as changed.
 *
 * A struct diff_base is constant once it is made; a struct diff walks a
 * range, and belongs to one thread.
 */

#ifndef QCOW_DISK_DIFF_H
#define QCOW_DISK_DIFF_H

#include "disk/map.h"

/* A map that can be asked for a place again, and only goes forward. */
struct diff_cursor {
  bool begun;
  struct map map;
  struct run run; /* if begun: the last one that was found */
};

struct diff {
  const struct qcow_view *view;
  const struct diff_base *base;
  struct lookup *lookup;
  uint64_t offset, end; /* guest range that is still to be walked */
  uint64_t span_end;    /* how far the cursors may look */
  struct diff_cursor new_upper, old_upper, new, old;
};

/* Start to walk [offset, offset + length), which lies in the view, and compare
 * it with view->since.  The lookup must live as long as the diff.  Its
 * kinds_only must be false: data in another place has changed.
 */
void diff_begin (struct diff *d, const struct qcow_view *view,
                 struct lookup *lookup, uint64_t offset, uint64_t length);

/* The next piece: *run is what the view has there (its kind only where it
 * changed, else of no meaning).  1; 0: at the end; -1: an L2 table could
 * not be read (reported; errno EIO or ENOMEM).
 */
int diff_next (struct diff *d, struct run *run, bool *changed);

void diff_end (struct diff *d);

#endif /* QCOW_DISK_DIFF_H */
