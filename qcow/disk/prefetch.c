/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is prefetched.  See prefetch.h.
 */

#include "base/cache.h"
#include "base/minmax.h"
#include "disk/prefetch.h"
#include "disk/slice.h"

/* The most of a table that is prefetched at once. */
#define TABLE_PART (UINT64_C (1) << 20)

/* The most tables, and bytes of tables, that are prefetched ahead. */
#define MAX_TABLES_AHEAD 63
#define MAX_TABLE_BYTES_AHEAD (UINT64_C (4) << 20)

/* Tables count as used in order if they are fewer than this many L1 entries
 * apart.
 */
#define MAX_TABLES_APART 1024

/* --- L2 tables --- */

/* The part of the table at 'host' that contains byte 'in_table'. */
static struct source_range
table_part (const struct image *image, uint64_t host, uint64_t in_table)
{
  const uint64_t bytes = UINT64_C (1)
                         << entry_l2_table_shift (&image->geometry);
  const uint64_t start = round_down64 (in_table, TABLE_PART);

  return (struct source_range){ host + start,
                                (size_t) min64 (bytes - start, TABLE_PART),
                                NULL };
}

/* The table of 'l1_index' is needed.  Decide which further tables to prefetch:
 * at most *count, those of the L1 entries from the returned index on.  A table
 * that was cached for another reason is no sign of a sequence.
 */
static uint64_t
plan_ahead (struct tables_ahead *ahead, uint64_t l1_index, bool cached,
            unsigned *count)
{
  const uint64_t first = __atomic_load_n (&ahead->first, __ATOMIC_RELAXED);
  const uint64_t end = __atomic_load_n (&ahead->end, __ATOMIC_RELAXED);
  unsigned n = __atomic_load_n (&ahead->count, __ATOMIC_RELAXED);
  const bool prefetched = first <= l1_index && l1_index < end;
  const bool in_order
    = end > 0 && l1_index >= end && l1_index - end < MAX_TABLES_APART;
  const uint64_t from = prefetched ? end : l1_index + 1;

  *count = 0;
  /* Return if more than half of the last batch is still ahead. */
  if (prefetched ? n == 0 || end - l1_index > n / 2 : cached)
    return from;
  if (!prefetched && !in_order)
    n = 0;
  else
    n = (unsigned) min64 (n == 0 ? 1 : 2 * n, MAX_TABLES_AHEAD);
  __atomic_store_n (&ahead->first, l1_index, __ATOMIC_RELAXED);
  __atomic_store_n (&ahead->end, from, __ATOMIC_RELAXED);
  __atomic_store_n (&ahead->count, n, __ATOMIC_RELAXED);
  *count = n;
  return from;
}

/* Fill 'ranges' with the tables to prefetch in addition to that of 'l1_index'.
 * Returns their number.
 */
static size_t
next_tables (const struct layer *layer, uint64_t l1_index, bool cached,
             struct source_range ranges[MAX_TABLES_AHEAD])
{
  struct image *image = layer->image;
  unsigned count;
  uint64_t i = plan_ahead (&image->ahead, l1_index, cached, &count);
  uint64_t bytes = 0;
  size_t n = 0;

  if (count == 0)
    return 0;
  for (; i < layer->l1->size && n < count && bytes < MAX_TABLE_BYTES_AHEAD
         && i - l1_index < MAX_TABLES_APART;
       ++i) {
    const struct entry e = layer_l1_entry (layer, i);

    if (e.kind != ENTRY_NORMAL)
      continue;
    ranges[n] = table_part (image, e.host, 0);
    bytes += ranges[n++].length;
  }
  __atomic_store_n (&image->ahead.end, i, __ATOMIC_RELAXED);
  return n;
}

static bool
is_cached (const struct image *image, struct cache_key key)
{
  struct source_pin slice;

  if (!image_peek_slice (image, key, (size_t) 1 << slice_bits (image), &slice))
    return false;
  cache_release (slice.entry);
  return true;
}

/* (The source skips what is cached or in flight.) */
void
prefetch_table (const struct layer *layer, uint64_t offset)
{
  struct source_range ranges[1 + MAX_TABLES_AHEAD];
  const struct image *image = layer->image;
  uint64_t l1_index, in_table;
  struct entry e;
  bool cached;
  size_t n = 0;

  if (image == NULL || !image->source->remote || offset >= layer->size)
    return;
  l1_index = offset >> header_l1_shift (&image->header);
  e = layer_l1_entry (layer, l1_index);
  if (e.kind != ENTRY_NORMAL)
    return;
  in_table = slice_in_table (image, offset);
  cached = is_cached (image, slice_key (image, e.host + in_table));
  if (!cached)
    ranges[n++] = table_part (image, e.host, in_table);
  n += next_tables (layer, l1_index, cached, &ranges[n]);
  if (n > 0)
    source_prefetch (image->source, ranges, n);
}

void
prefetch_layers (const struct qcow_view *view, uint64_t offset)
{
  unsigned i;

  if (view->remote)
    for (i = 0; i < view->nr_layers; ++i)
      prefetch_table (&view->layers[i], offset);
}

/* --- Data and streams --- */

/* Prefetch all ranges, adjacent ones of the same source in one call.  Empties
 * the list.
 */
static void
prefetch_all (struct ranges *ranges)
{
  size_t i, n;

  for (i = 0; i < ranges->n; i += n) {
    for (n = 1; i + n < ranges->n; ++n)
      if (ranges->sources[i + n] != ranges->sources[i])
        break;
    source_prefetch (ranges->sources[i], &ranges->list[i], n);
  }
  ranges->n = 0;
}

void
prefetch_other_sources (const struct ranges *ranges)
{
  size_t i;

  for (i = 1; i < ranges->n; ++i)
    if (ranges->sources[i] != ranges->sources[0]
        && ranges->sources[i]->remote) {
      struct source_range range = ranges->list[i];

      source_prefetch (ranges->sources[i], &range, 1);
    }
}

void
prefetch_streams (struct ranges *streams, size_t room)
{
  uint64_t bytes = 0;
  size_t i;

  for (i = 0; i < streams->n; ++i)
    bytes += streams->list[i].length;
  if (bytes > room)
    prefetch_all (streams);
  streams->n = 0;
}

/* --- Requests of clients --- */

void
prefetch_begin (struct prefetch_batch *p, const struct cache *cache)
{
  p->ranges.n = 0;
  p->inflate_room = cache_capacity (cache) / 4;
}

/* Damage is reported by the read that finds it. */
bool
prefetch_add (struct prefetch_batch *p, const struct run *run)
{
  switch (run->kind) {
  case RUN_HOLE:
  case RUN_ZERO:
  case RUN_BAD:
    return false;
  case RUN_DATA:
    ranges_add (&p->ranges, run->source, run->host, (size_t) run->length,
                NULL);
    return false;
  case RUN_COMPRESSED:
    break;
  }
  if (p->inflate_room >= image_cluster_size (run->image)) {
    p->inflate_room -= image_cluster_size (run->image);
    return true;
  }
  ranges_add (&p->ranges, run->source, run->host, run->bound, NULL);
  return false;
}

void
prefetch_run (struct prefetch_batch *p)
{
  prefetch_all (&p->ranges);
}
