/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (layer, guest range) -> pieces.  See walk.h.
 *
 * find_piece decodes one L2 entry, or steps over a stretch of empty L1
 * entries; extend_in_slice decodes the entries that follow.  Its loop is what
 * the map of a large image takes its time for: a few instructions per entry.
 *
 * L2 tables are read and cached in slices, so that a random read in a
 * large image does not fetch a whole table.  Entries are read in place.
 */

#include <errno.h>
#include <inttypes.h>

#include "base/minmax.h"
#include "disk/walk.h"

/* A slice of 16 KiB has 2048 entries: 128 MiB of a disk with 64 KiB
 * clusters.  A read of 16 KiB from the page cache takes little longer than
 * one of 4 KiB, and a map of a whole image has a quarter of the look-ups;
 * beyond that, gains are small, and random reads over a large image would
 * fill the cache with entries that nobody wants.
 */
#define SLICE_BITS 14

/* The constants of an image's geometry. */
static unsigned
cluster_bits (const struct walk *w)
{
  return w->layer->image->geometry.cluster_bits;
}

/* log2 of the guest bytes that an L1 entry spans. */
static unsigned
l1_shift (const struct walk *w)
{
  return header_l1_shift (&w->layer->image->header);
}

/* log2 of the bytes of an L2 entry. */
static unsigned
entry_shift (const struct walk *w)
{
  return w->layer->image->geometry.extended ? 4 : 3;
}

static unsigned
slice_bits (const struct walk *w)
{
  const unsigned bits = entry_l2_table_shift (&w->layer->image->geometry);

  return bits < SLICE_BITS ? bits : SLICE_BITS;
}

/* log2 of the guest bytes that a slice spans. */
static unsigned
slice_shift (const struct walk *w)
{
  return cluster_bits (w) + slice_bits (w) - entry_shift (w);
}

/* Where in its L2 table the slice of w->offset begins, in bytes. */
static uint64_t
slice_in_table (const struct walk *w)
{
  return (w->offset & ((UINT64_C (1) << l1_shift (w)) - 1))
         >> slice_shift (w) << slice_bits (w);
}

/* The next boundary of 1 << shift bytes after 'offset', or the largest
 * number if there is none.
 */
static uint64_t
next_boundary (uint64_t offset, unsigned shift)
{
  const uint64_t mask = (UINT64_C (1) << shift) - 1;

  return (offset | mask) == UINT64_MAX ? UINT64_MAX : (offset | mask) + 1;
}

void
walk_begin (struct walk *w, const struct layer *layer, struct lookup *lookup,
            uint64_t offset, uint64_t length)
{
  w->layer = layer;
  w->lookup = lookup;
  w->offset = offset;
  w->end = offset + length;
  w->slice.entry = NULL;
  w->slice_start = w->slice_end = 0;
}

void
walk_release (struct walk *w)
{
  if (w->slice.entry)
    cache_release (w->slice.entry);
  w->slice.entry = NULL;
  w->slice_start = w->slice_end = 0;
}

/* How far the L1 entries from the one of 'offset' on are empty, or lie
 * beyond the table.
 */
static uint64_t
empty_l1_end (const struct walk *w, uint64_t offset)
{
  const struct l1_table *l1 = w->layer->l1;
  const struct entry_geometry *geometry = &w->layer->image->geometry;
  const unsigned shift = l1_shift (w);
  uint64_t i = offset >> shift;

  while (i < l1->size && (i << shift) < w->end
         && entry_l1 (geometry, l1->entries[i]).kind == ENTRY_UNALLOCATED)
    ++i;
  if (i >= l1->size)
    return w->end;
  return min64 (i << shift, w->end);
}

/* --- Remote images --- */

/* No request for tables is larger. */
#define TABLE_PART (UINT64_C (1) << 20)

/* How many tables, and bytes of them, are asked for ahead. */
#define MAX_TABLES_AHEAD 64
#define MAX_TABLE_BYTES_AHEAD (UINT64_C (4) << 20)

/* L1 entries without a table do not end a walk from one to the next. */
#define MAX_TABLES_APART 1024

/* The part of the table at 'host' that has the byte 'in_table'. */
static struct source_range
table_part (const struct image *image, uint64_t host, uint64_t in_table)
{
  const uint64_t bytes = UINT64_C (1)
                         << entry_l2_table_shift (&image->geometry);
  const uint64_t start = in_table / TABLE_PART * TABLE_PART;

  return (struct source_range){ host + start,
                                (size_t) min64 (bytes - start, TABLE_PART),
                                NULL };
}

/* Which tables to ask for with the one of this L1 entry: those of the entries
 * from the result on, *count of them.  None, unless tables are asked for in
 * their order; then more and more, and before the last ones are used up.  A
 * table that is cached and was not asked for changes nothing.
 */
static uint64_t
plan_ahead (struct image *image, uint64_t l1_index, bool cached,
            unsigned *count)
{
  const uint64_t first
    = __atomic_load_n (&image->first_table, __ATOMIC_RELAXED);
  const uint64_t next = __atomic_load_n (&image->next_table, __ATOMIC_RELAXED);
  unsigned n = __atomic_load_n (&image->tables_ahead, __ATOMIC_RELAXED);
  const bool asked = first <= l1_index && l1_index < next;
  const bool goes_on
    = next > 0 && l1_index >= next && l1_index - next < MAX_TABLES_APART;

  *count = 0;
  if (asked ? n == 0 || next - l1_index > n / 2 : cached)
    return next;
  if (asked || goes_on)
    n = n == 0 ? 1 : n < MAX_TABLES_AHEAD / 2 ? 2 * n : MAX_TABLES_AHEAD - 1;
  else
    n = 0;
  __atomic_store_n (&image->first_table, l1_index, __ATOMIC_RELAXED);
  __atomic_store_n (&image->next_table, asked ? next : l1_index + 1,
                    __ATOMIC_RELAXED);
  __atomic_store_n (&image->tables_ahead, n, __ATOMIC_RELAXED);
  *count = n;
  return asked ? next : l1_index + 1;
}

/* The slice 'key' of the table of this L1 entry is wanted: ask for the table
 * if it is not cached, and for those that will be wanted next.  What is cached
 * or in flight is not asked for again.
 */
static void
ask_for_tables (const struct layer *layer, uint64_t l1_index,
                uint64_t in_table, struct cache_key key, size_t size)
{
  struct image *image = layer->image;
  struct source_range ranges[MAX_TABLES_AHEAD];
  struct source_pin slice;
  const bool cached = image_peek_slice (image, key, size, &slice);
  uint64_t bytes = 0, i;
  unsigned ahead, left;
  size_t n = 0;

  if (cached)
    cache_release (slice.entry);
  else
    ranges[n++] = table_part (image, key.host - in_table, in_table);
  i = plan_ahead (image, l1_index, cached, &ahead);
  for (left = ahead;
       i < layer->l1->size && left > 0 && bytes < MAX_TABLE_BYTES_AHEAD
       && i - l1_index < MAX_TABLES_APART;
       ++i) {
    const struct entry e = entry_l1 (&image->geometry, layer->l1->entries[i]);

    if (e.kind != ENTRY_NORMAL)
      continue;
    ranges[n] = table_part (image, e.host, 0);
    bytes += ranges[n++].length;
    left--;
  }
  if (ahead > 0)
    __atomic_store_n (&image->next_table, i, __ATOMIC_RELAXED);
  if (n > 0)
    source_prefetch (image->source, ranges, n);
}

void
walk_prefetch (const struct layer *layer, uint64_t offset)
{
  struct image *image = layer->image;
  struct walk w;
  struct entry e;
  uint64_t l1_index, in_table;

  if (image == NULL || !image->source->remote || offset >= layer->size)
    return;
  walk_begin (&w, layer, NULL, offset, 1);
  l1_index = offset >> l1_shift (&w);
  if (l1_index >= layer->l1->size)
    return;
  e = entry_l1 (&image->geometry, layer->l1->entries[l1_index]);
  if (e.kind != ENTRY_NORMAL)
    return;
  in_table = slice_in_table (&w);
  ask_for_tables (layer, l1_index, in_table,
                  (struct cache_key){ e.host + in_table, image->id, 0 },
                  (size_t) 1 << slice_bits (&w));
}

/* Pin a slice of this L1 entry's table. */
static int
get_slice (struct walk *w, uint64_t l1_index, uint64_t in_table,
           struct cache_key key)
{
  const struct image *image = w->layer->image;
  const size_t size = (size_t) 1 << slice_bits (w);
  struct lookup *lookup = w->lookup;

  if (lookup->slices_left == 0) {
    errno = ERANGE;
    return -1;
  }
  if (lookup->slices_left != UINT_MAX)
    lookup->slices_left--;
  if (lookup->cached_only) {
    if (!image_peek_slice (image, key, size, &w->slice)) {
      errno = EAGAIN;
      return -1;
    }
  }
  else {
    if (image->source->remote)
      ask_for_tables (w->layer, l1_index, in_table, key, size);
    if (image_get_slice (image, key, size, &w->slice) == -1)
      return -1;
  }
  lookup_expired (lookup); /* this may have taken long */
  return 0;
}

/* Make the slice for w->offset the current one.  1: done; 0: there is no
 * L2 table and *piece says what is there instead; -1: error.
 */
static int
enter_slice (struct walk *w, struct run *piece)
{
  struct image *image = w->layer->image;
  const uint64_t l1_index = w->offset >> l1_shift (w);
  const uint64_t slice_mask = (UINT64_C (1) << slice_shift (w)) - 1;
  struct cache_key key;
  uint64_t in_table;
  struct entry e;

  walk_release (w);

  if (l1_index >= w->layer->l1->size)
    e = (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  else
    e = entry_l1 (&image->geometry, w->layer->l1->entries[l1_index]);

  switch (e.kind) {
  case ENTRY_NORMAL:
    break;
  case ENTRY_BAD:
    *piece = (struct run){
      .kind = RUN_BAD,
      .fault = e.fault,
      .host = e.host,
      .image = image,
      .offset = w->offset,
      .length
      = min64 (next_boundary (w->offset, l1_shift (w)), w->end) - w->offset,
    };
    return 0;
  default:
    *piece = (struct run){
      .kind = RUN_HOLE,
      .offset = w->offset,
      .length = empty_l1_end (w, w->offset) - w->offset,
    };
    return 0;
  }

  in_table = slice_in_table (w);
  key = (struct cache_key){ e.host + in_table, image->id, 0 };
  if (get_slice (w, l1_index, in_table, key) == -1)
    return -1;
  w->slice_start = w->offset & ~slice_mask;
  w->slice_end = next_boundary (w->offset, slice_shift (w));
  return 1;
}

static inline enum run_kind
run_kind (enum entry_kind kind)
{
  switch (kind) {
  case ENTRY_UNALLOCATED:
    return RUN_HOLE;
  case ENTRY_ZERO:
    return RUN_ZERO;
  case ENTRY_NORMAL:
    return RUN_DATA;
  case ENTRY_COMPRESSED:
    return RUN_COMPRESSED;
  case ENTRY_BAD:
    break;
  }
  return RUN_BAD;
}

/* The entry for 'offset', which lies in the current slice.  *end is where
 * what it says ends: the cluster's end, or that of a run of equal
 * subclusters.  If NORMAL, 'host' is the place of 'offset' itself.
 */
static inline __attribute__ ((always_inline)) struct entry
entry_at (const struct entry_geometry *geometry, const uint64_t *entries,
          uint64_t index, uint64_t offset, uint64_t *end)
{
  const unsigned bits = geometry->cluster_bits;
  const uint64_t guest = offset >> bits << bits;
  unsigned sub_end;
  struct entry e;

  if (geometry->extended) {
    const unsigned sub_bits = bits - QCOW_SUBCLUSTER_BITS;

    e = entry_l2_extended (
      geometry, be64toh (entries[2 * index]), be64toh (entries[2 * index + 1]),
      guest, (unsigned) ((offset - guest) >> sub_bits), &sub_end);
    *end = guest + ((uint64_t) sub_end << sub_bits);
  }
  else {
    e = entry_l2 (geometry, be64toh (entries[index]), guest);
    *end = guest + (UINT64_C (1) << bits);
  }
  if (e.kind == ENTRY_NORMAL)
    e.host += offset - guest;
  return e;
}

/* Find what is stored at w->offset: one entry, or what the L1 table alone
 * says.  Does not advance.  0, or -1 as walk_next.
 */
static int
find_piece (struct walk *w, struct run *piece)
{
  struct image *image = w->layer->image;
  struct entry e;
  uint64_t end;

  if (!walk_in_slice (w)) {
    const int r = enter_slice (w, piece);

    if (r != 1)
      return r;
  }

  e = entry_at (
    &image->geometry, (const uint64_t *) (const void *) w->slice.data,
    (w->offset - w->slice_start) >> cluster_bits (w), w->offset, &end);
  *piece = (struct run){
    .kind = run_kind (e.kind),
    .fault = e.fault,
    .offset = w->offset,
    .length = min64 (end, w->end) - w->offset,
    .image = image,
    .source = image->data,
    .host = e.host,
    .bound = e.bound,
  };
  return 0;
}

/* w->offset is where 'run' ends, in the current slice.  Extend the run by the
 * entries that join it.
 */
static void
extend_in_slice (struct walk *w, struct run *run)
{
  const struct entry_geometry geometry = w->layer->image->geometry;
  const uint64_t *entries = (const uint64_t *) (const void *) w->slice.data;
  const uint64_t slice_start = w->slice_start;
  const uint64_t limit = min64 (w->slice_end, w->end);
  const bool kinds_only = w->lookup->kinds_only;
  uint64_t offset = w->offset;

  while (offset < limit) {
    uint64_t end;
    const struct entry e = entry_at (
      &geometry, entries, (offset - slice_start) >> geometry.cluster_bits,
      offset, &end);

    if (!run_joins (run, run_kind (e.kind), run->source, e.host, kinds_only))
      break;
    end = min64 (end, limit);
    run->length += end - offset;
    offset = end;
  }
  w->offset = offset;
}

/* A raw file is one run. */
static int
next_raw (struct walk *w, struct run *piece)
{
  *piece = (struct run){
    .kind = RUN_DATA,
    .offset = w->offset,
    .length = w->end - w->offset,
    .source = w->layer->source,
    .host = w->offset,
  };
  w->offset = w->end;
  return 1;
}

int
walk_next (struct walk *w, struct run *piece)
{
  if (w->offset >= w->end)
    return 0;
  if (w->layer->image == NULL)
    return next_raw (w, piece);
  if (find_piece (w, piece) == -1)
    return -1;
  w->offset += piece->length;
  if (walk_in_slice (w))
    extend_in_slice (w, piece);
  return 1;
}
