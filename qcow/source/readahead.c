/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Streams of reads.  See readahead.h.
 */

#include <stddef.h>

#include "base/minmax.h"
#include "source/readahead.h"

/* A read belongs to a stream if it starts at most this far from its end.
 * nbdcopy has 16 requests of 512 KiB in flight on a connection, which arrive
 * in nearly any order.
 */
#define BACKWARD (UINT64_C (16) << 20)
#define FORWARD (UINT64_C (8) << 20)

/* A shorter range is not a stream yet. */
#define LEAST_SPAN (UINT64_C (128) << 10)

/* How much of a stream's past is considered. */
#define MEMORY (UINT64_C (32) << 20)

/* With this many large reads in flight, the connections are busy without
 * read-ahead.
 */
#define MANY_READS 4

uint64_t
readahead_most (const struct readahead_load *load)
{
  if (load->large_reads >= MANY_READS || (load->large && load->near))
    return 0;
  return min64 (load->cache_bytes / 8, READAHEAD_MOST);
}

/* With more, the first blocks would be evicted before clients read them. */
uint64_t
readahead_prefetch_most (uint64_t cache_bytes)
{
  return cache_bytes / 4;
}

static bool
belongs (const struct readahead_stream *s, uint64_t offset)
{
  return s->used > 0 && offset + BACKWARD >= s->end
         && offset <= s->end + FORWARD;
}

/* Return the stream whose end is nearest, or NULL. */
static struct readahead_stream *
find (struct readahead *ra, uint64_t offset)
{
  struct readahead_stream *best = NULL;
  uint64_t best_distance = UINT64_MAX;
  unsigned i;

  for (i = 0; i < READAHEAD_STREAMS; ++i) {
    struct readahead_stream *s = &ra->streams[i];
    const uint64_t distance
      = offset > s->end ? offset - s->end : s->end - offset;

    if (belongs (s, offset) && distance < best_distance) {
      best = s;
      best_distance = distance;
    }
  }
  return best;
}

/* Start a stream, which replaces the least recently used one. */
static void
start_stream (struct readahead *ra, uint64_t offset, uint64_t length)
{
  struct readahead_stream *s = &ra->streams[0];
  unsigned i;

  for (i = 1; i < READAHEAD_STREAMS; ++i)
    if (ra->streams[i].used < s->used)
      s = &ra->streams[i];
  *s = (struct readahead_stream){ .first = offset,
                                  .start = offset,
                                  .end = offset + length,
                                  .ahead = offset + length,
                                  .bytes = length,
                                  .used = ra->clock };
}

/* Another client has read the bytes from where another stream starts.  Do not
 * fetch them again, unless this stream has passed that start by more than a
 * chunk.
 */
static uint64_t
limit (const struct readahead *ra, const struct readahead_stream *s,
       uint64_t to)
{
  unsigned i;

  for (i = 0; i < READAHEAD_STREAMS; ++i) {
    const struct readahead_stream *other = &ra->streams[i];

    if (other != s && other->used > 0 && other->first > s->first
        && other->first + READAHEAD_CHUNK >= s->end)
      to = min64 (to, other->first);
  }
  return to;
}

bool
readahead_note (struct readahead *ra, uint64_t offset, uint64_t length,
                uint64_t most, uint64_t *from, uint64_t *to)
{
  struct readahead_stream *s;
  uint64_t span, window;
  bool goes_on;

  ra->clock++;
  s = find (ra, offset);
  if (s == NULL) {
    start_stream (ra, offset, length);
    return false;
  }
  s->used = ra->clock;
  /* The first reads of a stream may also come out of order. */
  s->first = min64 (s->first, offset);
  s->start = min64 (s->start, offset);
  goes_on = offset + length > s->end;
  if (goes_on)
    s->end = offset + length;
  if (s->ahead < s->end)
    s->ahead = s->end;
  span = s->end - s->start;
  /* Count bytes that are read again only once. */
  s->bytes = min64 (s->bytes + length, span);
  /* A stream has read at least half of the range that it has passed. */
  if (s->bytes < span / 2 || most < 2 * READAHEAD_CHUNK) {
    if (span > MEMORY) {
      s->start = s->end;
      s->bytes = 0;
    }
    return false;
  }
  if (span > MEMORY) {
    s->start = s->end - MEMORY / 2;
    s->bytes = min64 (s->bytes, MEMORY / 2);
  }

  if (!goes_on || span < LEAST_SPAN)
    return false;

  window = min64 (2 * span, most - READAHEAD_CHUNK);
  /* Avoid small steps: wait until less than half of the window is left. */
  if (s->ahead >= s->end + window / 2 && s->ahead > s->end)
    return false;
  *to = round_up64 (s->end + window, READAHEAD_CHUNK);
  *to = limit (ra, s, *to);
  *from = s->ahead;
  if (*to <= *from)
    return false;
  s->ahead = *to;
  return true;
}
