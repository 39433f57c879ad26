/* SPDX-License-Identifier: BSD-3-Clause
 *
 * (view, guest range) -> runs.  See map.h.
 *
 * For each place the layers are asked from the top down, until one has
 * something there.  A layer's answer is a run, which is kept until the map
 * has gone past its end; so in the usual case, that a layer has nothing or
 * everything far and wide, going through it costs a comparison, and the
 * tables of no layer are walked twice.
 *
 * How far a layer is walked at once is bounded by a window, that grows as
 * the map goes on: a client that asks for the first extent of a whole disk
 * must not have the whole disk walked through in each layer, just to get
 * a short answer.
 *
 * Reads of long chains would still ask every layer for every request.  So
 * the runs of a region, REGION_CLUSTERS of the view, are kept in the cache
 * once they are known, and the next request finds them there.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "disk/map.h"
#include "disk/prefetch.h"

/* Bytes of the guest.  With small clusters some microseconds of walking in
 * each layer; of a larger window, more would be thrown away by clients that
 * ask for one extent at a time, as qemu does.
 */
#define FIRST_WINDOW (UINT64_C (1) << 20)

/* From this many layers on a region is worth its place in the cache.  With
 * fewer, most of the time goes elsewhere.
 */
#define REGION_MIN_LAYERS 4

/* A region in clusters of the top layer, 4 MiB of the usual ones: eight
 * requests of nbdcopy.  One that has more runs than REGION_RUNS is not
 * kept: its layers are small things everywhere.
 */
#define REGION_CLUSTER_BITS 6
#define REGION_RUNS 64

/* Nor is one that is in more slices of L2 tables: some for each layer, and
 * some more where the clusters of one are small.
 */
#define REGION_SLICES(layers) (4 * (layers) + 128)

/* Longer requests are those for extents of many regions, which would only
 * fill the cache.
 */
#define MAX_REGION_REQUEST (UINT64_C (64) << 20)

/* For who does not want to wait for ever: windows that take so long do not
 * grow any more.
 */
#define SLOW_WINDOW_MS 50

/* How often to look at the clock, when pieces are small. */
#define PIECES_PER_LOOK 64

/* What the cache keeps: the runs in order, without gaps.  0: too many, or not
 * worth another attempt.
 */
struct region {
  unsigned count;
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
  /* One layer has no windows. */
  m->window_end = one_layer (m) ? m->end : offset;
  m->use_regions = view->nr_layers >= REGION_MIN_LAYERS && view->id != 0
                   && !lookup->kinds_only && length <= MAX_REGION_REQUEST;
  m->region = NULL;
  m->have_next = false;
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

/* --- Asking the layers --- */

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

/* Make found[i] the run of the layer at m->offset. */
static int
look_into (struct map *m, unsigned i)
{
  const struct layer *layer = &m->view->layers[i];
  struct run *run = &m->found[i];
  uint64_t end;

  /* Below its end a layer has nothing, nor has what is below it. */
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

/* The part of a run that lies in [offset, end). */
static void
cut_run (const struct run *run, uint64_t offset, uint64_t end,
         struct run *part)
{
  *part = *run;
  part->offset = offset;
  part->length = min64 (run->offset + run->length, end) - offset;
  if (run->kind == RUN_DATA)
    part->host += offset - run->offset;
}

/* One that is larger than the last, unless that has taken long already. */
static void
next_window (struct map *m)
{
  if (m->lookup->deadline != UINT64_MAX) {
    const uint64_t now = monotonic_ms ();

    if (m->window > FIRST_WINDOW && now > m->window_began + SLOW_WINDOW_MS)
      m->window /= 2;
    m->window_began = now;
  }
  m->window_end = min64 (m->end, m->offset + m->window);
  m->window *= 2;
}

/* What is stored at m->offset, as far as all layers have been looked into.
 * Does not advance.  0, or -1 on error.
 */
static int
ask_layers (struct map *m, struct run *piece)
{
  uint64_t end = m->end;
  unsigned i;

  if (m->found == NULL && make_found (m) == -1)
    return -1;
  if (m->offset >= m->window_end)
    next_window (m);

  for (i = 0; i < m->view->nr_layers; ++i) {
    struct run *run = &m->found[i];

    if (m->offset >= run->offset + run->length && look_into (m, i) == -1)
      return -1;
    end = min64 (end, run->offset + run->length);
    if (run->kind != RUN_HOLE)
      break;
    /* What is beyond its end is nobody's. */
    if (m->offset >= m->view->layers[i].size)
      break;
  }
  if (i == m->view->nr_layers)
    --i;

  cut_run (&m->found[i], m->offset, end, piece);
  return 0;
}

/* --- Regions --- */

static int join_pieces (struct map *m, struct run *run);

/* Find out what is in the region, which may take tables that the request does
 * not need.  It must not wait for a web server for those: there, as far as
 * they are at hand.  0, or -1: they are not.  Of a local file one that can't
 * be read delays one request.
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
  bool not_cached;

  lookup.cached_only = view->remote;
  lookup.slices_left = REGION_SLICES (view->nr_layers);
  region->count = 0;
  map_begin (&m, view, &lookup, start, length);
  m.use_regions = false;
  m.window = length; /* or each window would count a slice again */
  while ((r = join_pieces (&m, &run)) == 1 && region->count < REGION_RUNS)
    region->runs[region->count++] = run;
  not_cached = r == -1 && errno == EAGAIN;
  if (r != 0)
    region->count = 0;
  map_end (&m);
  return not_cached ? -1 : 0;
}

/* Pin the region of m->offset if that is possible. */
static bool
enter_region (struct map *m)
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

/* What the region says of m->offset.  False if there is none that does. */
static bool
ask_region (struct map *m, struct run *piece)
{
  const struct region *region;
  unsigned low = 0, high;

  if (!enter_region (m)) {
    /* Not again for each piece of the request. */
    m->use_regions = false;
    return false;
  }
  region = (const struct region *) (const void *) m->region->data;
  if (region->count == 0)
    return false;
  /* The last run that begins at or before the offset. */
  high = region->count - 1;
  while (low < high) {
    const unsigned mid = low + (high - low + 1) / 2;

    if (region->runs[mid].offset <= m->offset)
      low = mid;
    else
      high = mid - 1;
  }
  cut_run (&region->runs[low], m->offset, m->end, piece);
  return true;
}

/* --- Joining --- */

/* Find what is stored at m->offset.  Does not advance m->offset.  0, or -1 on
 * error.
 */
static int
find_piece (struct map *m, struct run *piece)
{
  if (one_layer (m))
    return walk_next (&m->walk, piece) == 1 ? 0 : -1;
  if (m->use_regions && ask_region (m, piece))
    return 0;
  return ask_layers (m, piece);
}

/* True if nothing more can join the run that ends at m->offset, or nothing
 * more should, since the deadline has passed.  The clock is read only now and
 * then: every few pieces, and before a new window, since a window may take
 * long.  (The walk reads it after each slice.)
 */
static bool
ends_here (struct map *m, unsigned pieces)
{
  if (m->offset >= m->end || (one_layer (m) && walk_in_slice (&m->walk)))
    return true;
  if (pieces % PIECES_PER_LOOK == 0 || m->offset >= m->window_end)
    return lookup_expired (m->lookup);
  return m->lookup->expired;
}

/* Join pieces to the longest run.  Returns as map_next. */
static int
join_pieces (struct map *m, struct run *run)
{
  unsigned pieces = 0;

  if (m->offset >= m->end)
    return 0;
  if (m->have_next)
    *run = m->next;
  else if (find_piece (m, run) == -1)
    return -1;
  m->have_next = false;
  m->offset += run->length;

  while (!ends_here (m, ++pieces)) {
    /* On failure, return what was found.  The next call tries again, and
     * returns the error.
     */
    if (find_piece (m, &m->next) == -1)
      break;
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
  static const char *const names[]
    = { "hole", "zero", "data", "compressed", "bad" };
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
