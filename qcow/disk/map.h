/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (view, guest range) -> runs.  The heart: everything else either feeds
 * it or consumes it.
 *
 * What a layer does not have is looked for in the next one below; runs
 * join across layers, too.  A struct map gives the runs of a range in
 * order; it belongs to one thread.  Whatever the number of layers, it pins
 * no more than one region (see map.c) and one slice of an L2 table, and
 * nothing while it may have to wait.
 */

#ifndef QCOW_DISK_MAP_H
#define QCOW_DISK_MAP_H

#include "disk/walk.h"

struct map {
  const struct qcow_view *view;
  struct lookup *lookup;
  uint64_t offset, end; /* guest range that is still to be mapped */

  struct walk walk; /* of the layer 'walking' */
  const struct layer *walking;

  /* Views of several layers: for each, the last run that was found in it.
   * It is good for all of its range, so no layer is walked twice.  NULL:
   * no layer was looked into yet.
   */
  struct run *found;
  struct run found_inline[4]; /* enough for most chains */
  uint64_t window, window_end;
  uint64_t window_began; /* monotonic_ms, if there is a deadline */

  bool use_regions;
  struct cache_entry *region; /* pinned; NULL: none */
  uint64_t region_number;

  bool have_next; /* a piece that did not join the last run */
  struct run next;
};

/* The cache must have room for entries of that many bytes besides inflated
 * clusters: slices of L2 tables, and regions.
 */
#define MAP_LARGEST_CACHED (16U << 10)

/* Start to map [offset, offset + length), which lies in the view.  The lookup
 * must live as long as the map.
 */
void map_begin (struct map *m, const struct qcow_view *view,
                struct lookup *lookup, uint64_t offset, uint64_t length);

/* Find the next run, clipped to the range.  In a view, RUN_HOLE reads as
 * zeros.  1: *run is set; 0: the range is at its end; -1: an L2 table could
 * not be read (reported; errno EIO, ENOMEM or ESHUTDOWN).
 */
int map_next (struct map *m, struct run *run);

/* Drop the pins; must be called before anything that may wait.  map_next
 * may be called again.
 */
void map_release (struct map *m);

/* The same at the end, and free what belongs to the map. */
void map_end (struct map *m);

#endif /* QCOW_DISK_MAP_H */
