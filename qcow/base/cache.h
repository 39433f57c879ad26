/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One bounded cache for whatever is worth keeping: blocks of remote files,
 * slices of L2 tables and bitmaps, inflated clusters, and regions of long
 * chains (map.c).
 *
 * A miss is loaded once (single-flight): cache_claim tells one thread to load
 * the entry, and others to wait for it.  No lock is held while a thread loads
 * or uses an entry.  Entries are pinned instead, and a pinned entry neither
 * moves nor changes.
 *
 * A thread that gets CACHE_MINE calls cache_fill or cache_fail whatever
 * happens.  Until then it waits for nothing but I/O, so no two threads can
 * wait for each other.  (A thread that loads a region also waits for slices.)
 *
 * All functions but cache_new, cache_reserve and cache_free may be called by
 * any number of threads at once.
 */

#ifndef QCOW_BASE_CACHE_H
#define QCOW_BASE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hooks.h"
#include "base/once.h"

struct cache;

/* Where an entry's content comes from.  A key always has the same content, of
 * the same size.
 */
struct cache_key {
  uint64_t host;  /* offset in the image's file; of a region or a block: its
                     number */
  uint32_t owner; /* id of the image; of a region: of the view; of a block: of
                     the source */
  uint32_t bound; /* of a compressed cluster: its length; 0: a slice of an L2
                     table, or a region; else one of CACHE_* */
};

/* No compressed cluster is so long. */
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
  unsigned char used; /* since the clock's hand last passed */
};

enum cache_claim {
  CACHE_READY, /* pinned; the data can be read */
  CACHE_MINE,  /* pinned; the caller writes the data */
  CACHE_BUSY,  /* pinned; another thread loads it: see cache_wait */
  CACHE_FULL,  /* not cached, and no room: everything is pinned */
  CACHE_NO_MEMORY,
};

/* A cache of 'capacity' bytes, book-keeping included, for entries of at most
 * 'largest' bytes.  It holds two of the largest whatever the capacity is. NULL
 * if out of memory.
 */
struct cache *cache_new (uint64_t capacity, size_t largest);
void cache_free (struct cache *c);

/* Entries may have up to 'largest' bytes from now on.  This may raise the
 * capacity; all entries stay.  Only before several threads use the cache, and
 * while no entry is pinned.  0, or -1 if out of memory: then nothing changes.
 */
int cache_reserve (struct cache *c, size_t largest);

/* Find or make the entry of a key.  'must' exceeds the capacity rather than
 * return CACHE_FULL; it is for small entries of which a thread pins one at a
 * time.
 */
enum cache_claim cache_claim (struct cache *c, struct cache_key key,
                              size_t size, bool must,
                              struct cache_entry **entry);

/* The entry of a key, pinned, if it is loaded; else NULL. */
struct cache_entry *cache_peek (struct cache *c, struct cache_key key);

/* The entry of a key, pinned, if it is loaded or being loaded, so the caller
 * calls cache_wait; else NULL.
 */
struct cache_entry *cache_find (struct cache *c, struct cache_key key);

/* MINE becomes READY, still pinned. */
void cache_fill (struct cache_entry *entry);

/* The same for an entry that will be used later: it stays at least as long as
 * those that were used by now.
 */
void cache_fill_for_later (struct cache_entry *entry);

/* MINE could not be loaded: drop the entry, and wake its waiters. */
void cache_fail (struct cache_entry *entry);

/* Wait until an entry is loaded.  0: READY, still pinned.  -1: no longer
 * pinned; errno is EIO if the loader failed, so the caller may claim the key
 * itself, or ESHUTDOWN if the sleep hook ended the wait, which changes nothing
 * for the loader and for other waiters.
 */
int cache_wait (struct cache_entry *entry, const struct qcow_hooks *hooks);

/* Unpin. */
void cache_release (struct cache_entry *entry);

/* MINE: add a pin that is not the loader's.  Its owner calls cache_wait, then
 * cache_release.
 */
void cache_share (struct cache_entry *entry);

/* The capacity in bytes, as given or raised. */
uint64_t cache_capacity (const struct cache *c);

/* Since cache_new. */
struct cache_stats {
  uint64_t hits, misses, waits, evictions;
  uint64_t bytes, peak_bytes;
};
struct cache_stats cache_stats (struct cache *c);

#endif /* QCOW_BASE_CACHE_H */
