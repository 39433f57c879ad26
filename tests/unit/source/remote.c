/* SPDX-License-Identifier: BSD-3-Clause
 *
 * remote.c and blocks.c over the transport of transport.h: what is requested
 * and how, what is in the cache afterwards, single-flight, failures, and
 * clients that leave.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "tests/unit/transport.h"
#include "tests/unit/unit.h"

static void
read_data (uint64_t offset, size_t length)
{
  uint8_t *buf = malloc (length);
  struct source_range range = { offset, length, buf };

  assert_non_null (buf);
  assert_int_equal (source_read_data (source, &range, 1), 0);
  check_bytes (buf, offset, length);
  free (buf);
}

static void
read_table (uint64_t offset, size_t length)
{
  uint8_t *buf = malloc (length);

  assert_non_null (buf);
  assert_int_equal (source_read_table (source, buf, length, offset), 0);
  check_bytes (buf, offset, length);
  free (buf);
}

/* --- Transcripts --- */

static void
prefix (void **state)
{
  (void) state;
  start (10 * M + 5, 256 * K, 64 * M);
  read_table (0, 64 * K);
  read_table (100000, 100000);
  read_data (1, 3);
  read_data (256 * K - 1, 1);
  ASKED_NOTHING;
  /* Of what is cached in part, the rest. */
  read_table (200 * K, 100 * K);
  ASKED ({ 'd', 256 * K, 44 * K });
  stop_transport ();

  /* All of a small object. */
  start (100001, 100001, 64 * M);
  read_table (0, 100001);
  read_data (100000, 1);
  ASKED_NOTHING;
  stop_transport ();

  /* Without one, and with one that ends within a block. */
  start (M, 0, 64 * M);
  read_table (0, 512);
  ASKED ({ 'd', 0, 512 });
  stop_transport ();
  start (M, 70000, 64 * M);
  read_data (0, 70000);
  ASKED ({ 's', 64 * K, 64 * K });
  stop_transport ();
}

static void
small_reads (void **state)
{
  (void) state;
  start (100 * M, 0, 64 * M);
  read_data (5 * M + 100, 7);
  ASKED ({ 's', 5 * M, 64 * K });
  read_data (5 * M, 64 * K);
  ASKED_NOTHING;
  /* Neighbours with one request, as far as they are missing. */
  read_data (50 * M - 1, 64 * K);
  ASKED ({ 's', 50 * M - 64 * K, 128 * K });
  read_data (80 * M + 1, 1);
  read_data (80 * M - 1, 64 * K + 2);
  ASKED ({ 's', 80 * M, 64 * K }, { 's', 80 * M - 64 * K, 64 * K },
         { 's', 80 * M + 64 * K, 64 * K });
  /* The last block is shorter. */
  stop_transport ();
  start (5 * M + 3, 0, 64 * M);
  read_data (5 * M + 1, 2);
  ASKED ({ 's', 5 * M, 3 });
  read_data (5 * M - 10, 13);
  ASKED ({ 's', 5 * M - 64 * K, 64 * K });
  stop_transport ();
}

static void
large_reads (void **state)
{
  (void) state;
  start (100 * M, 256 * K, 64 * M);
  fake.transport.latency = 0; /* near */
  read_data (50 * M + 1, 1000000);
  ASKED ({ 'd', 50 * M + 1, 1000000 });
  read_data (50 * M + 1, 512 * K);
  ASKED ({ 'd', 50 * M + 1, 512 * K });
  /* What is cached is not requested. */
  read_data (0, M);
  ASKED ({ 'd', 256 * K, 768 * K });
  /* In chunks, and in passes. */
  read_data (20 * M, 2 * M);
  ASKED ({ 'd', 20 * M, M }, { 'd', 21 * M, M });
  read_data (60 * M, 9 * M);
  ASKED ({ 'd', 60 * M, M }, { 'd', 61 * M, M }, { 'd', 62 * M, M },
         { 'd', 63 * M, M }, { 'd', 64 * M, M }, { 'd', 65 * M, M },
         { 'd', 66 * M, M }, { 'd', 67 * M, M }, { 'd', 68 * M, M });
  stop_transport ();
}

/* A server on the same machine, with a protocol that costs little: nothing is
 * fetched that was not asked for, except in a stream of small reads.
 */
static void
cheap_reads (void **state)
{
  uint64_t i;

  (void) state;
  start (100 * M, 0, 64 * M);
  fake.transport.cheap = true;
  read_data (30 * M + 1, 100);
  ASKED ({ 's', 30 * M, 64 * K });
  fake.transport.latency = 0; /* near */
  read_data (30 * M + 1, 100);
  ASKED_NOTHING;
  read_data (5 * M + 1, 100);
  ASKED ({ 'd', 5 * M + 1, 100 });
  read_data (5 * M + 1, 100);
  ASKED ({ 'd', 5 * M + 1, 100 });
  read_data (7 * M - 1, 100000);
  ASKED ({ 'd', 7 * M - 1, 100000 });
  stop_transport ();

  /* Streams. */
  start (100 * M, 0, 64 * M);
  fake.transport.cheap = true;
  fake.transport.latency = 0;
  for (i = 0; i < 200; ++i)
    read_data (10 * M + i * 64 * K, 64 * K);
  assert_int_equal (fake.nr_asked, 200);
  fake.nr_asked = 0;
  for (i = 0; i < 1000; ++i)
    read_data (50 * M + i * 4 * K, 4 * K);
  assert_true (fake.nr_asked < 300);
  stop_transport ();
}

/* A table goes to its user, and nowhere else. */
static void
tables (void **state)
{
  uint64_t bytes;

  (void) state;
  start (100 * M, 256 * K, 64 * M);
  bytes = cache_stats (cache).bytes;
  read_table (M + 8, 16);
  read_table (M + 8, 16);
  ASKED ({ 'd', M + 8, 16 }, { 'd', M + 8, 16 });
  read_table (M + 8, 3 * M);
  ASKED ({ 'd', M + 8, M - 8 }, { 'd', 2 * M, M }, { 'd', 3 * M, M },
         { 'd', 4 * M, 8 });
  assert_int_equal (cache_stats (cache).bytes, bytes);
  stop_transport ();
}

static void
prefetch (void **state)
{
  struct source_range ranges[]
    = { { M, 100, NULL }, { M + 64 * K, 64 * K, NULL }, { 5 * M, 1, NULL } };

  (void) state;
  start (100 * M, 0, 64 * M);
  source_prefetch (source, ranges, 3);
  ASKED ({ 's', M, 128 * K }, { 's', 5 * M, 64 * K });
  source_prefetch (source, ranges, 3);
  read_data (M, 128 * K);
  ASKED_NOTHING;
  /* A quarter of the cache. */
  ranges[0] = (struct source_range){ 50 * M, 40 * M, NULL };
  source_prefetch (source, ranges, 1);
  assert_int_equal (fake.nr_asked, 16);
  stop_transport ();
}

/* A stream: no byte twice, and few requests. */
static void
stream (void **state)
{
  uint64_t offset, seen = 0;
  unsigned i;

  (void) state;
  start (32 * M + 77, 256 * K, 64 * M);
  for (offset = 0; offset < source->size; offset += 8 * K)
    read_data (offset,
               (size_t) (source->size - offset < 8 * K ? source->size - offset
                                                       : 8 * K));
  for (i = 0; i < fake.nr_asked; ++i)
    seen += fake.asked[i].length;
  assert_int_equal (seen, source->size - 256 * K);
  assert_between (fake.nr_asked, 33, 42);
  stop_transport ();
}

/* --- Pins --- */

static void
pins (void **state)
{
  struct source_pin a, b;
  uint64_t bytes;

  (void) state;
  start (10 * M + 100, 0, 64 * M);
  assert_int_equal (source_pin (source, M + 16 * K, 16 * K, true, &a), 0);
  ASKED_NOTHING;
  assert_int_equal (source_pin (source, M + 16 * K, 16 * K, false, &a), 1);
  ASKED ({ 's', M, 64 * K });
  bytes = cache_stats (cache).bytes;
  check_bytes (a.data, M + 16 * K, 16 * K);
  /* All of the block is there, once. */
  assert_int_equal (source_pin (source, M + 48 * K, 16 * K, true, &b), 1);
  assert_ptr_equal (a.entry, b.entry);
  assert_int_equal (b.data - a.data, 32 * K);
  check_bytes (b.data, M + 48 * K, 16 * K);
  cache_release (b.entry);
  assert_int_equal (source_pin (source, M, 64 * K, false, &b), 1);
  assert_ptr_equal (a.entry, b.entry);
  cache_release (b.entry);
  cache_release (a.entry);
  ASKED_NOTHING;
  assert_int_equal (cache_stats (cache).bytes, bytes);

  /* In no block, or only in part. */
  assert_int_equal (source_pin (source, M + 63 * K, 2 * K, false, &a), 0);
  assert_int_equal (source_pin (source, M, 64 * K + 1, false, &a), 0);
  assert_int_equal (source_pin (source, 10 * M + 90, 11, false, &a), 0);
  assert_int_equal (source_pin (source, 10 * M + 100, 1, false, &a), 0);
  assert_int_equal (source_pin (source, UINT64_MAX - 5, 16, false, &a), 0);
  ASKED_NOTHING;
  assert_int_equal (source_pin (source, 10 * M + 90, 10, false, &a), 1);
  check_bytes (a.data, 10 * M + 90, 10);
  cache_release (a.entry);
  ASKED ({ 's', 10 * M, 100 });
  stop_transport ();
}

/* Everything in the cache is pinned. */
static void
full (void **state)
{
  struct source_pin pinned[8], other;
  unsigned n = 0, i;

  (void) state;
  start (10 * M, 0, 0);
  while (n < NR (pinned)
         && source_pin (source, n * 64 * K, 16, false, &pinned[n]) == 1)
    ++n;
  assert_between (n, 2, 4);
  fake.nr_asked = 0;
  assert_int_equal (source_pin (source, 5 * M, 16, false, &other), 0);
  read_data (5 * M + 7, 100);
  read_data (5 * M + 7, 100);
  ASKED ({ 'd', 5 * M + 7, 100 }, { 'd', 5 * M + 7, 100 });
  for (i = 0; i < n; ++i) {
    check_bytes (pinned[i].data, i * 64 * K, 16);
    cache_release (pinned[i].entry);
  }
  read_data (5 * M + 7, 100);
  ASKED ({ 's', 5 * M, 64 * K });
  stop_transport ();
}

/* --- Failures --- */

static void
failures (void **state)
{
  struct source_pin pin;
  uint8_t buf[100];
  struct source_range range = { M, sizeof buf, buf };

  (void) state;
  start (10 * M, 0, 64 * M);
  /* The block fails, the bytes that are wanted do not. */
  fake.bad = M + 1000;
  read_data (M, 100);
  ASKED ({ 's', M, 64 * K }, { 'd', M, 100 });
  assert_int_equal (source_pin (source, M, 16 * K, false, &pin), 0);
  ASKED ({ 's', M, 64 * K });
  /* Nor does what is in another block of the same fetch. */
  read_data (M - 64 * K, 64 * K + 100);
  ASKED ({ 's', M - 64 * K, 128 * K }, { 'd', M, 100 },
         { 'd', M - 64 * K, 64 * K });

  fake.bad = M + 99;
  errno = 0;
  assert_int_equal (source_read_data (source, &range, 1), -1);
  assert_int_equal (errno, EIO);
  range = (struct source_range){ M, sizeof buf, buf };
  assert_int_equal (source_read_table (source, buf, sizeof buf, M), -1);
  assert_int_equal (errno, EIO);
  fake.bad = UINT64_MAX;
  read_data (M, 100);
  /* No entry is left that was not filled. */
  assert_int_equal (cache_stats (cache).bytes / (64 * K), 1);
  stop_transport ();
}

/* --- Threads --- */

static void *
reader (void *leaves)
{
  uint8_t buf[100];
  struct source_range range = { M, sizeof buf, buf };
  int r;

  left = leaves != NULL;
  r = source_read_data (source, &range, 1);
  if (left ? r != -1 || errno != ESHUTDOWN : r != 0)
    abort ();
  if (r == 0)
    check_bytes (buf, M, sizeof buf);
  return NULL;
}

static void *
pinner (void *leaves)
{
  struct source_pin pin;
  int r;

  left = leaves != NULL;
  r = source_pin (source, M + 32, 64, false, &pin);
  if (left ? r != -1 || errno != ESHUTDOWN : r != 1)
    abort ();
  if (r == 1) {
    check_bytes (pin.data, M + 32, 64);
    cache_release (pin.entry);
  }
  return NULL;
}

/* One request for all; those who leave change nothing for the others, not even
 * if the request is theirs.
 */
static void
single_flight (void **state)
{
  static int leaves;
  void *(*const first[]) (void *) = { reader, pinner };
  pthread_t t[9];
  unsigned i, round;

  (void) state;
  for (round = 0; round < 4; ++round) {
    start (10 * M, 0, 64 * M);
    fake.hold = true;
    assert_int_equal (pthread_create (&t[0], NULL, first[round % 2],
                                      round < 2 ? NULL : &leaves),
                      0);
    wait_held (1);
    for (i = 1; i < NR (t); ++i)
      assert_int_equal (
        pthread_create (&t[i], NULL, first[i % 2], i % 4 < 2 ? NULL : &leaves),
        0);
    /* Those who leave do not wait for the server. */
    for (i = 0; i < NR (t); ++i)
      if (i == 0 ? round >= 2 : i % 4 >= 2)
        pthread_join (t[i], NULL);
    ASKED ({ 's', M, 64 * K });
    fake.hold = false;
    let_go ();
    for (i = 0; i < NR (t); ++i)
      if (!(i == 0 ? round >= 2 : i % 4 >= 2))
        pthread_join (t[i], NULL);
    ASKED_NOTHING;
    read_data (M, 64 * K);
    ASKED_NOTHING;
    stop_transport ();
  }
}

enum { THREADS = 8 };
static bool ending;

/* Anything, in a cache that is much too small. */
static void *
anything (void *arg)
{
  unsigned seed = (unsigned) (uintptr_t) arg, i, j;
  static const size_t most[] = { 100, 70000, 600000, 100 };

  for (i = 0; i < 400; ++i) {
    struct source_range ranges[3];
    const unsigned kind = (unsigned) rand_r (&seed) % NR (most);
    const unsigned n = 1 + (unsigned) rand_r (&seed) % NR (ranges);
    uint8_t *buf = malloc (n * most[kind]);
    struct source_pin pin;
    uint64_t at[NR (ranges)];
    size_t lengths[NR (ranges)];

    if (buf == NULL)
      abort ();
    for (j = 0; j < n; ++j) {
      lengths[j] = 1 + (size_t) rand_r (&seed) % most[kind];
      at[j] = (uint64_t) rand_r (&seed) % (source->size - lengths[j]);
      ranges[j]
        = (struct source_range){ at[j], lengths[j], buf + j * most[kind] };
    }
    if (kind < 3 && source_read_data (source, ranges, n) == -1)
      abort ();
    for (j = 0; kind == 3 && j < n; ++j)
      if (source_read_table (source, ranges[j].buf, lengths[j], at[j]) == -1)
        abort ();
    for (j = 0; j < n; ++j)
      check_bytes (buf + j * most[kind], at[j], lengths[j]);
    if (source_pin (source, at[0], 16, false, &pin) == 1) {
      check_bytes (pin.data, at[0], 16);
      cache_release (pin.entry);
    }
    free (buf);
  }
  return NULL;
}

static void *
drive (void *arg)
{
  (void) arg;
  while (!__atomic_load_n (&ending, __ATOMIC_ACQUIRE)) {
    let_go ();
    sched_yield ();
  }
  return NULL;
}

static void
threads (void **state)
{
  pthread_t t[THREADS], driver;
  unsigned i;

  (void) state;
  start (8 * M + 1000, 256 * K, M);
  fake.hold = true;
  assert_int_equal (pthread_create (&driver, NULL, drive, NULL), 0);
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (
      pthread_create (&t[i], NULL, anything, (void *) (uintptr_t) (i + 1)), 0);
  for (i = 0; i < THREADS; ++i)
    pthread_join (t[i], NULL);
  __atomic_store_n (&ending, true, __ATOMIC_RELEASE);
  pthread_join (driver, NULL);
  let_go ();
  assert_true (cache_stats (cache).peak_bytes <= cache_capacity (cache));
  stop_transport ();
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (prefix),        cmocka_unit_test (small_reads),
  cmocka_unit_test (large_reads),   cmocka_unit_test (cheap_reads),
  cmocka_unit_test (tables),        cmocka_unit_test (prefetch),
  cmocka_unit_test (stream),        cmocka_unit_test (pins),
  cmocka_unit_test (full),          cmocka_unit_test (failures),
  cmocka_unit_test (single_flight), cmocka_unit_test (threads),
};

UNIT_MAIN (tests)
