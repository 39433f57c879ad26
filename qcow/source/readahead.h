/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How far to read ahead of the reads of a remote object.  Policy alone: pure
 * functions, no I/O.  The caller holds a lock around readahead_note.
 *
 * Reads that go on where others ended are a stream, which is read ahead of;
 * scattered reads are not.  Clients send several small reads at a time, not
 * quite in order, and at several places at once.  So what makes a stream is
 * how much was read of the range that it has passed.
 */

#ifndef QCOW_SOURCE_READAHEAD_H
#define QCOW_SOURCE_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

/* Read-ahead ends at multiples of this.  A request for so many bytes takes
 * little longer than their transfer, at most distances.
 */
#define READAHEAD_CHUNK (UINT64_C (1) << 20)

/* More than nbdcopy and a few other clients have together. */
#define READAHEAD_STREAMS 16

struct readahead_stream {
  uint64_t first; /* where it began */
  uint64_t start; /* from where on 'bytes' are counted */
  uint64_t end;   /* of the furthest read */
  uint64_t ahead; /* all before this is read, or read ahead */
  uint64_t bytes; /* read from 'start' on */
  uint64_t used;  /* the clock's time; 0: never */
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

/* A client reads [offset, offset + length), length > 0.  True: [*from, *to)
 * should be fetched, too.  *to is a multiple of the chunk, or where another
 * stream began, and may lie past the end of the file.  Nothing is ever more
 * than 'most' bytes ahead; with less than two chunks, nothing is read ahead.
 */
bool readahead_note (struct readahead *ra, uint64_t offset, uint64_t length,
                     uint64_t most, uint64_t *from, uint64_t *to);

#endif /* QCOW_SOURCE_READAHEAD_H */
