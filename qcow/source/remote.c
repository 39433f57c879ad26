/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A remote object as a source.  A request costs a round trip, so there are few
 * of them, and several at a time.
 *
 * The object is divided into blocks, which are fetched into the cache, each
 * once for all who want it: neighbours with one request, others side by
 * side, and what a stream of reads will want next with them (readahead.h).
 * Large reads are requests of their own, straight to where they are wanted, as
 * far as the cache has nothing of them; so is what it has no room for.
 *
 * A block that is on its way belongs to its fetch, not to who asked for it:
 * a client may leave, others still get it.  Whoever wants it has a pin and
 * waits.  The lock is for the streams alone.
 *
 * The beginning of the object, which came with its size, is kept until
 * serving starts and there is a cache that it can go into.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cache.h"
#include "base/minmax.h"
#include "source/readahead.h"
#include "source/remote.h"
#include "source/source.h"

#define BLOCK UINT64_C (65536)
_Static_assert(BLOCK == SOURCE_BLOCK_BYTES, "one size of blocks");

/* Large requests cost little; larger ones would only keep others from
 * going side by side.
 */
#define CHUNK_BLOCKS (READAHEAD_CHUNK / BLOCK)

/* Reads of so many bytes gain nothing from the cache, which would only cost a
 * copy: what clients prefer (qcow-plugin.c).
 */
#define LARGE_READ (512U << 10)

/* With so many of them at the same time, or a server so near, reading ahead of
 * them would gain nothing either.
 */
#define MANY_READERS 4

/* What one pass of a read or prefetch may pin: 8 MiB. */
#define PASS_BLOCKS 128

/* What read-ahead adds to it. */
#define AHEAD_BLOCKS (2 * PASS_BLOCKS)
#define MAX_AHEAD (AHEAD_BLOCKS * BLOCK)

struct source_remote {
  struct source source;
  struct transport *transport;
  uint32_t id;

  struct cache *cache; /* NULL: not started */
  uint64_t most_ahead; /* bytes */
  unsigned readers;    /* large reads that are under way; atomic */
  pthread_mutex_t lock;
  struct readahead ahead;
};

/* A block to be fetched: claimed, LOADING, the pin is ours. */
struct missing {
  uint64_t block;
  struct cache_entry *entry;
};

/* What a reader still waits for. */
struct want {
  struct cache_entry *entry; /* pinned; NULL: to be fetched directly */
  uint64_t offset;           /* in the object */
  size_t length;
  uint8_t *dest;
};

/* The work of one pass. */
struct pass {
  struct missing missing[PASS_BLOCKS + AHEAD_BLOCKS];
  size_t nr_missing;
  struct want wants[PASS_BLOCKS];
  size_t nr_wants;
};

static size_t
block_length (const struct source_remote *c, uint64_t block)
{
  return (size_t) min64 (BLOCK, c->source.size - block * BLOCK);
}

/* --- Fetching blocks --- */

/* Neighbouring blocks, with one request. */
struct block_fetch {
  struct fetch fetch;
  struct fetch_piece pieces[CHUNK_BLOCKS];
  struct cache_entry *entries[CHUNK_BLOCKS]; /* NULL: complete */
};

static void
block_there (struct fetch *f, size_t i)
{
  struct block_fetch *b = (struct block_fetch *) f;

  cache_fill_for_later (b->entries[i]);
  cache_release (b->entries[i]);
  b->entries[i] = NULL;
}

static void
blocks_done (struct fetch *f, int err)
{
  struct block_fetch *b = (struct block_fetch *) f;
  size_t i;

  (void) err; /* was reported; who waits finds the block failed */
  for (i = 0; i < f->nr_pieces; ++i)
    if (b->entries[i])
      cache_fail (b->entries[i]);
  free (b);
}

static void
fetch_blocks (struct source_remote *c, const struct missing *list, size_t n)
{
  struct block_fetch *b = calloc (1, sizeof *b);
  size_t i;

  if (b == NULL) {
    source_no_memory (&c->source);
    for (i = 0; i < n; ++i)
      cache_fail (list[i].entry);
    return;
  }
  b->fetch = (struct fetch){
    .offset = list[0].block * BLOCK,
    .pieces = b->pieces,
    .nr_pieces = n,
    .piece_done = block_there,
    .done = blocks_done,
  };
  for (i = 0; i < n; ++i) {
    b->entries[i] = list[i].entry;
    b->pieces[i].buf = list[i].entry->data;
    b->pieces[i].length = list[i].entry->size;
  }
  c->transport->ops->submit (c->transport, &b->fetch);
}

static int
compare_missing (const void *a, const void *b)
{
  const struct missing *m = a, *n = b;

  return m->block < n->block ? -1 : m->block > n->block;
}

/* How many of the list's first blocks go into one request: neighbours, and
 * if there are many, up to where a chunk ends, so that the next requests
 * are whole chunks.
 */
static size_t
request_blocks (const struct missing *list, size_t n)
{
  size_t len = 1;

  while (len < n && list[len].block == list[0].block + len)
    ++len;
  if (len <= CHUNK_BLOCKS)
    return len;
  return CHUNK_BLOCKS - list[0].block % CHUNK_BLOCKS;
}

static void
fetch_missing (struct source_remote *c, struct pass *pass)
{
  size_t i, n;

  qsort (pass->missing, pass->nr_missing, sizeof pass->missing[0],
         compare_missing);
  for (i = 0; i < pass->nr_missing; i += n) {
    n = request_blocks (&pass->missing[i], pass->nr_missing - i);
    fetch_blocks (c, &pass->missing[i], n);
  }
  pass->nr_missing = 0;
}

/* Claim a block that is not there or on its way.  False: the cache is
 * full.
 */
static bool
claim_ahead (struct source_remote *c, struct pass *pass, uint64_t block)
{
  const struct cache_key key = { block, c->id, CACHE_BLOCK };
  struct cache_entry *entry;

  switch (cache_claim (c->cache, key, block_length (c, block), 0, &entry)) {
  case CACHE_MINE:
    pass->missing[pass->nr_missing++] = (struct missing){ block, entry };
    return true;
  case CACHE_READY:
  case CACHE_BUSY:
    cache_release (entry);
    return true;
  default:
    return false;
  }
}

/* Add what the streams of reads will want next. */
static void
read_ahead (struct source_remote *c, struct pass *pass, uint64_t offset,
            uint64_t length)
{
  const bool useless
    = __atomic_load_n (&c->readers, __ATOMIC_RELAXED) >= MANY_READERS
      || (length >= LARGE_READ && c->transport->ops->is_near (c->transport));
  uint64_t from, to, block, left = AHEAD_BLOCKS;
  bool wanted;

  pthread_mutex_lock (&c->lock);
  wanted = readahead_note (&c->ahead, offset, length,
                           useless ? 0 : c->most_ahead, &from, &to);
  pthread_mutex_unlock (&c->lock);
  if (!wanted)
    return;
  to = min64 (to, c->source.size);
  for (block = from / BLOCK; block * BLOCK < to && left > 0; ++block, --left)
    if (pass->nr_missing == PASS_BLOCKS + AHEAD_BLOCKS
        || !claim_ahead (c, pass, block))
      break;
}

/* --- Reading --- */

/* Straight to where it is wanted. */
static int
fetch_directly (struct source_remote *c, const struct source_range *ranges,
                size_t n)
{
  struct fetch *fetches = calloc (n, sizeof *fetches);
  struct fetch_piece *pieces = calloc (n, sizeof *pieces);
  size_t i, used = 0;
  int r = 0;

  if (fetches == NULL || pieces == NULL) {
    free (fetches);
    free (pieces);
    return source_no_memory (&c->source);
  }
  for (i = 0; i < n; ++i)
    if (ranges[i].length > 0) {
      pieces[used] = (struct fetch_piece){ ranges[i].buf, ranges[i].length };
      fetches[used] = (struct fetch){ .offset = ranges[i].offset,
                                      .pieces = &pieces[used],
                                      .nr_pieces = 1 };
      used++;
    }
  if (used > 0)
    r = c->transport->ops->fetch_all (c->transport, fetches, used);
  free (fetches);
  free (pieces);
  return r;
}

/* Before serving starts: perhaps it came with the size. */
static int
read_at_start (struct source_remote *c, const struct source_range *ranges,
               size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i) {
    const struct source_range *range = &ranges[i];

    if (range->offset < c->transport->prefix_length
        && range->length <= c->transport->prefix_length - range->offset)
      memcpy (range->buf, c->transport->prefix + range->offset, range->length);
    else if (fetch_directly (c, range, 1) == -1)
      return -1;
  }
  return 0;
}

/* Find or claim the block that has the want's bytes.  What is there is copied
 * (1); else the want is to be noted (0).
 */
static int
look_up (struct source_remote *c, struct pass *pass, struct want *want,
         bool large)
{
  const uint64_t block = want->offset / BLOCK;
  const struct cache_key key = { block, c->id, CACHE_BLOCK };

  if (large) {
    want->entry = cache_find (c->cache, key);
    return 0;
  }
  switch (
    cache_claim (c->cache, key, block_length (c, block), 0, &want->entry)) {
  case CACHE_READY:
    memcpy (want->dest, want->entry->data + want->offset % BLOCK,
            want->length);
    cache_release (want->entry);
    return 1;
  case CACHE_MINE:
    cache_share (want->entry);
    pass->missing[pass->nr_missing++] = (struct missing){ block, want->entry };
    break;
  case CACHE_BUSY:
    break;
  case CACHE_FULL:
    want->entry = NULL;
    break;
  case CACHE_NO_MEMORY:
    return source_no_memory (&c->source);
  }
  return 0;
}

static int
add_want (struct source_remote *c, struct pass *pass, struct want want,
          bool large)
{
  const int r = look_up (c, pass, &want, large);

  if (r == 0)
    pass->wants[pass->nr_wants++] = want;
  return r == -1 ? -1 : 0;
}

/* Wait for what is on its way; after a failure only drop the pins.  What was
 * asked for last comes last: who waits for that first, waits once.
 */
static int
wait_for_wants (struct source_remote *c, struct pass *pass, int r)
{
  struct source_range again[PASS_BLOCKS];
  size_t i, n = 0;
  int err = errno;

  for (i = pass->nr_wants; i-- > 0;) {
    struct want *w = &pass->wants[i];

    if (w->entry == NULL)
      continue;
    if (r == 0 && cache_wait (w->entry, c->source.hooks) == -1) {
      if (errno == ESHUTDOWN) {
        err = errno;
        r = -1;
      }
      else
        again[n++] = (struct source_range){ w->offset, w->length, w->dest };
      continue; /* unpinned */
    }
    if (r == 0)
      memcpy (w->dest, w->entry->data + w->offset % BLOCK, w->length);
    cache_release (w->entry);
  }
  /* What was asked for together with others may have failed for those. */
  if (r == 0 && n > 0)
    return fetch_directly (c, again, n);
  errno = err;
  return r;
}

/* Those that follow each other with one request, up to a chunk. */
static int
fetch_wants_directly (struct source_remote *c, const struct pass *pass)
{
  struct source_range ranges[PASS_BLOCKS], *last = NULL;
  size_t i, n = 0;

  for (i = 0; i < pass->nr_wants; ++i) {
    const struct want *w = &pass->wants[i];

    if (w->entry)
      continue;
    if (last && last->offset + last->length == w->offset
        && (uint8_t *) last->buf + last->length == w->dest
        && last->length + w->length <= READAHEAD_CHUNK) {
      last->length += w->length;
      continue;
    }
    last = &ranges[n++];
    *last = (struct source_range){ w->offset, w->length, w->dest };
  }
  return n > 0 ? fetch_directly (c, ranges, n) : 0;
}

/* Everything of ours is on its way before anything is waited for. */
static int
end_pass (struct source_remote *c, struct pass *pass, int r)
{
  fetch_missing (c, pass);
  if (r == 0)
    r = fetch_wants_directly (c, pass);
  r = wait_for_wants (c, pass, r);
  pass->nr_wants = 0;
  return r;
}

/* Clients see EIO, whatever was the matter. */
static int
for_client (int r)
{
  if (r == -1 && errno != ENOMEM && errno != ESHUTDOWN)
    errno = EIO;
  return r;
}

static int
read_range (struct source_remote *c, struct pass *pass,
            const struct source_range *range, bool large)
{
  uint64_t offset = range->offset;
  uint8_t *dest = range->buf;
  size_t left = range->length;
  int r = 0;

  while (left > 0 && r == 0) {
    const size_t length = (size_t) min64 (left, BLOCK - offset % BLOCK);

    r = add_want (c, pass, (struct want){ NULL, offset, length, dest }, large);
    offset += length;
    dest += length;
    left -= length;
    if (pass->nr_wants == PASS_BLOCKS)
      r = end_pass (c, pass, r);
  }
  return r;
}

static int
read_data (struct source_remote *c, struct pass *pass,
           const struct source_range *range)
{
  int r;

  if (range->length == 0)
    return 0;
  r = read_range (c, pass, range, range->length >= LARGE_READ);
  if (r == 0)
    read_ahead (c, pass, range->offset, range->length);
  return r;
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

static int
remote_readv (struct source *s, const struct source_range *ranges, size_t n,
              enum source_use use)
{
  struct source_remote *c = (struct source_remote *) s;
  const bool large = use == SOURCE_DATA && is_large (ranges, n);
  struct pass pass;
  size_t i;
  int r = 0;

  if (c->cache == NULL)
    return for_client (read_at_start (c, ranges, n));

  if (large)
    __atomic_add_fetch (&c->readers, 1, __ATOMIC_RELAXED);
  pass.nr_missing = pass.nr_wants = 0;
  for (i = 0; i < n && r == 0; ++i) {
    r = use == SOURCE_DATA ? read_data (c, &pass, &ranges[i])
                           : read_range (c, &pass, &ranges[i], false);
    if (pass.nr_missing > PASS_BLOCKS)
      fetch_missing (c, &pass);
  }
  r = end_pass (c, &pass, r);
  if (large)
    __atomic_sub_fetch (&c->readers, 1, __ATOMIC_RELAXED);
  return for_client (r);
}

/* Up to a part of the cache, or what comes first would be gone when it is
 * wanted.
 */
static void
remote_prefetch (struct source *s, const struct source_range *ranges, size_t n)
{
  struct source_remote *c = (struct source_remote *) s;
  struct pass pass;
  uint64_t left;
  size_t i;

  if (c->cache == NULL)
    return;
  left = cache_capacity (c->cache) / 4 / BLOCK;
  pass.nr_missing = 0;
  for (i = 0; i < n; ++i) {
    const uint64_t end = ranges[i].offset + ranges[i].length;
    uint64_t block;

    for (block = ranges[i].offset / BLOCK; block * BLOCK < end; ++block) {
      if (left-- == 0 || !claim_ahead (c, &pass, block)) {
        fetch_missing (c, &pass);
        return;
      }
      if (pass.nr_missing == PASS_BLOCKS)
        fetch_missing (c, &pass);
    }
  }
  fetch_missing (c, &pass);
}

/* Into the cache with the blocks of the head, as far as it likes. */
static void
cache_head (struct source_remote *c)
{
  uint64_t block;

  for (block = 0; block * BLOCK < c->transport->prefix_length; ++block) {
    const struct cache_key key = { block, c->id, CACHE_BLOCK };
    struct cache_entry *entry;

    if (cache_claim (c->cache, key, block_length (c, block), 0, &entry)
        != CACHE_MINE)
      break;
    memcpy (entry->data, c->transport->prefix + block * BLOCK, entry->size);
    cache_fill (entry);
    cache_release (entry);
  }
}

static void
remote_start (struct source *s, struct cache *cache)
{
  struct source_remote *c = (struct source_remote *) s;

  c->cache = cache;
  cache_head (c);
  free (c->transport->prefix);
  c->transport->prefix = NULL;
  c->transport->prefix_length = 0;
  c->most_ahead = min64 (cache_capacity (cache) / 8, MAX_AHEAD);
}

static void
remote_close (struct source *s)
{
  struct source_remote *c = (struct source_remote *) s;

  c->transport->ops->close (c->transport);
  pthread_mutex_destroy (&c->lock);
  free (c);
}

static const struct source_ops remote_ops = {
  .readv = remote_readv,
  .prefetch = remote_prefetch,
  .start = remote_start,
  .close = remote_close,
};

struct source *
source_remote_new (struct transport *t, uint32_t id,
                   const struct qcow_hooks *hooks)
{
  struct source_remote *c;

  if (t == NULL)
    return NULL;
  c = calloc (1, sizeof *c);
  if (c == NULL) {
    error_no_memory (hooks, t->name);
    t->ops->close (t);
    return NULL;
  }
  c->source = (struct source){ .ops = &remote_ops,
                               .hooks = hooks,
                               .name = t->name,
                               .size = t->size,
                               .identity = t->identity,
                               .remote = true };
  c->transport = t;
  c->id = id;
  pthread_mutex_init (&c->lock, NULL);
  return &c->source;
}
