/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (layer, guest range) -> pieces.  See walk.h.
 *
 * find_entry decodes one L2 entry, or skips empty L1 entries.  extend_in_slice
 * decodes the entries that follow.  Mapping a large image spends most of its
 * time in that loop: a few instructions per entry.
 *
 * Entries are read in place, from the slice in the cache (slice.h).
 */

#include <errno.h>
#include <inttypes.h>

#include "base/minmax.h"
#include "disk/prefetch.h"
#include "disk/slice.h"
#include "disk/walk.h"

/* log2 of the guest bytes that an L1 entry spans. */
static unsigned
l1_shift (const struct walk *w)
{
  return header_l1_shift (&w->layer->image->header);
}

/* Returns the next multiple of 1 << shift after 'offset', or UINT64_MAX if
 * there is none.
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

/* The L1 entry for 'offset' is empty.  Returns the guest offset of the next
 * one that is not, or the end of the walk.
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

/* Pin the slice for w->offset, which has this key.  Returns 0, or -1 as
 * walk_next.
 */
static int
get_slice (struct walk *w, struct cache_key key)
{
  const struct image *image = w->layer->image;
  const size_t size = (size_t) 1 << slice_bits (image);
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
      prefetch_table (w->layer, w->offset);
    if (image_get_slice (image, key, size, &w->slice) == -1)
      return -1;
  }
  lookup_expired (lookup); /* reading can take long */
  return 0;
}

/* Make the slice for w->offset the current one.  Returns 1; 0 if there is no
 * L2 table, with *piece set from the L1 table; or -1 as walk_next.
 */
static int
enter_slice (struct walk *w, struct run *piece)
{
  struct image *image = w->layer->image;
  const struct entry e = layer_l1_entry (w->layer, w->offset >> l1_shift (w));
  const unsigned shift = slice_shift (image);

  walk_release (w);
  switch (e.kind) {
  case ENTRY_NORMAL:
    break;
  case ENTRY_ZERO:
  case ENTRY_COMPRESSED: /* never in an L1 table */
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
  case ENTRY_UNALLOCATED:
    *piece = (struct run){
      .kind = RUN_HOLE,
      .offset = w->offset,
      .length = empty_l1_end (w, w->offset) - w->offset,
    };
    return 0;
  }

  if (get_slice (w,
                 slice_key (image, e.host + slice_in_table (image, w->offset)))
      == -1)
    return -1;
  w->slice_start = w->offset >> shift << shift;
  w->slice_end = next_boundary (w->offset, shift);
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

/* Decode entry 'index' of the slice for this guest offset.  *end is set to the
 * end of its cluster, or of its run of equal subclusters.  If NORMAL, 'host'
 * is where the byte at 'offset' is stored.
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

/* Find the piece at w->offset, from one L2 entry or from the L1 table alone.
 * Does not advance.  Returns 0, or -1 as walk_next.
 */
static int
find_entry (struct walk *w, struct run *piece)
{
  struct image *image = w->layer->image;
  struct entry e;
  uint64_t end;

  if (!walk_in_slice (w)) {
    const int r = enter_slice (w, piece);

    if (r != 1)
      return r;
  }

  e = entry_at (&image->geometry,
                (const uint64_t *) (const void *) w->slice.data,
                (w->offset - w->slice_start) >> image->geometry.cluster_bits,
                w->offset, &end);
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

/* 'run' ends at w->offset, in the current slice.  Extend it by the entries
 * that join it.
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
  if (find_entry (w, piece) == -1)
    return -1;
  w->offset += piece->length;
  if (walk_in_slice (w))
    extend_in_slice (w, piece);
  return 1;
}
