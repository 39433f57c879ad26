/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cache.c: cached entries are found, memory stays within its bound, a miss is
 * loaded once however many threads want it, and a failed load affects no other
 * entry.
 */

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "tests/unit/unit.h"

#include "base/cache.h"
#include "base/monotonic.h"

static struct cache_key
key (uint64_t n)
{
  return (struct cache_key){ n * 4096, 1, 0 };
}

/* Return a pinned entry, loaded if necessary. */
static struct cache_entry *
get (struct cache *c, uint64_t n, size_t size)
{
  struct cache_entry *e;

  switch (cache_claim (c, key (n), size, 0, &e)) {
  case CACHE_MINE:
    memset (e->data, (int) n, size);
    cache_fill (e);
    return e;
  case CACHE_READY:
    return e;
  default:
    return NULL;
  }
}

static void
finds (void **state)
{
  struct cache *c = cache_new (1 << 20, 4096);
  struct cache_entry *e, *f;

  (void) state;
  assert_null (cache_peek (c, key (7)));
  e = get (c, 7, 4096);
  assert_int_equal (e->data[4095], 7);
  assert_ptr_equal (cache_peek (c, key (7)), e);
  cache_release (e);
  cache_release (e);
  assert_int_equal (cache_claim (c, key (7), 4096, 0, &f), CACHE_READY);
  assert_ptr_equal (e, f);
  cache_release (f);

  /* Every part of the key counts. */
  assert_null (cache_peek (c, (struct cache_key){ 7 * 4096, 2, 0 }));
  assert_null (cache_peek (c, (struct cache_key){ 7 * 4096, 1, 1 }));
  assert_int_equal (cache_stats (c).misses, 1);
  cache_free (c);
}

static void
bounded (void **state)
{
  const size_t size = 65536;
  struct cache *c = cache_new (8 << 20, size);
  uint64_t n;

  (void) state;
  for (n = 0; n < 10000; ++n) {
    struct cache_entry *e = get (c, n, n % 3 ? size : 4096);

    assert_non_null (e);
    assert_int_equal (e->data[17], n & 0xff);
    cache_release (e);
    assert_true (cache_stats (c).bytes <= 8 << 20);
  }
  assert_true (cache_stats (c).peak_bytes <= 8 << 20);
  /* The capacity is used. */
  assert_true (cache_stats (c).bytes >= 6 << 20);
  cache_free (c);
}

/* An entry that is used again stays while others are evicted. */
static void
keeps_what_is_used (void **state)
{
  struct cache *c = cache_new (1 << 20, 4096);
  uint64_t n;

  (void) state;
  cache_release (get (c, 0, 4096));
  for (n = 1; n < 5000; ++n) {
    struct cache_entry *e = cache_peek (c, key (0));

    assert_non_null (e);
    cache_release (e);
    cache_release (get (c, n, 4096));
  }
  cache_free (c);
}

/* Entries stay when larger ones are announced. */
static void
reserve (void **state)
{
  static const struct {
    uint64_t capacity;
    size_t size, largest;
  } rows[] = {
    { 1 << 20, 4096, 65536 },  { 1 << 20, 4096, 2 << 20 },
    { 64 << 20, 4096, 65536 }, { 64 << 20, 65536, 2 << 20 },
    { 0, 4096, 65536 },        { 0, 512, 513 },
    { 4 << 20, 4096, 4096 },   { 4 << 20, 4096, 512 },
  };
  struct cache_entry *e;
  size_t i;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    const size_t size = rows[i].size, largest = rows[i].largest;
    struct cache *c = cache_new (rows[i].capacity, size);
    struct cache_stats before;
    uint64_t n, last = 2 * rows[i].capacity / size + 10, kept = 0, found = 0;

    for (n = 0; n < last; ++n)
      cache_release (get (c, n, size));
    for (n = 0; n < last; ++n)
      if ((e = cache_peek (c, key (n))) != NULL) {
        kept++;
        cache_release (e);
      }
    assert_true (kept >= 2);
    before = cache_stats (c);
    assert_int_equal (cache_reserve (c, largest), 0);
    assert_int_equal (cache_stats (c).bytes, before.bytes);
    assert_int_equal (cache_stats (c).misses, before.misses);
    assert_true (cache_capacity (c) >= rows[i].capacity);
    for (n = 0; n < last; ++n)
      if ((e = cache_peek (c, key (n))) != NULL) {
        found++;
        assert_int_equal (e->data[size - 1], n & 0xff);
        cache_release (e);
      }
    assert_int_equal (found, kept);

    /* Two of the largest fit, and the bound holds. */
    for (n = last; n < last + 100; ++n) {
      struct cache_entry *other = get (c, n, largest);

      assert_non_null (other);
      e = get (c, n + 1, largest);
      assert_non_null (e);
      cache_release (e);
      cache_release (other);
      assert_true (cache_stats (c).bytes <= cache_capacity (c));
    }
    cache_free (c);
  }
}

static void
full (void **state)
{
  enum { N = 1000 };
  static struct cache_entry *pinned[N];
  struct cache *c = cache_new (0, 4096); /* always room for two */
  struct cache_entry *e;
  int n = 0;

  (void) state;
  while (n < N && (pinned[n] = get (c, (uint64_t) n, 4096)) != NULL)
    n++;
  assert_between ((unsigned) n, 2, 10);
  assert_int_equal (cache_claim (c, key (N), 4096, 0, &e), CACHE_FULL);
  /* The pinned entries have not changed. */
  assert_int_equal (pinned[0]->data[100], 0);
  assert_int_equal (pinned[1]->data[100], 1);
  /* 'must' exceeds the bound. */
  assert_int_equal (cache_claim (c, key (N), 4096, 1, &e), CACHE_MINE);
  cache_fill (e);
  cache_release (e);
  while (n > 0)
    cache_release (pinned[--n]);
  assert_non_null (e = get (c, N + 1, 4096));
  cache_release (e);
  assert_true (cache_stats (c).bytes <= 3 * 4096);
  cache_free (c);
}

static void
failed_load (void **state)
{
  struct cache *c = cache_new (1 << 20, 4096);
  struct cache_entry *e, *waiting;

  (void) state;
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &e), CACHE_MINE);
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &waiting), CACHE_BUSY);
  assert_null (cache_peek (c, key (1)));
  cache_fail (e);
  errno = 0;
  assert_int_equal (cache_wait (waiting, &unit_hooks), -1);
  assert_int_equal (errno, EIO);
  /* The next claim can load it. */
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &e), CACHE_MINE);
  cache_fill (e);
  cache_release (e);
  cache_free (c);
}

/* The client of this thread has disconnected. */
static __thread bool left;

static int
sleep_unless_left (void *opaque, unsigned ms)
{
  (void) opaque;
  (void) ms;
  return left ? -1 : 0;
}

static const struct qcow_hooks leaving_hooks = { .sleep = sleep_unless_left };

static void *
stays (void *entry)
{
  return (void *) (intptr_t) cache_wait (entry, &leaving_hooks);
}

static void
waiter_leaves (void **state)
{
  struct cache *c = cache_new (1 << 20, 4096);
  struct cache_entry *e, *mine, *other;
  pthread_t t;
  void *r;
  uint64_t began;

  (void) state;
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &e), CACHE_MINE);
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &mine), CACHE_BUSY);
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &other), CACHE_BUSY);
  assert_int_equal (pthread_create (&t, NULL, stays, other), 0);

  began = monotonic_ms ();
  left = true;
  errno = 0;
  assert_int_equal (cache_wait (mine, &leaving_hooks), -1);
  left = false;
  assert_int_equal (errno, ESHUTDOWN);
  /* The wait ends within 100 ms, but the machine may be busy. */
  assert_between (monotonic_ms () - began, 0, 3000);

  /* The loader and the other waiter are not affected. */
  memset (e->data, 7, 4096);
  cache_fill (e);
  cache_release (e);
  pthread_join (t, &r);
  assert_int_equal ((intptr_t) r, 0);
  assert_int_equal (other->data[4095], 7);
  cache_release (other);
  /* No pin is left, so the entry can be evicted. */
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &e), CACHE_READY);
  assert_int_equal (e->pins, 1);
  cache_release (e);
  cache_free (c);
}

/* The last waiter frees an entry whose loader failed meanwhile. */
static void
waiter_leaves_last (void **state)
{
  struct cache *c = cache_new (1 << 20, 4096);
  struct cache_entry *e, *mine;

  (void) state;
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &e), CACHE_MINE);
  assert_int_equal (cache_claim (c, key (1), 4096, 0, &mine), CACHE_BUSY);
  cache_fail (e);
  left = true;
  assert_int_equal (cache_wait (mine, &leaving_hooks), -1);
  left = false;
  assert_int_equal (cache_stats (c).bytes, 0);
  cache_free (c);
}

/* Threads claim the same few keys in a cache that is too small for all: the
 * content is always right, and one thread at a time loads an entry.
 */
enum { THREADS = 8, ROUNDS = 20000, KEYS = 24 };

static struct cache *context;
static unsigned loading[KEYS];

static void *
worker (void *arg)
{
  unsigned seed = (unsigned) (uintptr_t) arg;
  int i;

  for (i = 0; i < ROUNDS; ++i) {
    const uint64_t n = (uint64_t) rand_r (&seed) % KEYS;
    struct cache_entry *e;

    switch (cache_claim (context, key (n), 4096, 0, &e)) {
    case CACHE_MINE:
      if (__atomic_exchange_n (&loading[n], 1, __ATOMIC_SEQ_CST) != 0)
        abort (); /* two loaders at once */
      memset (e->data, (int) n, 4096);
      __atomic_store_n (&loading[n], 0, __ATOMIC_SEQ_CST);
      if (rand_r (&seed) % 8 == 0) {
        cache_fail (e);
        continue;
      }
      cache_fill (e);
      break;
    case CACHE_BUSY:
      if (cache_wait (e, &unit_hooks) == -1)
        continue;
      break;
    case CACHE_READY:
      break;
    default:
      continue;
    }
    if (e->data[0] != n || e->data[4095] != n)
      abort ();
    cache_release (e);
  }
  return NULL;
}

static void
threads (void **state)
{
  pthread_t t[THREADS];
  int i;

  (void) state;
  context = cache_new (10 * 4200, 4096);
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (
      pthread_create (&t[i], NULL, worker, (void *) (uintptr_t) (i + 1)), 0);
  for (i = 0; i < THREADS; ++i)
    pthread_join (t[i], NULL);
  assert_true (cache_stats (context).evictions > 0);
  assert_true (cache_stats (context).peak_bytes <= 10 * 4200);
  cache_free (context);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (finds),
  cmocka_unit_test (bounded),
  cmocka_unit_test (keeps_what_is_used),
  cmocka_unit_test (reserve),
  cmocka_unit_test (full),
  cmocka_unit_test (failed_load),
  cmocka_unit_test (waiter_leaves),
  cmocka_unit_test (waiter_leaves_last),
  cmocka_unit_test (threads),
};

UNIT_MAIN (tests)
