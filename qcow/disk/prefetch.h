/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Prefetch: which tables and clusters to request from their source before they
 * are needed.
 *
 * 1. L2 tables.  If a slice of an L2 table of a remote image is not cached,
 *    the whole table is prefetched (at most 1 MiB of it at once).  While
 *    tables are used in the order of their L1 entries, the tables of the next
 *    entries are prefetched, too, before the last batch is used up.  Each
 *    batch has twice as many tables as the last, up to 63 tables or 4 MiB.
 * 2. Layers.  Before a map looks into several layers, the tables of all
 *    layers are prefetched.  Most will be needed, and this takes one round
 *    trip instead of one for each layer.
 * 3. Reads.  Before a request waits for one source, its ranges of other
 *    remote sources are prefetched.  Compressed streams that do not fit into
 *    the workspace are read in parts; before the first part, all are
 *    prefetched.
 * 4. Prefetch requests of clients (qcow_prefetch).  Compressed clusters are
 *    inflated into the cache, up to a quarter of its size, since more would
 *    evict the first ones.  Everything else is left to the sources.  A request
 *    ends after one second, since it is only a hint.
 *
 * source/readahead.h decides what else to read ahead in a remote source that
 * is read sequentially.
 *
 * These functions do not wait and do not fail.  Any thread may call them.
 * Their only state is the struct tables_ahead of each image.
 */

#ifndef QCOW_DISK_PREFETCH_H
#define QCOW_DISK_PREFETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/layer.h"
#include "disk/ranges.h"
#include "disk/run.h"

/* Rule 1: the slice for this guest offset is needed. */
void prefetch_table (const struct layer *layer, uint64_t offset);

/* Rule 2: a map of the view begins at this guest offset. */
void prefetch_layers (const struct qcow_view *view, uint64_t offset);

/* Rule 3: the ranges will be read, those of the first range's source first. */
void prefetch_other_sources (const struct ranges *ranges);

/* Rule 3: these streams will be read, at most 'room' bytes at once.  Empties
 * the list.
 */
void prefetch_streams (struct ranges *streams, size_t room);

/* Rule 4. */
#define PREFETCH_MS 1000

struct prefetch_batch {
  struct ranges ranges;
  uint64_t inflate_room; /* bytes left to inflate */
};

void prefetch_begin (struct prefetch_batch *p, const struct cache *cache);

/* Returns true if the caller must inflate the run's cluster into the cache.
 * Otherwise there is nothing to prefetch, or prefetch_run does it.  p->ranges
 * must have room for one more.
 */
bool prefetch_add (struct prefetch_batch *p, const struct run *run);

void prefetch_run (struct prefetch_batch *p);

#endif /* QCOW_DISK_PREFETCH_H */
