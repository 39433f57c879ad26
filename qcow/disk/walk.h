/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (layer, guest range) -> pieces: what one layer alone stores.
 *
 * A piece is a run that ends, at the latest, where its slice of the L2 table
 * ends: map.c joins the pieces of adjacent slices.  Within a slice, a piece is
 * as long as possible.  Consecutive L1 entries without L2 tables form one
 * piece.
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
  uint64_t offset, end; /* guest range still to walk */

  /* The current slice of an L2 table, which has the entries for guest range
   * [slice_start, slice_end).  Pinned, unless slice.entry is NULL.
   */
  struct source_pin slice;
  uint64_t slice_start, slice_end;
};

/* Start to walk [offset, offset + length), which must lie in the layer. */
void walk_begin (struct walk *w, const struct layer *layer,
                 struct lookup *lookup, uint64_t offset, uint64_t length);

/* Find the next piece, clipped to the range.  Returns 1 with *piece set; 0 at
 * the end of the range; or -1: an L2 table could not be read (reported; errno
 * EIO or ENOMEM), the wait for it ended (ESHUTDOWN), or the lookup's limits
 * are reached (not reported; EAGAIN or ERANGE).
 */
int walk_next (struct walk *w, struct run *piece);

/* True if the current slice continues after the last piece.  Then the next
 * entry does not join that piece, or walk_next would have joined it.
 */
static inline bool
walk_in_slice (const struct walk *w)
{
  return w->slice.entry && w->offset >= w->slice_start
         && w->offset < w->slice_end && w->offset < w->end;
}

/* Unpin the slice.  Call this before anything that can wait, and at the end.
 * walk_next may be called again.
 */
void walk_release (struct walk *w);

#endif /* QCOW_DISK_WALK_H */
