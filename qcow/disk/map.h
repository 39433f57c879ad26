/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (view, guest range) -> runs.  Reads and extents use runs, and know nothing
 * else about how a disk is stored.
 *
 * What a layer does not store is looked up in the layer below.  A run is as
 * long as possible: it extends across clusters, L2 tables, L1 entries and
 * layers.
 *
 * A struct map finds the runs of a range in order.  It belongs to one thread.
 * Whatever the number of layers, it pins at most one region (map.c) and one
 * slice of an L2 table in the cache.  While it waits for another thread, it
 * pins no slice, and of regions only one that holds no runs ("unknown").
 */

#ifndef QCOW_DISK_MAP_H
#define QCOW_DISK_MAP_H

#include "disk/walk.h"

struct map {
  const struct qcow_view *view;
  struct lookup *lookup;
  uint64_t offset, end; /* guest range still to map */

  struct walk walk;            /* the current walk … */
  const struct layer *walking; /* … and its layer; NULL: none yet */

  /* With several layers: the last piece of each.  It is valid for its whole
   * range, so no part of a layer is walked twice.  NULL until a layer is
   * walked.
   */
  struct run *found;
  struct run found_inline[4]; /* enough for most chains */

  uint64_t window;       /* bytes of the next window */
  uint64_t window_end;   /* of the current window, a guest offset */
  uint64_t window_start; /* monotonic_ms, if there is a deadline */

  bool use_regions;
  struct cache_entry *region; /* pinned; NULL: none */
  uint64_t region_number;

  bool have_next; /* 'next' begins at 'offset': it did not join the last run */
  struct run next;
  int error; /* errno for the next call of map_next to fail with; 0: none */
};

/* The cache must accept entries of this many bytes: slices of L2 tables, and
 * regions.
 */
#define MAP_LARGEST_CACHED (16U << 10)

/* Start to map [offset, offset + length), which must lie in the view.  The
 * lookup must live as long as the map.
 */
void map_begin (struct map *m, const struct qcow_view *view,
                struct lookup *lookup, uint64_t offset, uint64_t length);

/* Find the next run, clipped to the range.  Returns 1 with *run set; 0 at the
 * end of the range; or -1: an L2 table could not be read (reported; errno EIO
 * or ENOMEM), or the wait for it ended (ESHUTDOWN).  After an error, map_next
 * may be called again, and retries.
 */
int map_next (struct map *m, struct run *run);

/* Unpin everything.  Call this before anything that can wait.  map_next may be
 * called again.
 */
void map_release (struct map *m);

/* Unpin everything, and free the memory of the map.  Keeps errno. */
void map_end (struct map *m);

#endif /* QCOW_DISK_MAP_H */
