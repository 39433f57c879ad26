/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Prefetch: which tables are requested from their source before
 * they are needed.
 *
 * 1. L2 tables.  If a slice of an L2 table of a remote image is not cached,
 *    the whole table is prefetched (at most 1 MiB of it at once).  As long as
 *    tables are used in the order of their L1 entries, those of the next
 *    entries are prefetched, too: each time twice as many, up to 63 tables or
 *    4 MiB, and before the last ones are used up.
 * 2. Layers.  Before a map looks into several layers, the tables of all of
 *    them are prefetched: most will be needed, and this takes one round trip
 *    instead of one for each layer.
 *
 * What else of a remote source is read ahead, because its bytes are read in
 * order, is decided in source/readahead.h.
 *
 * These functions do not wait and do not fail.  Any thread may call them.
 * Their only state is struct tables_ahead of each image.
 */

#ifndef QCOW_DISK_PREFETCH_H
#define QCOW_DISK_PREFETCH_H

#include <stdint.h>

#include "disk/layer.h"

/* Rule 1: the slice for this guest offset is needed. */
void prefetch_table (const struct layer *layer, uint64_t offset);

/* Rule 2: a map of the view begins at this guest offset. */
void prefetch_layers (const struct qcow_view *view, uint64_t offset);

#endif /* QCOW_DISK_PREFETCH_H */
