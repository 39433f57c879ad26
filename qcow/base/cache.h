/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One bounded cache for blocks of remote files, slices of L2 tables and
 * bitmaps, inflated clusters, and regions of long chains (map.c).
 *
 * A miss is loaded once (single-flight): cache_claim tells one thread to load
 * the entry, and the others to wait for it.  No lock is held while a thread
 * loads or uses an entry.  Entries are pinned instead: a pinned entry neither
 * moves nor changes.
 *
 * A thread that gets CACHE_MINE always calls cache_fill or cache_fail.  Until
 * then it does not wait for another thread's entry, so no two threads can wait
 * for each other.  The exception is a thread that loads a region: it waits for
 * slices, but a thread that loads a slice waits for nothing but I/O.
 *
 * Any number of threads may call these functions at once, except cache_new,
 * cache_reserve and cache_free.
 */

#ifndef QCOW_BASE_CACHE_H
#define QCOW_BASE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hooks.h"
#include "base/once.h"

struct cache;

/* Identifies an entry's content, which is always the same and of the same
 * size.
 */
struct cache_key {
  uint64_t host;  /* offset in the image's file; number of a region or block */
  uint64_t owner; /* id of the image; of a region: of the view; of a block: of
                     the source.  No id is used twice, so entries of a closed
                     image are never found, and age until they are evicted */
  uint32_t bound; /* length of a compressed cluster; 0: a slice of an L2
                     table, or a region; else one of CACHE_* */
};

/* No compressed cluster is this long. */
#define CACHE_BITMAP UINT32_MAX      /* a slice of a dirty bitmap */
#define CACHE_BLOCK (UINT32_MAX - 1) /* a block of a remote file */

struct cache_entry {
  uint8_t *data; /* 'size' bytes, written by the loader alone */
  size_t size;
  /* The rest is private to cache.c. */
  struct cache_key key;
  struct cache_shard *shard;
  struct cache_entry *hash_next;
  struct cache_entry *ring_next, *ring_prev;
  unsigned pins;
  struct once load;
  unsigned char used; /* since the CLOCK hand last passed */
};

enum cache_claim {
  CACHE_READY, /* pinned; the data can be read */
  CACHE_MINE,  /* pinned; the caller loads the data */
  CACHE_BUSY,  /* pinned; another thread loads it: see cache_wait */
  CACHE_FULL,  /* not cached, and no room: all entries are pinned */
  CACHE_NO_MEMORY,
};

/* Create a cache of 'capacity' bytes, book-keeping included, for entries of at
 * most 'largest' bytes.  It always has room for two of the largest entries.
 * Returns NULL if out of memory.
 */
struct cache *cache_new (uint64_t capacity, size_t largest);
void cache_free (struct cache *c);

/* Allow entries of up to 'largest' bytes from now on.  This may raise the
 * capacity, and keeps all entries.  Call it only while one thread uses the
 * cache and no entry is pinned.  Returns 0, or -1 if out of memory; then
 * nothing changes.
 */
int cache_reserve (struct cache *c, size_t largest);

/* Find or create the entry of a key.  With 'must', exceed the capacity rather
 * than return CACHE_FULL: for small entries only, of which a thread pins one
 * at a time.
 */
enum cache_claim cache_claim (struct cache *c, struct cache_key key,
                              size_t size, bool must,
                              struct cache_entry **entry);

/* Return the entry of a key, pinned, if it is loaded, else NULL. */
struct cache_entry *cache_peek (struct cache *c, struct cache_key key);

/* Return the entry of a key, pinned, if it is loaded or being loaded, else
 * NULL.  The caller calls cache_wait before it reads the data.
 */
struct cache_entry *cache_find (struct cache *c, struct cache_key key);

/* The data of a MINE entry is complete: it becomes READY and stays pinned. */
void cache_fill (struct cache_entry *entry);

/* The same for a prefetched entry: it counts as used, so that it is not
 * evicted before entries that were used earlier.
 */
void cache_fill_for_later (struct cache_entry *entry);

/* A MINE entry could not be loaded: drop it, and wake its waiters. */
void cache_fail (struct cache_entry *entry);

/* Wait until a pinned entry is loaded.  Returns 0 if it is READY and still
 * pinned.  Returns -1 if it is no longer pinned: with errno EIO if the loader
 * failed, so the caller may claim the key itself, or ESHUTDOWN if the sleep
 * hook ended the wait, which does not affect the loader and other waiters.
 */
int cache_wait (struct cache_entry *entry, const struct qcow_hooks *hooks);

/* Unpin. */
void cache_release (struct cache_entry *entry);

/* Add a pin to a MINE entry for another owner than the loader.  The owner
 * calls cache_wait, then cache_release.
 */
void cache_share (struct cache_entry *entry);

/* The capacity in bytes, as given or as raised since. */
uint64_t cache_capacity (const struct cache *c);

/* Counts since cache_new, and the bytes of all entries: now and at most. */
struct cache_stats {
  uint64_t hits, misses, waits, evictions;
  uint64_t bytes, peak_bytes;
};
struct cache_stats cache_stats (struct cache *c);

#endif /* QCOW_BASE_CACHE_H */
