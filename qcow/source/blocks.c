/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Claiming and fetching blocks.  See blocks.h.
 */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/keep-errno.h"
#include "base/minmax.h"
#include "source/blocks.h"
#include "source/readahead.h"

/* Larger requests would leave fewer to run in parallel. */
#define CHUNK_BLOCKS (READAHEAD_CHUNK / BLOCK_BYTES)

size_t
block_length (const struct blocks *b, uint64_t number)
{
  return (size_t) min64 (BLOCK_BYTES,
                         b->transport->size - number * BLOCK_BYTES);
}

static struct cache_key
block_key (const struct blocks *b, uint64_t number)
{
  return (struct cache_key){ number, b->id, CACHE_BLOCK };
}

enum cache_claim
block_claim (const struct blocks *b, struct block_list *missing,
             uint64_t number, struct cache_entry **entry)
{
  const enum cache_claim claim = cache_claim (
    b->cache, block_key (b, number), block_length (b, number), false, entry);

  if (claim != CACHE_MINE)
    return claim;
  cache_share (*entry);
  missing->blocks[missing->n++] = (struct claimed_block){ number, *entry };
  return CACHE_BUSY;
}

bool
block_claim_ahead (const struct blocks *b, struct block_list *missing,
                   uint64_t number)
{
  struct cache_entry *entry;

  switch (block_claim (b, missing, number, &entry)) {
  case CACHE_READY:
  case CACHE_BUSY:
    cache_release (entry);
    return true;
  default:
    return false;
  }
}

struct cache_entry *
block_peek (const struct blocks *b, uint64_t number)
{
  return cache_peek (b->cache, block_key (b, number));
}

struct cache_entry *
block_find (const struct blocks *b, uint64_t number)
{
  return cache_find (b->cache, block_key (b, number));
}

/* --- Fetching --- */

/* A fetch of neighbouring blocks. */
struct block_fetch {
  struct fetch fetch;
  struct fetch_piece pieces[CHUNK_BLOCKS];
  struct cache_entry *entries[CHUNK_BLOCKS]; /* NULL: complete */
};

static void
block_done (struct fetch *f, size_t i)
{
  struct block_fetch *b = (struct block_fetch *) f;

  cache_fill_for_later (b->entries[i]);
  cache_release (b->entries[i]);
  b->entries[i] = NULL;
}

static void
fetch_done (struct fetch *f, int err)
{
  struct block_fetch *b = (struct block_fetch *) f;
  size_t i;

  (void) err; /* reported; waiters learn that their block has failed */
  for (i = 0; i < f->nr_pieces; ++i)
    if (b->entries[i])
      cache_fail (b->entries[i]);
  free (b);
}

static void
fetch_neighbours (const struct blocks *b, const struct claimed_block *list,
                  size_t n)
{
  struct block_fetch *f = calloc (1, sizeof *f);
  size_t i;

  if (f == NULL) {
    error_no_memory (b->hooks, b->transport->name);
    for (i = 0; i < n; ++i)
      cache_fail (list[i].entry);
    return;
  }
  f->fetch = (struct fetch){
    .offset = list[0].number * BLOCK_BYTES,
    .pieces = f->pieces,
    .nr_pieces = n,
    .piece_done = block_done,
    .done = fetch_done,
  };
  for (i = 0; i < n; ++i) {
    f->entries[i] = list[i].entry;
    f->pieces[i].buf = list[i].entry->data;
    f->pieces[i].length = list[i].entry->size;
  }
  b->transport->ops->submit (b->transport, &f->fetch);
}

static int
compare_numbers (const void *a, const void *b)
{
  const struct claimed_block *m = a, *n = b;

  return m->number < n->number ? -1 : m->number > n->number;
}

/* How many of the first blocks one fetch gets: neighbours, and if there are
 * many, only up to the end of a chunk, so that the next fetches are whole
 * chunks.
 */
static size_t
blocks_in_fetch (const struct claimed_block *list, size_t n)
{
  size_t len = 1;

  while (len < n && list[len].number == list[0].number + len)
    ++len;
  if (len <= CHUNK_BLOCKS)
    return len;
  return CHUNK_BLOCKS - list[0].number % CHUNK_BLOCKS;
}

void
blocks_fetch (const struct blocks *b, struct block_list *missing)
{
  KEEP_ERRNO;
  size_t i, n;

  qsort (missing->blocks, missing->n, sizeof missing->blocks[0],
         compare_numbers);
  for (i = 0; i < missing->n; i += n) {
    n = blocks_in_fetch (&missing->blocks[i], missing->n - i);
    fetch_neighbours (b, &missing->blocks[i], n);
  }
  missing->n = 0;
}

void
blocks_store (const struct blocks *b, const uint8_t *bytes, size_t length)
{
  struct cache_entry *entry;
  uint64_t number = 0;
  size_t n;

  for (; length > 0; length -= n, bytes += n, ++number) {
    n = block_length (b, number);
    if (n > length
        || cache_claim (b->cache, block_key (b, number), n, false, &entry)
             != CACHE_MINE)
      break;
    memcpy (entry->data, bytes, n);
    cache_fill (entry);
    cache_release (entry);
  }
}
