/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What of a remote file will be wanted next?  Pure; the caller locks.
 *
 * Reads that go on where others were are a stream, and are read ahead of;
 * scattered ones are not.  Clients ask in small pieces, several at a time
 * and not quite in order, at several places at once, so a stream is judged
 * by how much was read of what it has passed.
 */

#ifndef QCOW_SOURCE_READAHEAD_H
#define QCOW_SOURCE_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

/* What is read ahead is cut at multiples of this: with requests of so many
 * bytes, asking costs little beside sending, at most distances.
 */
#define READAHEAD_CHUNK (UINT64_C (1) << 20)

/* More than nbdcopy and a few other clients have at once. */
#define READAHEAD_STREAMS 16

struct readahead_stream {
  uint64_t first; /* where it began */
  uint64_t start; /* since where 'bytes' are counted */
  uint64_t end;   /* the furthest byte that was read, + 1 */
  uint64_t ahead; /* what is before this was read or is read ahead */
  uint64_t bytes; /* read from 'start' on */
  uint64_t used;  /* 0: never */
};

struct readahead {
  uint64_t clock;
  struct readahead_stream streams[READAHEAD_STREAMS];
};

/* Nothing is read further ahead than this. */
#define READAHEAD_MOST (UINT64_C (16) << 20)

/* What decides how far to read ahead of a read of data. */
struct readahead_load {
  uint64_t cache_bytes; /* the cache's capacity */
  unsigned large_reads; /* of the object, in flight */
  bool large;           /* this read bypasses the cache */
  bool near;            /* a round trip takes next to no time */
};

/* How many bytes ahead: 'most' of readahead_note. */
uint64_t readahead_most (const struct readahead_load *load);

/* How many bytes one explicit prefetch may fetch. */
uint64_t readahead_prefetch_most (uint64_t cache_bytes);

/* Somebody reads [offset, offset + length), length > 0.  True: the range
 * [*from, *to) should be fetched too; 'to' is a multiple of the chunk, or
 * where another stream began, and may lie beyond the end of the file.  Nothing
 * is ever more than 'most' bytes ahead; if that is less than two chunks,
 * nothing is read ahead.
 */
bool readahead_note (struct readahead *ra, uint64_t offset, uint64_t length,
                     uint64_t most, uint64_t *from, uint64_t *to);

#endif /* QCOW_SOURCE_READAHEAD_H */
