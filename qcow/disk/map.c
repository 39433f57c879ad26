/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (view, guest range) -> runs.  See map.h.
 *
 * With one layer, the map walks it and joins its pieces.  With several, it
 * looks up each offset from the top layer down until a layer stores something
 * there.  It keeps the last piece of each layer until it has passed the end of
 * that piece.  Pieces are usually long, so visiting a layer mostly costs one
 * comparison.
 *
 * A window limits how far ahead layers are walked.  It grows as the map
 * advances.  Without it, a client that requests the first extent of a disk
 * would wait until each layer was walked to its end.
 *
 * Each request to a long chain would still walk all layers.  So the runs of a
 * whole region of the disk are cached, and later requests use them.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "disk/map.h"
#include "disk/prefetch.h"

/* Guest bytes.  With small clusters, walking this much takes some microseconds
 * in each layer.  If clients request one extent at a time, as qemu does, most
 * of a larger window would be walked in vain.
 */
#define FIRST_WINDOW (UINT64_C (1) << 20)

/* With fewer layers, a request spends most of its time elsewhere, and a region
 * is not worth its place in the cache.
 */
#define REGION_MIN_LAYERS 4

/* log2 of the number of clusters (of the top layer) in a region: 4 MiB with 64
 * KiB clusters, eight requests of nbdcopy.  A region with more than
 * REGION_RUNS runs is not cached.
 */
#define REGION_CLUSTER_BITS 6
#define REGION_RUNS 64

/* A region whose entries are in more slices of L2 tables is not cached either.
 * The limit allows a few for each layer, and more for layers with small
 * clusters.
 */
#define REGION_SLICES(layers) (4 * (layers) + 128)

/* Longer requests do not use regions.  They ask for extents, and their many
 * regions would only fill the cache.
 */
#define MAX_REGION_REQUEST (UINT64_C (64) << 20)

/* With a deadline set, windows stop growing once one takes this long. */
#define SLOW_WINDOW_MS 50

/* Pieces between two readings of the clock. */
#define PIECES_PER_CHECK 64

/* A region in the cache: its runs in order, without gaps. */
struct region {
  unsigned count; /* 0: unknown; do not retry */
  struct run runs[REGION_RUNS];
};

_Static_assert(sizeof (struct region) <= MAP_LARGEST_CACHED,
               "a region fits in the cache");

static bool
one_layer (const struct map *m)
{
  return m->view->nr_layers == 1;
}

static unsigned
region_shift (const struct qcow_view *view)
{
  return view->cluster_bits + REGION_CLUSTER_BITS;
}

void
map_begin (struct map *m, const struct qcow_view *view, struct lookup *lookup,
           uint64_t offset, uint64_t length)
{
  m->view = view;
  m->lookup = lookup;
  m->offset = offset;
  m->end = offset + length;
  m->walking = NULL;
  m->found = NULL;
  m->window = FIRST_WINDOW;
  m->window_end = one_layer (m) ? m->end : offset; /* one layer: no windows */
  m->use_regions = view->nr_layers >= REGION_MIN_LAYERS && view->id != 0
                   && !lookup->kinds_only && length <= MAX_REGION_REQUEST;
  m->region = NULL;
  m->have_next = false;
  m->error = 0;
  if (one_layer (m)) {
    m->walking = &view->layers[0];
    walk_begin (&m->walk, m->walking, lookup, offset, length);
  }
}

void
map_release (struct map *m)
{
  if (m->walking)
    walk_release (&m->walk);
  if (m->region)
    cache_release (m->region);
  m->region = NULL;
}

void
map_end (struct map *m)
{
  KEEP_ERRNO;

  map_release (m);
  if (m->found != m->found_inline)
    free (m->found);
}

/* --- Layers --- */

static int
make_found (struct map *m)
{
  const unsigned n = m->view->nr_layers;
  unsigned i;

  m->found = m->found_inline;
  if (n > sizeof m->found_inline / sizeof m->found_inline[0])
    m->found = malloc (n * sizeof m->found[0]);
  if (m->found == NULL)
    return error_no_memory (m->view->context->hooks, m->view->name);
  for (i = 0; i < n; ++i)
    m->found[i].offset = m->found[i].length = 0;
  if (!m->lookup->cached_only)
    prefetch_layers (m->view, m->offset);
  return 0;
}

/* Make found[i] the piece of layer i at m->offset. */
static int
walk_layer (struct map *m, unsigned i)
{
  const struct layer *layer = &m->view->layers[i];
  struct run *run = &m->found[i];
  uint64_t end;

  /* A layer's end hides everything below it. */
  if (m->offset >= layer->size) {
    *run = (struct run){ .kind = RUN_HOLE,
                         .offset = m->offset,
                         .length = m->end - m->offset };
    return 0;
  }

  end = min64 (layer->size, m->window_end);
  if (m->walking != layer || m->walk.offset != m->offset
      || m->walk.end != end) {
    if (m->walking)
      walk_release (&m->walk);
    m->walking = layer;
    walk_begin (&m->walk, layer, m->lookup, m->offset, end - m->offset);
  }
  return walk_next (&m->walk, run) == 1 ? 0 : -1;
}

/* Start a window, larger than the last one unless that took long. */
static void
next_window (struct map *m)
{
  if (m->lookup->deadline != UINT64_MAX) {
    const uint64_t now = monotonic_ms ();

    if (m->window > FIRST_WINDOW && now > m->window_start + SLOW_WINDOW_MS)
      m->window /= 2;
    m->window_start = now;
  }
  m->window_end = min64 (m->end, m->offset + m->window);
  m->window *= 2;
}

/* Find the piece at m->offset in the topmost layer that stores something
 * there.  Does not advance.  Returns 0, or -1 as map_next.
 */
static int
find_in_layers (struct map *m, struct run *piece)
{
  uint64_t end = m->end;
  unsigned i;

  if (m->found == NULL && make_found (m) == -1)
    return -1;
  if (m->offset >= m->window_end)
    next_window (m);

  for (i = 0; i < m->view->nr_layers; ++i) {
    struct run *run = &m->found[i];

    if (m->offset >= run->offset + run->length && walk_layer (m, i) == -1)
      return -1;
    end = min64 (end, run->offset + run->length);
    if (run->kind != RUN_HOLE)
      break;
    /* A layer's end hides everything below it. */
    if (m->offset >= m->view->layers[i].size)
      break;
  }
  if (i == m->view->nr_layers)
    --i;

  *piece = run_cut (&m->found[i], m->offset, end);
  return 0;
}

/* --- Regions --- */

static int join_pieces (struct map *m, struct run *run);

/* Find the runs of a region.  This can need tables that the request does not
 * need, so in a remote view it uses only cached tables.  Returns -1 if one is
 * not cached, or if the wait for one ended (ESHUTDOWN): a later request can
 * succeed.  Otherwise returns 0.  If a table can't be read, the region is
 * unknown.
 */
static int
fill_region (const struct qcow_view *view, uint64_t number,
             struct region *region)
{
  const uint64_t start = number << region_shift (view);
  const uint64_t length
    = min64 (view->size - start, UINT64_C (1) << region_shift (view));
  struct lookup lookup = LOOKUP_INIT;
  struct map m;
  struct run run;
  int r;
  bool retry;

  lookup.cached_only = view->remote;
  lookup.slices_left = REGION_SLICES (view->nr_layers);
  region->count = 0;
  map_begin (&m, view, &lookup, start, length);
  m.use_regions = false;
  m.window = length; /* each window would count the same slices again */
  while ((r = join_pieces (&m, &run)) == 1 && region->count < REGION_RUNS)
    region->runs[region->count++] = run;
  retry = r == -1 && (errno == EAGAIN || errno == ESHUTDOWN);
  if (r != 0)
    region->count = 0;
  map_end (&m);
  return retry ? -1 : 0;
}

/* Pin the region of m->offset.  Returns false if that is not possible. */
static bool
get_region (struct map *m)
{
  const uint64_t number = m->offset >> region_shift (m->view);
  const struct cache_key key = { number, m->view->id, 0 };
  struct cache_entry *entry;

  if (m->region && m->region_number == number)
    return true;
  map_release (m); /* we may have to wait */

  switch (cache_claim (m->view->context->cache, key, sizeof (struct region), 0,
                       &entry)) {
  case CACHE_READY:
    break;
  case CACHE_MINE:
    if (fill_region (m->view, number, (struct region *) (void *) entry->data)
        == -1) {
      cache_fail (entry);
      return false;
    }
    cache_fill (entry);
    break;
  case CACHE_BUSY:
    if (cache_wait (entry, m->view->context->hooks) == -1)
      return false;
    break;
  default:
    return false;
  }
  m->region = entry;
  m->region_number = number;
  return true;
}

/* Find the piece at m->offset in its region.  Returns false if the region is
 * unknown.
 */
static bool
find_in_region (struct map *m, struct run *piece)
{
  const struct region *region;
  unsigned low = 0, high;

  if (!get_region (m)) {
    /* Do not retry for each piece of the request. */
    m->use_regions = false;
    return false;
  }
  region = (const struct region *) (const void *) m->region->data;
  if (region->count == 0)
    return false;
  /* Find the last run that begins at or before the offset. */
  high = region->count - 1;
  while (low < high) {
    const unsigned mid = low + (high - low + 1) / 2;

    if (region->runs[mid].offset <= m->offset)
      low = mid;
    else
      high = mid - 1;
  }
  *piece = run_cut (&region->runs[low], m->offset, m->end);
  return true;
}

/* --- Joining --- */

/* Find the piece at m->offset.  Does not advance.  Returns 0, or -1 as
 * map_next.
 */
static int
find_piece (struct map *m, struct run *piece)
{
  if (one_layer (m))
    return walk_next (&m->walk, piece) == 1 ? 0 : -1;
  if (m->use_regions && find_in_region (m, piece))
    return 0;
  return find_in_layers (m, piece);
}

/* True if the run that ends at m->offset is complete: nothing can join it, or
 * the deadline has passed.  The clock is read only every few pieces, and
 * before a new window, since a window can take long.  (The walk reads it after
 * each slice.)
 */
static bool
ends_here (struct map *m, unsigned pieces)
{
  if (m->offset >= m->end || (one_layer (m) && walk_in_slice (&m->walk)))
    return true;
  if (pieces % PIECES_PER_CHECK == 0 || m->offset >= m->window_end)
    return lookup_expired (m->lookup);
  return m->lookup->expired;
}

/* Join pieces to the longest possible run.  Returns as map_next. */
static int
join_pieces (struct map *m, struct run *run)
{
  unsigned pieces = 0;

  if (m->offset >= m->end)
    return 0;
  if (m->error != 0) {
    errno = m->error;
    m->error = 0;
    return -1;
  }
  if (m->have_next)
    *run = m->next;
  else if (find_piece (m, run) == -1)
    return -1;
  m->have_next = false;
  m->offset += run->length;

  while (!ends_here (m, ++pieces)) {
    /* On failure, return the run found so far.  The next call returns the
     * error, which is already reported, without another attempt.
     */
    if (find_piece (m, &m->next) == -1) {
      m->error = errno;
      break;
    }
    if (!run_joins (run, m->next.kind, m->next.source, m->next.host,
                    m->lookup->kinds_only)) {
      m->have_next = true;
      break;
    }
    run->length += m->next.length;
    m->offset += m->next.length;
  }
  return 1;
}

static void
debug_run (const struct map *m, const struct run *run)
{
  static const char *const names[] = {
    [RUN_HOLE] = "hole", [RUN_ZERO] = "zero",
    [RUN_DATA] = "data", [RUN_COMPRESSED] = "compressed",
    [RUN_BAD] = "bad",
  };
  const char *name = run->image    ? run->image->name
                     : run->source ? run->source->name
                                   : m->view->name;

  error_debug (m->view->context->hooks, name,
               "run: 0x%" PRIx64 "+%" PRIu64 " %s host 0x%" PRIx64,
               run->offset, run->length, names[run->kind], run->host);
}

int
map_next (struct map *m, struct run *run)
{
  const int r = join_pieces (m, run);

  if (r == 1 && m->view->context->debug_runs)
    debug_run (m, run);
  return r;
}
