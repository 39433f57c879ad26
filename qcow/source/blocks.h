/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A remote object in the cache: it is divided into blocks, each of which is
 * fetched once for all threads that want it (single-flight).
 *
 * While a block is being fetched it belongs to its fetch, not to the thread
 * that claimed it: if that thread's client disconnects, others still get the
 * block.  Each thread that wants it holds a pin of its own.
 *
 * Nothing here needs a lock: the cache and the transport have theirs, and a
 * struct block_list belongs to one thread.
 */

#ifndef QCOW_SOURCE_BLOCKS_H
#define QCOW_SOURCE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cache.h"
#include "base/transport.h"

#define BLOCK_BYTES (UINT64_C (64) << 10)

/* Constant. */
struct blocks {
  struct cache *cache;
  struct transport *transport;
  const struct qcow_hooks *hooks;
  uint64_t id; /* the owner in cache keys */
};

/* Blocks that a thread has claimed.  It fetches them before it waits. */
#define BLOCK_LIST_MAX 384
struct block_list {
  size_t n;
  struct claimed_block {
    uint64_t number;
    struct cache_entry *entry; /* the loader's pin */
  } blocks[BLOCK_LIST_MAX];
};

/* The bytes of a block: the object's last one can be shorter. */
size_t block_length (const struct blocks *b, uint64_t number);

/* Find a block, or claim it and add it to 'missing', which must have room.
 * CACHE_READY and CACHE_BUSY (being fetched, or in 'missing'): the entry is
 * pinned for the caller.  CACHE_FULL and CACHE_NO_MEMORY as cache_claim.
 */
enum cache_claim block_claim (const struct blocks *b,
                              struct block_list *missing, uint64_t number,
                              struct cache_entry **entry);

/* The same without a pin for the caller.  False: no room or no memory. */
bool block_claim_ahead (const struct blocks *b, struct block_list *missing,
                        uint64_t number);

/* Return a cached block, pinned, or NULL. */
struct cache_entry *block_peek (const struct blocks *b, uint64_t number);

/* The same for a block that is cached or being fetched. */
struct cache_entry *block_find (const struct blocks *b, uint64_t number);

/* Begin to fetch the blocks in the list, and empty it.  Neighbours share a
 * fetch; fetches run in parallel.  A fetch that fails reports the error,
 * and calls cache_fail for its blocks.  Keeps errno.
 */
void blocks_fetch (const struct blocks *b, struct block_list *missing);

/* Cache the whole blocks of the object's first bytes, while there is room. */
void blocks_store (const struct blocks *b, const uint8_t *bytes,
                   size_t length);

#endif /* QCOW_SOURCE_BLOCKS_H */
