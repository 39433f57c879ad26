/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (view, guest range) -> runs.  Reads and extents are made of runs, and know
 * nothing else of how a disk is stored.
 *
 * What a layer does not have is looked up in the layer below.  A run is as
 * long as possible: it joins across clusters, L2 tables, L1 entries and
 * layers.
 *
 * A struct map gives the runs of a range in order.  It belongs to one thread.
 * Whatever the number of layers, it pins at most one region (map.c) and one
 * slice of an L2 table in the cache; while it waits for another thread, it
 * pins nothing.
 */

#ifndef QCOW_DISK_MAP_H
#define QCOW_DISK_MAP_H

#include "disk/walk.h"

struct map {
  const struct qcow_view *view;
  struct lookup *lookup;
  uint64_t offset, end; /* guest range that is still to be mapped */

  struct walk walk;            /* of the layer 'walking' … */
  const struct layer *walking; /* … NULL: not begun */

  /* If there are several layers: the last piece of each.  It is valid for its
   * whole range, so no part of a layer is walked twice.  NULL: no layer was
   * walked yet.
   */
  struct run *found;
  struct run found_inline[4];  /* enough for most chains */
  uint64_t window, window_end; /* bytes; guest offset */
  uint64_t window_began;       /* monotonic_ms, if there is a deadline */

  bool use_regions;
  struct cache_entry *region; /* pinned; NULL: none */
  uint64_t region_number;

  bool have_next; /* 'next' begins at 'offset': it did not join the last run */
  struct run next;
};

/* The cache must accept entries of this many bytes: slices of L2 tables, and
 * regions.
 */
#define MAP_LARGEST_CACHED (16U << 10)

/* Start to map [offset, offset + length), which lies in the view.  The lookup
 * must live as long as the map.
 */
void map_begin (struct map *m, const struct qcow_view *view,
                struct lookup *lookup, uint64_t offset, uint64_t length);

/* Find the next run, clipped to the range.  1: *run is set; 0: the range is at
 * its end; -1: an L2 table could not be read (reported; errno EIO, ENOMEM or
 * ESHUTDOWN).
 */
int map_next (struct map *m, struct run *run);

/* Unpin everything.  To be called before anything that may wait.  map_next may
 * be called again.
 */
void map_release (struct map *m);

/* Unpin everything, and free the memory of the map.  Keeps errno. */
void map_end (struct map *m);

#endif /* QCOW_DISK_MAP_H */
