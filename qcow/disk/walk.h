/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (layer, guest range) -> runs: what one layer alone stores.
 *
 * A run is the longest guest range that is stored in one way.  Runs join
 * across clusters, L2 tables and L1 entries.  A struct walk gives the
 * runs of a range in order; it belongs to one thread.
 *
 * While it stands in an L2 table, a walk pins one slice of that in the
 * cache.  It may wait for another thread to load a slice, but holds no
 * pin then.
 */

#ifndef QCOW_DISK_WALK_H
#define QCOW_DISK_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/layer.h"
#include "disk/lookup.h"

enum run_kind {
  RUN_HOLE,       /* this layer has nothing; of a view: zeros */
  RUN_ZERO,       /* stored as zeros */
  RUN_DATA,       /* at 'host' of 'source', contiguous */
  RUN_COMPRESSED, /* part or all of one cluster, stream at 'host' */
  RUN_BAD,        /* part or all of a cluster that can't be read, or all
                     that an L2 table would map */
};

struct run {
  enum run_kind kind;
  enum entry_fault fault; /* if BAD */
  uint64_t offset;        /* guest, bytes */
  uint64_t length;        /* bytes, > 0 */
  struct image *image;    /* whose run it is; NULL: a raw file's, or a hole */
  struct source *source;  /* where its bytes are, if DATA or COMPRESSED */
  uint64_t host;          /* if BAD: the offset that was found */
  uint32_t bound;         /* if COMPRESSED: the stream's length is at most */
};

struct walk {
  const struct layer *layer;
  struct lookup *lookup;
  uint64_t offset, end; /* guest range that is still to be walked */

  /* The slice of an L2 table that was used last: entries for
   * [slice_start, slice_end) of the guest.  Pinned; entry NULL: none.
   */
  struct source_pin slice;
  uint64_t slice_start, slice_end;

  /* What was found beyond the slice of the last run, and did not join
   * it.
   */
  bool have_next;
  struct run next;
};

/* Start to walk [offset, offset + length), which lies in the layer's size. */
void walk_begin (struct walk *w, const struct layer *layer,
                 struct lookup *lookup, uint64_t offset, uint64_t length);

/* Find the next run, clipped to the range.  1: *run is set; 0: the range is
 * at its end; -1: an L2 table could not be read (reported; errno EIO, ENOMEM
 * or ESHUTDOWN), or the lookup does not allow it (not reported; EAGAIN or
 * ERANGE).
 */
int walk_next (struct walk *w, struct run *run);

/* Of a remote image: ask for the L2 table of that place, if it is not
 * there, but do not wait for it.
 */
void walk_prefetch (const struct layer *layer, uint64_t offset);

/* Drop the pin; must be called before anything that may wait, and at the
 * end.  walk_next may be called again.
 */
void walk_release (struct walk *w);

/* Is 'next', which begins where 'run' ends, stored in the same way? */
static inline bool
run_joins (const struct run *run, enum run_kind kind,
           const struct source *source, uint64_t host, bool kinds_only)
{
  if (run->kind != kind)
    return false;
  switch (kind) {
  case RUN_HOLE:
  case RUN_ZERO:
    return true;
  case RUN_DATA:
    return kinds_only
           || (run->source == source && run->host + run->length == host);
  case RUN_COMPRESSED:
    return kinds_only;
  case RUN_BAD:
    break;
  }
  return false;
}

#endif /* QCOW_DISK_WALK_H */
