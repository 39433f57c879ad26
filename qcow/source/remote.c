/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A remote object as a source.  A request costs a round trip, so requests are
 * few, and made in parallel.
 *
 * Tables that are used in slices are used in place, in their block
 * (remote_pin).  Small reads of data go through the blocks in the cache
 * (blocks.h), together with the stream's next blocks (readahead.h).  Large
 * reads of data, tables that the caller keeps, and blocks for which the cache
 * has no room bypass the cache: they copy what is cached or being fetched, and
 * fetch the rest directly to the caller's memory.
 *
 * If requests are cheap and the server is near, small reads bypass the cache,
 * too: the copy from a block costs as much as a request.  Only streams of
 * reads that are smaller than a block are still read ahead.
 *
 * A server that knows where holes are is asked for one large window of the
 * object at a time, when a client first wants to know.
 *
 * Locking: 'lock' guards only the streams, and is not held during I/O.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fragments.h"
#include "base/minmax.h"
#include "base/monotonic.h"
#include "source/blocks.h"
#include "source/readahead.h"
#include "source/remote.h"
#include "source/source.h"

/* For reads of this size, the preferred one (qcow-plugin.c), the cache would
 * save no requests, and cost a copy.
 */
#define LARGE_READ (512U << 10)

/* What one pass of a read or prefetch pins at most: 8 MiB. */
#define PASS_BLOCKS 128

/* What read-ahead adds to it. */
#define AHEAD_BLOCKS (READAHEAD_MOST / BLOCK_BYTES)
_Static_assert(PASS_BLOCKS + AHEAD_BLOCKS <= BLOCK_LIST_MAX, "one list");

struct source_remote {
  struct source source;
  struct blocks blocks;

  struct fragments fragments;

  /* ms: do not ask for holes before; atomic, hence _Alignas (transport.h). */
  _Alignas(8) uint64_t no_query;

  unsigned large_reads; /* in flight; atomic */
  pthread_mutex_t lock;
  struct readahead streams; /* under the lock */
};

/* A part of a read, within one block, that is not copied yet. */
struct part {
  struct cache_entry *entry; /* pinned; NULL: to be fetched directly */
  uint64_t offset;           /* in the object */
  size_t length;
  uint8_t *dest;
};

/* The work between two waits. */
struct pass {
  struct block_list missing;
  struct part parts[PASS_BLOCKS];
  size_t nr_parts;
};

/* --- Fetching directly --- */

/* n is at most PASS_BLOCKS. */
static int
fetch_ranges (struct source_remote *s, const struct source_range *ranges,
              size_t n)
{
  struct transport *t = s->blocks.transport;
  struct fetch fetches[PASS_BLOCKS];
  struct fetch_piece pieces[PASS_BLOCKS];
  size_t i;

  for (i = 0; i < n; ++i) {
    pieces[i] = (struct fetch_piece){ ranges[i].buf, ranges[i].length };
    fetches[i] = (struct fetch){ .offset = ranges[i].offset,
                                 .pieces = &pieces[i],
                                 .nr_pieces = 1 };
  }
  return n > 0 ? t->ops->fetch_all (t, fetches, n) : 0;
}

/* Parts that are contiguous in the object and in memory are one request, up to
 * a chunk.
 */
static int
fetch_parts (struct source_remote *s, const struct pass *pass)
{
  struct source_range ranges[PASS_BLOCKS], *last = NULL;
  size_t i, n = 0;

  for (i = 0; i < pass->nr_parts; ++i) {
    const struct part *p = &pass->parts[i];

    if (p->entry)
      continue;
    if (last && last->offset + last->length == p->offset
        && (uint8_t *) last->buf + last->length == p->dest
        && last->length + p->length <= READAHEAD_CHUNK) {
      last->length += p->length;
      continue;
    }
    last = &ranges[n++];
    *last = (struct source_range){ p->offset, p->length, p->dest };
  }
  return fetch_ranges (s, ranges, n);
}

/* --- Reading --- */

static void
copy_part (const struct part *p)
{
  memcpy (p->dest, p->entry->data + p->offset % BLOCK_BYTES, p->length);
  cache_release (p->entry);
}

/* Copy a part that is cached, or add it to the pass. */
static int
add_part (struct source_remote *s, struct pass *pass, struct part p,
          bool directly)
{
  const uint64_t number = p.offset / BLOCK_BYTES;

  if (directly)
    p.entry = block_find (&s->blocks, number);
  else
    switch (block_claim (&s->blocks, &pass->missing, number, &p.entry)) {
    case CACHE_READY:
      copy_part (&p);
      return 0;
    case CACHE_FULL:
      p.entry = NULL;
      break;
    case CACHE_NO_MEMORY:
      return source_no_memory (&s->source);
    default:
      break;
    }
  pass->parts[pass->nr_parts++] = p;
  return 0;
}

/* Wait for the blocks of the pass and copy its parts; if r is -1 only unpin
 * them.  Wait for the last part first: when it is complete, the others mostly
 * are, too, so one wait is mostly enough.
 */
static int
wait_for_parts (struct source_remote *s, const struct pass *pass, int r)
{
  struct source_range again[PASS_BLOCKS];
  size_t i, n = 0;
  int err = errno;

  for (i = pass->nr_parts; i-- > 0;) {
    const struct part *p = &pass->parts[i];

    if (p->entry == NULL)
      continue;
    if (r == -1)
      cache_release (p->entry);
    else if (cache_wait (p->entry, s->source.hooks) == 0)
      copy_part (p);
    else if (errno == ESHUTDOWN) {
      err = errno;
      r = -1;
    }
    else
      again[n++] = (struct source_range){ p->offset, p->length, p->dest };
  }
  /* A failed fetch fails all of its blocks.  Fetch each part alone. */
  if (r == 0)
    return fetch_ranges (s, again, n);
  errno = err;
  return -1;
}

/* All fetches begin before the first wait. */
static int
end_pass (struct source_remote *s, struct pass *pass, int r)
{
  blocks_fetch (&s->blocks, &pass->missing);
  if (r == 0)
    r = fetch_parts (s, pass);
  r = wait_for_parts (s, pass, r);
  pass->nr_parts = 0;
  return r;
}

static int
read_range (struct source_remote *s, struct pass *pass,
            const struct source_range *range, bool directly)
{
  uint64_t offset = range->offset;
  uint8_t *dest = range->buf;
  size_t left = range->length, n;
  int r = 0;

  for (; left > 0 && r == 0; offset += n, dest += n, left -= n) {
    n = (size_t) min64 (left, BLOCK_BYTES - offset % BLOCK_BYTES);
    r = add_part (s, pass, (struct part){ NULL, offset, n, dest }, directly);
    if (pass->nr_parts == PASS_BLOCKS)
      r = end_pass (s, pass, r);
  }
  return r;
}

/* Add the blocks that the stream of this read will want next. */
static void
read_ahead (struct source_remote *s, struct pass *pass,
            const struct source_range *range, bool large)
{
  struct transport *t = s->blocks.transport;
  const struct readahead_load load = {
    .cache_bytes = cache_capacity (s->blocks.cache),
    .large_reads = __atomic_load_n (&s->large_reads, __ATOMIC_RELAXED),
    .large = large,
    .near = transport_is_near (t),
  };
  uint64_t from, to, number, left = AHEAD_BLOCKS;
  bool wanted;

  pthread_mutex_lock (&s->lock);
  wanted = readahead_note (&s->streams, range->offset, range->length,
                           readahead_most (&load), &from, &to);
  pthread_mutex_unlock (&s->lock);
  if (!wanted)
    return;
  to = min64 (to, s->source.size);
  for (number = from / BLOCK_BYTES; number * BLOCK_BYTES < to && left > 0;
       ++number, --left)
    if (pass->missing.n == BLOCK_LIST_MAX
        || !block_claim_ahead (&s->blocks, &pass->missing, number))
      break;
}

static int
read_data (struct source_remote *s, struct pass *pass,
           const struct source_range *range)
{
  const struct transport *t = s->blocks.transport;
  const bool large = range->length >= LARGE_READ;
  const bool as_local = t->cheap && transport_is_near (t);

  if (range->length == 0)
    return 0;
  if (read_range (s, pass, range, large || as_local) == -1)
    return -1;
  if (as_local && range->length >= BLOCK_BYTES)
    return 0;
  read_ahead (s, pass, range, large);
  if (pass->missing.n > PASS_BLOCKS)
    blocks_fetch (&s->blocks, &pass->missing);
  return 0;
}

static bool
is_large (const struct source_range *ranges, size_t n)
{
  uint64_t sum = 0;
  size_t i;

  for (i = 0; i < n; ++i)
    sum += ranges[i].length;
  return sum >= LARGE_READ;
}

/* Give clients EIO for all other errors. */
static int
for_client (int r)
{
  if (r == -1 && errno != ENOMEM && errno != ESHUTDOWN)
    errno = EIO;
  return r;
}

static int
remote_readv (struct source *source, const struct source_range *ranges,
              size_t n, enum source_use use)
{
  struct source_remote *s = (struct source_remote *) source;
  const bool large = use == SOURCE_DATA && is_large (ranges, n);
  struct pass pass;
  size_t i;
  int r = 0;

  if (large)
    __atomic_add_fetch (&s->large_reads, 1, __ATOMIC_RELAXED);
  pass.missing.n = pass.nr_parts = 0;
  for (i = 0; i < n && r == 0; ++i)
    r = use == SOURCE_DATA ? read_data (s, &pass, &ranges[i])
                           : read_range (s, &pass, &ranges[i], true);
  r = end_pass (s, &pass, r);
  if (large)
    __atomic_sub_fetch (&s->large_reads, 1, __ATOMIC_RELAXED);
  return for_client (r);
}

static void
remote_prefetch (struct source *source, const struct source_range *ranges,
                 size_t n)
{
  const struct source_remote *s = (const struct source_remote *) source;
  const struct blocks *b = &s->blocks;
  uint64_t left
    = readahead_prefetch_most (cache_capacity (b->cache)) / BLOCK_BYTES;
  struct block_list missing;
  size_t i;

  missing.n = 0;
  for (i = 0; i < n; ++i) {
    const uint64_t end = ranges[i].offset + ranges[i].length;
    uint64_t number = ranges[i].offset / BLOCK_BYTES;

    for (; number * BLOCK_BYTES < end; ++number) {
      if (left-- == 0 || !block_claim_ahead (b, &missing, number)) {
        blocks_fetch (b, &missing);
        return;
      }
      if (missing.n == PASS_BLOCKS)
        blocks_fetch (b, &missing);
    }
  }
  blocks_fetch (b, &missing);
}

/* --- Pinning --- */

/* Pin a block; results as source_ops.pin. */
static int
load_block (struct source_remote *s, uint64_t number,
            struct cache_entry **entry)
{
  struct block_list missing;
  enum cache_claim claim;

  missing.n = 0;
  claim = block_claim (&s->blocks, &missing, number, entry);
  if (claim == CACHE_READY)
    return 1;
  if (claim != CACHE_BUSY)
    return 0;
  blocks_fetch (&s->blocks, &missing);
  if (cache_wait (*entry, s->source.hooks) == 0)
    return 1;
  /* A failed fetch fails all of its blocks.  The caller can still read these
   * bytes alone.
   */
  return errno == ESHUTDOWN ? -1 : 0;
}

static int
remote_pin (struct source *source, uint64_t offset, size_t length,
            bool cached_only, struct source_pin *pin)
{
  struct source_remote *s = (struct source_remote *) source;
  const uint64_t number = offset / BLOCK_BYTES;
  const size_t start = (size_t) (offset % BLOCK_BYTES);
  int r = 1;

  if (length > block_length (&s->blocks, number) - start)
    return 0;
  if (!cached_only)
    r = load_block (s, number, &pin->entry);
  else if ((pin->entry = block_peek (&s->blocks, number)) == NULL)
    r = 0;
  if (r == 1)
    pin->data = pin->entry->data + start;
  return r;
}

/* --- Holes --- */

/* 1.5 MiB. */
#define MAX_FRAGMENTS 65536

/* After a failure, do not ask for so long. */
#define NO_QUERY_MS 60000

static bool
may_ask (const struct source_remote *s)
{
  return s->blocks.transport->has_holes
         && monotonic_ms ()
              >= __atomic_load_n (&s->no_query, __ATOMIC_RELAXED);
}

/* Ask for the fragments from 'offset' on.  False: they are not known. */
static bool
ask_for_holes (struct source_remote *s, uint64_t offset)
{
  struct transport *t = s->blocks.transport;
  struct fetch_holes holes
    = { .length = min64 (FETCH_HOLES_MAX - offset % FETCH_HOLES_MAX,
                         t->size - offset) };
  struct fetch f = { .offset = offset, .holes = &holes };
  const int r = t->ops->fetch_all (t, &f, 1);

  if (r == 0 && holes.n > 0)
    fragments_add (&s->fragments, holes.list, holes.n);
  else if (r == 0 || errno != ESHUTDOWN)
    __atomic_store_n (&s->no_query, monotonic_ms () + NO_QUERY_MS,
                      __ATOMIC_RELAXED);
  free (holes.list);
  return r == 0;
}

/* Windows begin at multiples of their size, or where the last reply ended:
 * clients do not always ask in order.
 */
static bool
ask_around (struct source_remote *s, uint64_t offset, uint64_t after,
            struct fragment *found)
{
  const uint64_t window = round_down64 (offset, FETCH_HOLES_MAX);

  return ask_for_holes (s, max64 (after, window))
         && (fragments_find (&s->fragments, offset, found, &after)
             || (ask_for_holes (s, offset)
                 && fragments_find (&s->fragments, offset, found, &after)));
}

static bool
remote_extent (struct source *source, uint64_t offset, bool cached_only,
               bool *hole, uint64_t *end)
{
  struct source_remote *s = (struct source_remote *) source;
  struct fragment found;
  uint64_t after;
  bool known = fragments_find (&s->fragments, offset, &found, &after);
  const bool ask = !known && may_ask (s);

  if (ask && cached_only)
    return false;
  if (ask)
    known = ask_around (s, offset, after, &found);
  /* If the server does not tell, there may be data anywhere. */
  *hole = known && found.hole;
  *end = known ? found.end : source->size;
  return true;
}

/* --- Life --- */

static void
remote_close (struct source *source)
{
  struct source_remote *s = (struct source_remote *) source;
  struct transport *t = s->blocks.transport;

  t->ops->close (t);
  fragments_destroy (&s->fragments);
  pthread_mutex_destroy (&s->lock);
  free (s);
}

static const struct source_ops remote_ops = {
  .readv = remote_readv,
  .extent = remote_extent,
  .prefetch = remote_prefetch,
  .pin = remote_pin,
  .close = remote_close,
};

struct source *
source_remote_new (struct transport *t, struct cache *cache, uint64_t id,
                   const struct qcow_hooks *hooks)
{
  struct source_remote *s;

  if (t == NULL)
    return NULL;
  s = calloc (1, sizeof *s);
  if (s == NULL || cache_reserve (cache, BLOCK_BYTES) == -1) {
    error_no_memory (hooks, t->name);
    t->ops->close (t);
    free (s);
    errno = ENOMEM;
    return NULL;
  }
  s->source = (struct source){ .ops = &remote_ops,
                               .hooks = hooks,
                               .name = t->name,
                               .size = t->size,
                               .identity = t->identity,
                               .remote = true };
  s->blocks = (struct blocks){ cache, t, hooks, id };
  pthread_mutex_init (&s->lock, NULL);
  fragments_init (&s->fragments, MAX_FRAGMENTS);
  blocks_store (&s->blocks, t->prefix, t->prefix_length);
  free (t->prefix);
  t->prefix = NULL;
  return &s->source;
}
