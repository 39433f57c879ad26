/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (view, guest range) -> runs.  See map.h.
 *
 * next_piece finds what one L2 entry says, or a stretch of empty L1
 * entries in one step; map_next joins pieces to a run.  Within a slice
 * extend_in_slice does that in a loop of a few instructions for each
 * entry, which is what the map of a large image takes its time for.
 *
 * L2 tables are read and cached in slices, so that a random read in a
 * large image does not fetch a whole table.  Entries are read in place.
 */

#include <errno.h>
#include <inttypes.h>

#include "map.h"

/* A slice of 16 KiB has 2048 entries: 128 MiB of a disk with 64 KiB
 * clusters.  A read of 16 KiB from the page cache takes little longer than
 * one of 4 KiB, and a map of a whole image has a quarter of the look-ups;
 * beyond that, gains are small, and random reads over a large image would
 * fill the cache with entries that nobody wants.
 */
#define SLICE_BITS 14

/* The constants of a view's geometry. */
static unsigned
cluster_bits (const struct map *m)
{
  return m->view->image->header.cluster_bits;
}

/* log2 of the guest bytes that an L1 entry spans. */
static unsigned
l1_shift (const struct map *m)
{
  return 2 * cluster_bits (m) - 3;
}

static unsigned
slice_bits (const struct map *m)
{
  return cluster_bits (m) < SLICE_BITS ? cluster_bits (m) : SLICE_BITS;
}

/* log2 of the guest bytes that a slice spans. */
static unsigned
slice_shift (const struct map *m)
{
  return cluster_bits (m) + slice_bits (m) - 3;
}

static uint64_t
min64 (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
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
map_begin (struct map *m, const struct qcow_view *view, uint64_t offset,
           uint64_t length, bool kinds_only)
{
  m->view = view;
  m->offset = offset;
  m->end = offset + length;
  m->slice = NULL;
  m->slice_start = m->slice_end = 0;
  m->kinds_only = kinds_only;
  m->have_next = false;
}

void
map_release (struct map *m)
{
  if (m->slice)
    cache_release (m->slice);
  m->slice = NULL;
  m->slice_start = m->slice_end = 0;
}

/* Pin the slice at 'host' of the image. */
static int
get_slice (struct map *m, uint64_t host)
{
  struct image *image = m->view->image;
  const size_t size = (size_t) 1 << slice_bits (m);
  const struct cache_key key = { host, image->id, 0 };

  for (;;) {
    switch (cache_claim (image->cache, key, size, 1, &m->slice)) {
    case CACHE_READY:
      return 0;

    case CACHE_MINE:
      if (source_read (image->source, m->slice->data, size, host) == -1) {
        cache_fail (m->slice);
        m->slice = NULL;
        return -1;
      }
      cache_fill (m->slice);
      return 0;

    case CACHE_BUSY:
      if (cache_wait (m->slice) == 0)
        return 0;
      m->slice = NULL;
      break; /* it failed for the other: try ourselves */

    case CACHE_FULL: /* not with 'must' */
    case CACHE_NO_MEMORY:
      m->slice = NULL;
      return error_report (image->hooks, ENOMEM, image->name, "out of memory");
    }
  }
}

/* How far the L1 entries from the one of 'offset' on are empty, or lie
 * beyond the table.
 */
static uint64_t
empty_l1_end (const struct map *m, uint64_t offset)
{
  const struct qcow_view *view = m->view;
  const unsigned shift = l1_shift (m);
  uint64_t i = offset >> shift;

  while (i < view->l1_size && (i << shift) < m->end
         && (view->l1[i] & QCOW_ENTRY_OFFSET_MASK) == 0)
    ++i;
  if (i >= view->l1_size)
    return m->end;
  return min64 (i << shift, m->end);
}

/* Make the slice for m->offset the current one.  1: done; 0: there is no
 * L2 table and *piece says what is there instead; -1: error.
 */
static int
enter_slice (struct map *m, struct run *piece)
{
  struct image *image = m->view->image;
  const uint64_t l1_index = m->offset >> l1_shift (m);
  const uint64_t slice_mask = (UINT64_C (1) << slice_shift (m)) - 1;
  uint64_t in_table;
  struct entry e;

  map_release (m);

  if (l1_index >= m->view->l1_size)
    e = (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  else
    e = entry_l1 (&image->rules, m->view->l1[l1_index]);

  switch (e.kind) {
  case ENTRY_NORMAL:
    break;
  case ENTRY_BAD:
    *piece = (struct run){
      .kind = RUN_BAD,
      .fault = e.fault,
      .host = e.host,
      .image = image,
      .offset = m->offset,
      .length
      = min64 (next_boundary (m->offset, l1_shift (m)), m->end) - m->offset,
    };
    return 0;
  default:
    *piece = (struct run){
      .kind = RUN_HOLE,
      .offset = m->offset,
      .length = empty_l1_end (m, m->offset) - m->offset,
    };
    return 0;
  }

  /* Where in the table the slice of this offset begins, in bytes. */
  in_table = (m->offset & ((UINT64_C (1) << l1_shift (m)) - 1))
             >> slice_shift (m) << slice_bits (m);
  if (get_slice (m, e.host + in_table) == -1)
    return -1;
  m->slice_start = m->offset & ~slice_mask;
  m->slice_end = next_boundary (m->offset, slice_shift (m));
  return 1;
}

static bool
in_slice (const struct map *m)
{
  return m->slice && m->offset >= m->slice_start && m->offset < m->slice_end
         && m->offset < m->end;
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

/* What is stored at m->offset, up to the end of the cluster or further.
 * Does not advance.  1, or -1 on error.
 */
static int
next_piece (struct map *m, struct run *piece)
{
  struct image *image = m->view->image;
  const unsigned bits = cluster_bits (m);
  uint64_t in_cluster;
  struct entry e;
  const uint64_t *entries;

  if (!in_slice (m)) {
    const int r = enter_slice (m, piece);

    if (r != 1)
      return r == 0 ? 1 : -1;
  }

  entries = (const uint64_t *) (const void *) m->slice->data;
  e = entry_l2 (&image->rules,
                be64toh (entries[(m->offset - m->slice_start) >> bits]));
  in_cluster = m->offset & ((UINT64_C (1) << bits) - 1);

  piece->offset = m->offset;
  piece->length
    = min64 ((UINT64_C (1) << bits) - in_cluster, m->end - m->offset);
  piece->fault = e.fault;
  piece->image = image;
  piece->source = image->source;
  piece->host = e.host;
  piece->bound = e.bound;
  piece->kind = run_kind (e.kind);
  if (piece->kind == RUN_DATA)
    piece->host += in_cluster;
  return 1;
}

/* Does something of a kind, at 'host' if it has a place, go on where 'run'
 * ends?
 */
static inline bool
goes_on (const struct map *m, const struct run *run, enum run_kind kind,
         uint64_t host)
{
  if (run->kind != kind)
    return false;
  switch (kind) {
  case RUN_HOLE:
  case RUN_ZERO:
    return true;
  case RUN_DATA:
    return m->kinds_only || run->host + run->length == host;
  case RUN_COMPRESSED:
    return m->kinds_only;
  case RUN_BAD:
    break;
  }
  return false;
}

/* m->offset is where 'run' ends, in the current slice: take what goes on
 * there into the run.
 */
static void
extend_in_slice (struct map *m, struct run *run)
{
  const struct entry_rules rules = m->view->image->rules;
  const unsigned bits = rules.cluster_bits;
  const uint64_t *entries = (const uint64_t *) (const void *) m->slice->data;
  const uint64_t end = min64 (m->slice_end, m->end);
  uint64_t offset = m->offset;

  while (offset < end) {
    const struct entry e = entry_l2 (
      &rules, be64toh (entries[(offset - m->slice_start) >> bits]));
    const uint64_t n = min64 (UINT64_C (1) << bits, end - offset);

    if (!goes_on (m, run, run_kind (e.kind), e.host))
      break;
    run->length += n;
    offset += n;
  }
  m->offset = offset;
}

static void
debug_run (const struct map *m, const struct run *run)
{
  static const char *const names[]
    = { "hole", "zero", "data", "compressed", "bad" };
  const struct image *image = m->view->image;

  error_debug (image->hooks, image->name,
               "run: %" PRIu64 "+%" PRIu64 " %s host %" PRIu64, run->offset,
               run->length, names[run->kind], run->host);
}

int
map_next (struct map *m, struct run *run)
{
  if (m->offset >= m->end)
    return 0;

  if (m->have_next)
    *run = m->next;
  else if (next_piece (m, run) == -1)
    return -1;
  m->have_next = false;
  m->offset += run->length;

  for (;;) {
    if (in_slice (m)) {
      extend_in_slice (m, run);
      if (in_slice (m))
        break;
    }
    if (m->offset >= m->end)
      break;
    /* What was found is good, whatever comes next: that is for the next
     * call to find again.
     */
    if (next_piece (m, &m->next) == -1)
      break;
    if (!goes_on (m, run, m->next.kind, m->next.host)) {
      m->have_next = true;
      break;
    }
    run->length += m->next.length;
    m->offset += m->next.length;
  }

  if (m->view->image->debug_runs)
    debug_run (m, run);
  return 1;
}
