/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (two views, guest range) -> what has changed from the older to the newer.
 *
 * Only metadata is compared, no data: equal bytes in different places count
 * as changed.  Both views see the same in the layers that they have in
 * common, so a range that is in no layer above those is unchanged, and nothing
 * is looked up in the common layers for it.
 *
 * A struct diff belongs to one thread.
 */

#ifndef QCOW_DISK_DIFF_H
#define QCOW_DISK_DIFF_H

#include "disk/map.h"

/* A map that returns the run at an offset; offsets only ascend. */
struct diff_cursor {
  bool begun;
  struct map map;
  struct run run; /* if begun: the last run of the map */
};

struct diff {
  const struct qcow_view *view;
  const struct diff_base *base;
  struct lookup *lookup;
  uint64_t offset, end; /* guest range that is still to be compared */
  uint64_t span_end;    /* the cursors do not look beyond this */
  struct diff_cursor new_upper, old_upper, new, old;
};

/* Start to compare [offset, offset + length), which lies in the view, with
 * view->since.  The lookup must live as long as the diff.  Its kinds_only must
 * be false: data in another place has changed.
 */
void diff_begin (struct diff *d, const struct qcow_view *view,
                 struct lookup *lookup, uint64_t offset, uint64_t length);

/* Find the next piece, which has changed as a whole, or not.  *run is what the
 * view has there; of an unchanged piece, only its range is defined.  1: *run
 * and *changed are set; 0: the range is at its end; -1: an L2 table could not
 * be read (reported; errno EIO, ENOMEM or ESHUTDOWN).
 */
int diff_next (struct diff *d, struct run *run, bool *changed);

void diff_end (struct diff *d);

#endif /* QCOW_DISK_DIFF_H */
