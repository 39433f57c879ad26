/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Eviction from the page cache.  See evict.h.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "source/evict.h"

static bool
was_read (const struct evict_chunk *c, unsigned page)
{
  return c->read[page / 64] >> page % 64 & 1;
}

/* The number of pages of the file in this chunk. */
static unsigned
pages_in (const struct evict *e, uint64_t number)
{
  const uint64_t start = number << EVICT_CHUNK_BITS;
  const uint64_t bytes = min64 (e->size - start, EVICT_CHUNK_BYTES);

  return (unsigned) (round_up64 (bytes, UINT64_C (1) << EVICT_PAGE_BITS)
                     >> EVICT_PAGE_BITS);
}

/* Evict pages [from, to) of the file. */
static void
advise (const struct evict *e, uint64_t from, uint64_t to)
{
  (void) posix_fadvise (e->fd, (off_t) (from << EVICT_PAGE_BITS),
                        (off_t) ((to - from) << EVICT_PAGE_BITS),
                        POSIX_FADV_DONTNEED);
}

/* Evict only the pages of a chunk that were read, because the others may be in
 * use by somebody else.
 */
static void
evict_pages (const struct evict *e, const struct evict_chunk *c)
{
  const uint64_t start = c->number * EVICT_CHUNK_PAGES;
  unsigned from, to;

  for (from = 0; from < EVICT_CHUNK_PAGES; from = to) {
    const bool read = was_read (c, from);

    for (to = from + 1; to < EVICT_CHUNK_PAGES && was_read (c, to) == read;
         ++to)
      ;
    if (read)
      advise (e, start + from, start + to);
  }
}

static void
evict_whole (const struct evict *e, uint64_t number, unsigned count)
{
  advise (e, number * EVICT_CHUNK_PAGES, (number + count) * EVICT_CHUNK_PAGES);
}

static struct evict_chunk *
find_chunk (struct evict *e, uint64_t number)
{
  unsigned i;

  for (i = 0; i < e->nr_chunks; ++i)
    if (e->chunks[i].number == number)
      return &e->chunks[i];
  return NULL;
}

static struct evict_chunk *
oldest_chunk (struct evict *e)
{
  struct evict_chunk *oldest = &e->chunks[0];
  unsigned i;

  for (i = 1; i < e->nr_chunks; ++i)
    if (e->chunks[i].last_use < oldest->last_use)
      oldest = &e->chunks[i];
  return oldest;
}

static uint64_t *
memory_of (struct evict *e, uint64_t number)
{
  return &e->evicted[number % EVICT_REMEMBERED];
}

/* What to evict: 'count' chunks from 'number' on, or if that is 0, the pages
 * of 'chunk'.
 */
struct victim {
  struct evict_chunk chunk;
  uint64_t number;
  unsigned count;
};

/* Put a chunk into the ring, take out the oldest one, and set *v to it and
 * those that follow it.  Returns the number of victims, 0 or 1.
 */
static unsigned
replace_oldest (struct evict *e, uint64_t number, struct victim *v)
{
  uint64_t *place = &e->complete[e->next_complete++ % EVICT_LAG];
  const uint64_t oldest = *place;

  *place = number + 1;
  if (oldest == 0)
    return 0;
  *memory_of (e, oldest - 1) = oldest;
  v->number = oldest - 1;
  v->count = 1;
  while (v->count <= EVICT_AGAIN
         && *memory_of (e, v->number + v->count) == v->number + v->count + 1)
    v->count++;
  return 1;
}

/* Take a chunk out of the list.  If most of it was read, the kernel has read
 * the rest ahead, so it is evicted whole.  Returns the number of victims, 0 or
 * 1.
 */
static unsigned
remove_chunk (struct evict *e, struct evict_chunk *c, struct victim *v)
{
  v->chunk = *c;
  v->count = 0;
  *c = e->chunks[--e->nr_chunks];
  if (v->chunk.nr_read <= pages_in (e, v->chunk.number) / 2)
    return 1;
  return replace_oldest (e, v->chunk.number, v);
}

static void
evict (const struct evict *e, const struct victim *v)
{
  if (v->count > 0)
    evict_whole (e, v->number, v->count);
  else
    evict_pages (e, &v->chunk);
}

static struct evict_chunk *
add_chunk (struct evict *e, uint64_t number)
{
  struct evict_chunk *c = &e->chunks[e->nr_chunks++];

  memset (c, 0, sizeof *c);
  c->number = number;
  return c;
}

/* Record that pages [from, to) of a chunk were read. */
static void
mark (struct evict_chunk *c, unsigned from, unsigned to)
{
  for (; from < to; ++from) {
    c->nr_read += !was_read (c, from);
    c->read[from / 64] |= UINT64_C (1) << from % 64;
  }
}

/* The same for a range of bytes in one chunk.  Takes that chunk out of the
 * list if it is complete, and the oldest one if there are too many.  Returns
 * the number of victims, up to 2.
 */
static unsigned
record (struct evict *e, uint64_t offset, uint64_t length,
        struct victim *victim)
{
  const uint64_t number = offset >> EVICT_CHUNK_BITS;
  const uint64_t first = offset & (EVICT_CHUNK_BYTES - 1);
  struct evict_chunk *c = find_chunk (e, number);
  unsigned victims = 0;

  if (c == NULL) {
    if (e->nr_chunks == EVICT_CHUNKS)
      victims += remove_chunk (e, oldest_chunk (e), &victim[victims]);
    c = add_chunk (e, number);
  }
  c->last_use = ++e->clock;
  mark (c, (unsigned) (first >> EVICT_PAGE_BITS),
        (unsigned) ((first + length - 1) >> EVICT_PAGE_BITS) + 1);
  if (c->nr_read == pages_in (e, number))
    victims += remove_chunk (e, c, &victim[victims]);
  return victims;
}

void
evict_init (struct evict *e, int fd, uint64_t size)
{
  *e = (struct evict){ .fd = fd, .size = size };
  pthread_mutex_init (&e->lock, NULL);
}

void
evict_destroy (struct evict *e)
{
  struct victim v;
  unsigned i;

  while (e->nr_chunks > 0)
    if (remove_chunk (e, &e->chunks[0], &v) > 0)
      evict (e, &v);
  for (i = 0; i < EVICT_LAG; ++i)
    if (e->complete[i] > 0)
      evict_whole (e, e->complete[i] - 1, 1);
  for (i = 0; i < EVICT_REMEMBERED; ++i)
    if (e->evicted[i] > 0)
      evict_whole (e, e->evicted[i] - 1, 1);
  pthread_mutex_destroy (&e->lock);
}

void
evict_after_read (struct evict *e, uint64_t offset, uint64_t length)
{
  KEEP_ERRNO;
  struct victim victims[2];

  while (length > 0) {
    const uint64_t left
      = EVICT_CHUNK_BYTES - (offset & (EVICT_CHUNK_BYTES - 1));
    const uint64_t n = min64 (length, left);
    unsigned i, nr_victims;

    pthread_mutex_lock (&e->lock);
    nr_victims = record (e, offset, n, victims);
    pthread_mutex_unlock (&e->lock);
    /* System calls without the lock: each takes some 20 us. */
    for (i = 0; i < nr_victims; ++i)
      evict (e, &victims[i]);
    offset += n;
    length -= n;
  }
}
