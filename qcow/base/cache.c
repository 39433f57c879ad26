/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One bounded, sharded cache.  See cache.h.
 *
 * The key's hash chooses a shard, which has its own lock, hash table and part
 * of the capacity.  There are only as many shards as leave room for
 * ENTRIES_PER_SHARD of the largest entries in each.  In smaller shards, many
 * keys that fall into one shard would evict entries that are still needed.
 *
 * Eviction is CLOCK: the entries of a shard form a ring.  A hit sets a flag,
 * which is cheaper than moving the entry in a list.  The hand clears flags
 * until it finds an entry without one.  An evicted buffer of the right size is
 * reused.
 *
 * Invariants under the shard's lock: an entry is in both the hash table and
 * the ring, or in neither (a failed entry that waiters still pin); LOADING and
 * pinned entries are not evicted; 'bytes' is the sum of the costs of all
 * existing entries of the shard.
 */

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/error.h"
#include "base/minmax.h"
#include "base/once.h"

/* With 16 locks, 64 threads rarely contend. */
#define MAX_SHARDS 16
#define ENTRIES_PER_SHARD 8

/* Entries are 512 bytes to 2 MiB, mostly 4 KiB and more. */
#define BYTES_PER_BUCKET 2048
#define MIN_BUCKETS 64
#define MAX_BUCKETS 65536

/* Buffers of this size or more are populated when they are allocated. */
#define LARGE_BUFFER 65536

struct cache_shard {
  pthread_mutex_t lock;
  uint64_t capacity;
  struct cache_entry **buckets;
  size_t nr_buckets; /* a power of two */
  struct cache_entry *hand;
  struct cache_stats stats;
};

/* Constant while several threads use the cache. */
struct cache {
  uint64_t capacity;  /* bytes */
  size_t largest;     /* bytes of an entry */
  unsigned nr_shards; /* a power of two */
  struct cache_shard *shards;
};

static uint64_t
hash_key (struct cache_key key)
{
  /* Ids of images differ in their middle bits (context.h), those of layers in
   * their low bits.
   */
  uint64_t h = key.host ^ (key.owner * UINT64_C (0x9e3779b97f4a7c15))
               ^ ((uint64_t) key.bound << 32);

  /* The finalizer of MurmurHash3, since offsets differ only in a few high
   * bits.
   */
  h ^= h >> 33;
  h *= UINT64_C (0xff51afd7ed558ccd);
  h ^= h >> 33;
  h *= UINT64_C (0xc4ceb9fe1a85ec53);
  h ^= h >> 33;
  return h;
}

static size_t
cost (size_t size)
{
  return size + sizeof (struct cache_entry);
}

static void
free_entry (struct cache_entry *e)
{
  once_destroy (&e->load);
  free (e->data);
  free (e);
}

static struct cache_shard *
shard_of (struct cache *c, uint64_t hash)
{
  return &c->shards[hash & (c->nr_shards - 1)];
}

/* The low bits of the hash choose the shard. */
static struct cache_entry **
bucket_of (struct cache_shard *s, uint64_t hash)
{
  return &s->buckets[(hash >> 8) & (s->nr_buckets - 1)];
}

static struct cache_entry *
find (struct cache_shard *s, uint64_t hash, struct cache_key key)
{
  struct cache_entry *e;

  for (e = *bucket_of (s, hash); e; e = e->hash_next)
    if (e->key.host == key.host && e->key.owner == key.owner
        && e->key.bound == key.bound)
      return e;
  return NULL;
}

/* Add an entry to the hash table, and to the ring just behind the hand, which
 * reaches it last.
 */
static void
link_entry (struct cache_shard *s, uint64_t hash, struct cache_entry *e)
{
  struct cache_entry **bucket = bucket_of (s, hash);

  e->shard = s;
  e->hash_next = *bucket;
  *bucket = e;
  if (s->hand) {
    e->ring_next = s->hand;
    e->ring_prev = s->hand->ring_prev;
    e->ring_prev->ring_next = e;
    e->ring_next->ring_prev = e;
  }
  else
    s->hand = e->ring_next = e->ring_prev = e;
}

static void
unlink_entry (struct cache_shard *s, struct cache_entry *e)
{
  struct cache_entry **p = bucket_of (s, hash_key (e->key));

  while (*p != e)
    p = &(*p)->hash_next;
  *p = e->hash_next;

  if (s->hand == e)
    s->hand = e->ring_next == e ? NULL : e->ring_next;
  e->ring_prev->ring_next = e->ring_next;
  e->ring_next->ring_prev = e->ring_prev;
}

/* --- Layout --- */

static void
free_shards (struct cache *c)
{
  unsigned i;

  for (i = 0; i < c->nr_shards; ++i) {
    pthread_mutex_destroy (&c->shards[i].lock);
    free (c->shards[i].buckets);
  }
  free (c->shards);
}

/* Initialize *c with empty shards.  Returns -1 if out of memory. */
static int
lay_out (struct cache *c, uint64_t capacity, size_t largest)
{
  size_t buckets = MIN_BUCKETS;
  unsigned n = 1, i;

  capacity = max64 (capacity, 2 * cost (largest));
  while (n < MAX_SHARDS
         && capacity / (2 * n) >= ENTRIES_PER_SHARD * cost (largest))
    n *= 2;
  while (buckets < MAX_BUCKETS && buckets * BYTES_PER_BUCKET < capacity / n)
    buckets *= 2;

  *c = (struct cache){ .capacity = capacity,
                       .largest = largest,
                       .shards = calloc (n, sizeof c->shards[0]) };
  if (c->shards == NULL)
    return -1;
  for (i = 0; i < n; ++i) {
    struct cache_shard *s = &c->shards[i];

    pthread_mutex_init (&s->lock, NULL);
    s->capacity = capacity / n;
    s->nr_buckets = buckets;
    s->buckets = calloc (buckets, sizeof s->buckets[0]);
    c->nr_shards++;
    if (s->buckets == NULL) {
      free_shards (c);
      return -1;
    }
  }
  return 0;
}

struct cache *
cache_new (uint64_t capacity, size_t largest)
{
  struct cache *c = malloc (sizeof *c);

  if (c && lay_out (c, capacity, largest) == 0)
    return c;
  free (c);
  return NULL;
}

void
cache_free (struct cache *c)
{
  unsigned i;

  if (c == NULL)
    return;
  for (i = 0; i < c->nr_shards; ++i) {
    struct cache_shard *s = &c->shards[i];

    while (s->hand) {
      struct cache_entry *e = s->hand;

      unlink_entry (s, e);
      free_entry (e);
    }
  }
  free_shards (c);
  free (c);
}

static void
add_stats (struct cache_stats *sum, const struct cache_stats *s)
{
  sum->hits += s->hits;
  sum->misses += s->misses;
  sum->waits += s->waits;
  sum->evictions += s->evictions;
  sum->bytes += s->bytes;
  sum->peak_bytes += s->peak_bytes;
}

/* The new layout never has more shards.  So a new shard takes all entries of
 * one or more old ones, and has room for them.
 */
static void
move_entries (struct cache *from, struct cache *to)
{
  unsigned i;

  for (i = 0; i < from->nr_shards; ++i) {
    struct cache_shard *s = &from->shards[i];

    add_stats (&to->shards[i & (to->nr_shards - 1)].stats, &s->stats);
    while (s->hand) {
      struct cache_entry *e = s->hand;
      const uint64_t hash = hash_key (e->key);

      unlink_entry (s, e);
      link_entry (shard_of (to, hash), hash, e);
    }
  }
}

int
cache_reserve (struct cache *c, size_t largest)
{
  struct cache new;

  if (largest <= c->largest)
    return 0;
  if (lay_out (&new, c->capacity, largest) == -1)
    return -1;
  move_entries (c, &new);
  free_shards (c);
  *c = new;
  return 0;
}

/* --- Claims --- */

/* Remove and return the next victim, which the caller frees.  The first round
 * clears all flags.  Returns NULL if a second one finds all entries pinned.
 */
static struct cache_entry *
take_victim (struct cache_shard *s)
{
  struct cache_entry *first = s->hand;
  int rounds = 0;

  while (s->hand) {
    struct cache_entry *e = s->hand;

    if (e->pins == 0 && !e->used) {
      unlink_entry (s, e);
      s->stats.bytes -= cost (e->size);
      s->stats.evictions++;
      return e;
    }
    e->used = 0;
    s->hand = e->ring_next;
    if (s->hand == first && ++rounds == 2)
      break;
  }
  return NULL;
}

/* Evict entries until one more fits.  If one of them has the same size, its
 * buffer becomes *data.  Returns false if there is not enough room.
 */
static bool
make_room (struct cache_shard *s, size_t size, uint8_t **data)
{
  while (s->stats.bytes + cost (size) > s->capacity) {
    struct cache_entry *victim = take_victim (s);

    if (victim == NULL)
      return false;
    if (*data == NULL && victim->size == size) {
      *data = victim->data;
      victim->data = NULL;
    }
    free_entry (victim);
  }
  return true;
}

/* The loader writes the whole buffer.  Populating a large one at once takes a
 * fraction of the time of its page faults, under some hypervisors a quarter.
 * (Linux before 5.14 does not support this.)
 */
static uint8_t *
new_buffer (size_t size)
{
  const size_t page = (size_t) sysconf (_SC_PAGESIZE);
  uint8_t *data;

  if (size < LARGE_BUFFER)
    return malloc (size);
  data = aligned_alloc (page, (size_t) round_up64 (size, page));
#ifdef MADV_POPULATE_WRITE
  if (data)
    (void) madvise (data, size, MADV_POPULATE_WRITE);
#endif
  return data;
}

static enum cache_claim
claim_new (struct cache_shard *s, uint64_t hash, struct cache_key key,
           size_t size, bool must, struct cache_entry **entry)
{
  struct cache_entry *e;
  uint8_t *data = NULL;

  if (!make_room (s, size, &data) && !must) {
    free (data);
    return CACHE_FULL;
  }
  e = calloc (1, sizeof *e);
  if (data == NULL)
    data = new_buffer (size);
  if (e == NULL || data == NULL) {
    free (e);
    free (data);
    return CACHE_NO_MEMORY;
  }
  e->data = data;
  e->size = size;
  e->key = key;
  e->pins = 1;
  once_begin (&e->load);
  link_entry (s, hash, e);
  s->stats.bytes += cost (size);
  if (s->stats.bytes > s->stats.peak_bytes)
    s->stats.peak_bytes = s->stats.bytes;
  s->stats.misses++;
  *entry = e;
  return CACHE_MINE;
}

enum cache_claim
cache_claim (struct cache *c, struct cache_key key, size_t size, bool must,
             struct cache_entry **entry)
{
  const uint64_t hash = hash_key (key);
  struct cache_shard *s = shard_of (c, hash);
  struct cache_entry *e;
  enum cache_claim claim;

  pthread_mutex_lock (&s->lock);
  e = find (s, hash, key);
  if (e == NULL)
    claim = claim_new (s, hash, key, size, must, entry);
  else {
    e->pins++;
    if (e->load.state == ONCE_READY) {
      claim = CACHE_READY;
      e->used = 1;
      s->stats.hits++;
    }
    else {
      claim = CACHE_BUSY;
      s->stats.waits++;
    }
    *entry = e;
  }
  pthread_mutex_unlock (&s->lock);
  return claim;
}

/* Pin the entry of a key if it exists and, with 'ready', only if it is READY.
 */
static struct cache_entry *
look_up (struct cache *c, struct cache_key key, bool ready)
{
  const uint64_t hash = hash_key (key);
  struct cache_shard *s = shard_of (c, hash);
  struct cache_entry *e;

  pthread_mutex_lock (&s->lock);
  e = find (s, hash, key);
  if (e && ready && e->load.state != ONCE_READY)
    e = NULL;
  if (e) {
    e->pins++;
    if (e->load.state == ONCE_READY) {
      e->used = 1;
      s->stats.hits++;
    }
    else
      s->stats.waits++;
  }
  pthread_mutex_unlock (&s->lock);
  return e;
}

struct cache_entry *
cache_peek (struct cache *c, struct cache_key key)
{
  return look_up (c, key, true);
}

struct cache_entry *
cache_find (struct cache *c, struct cache_key key)
{
  return look_up (c, key, false);
}

static void
fill (struct cache_entry *entry, unsigned char used)
{
  struct cache_shard *s = entry->shard;

  pthread_mutex_lock (&s->lock);
  once_end (&entry->load, 0);
  entry->used = used;
  pthread_mutex_unlock (&s->lock);
}

void
cache_fill (struct cache_entry *entry)
{
  fill (entry, 0);
}

void
cache_fill_for_later (struct cache_entry *entry)
{
  fill (entry, 1);
}

/* Drop a pin.  A failed entry is freed with its last pin. */
static void
unpin (struct cache_shard *s, struct cache_entry *e)
{
  if (--e->pins == 0 && e->load.state == ONCE_FAILED) {
    s->stats.bytes -= cost (e->size);
    free_entry (e);
  }
}

void
cache_fail (struct cache_entry *entry)
{
  struct cache_shard *s = entry->shard;

  pthread_mutex_lock (&s->lock);
  unlink_entry (s, entry);
  once_end (&entry->load, EIO);
  unpin (s, entry);
  pthread_mutex_unlock (&s->lock);
}

int
cache_wait (struct cache_entry *entry, const struct qcow_hooks *hooks)
{
  struct cache_shard *s = entry->shard;
  int err;

  pthread_mutex_lock (&s->lock);
  err = once_wait (&entry->load, &s->lock, hooks);
  if (err == 0)
    entry->used = 1;
  else
    unpin (s, entry);
  pthread_mutex_unlock (&s->lock);
  if (err == 0)
    return 0;
  errno = err;
  return -1;
}

void
cache_share (struct cache_entry *entry)
{
  struct cache_shard *s = entry->shard;

  pthread_mutex_lock (&s->lock);
  entry->pins++;
  pthread_mutex_unlock (&s->lock);
}

void
cache_release (struct cache_entry *entry)
{
  struct cache_shard *s = entry->shard;

  pthread_mutex_lock (&s->lock);
  unpin (s, entry);
  pthread_mutex_unlock (&s->lock);
}

uint64_t
cache_capacity (const struct cache *c)
{
  return c->capacity;
}

struct cache_stats
cache_stats (struct cache *c)
{
  struct cache_stats sum = { 0 };
  unsigned i;

  for (i = 0; i < c->nr_shards; ++i) {
    struct cache_shard *s = &c->shards[i];

    pthread_mutex_lock (&s->lock);
    add_stats (&sum, &s->stats);
    pthread_mutex_unlock (&s->lock);
  }
  return sum;
}
