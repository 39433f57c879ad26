/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Evict what was read of a local file from the page cache, so that a copy of a
 * large image does not push out what other processes use.
 *
 * An fadvise after each read, as in nbdkit's file plugin, does little on a
 * kernel with large folios: it ignores a folio that lies only partly in the
 * range, and folios are up to 2 MiB, larger than most requests.  (After a copy
 * of 1 GiB on Linux 6.18, 960 MiB were still cached.)  So the pages that were
 * read are recorded by chunks of 2 MiB, which no folio crosses, and a chunk is
 * evicted as one when all of it was read.
 *
 * A client with several streams reads up to where another stream began, and
 * the kernel reads ahead into what was evicted there.  So a chunk is evicted a
 * little later than it is complete, and those that follow it again with it.
 *
 * At most EVICT_CHUNKS chunks that are not complete are kept, the last ones,
 * and EVICT_LAG that are: 48 MiB, and what the kernel reads ahead.
 *
 * Any number of threads may call evict_after_read.
 */

#ifndef QCOW_SOURCE_EVICT_H
#define QCOW_SOURCE_EVICT_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* The largest folio: a huge page of x86-64 (and of arm64 with 4 KiB pages). */
#define EVICT_CHUNK_BITS 21
#define EVICT_CHUNK_BYTES (UINT64_C (1) << EVICT_CHUNK_BITS)

/* Enough for nbdcopy's four connections, each with requests for 2 MiB to 8 MiB
 * in flight.
 */
#define EVICT_CHUNKS 16

/* How many chunks to evict later, and how many of those that follow to evict
 * again.  The read-ahead at the end of a stream has arrived by then.  It is up
 * to 16 MiB with the read_ahead_kb of some clouds' disks (8 MiB; usually
 * 128 KiB).
 */
#define EVICT_LAG 8
#define EVICT_AGAIN 8

/* How many evicted chunks to remember: nbdcopy gives each of its four streams
 * 128 MiB at a time, which is 256 chunks for all.
 */
#define EVICT_REMEMBERED 1024

#define EVICT_PAGE_BITS 12
#define EVICT_CHUNK_PAGES (EVICT_CHUNK_BYTES >> EVICT_PAGE_BITS)

/* A chunk, and which of its pages were read at least in part. */
struct evict_chunk {
  uint64_t number; /* offset / EVICT_CHUNK_BYTES */
  uint64_t last_use;
  unsigned nr_read; /* pages */
  uint64_t read[EVICT_CHUNK_PAGES / 64];
};

struct evict {
  int fd;        /* belongs to the caller */
  uint64_t size; /* of the file, bytes */

  pthread_mutex_t lock; /* protects all below */
  uint64_t clock;
  unsigned nr_chunks;
  struct evict_chunk chunks[EVICT_CHUNKS];
  /* The last chunks that are to be evicted whole, a ring; number + 1. */
  uint64_t complete[EVICT_LAG];
  unsigned next_complete;
  /* [number % EVICT_REMEMBERED]: number + 1 of the last such chunk. */
  uint64_t evicted[EVICT_REMEMBERED];
};

void evict_init (struct evict *evict, int fd, uint64_t size);

/* Evict what is left. */
void evict_destroy (struct evict *evict);

/* These bytes, which lie in the file, were read.  Keeps errno. */
void evict_after_read (struct evict *evict, uint64_t offset, uint64_t length);

#endif /* QCOW_SOURCE_EVICT_H */
