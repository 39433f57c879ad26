/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (view, guest range) -> runs.  The heart: everything else either feeds
 * it or consumes it.
 *
 * A run is the longest guest range that is stored in one way.  Runs join
 * across clusters, L2 tables and L1 entries.  A struct map walks a range
 * and gives its runs in order; it belongs to one thread.
 *
 * While it stands in an L2 table, a map pins one slice of that in the
 * cache.  It may wait for another thread to load a slice, but holds no
 * pin then.
 */

#ifndef QCOW_MAP_H
#define QCOW_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"

enum run_kind {
  RUN_HOLE,       /* nobody has it: zeros */
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
  struct image *image;    /* whose run it is */
  struct source *source;  /* where its bytes are, if DATA or COMPRESSED */
  uint64_t host;          /* if BAD: the offset that was found */
  uint32_t bound;         /* if COMPRESSED: the stream's length is at most */
};

struct map {
  const struct qcow_view *view;
  uint64_t offset, end; /* guest range that is still to be walked */

  /* The slice of an L2 table that was used last: entries for
   * [slice_start, slice_end) of the guest.  Pinned; NULL: none.
   */
  struct cache_entry *slice;
  uint64_t slice_start, slice_end;

  bool kinds_only;

  /* What was found beyond the slice of the last run, and did not join
   * it.
   */
  bool have_next;
  struct run next;
};

/* Start to walk [offset, offset + length), which lies in the view.  With
 * kinds_only, runs that differ in nothing but their place in the file are
 * joined, and 'host' and 'bound' are of no meaning.
 */
void map_begin (struct map *m, const struct qcow_view *view, uint64_t offset,
                uint64_t length, bool kinds_only);

/* The next run, clipped to the range.  1: *run is set; 0: the range is at
 * its end; -1: an L2 table could not be read (reported; errno EIO or
 * ENOMEM).
 */
int map_next (struct map *m, struct run *run);

/* Drop the pin; must be called before anything that may wait, and at the
 * end.  map_next may be called again.
 */
void map_release (struct map *m);

#endif /* QCOW_MAP_H */
