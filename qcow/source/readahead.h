/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How far to read ahead in a remote object.  Policy alone, without I/O.  The
 * caller holds a lock around readahead_note.
 *
 * A stream is a sequence of reads that continue where others ended.  Only
 * streams are read ahead, scattered reads are not.  Clients have several small
 * reads in flight, which arrive out of order, and read several ranges at once.
 * So a stream is recognized by how much was read of the range that it has
 * passed.
 */

#ifndef QCOW_SOURCE_READAHEAD_H
#define QCOW_SOURCE_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

/* Read-ahead ends at multiples of this.  For most round-trip times, a request
 * for this many bytes takes little longer than their transfer.
 */
#define READAHEAD_CHUNK (UINT64_C (1) << 20)

/* More streams than nbdcopy and a few other clients have together. */
#define READAHEAD_STREAMS 16

struct readahead_stream {
  uint64_t first; /* its lowest offset */
  uint64_t start; /* where counting 'bytes' starts */
  uint64_t end;   /* of the furthest read */
  uint64_t ahead; /* everything before this was read, or read ahead */
  uint64_t bytes; /* read from 'start' on */
  uint64_t used;  /* the clock's time; 0: never */
};

struct readahead {
  uint64_t clock;
  struct readahead_stream streams[READAHEAD_STREAMS];
};

/* The limit of read-ahead. */
#define READAHEAD_MOST (UINT64_C (16) << 20)

/* What determines how far to read ahead of a read of data. */
struct readahead_load {
  uint64_t cache_bytes; /* the cache's capacity */
  unsigned large_reads; /* of the object, in flight */
  bool large;           /* this read bypasses the cache */
  bool near;            /* round trips are very short */
};

/* Return how many bytes to read ahead at most: 'most' of readahead_note. */
uint64_t readahead_most (const struct readahead_load *load);

/* Return how many bytes one explicit prefetch may fetch. */
uint64_t readahead_prefetch_most (uint64_t cache_bytes);

/* Note that a client reads [offset, offset + length), length > 0.  Returns
 * true if [*from, *to) should also be fetched.  *to is a multiple of the
 * chunk, or the start of another stream, and can lie past the end of the file.
 * Read-ahead never exceeds 'most' bytes; if 'most' is less than two chunks,
 * nothing is read ahead.
 */
bool readahead_note (struct readahead *ra, uint64_t offset, uint64_t length,
                     uint64_t most, uint64_t *from, uint64_t *to);

#endif /* QCOW_SOURCE_READAHEAD_H */
