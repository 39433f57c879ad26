/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (two views, guest range) -> what changed from the older to the newer.
 *
 * Only metadata is compared, not data: equal bytes in different places count
 * as changed.  The views share their lower layers.  A range that only shared
 * layers store is unchanged, and is not looked up there.
 *
 * A struct diff belongs to one thread.
 */

#ifndef QCOW_DISK_DIFF_H
#define QCOW_DISK_DIFF_H

#include "disk/map.h"

/* A map that finds the run at an offset; offsets must ascend. */
struct diff_cursor {
  bool started;
  struct map map;
  struct run run; /* if started: the last run of the map */
};

struct diff {
  const struct qcow_view *view;
  const struct diff_base *base;
  struct lookup *lookup;
  uint64_t offset, end; /* guest range still to compare */
  uint64_t span_end;    /* the cursors do not look up anything past this */
  struct diff_cursor new_upper, old_upper, new, old;
};

/* Start to compare [offset, offset + length), which must lie in the view, with
 * view->since.  The lookup must live as long as the diff.  Its kinds_only must
 * be false: data in another place has changed.
 */
void diff_begin (struct diff *d, const struct qcow_view *view,
                 struct lookup *lookup, uint64_t offset, uint64_t length);

/* Find the next piece that is entirely changed or entirely unchanged.  Returns
 * 1 with *changed and *run set.  *run is a run of the newer view; if the piece
 * is unchanged, only offset and length are defined.  Returns 0 at the end of
 * the range, or -1: an L2 table could not be read (reported; errno EIO or
 * ENOMEM), or the wait for it ended (ESHUTDOWN).
 */
int diff_next (struct diff *d, struct run *run, bool *changed);

/* Unpin everything.  Call this before anything that can wait.  diff_next may
 * be called again.
 */
void diff_release (struct diff *d);

void diff_end (struct diff *d);

#endif /* QCOW_DISK_DIFF_H */
