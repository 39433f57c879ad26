/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One bounded cache for everything that is worth keeping: slices of L2
 * tables, inflated clusters, and regions of long chains (map.c).
 *
 * A miss is loaded once, however many threads want it: cache_claim tells
 * one of them to load, the others to wait.  No lock is held while one
 * loads or uses an entry; entries are pinned instead, and a pinned entry
 * does not move or change.
 *
 * Whoever gets CACHE_MINE must call cache_fill or cache_fail, and must
 * not wait for anything in between but I/O (who loads a region, also for
 * slices): then no two threads can wait for each other.
 *
 * Everything may be called by any number of threads at once, except
 * cache_new, cache_reserve and cache_free.
 */

#ifndef QCOW_BASE_CACHE_H
#define QCOW_BASE_CACHE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hooks.h"
#include "base/once.h"

struct cache;

/* What is cached: where it comes from.  Different contents need different
 * keys.
 */
struct cache_key {
  uint64_t host;  /* offset in the image's file; or a region's number */
  uint32_t owner; /* an image's id; or a view's, for a region; or a source's */
  uint32_t bound; /* of a compressed cluster; 0: a slice of an L2 table; or
                     one of CACHE_* */
};

/* Instead of a compressed cluster's length, which is never so large. */
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
  CACHE_READY, /* pinned, data can be read */
  CACHE_MINE,  /* pinned, data to be written by the caller */
  CACHE_BUSY,  /* pinned, another loads it: cache_wait */
  CACHE_FULL,  /* not there, and no room: everything is pinned */
  CACHE_NO_MEMORY,
};

/* A cache of 'capacity' bytes, book-keeping included, whose entries have
 * at most 'largest' bytes.  At least a few of the largest are kept
 * whatever the capacity says.  NULL if out of memory.
 */
struct cache *cache_new (uint64_t capacity, size_t largest);
void cache_free (struct cache *c);

/* Entries may have up to 'largest' bytes from now on.  This may raise the
 * capacity; all entries stay.  Only before several threads use the cache, and
 * while no entry is pinned.  0, or -1 if out of memory: then nothing changes.
 */
int cache_reserve (struct cache *c, size_t largest);

/* Find or make the entry of a key; a key always has the same size.  With
 * 'must', room is made beyond the capacity rather than to say CACHE_FULL:
 * for small entries of which a thread pins one at a time.
 */
enum cache_claim cache_claim (struct cache *c, struct cache_key key,
                              size_t size, int must,
                              struct cache_entry **entry);

/* The entry of a key, pinned, if it is there and loaded; else NULL. */
struct cache_entry *cache_peek (struct cache *c, struct cache_key key);

/* The same, also if it is still being loaded: then wait for it. */
struct cache_entry *cache_find (struct cache *c, struct cache_key key);

/* MINE is now READY, still pinned. */
void cache_fill (struct cache_entry *entry);

/* The same for what will be used later: keep it at least as long as what was
 * used by now.
 */
void cache_fill_for_later (struct cache_entry *entry);

/* MINE could not be loaded: forget it.  Those who wait are told so. */
void cache_fail (struct cache_entry *entry);

/* BUSY: wait for the loader, or until the sleep hook says -1.  0: now READY,
 * still pinned.  -1: no longer pinned; errno is EIO if the loader failed
 * (claim again), and ESHUTDOWN if the hook ended the wait, which changes
 * nothing for the loader and for other waiters.
 */
int cache_wait (struct cache_entry *entry, const struct qcow_hooks *hooks);

/* Unpin. */
void cache_release (struct cache_entry *entry);

/* MINE: one pin more, which is not the loader's, and which its owner drops
 * with cache_release, or by waiting in vain.
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
