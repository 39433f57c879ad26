/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (layer, guest range) -> pieces: what one layer alone stores.
 *
 * A piece is a run that is not joined with what follows it in the next slice
 * of an L2 table; map.c does that.  Within a slice it is as long as it can be.
 * A stretch of L1 entries without L2 tables is one piece.
 *
 * A struct walk gives the pieces of a range in order.  It belongs to one
 * thread.  It pins one slice in the cache; while it waits for another thread
 * to load a slice, it pins none.
 */

#ifndef QCOW_DISK_WALK_H
#define QCOW_DISK_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/layer.h"
#include "disk/lookup.h"
#include "disk/run.h"

struct walk {
  const struct layer *layer;
  struct lookup *lookup;
  uint64_t offset, end; /* guest range that is still to be walked */

  /* The current slice of an L2 table: entries for [slice_start, slice_end)
   * of the guest.  Pinned; entry NULL: none.
   */
  struct source_pin slice;
  uint64_t slice_start, slice_end;
};

/* Start to walk [offset, offset + length), which lies in the layer's size. */
void walk_begin (struct walk *w, const struct layer *layer,
                 struct lookup *lookup, uint64_t offset, uint64_t length);

/* Find the next piece, clipped to the range.  1: *piece is set; 0: the range
 * is at its end; -1: an L2 table could not be read (reported; errno EIO,
 * ENOMEM or ESHUTDOWN), or the lookup does not allow it (not reported; EAGAIN
 * or ERANGE).
 */
int walk_next (struct walk *w, struct run *piece);

/* True if the current slice goes on after the last piece.  What follows does
 * not join the piece then, or walk_next would have joined it.
 */
static inline bool
walk_in_slice (const struct walk *w)
{
  return w->slice.entry && w->offset >= w->slice_start
         && w->offset < w->slice_end && w->offset < w->end;
}

/* Unpin the slice.  To be called before anything that may wait, and at the
 * end.  walk_next may be called again.
 */
void walk_release (struct walk *w);

#endif /* QCOW_DISK_WALK_H */
