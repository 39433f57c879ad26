/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rules of prefetch.h, with a source that only records its requests and an
 * image of which nothing is cached.
 */

#include "tests/unit/unit.h"

#include "base/cache.h"
#include "disk/prefetch.h"

enum {
  BITS = 16,
  CLUSTER = 1 << BITS,
  TABLES = 4096,
  MAX_NOTES = 256,
};

#define TABLE_SPAN (UINT64_C (1) << (BITS + BITS - 3)) /* guest bytes */
#define HOST_OF(table) (UINT64_C (1) * (1 + (table)) * CLUSTER)

struct note {
  struct source *source;
  uint64_t offset;
  size_t length;
};

static struct note notes[MAX_NOTES];
static size_t nr_notes, nr_calls;

static void
note_prefetch (struct source *s, const struct source_range *ranges, size_t n)
{
  nr_calls++;
  while (n-- > 0) {
    assert_true (nr_notes < MAX_NOTES);
    notes[nr_notes++] = (struct note){ s, ranges->offset, ranges->length };
    ranges++;
  }
}

static const struct source_ops ops = { .prefetch = note_prefetch };
static struct source remote
  = { .ops = &ops, .size = INT64_MAX, .remote = true };
static struct source second
  = { .ops = &ops, .size = INT64_MAX, .remote = true };
static struct source local = { .ops = &ops, .size = INT64_MAX };

static uint64_t entries[TABLES];
static struct l1_table l1 = { .entries = entries, .size = TABLES };
static struct context context;
static struct image image;
static struct layer layer;

static int
make_image (void **state)
{
  unsigned i;

  (void) state;
  for (i = 0; i < TABLES; ++i)
    entries[i] = HOST_OF (i);
  context.cache = cache_new (1 << 20, CLUSTER);
  image = (struct image){
    .context = &context,
    .source = &remote,
    .data = &remote,
    .header = { .cluster_bits = BITS, .l2_bits = BITS - 3 },
    .geometry = { .version = 3,
                  .cluster_bits = BITS,
                  .l2_bits = BITS - 3,
                  .file_size = INT64_MAX },
  };
  layer = (struct layer){ &image, &l1, &remote, TABLES * TABLE_SPAN };
  nr_notes = nr_calls = 0;
  return 0;
}

static int
free_image (void **state)
{
  (void) state;
  cache_free (context.cache);
  return 0;
}

/* Need the table, and expect a prefetch of it and of the 'count' tables from
 * 'first' on.
 */
static void
expect_tables (uint64_t table, uint64_t first, size_t count)
{
  size_t i;

  nr_notes = 0;
  prefetch_table (&layer, table * TABLE_SPAN + 12345);
  assert_int_equal (nr_notes, 1 + count);
  for (i = 0; i < nr_notes; ++i) {
    assert_int_equal (notes[i].offset,
                      HOST_OF (i == 0 ? table : first + i - 1));
    assert_int_equal (notes[i].length, CLUSTER);
  }
}

/* In order: each batch has twice as many, and comes before the last is used
 * up.
 */
static void
tables_in_order (void **state)
{
  (void) state;
  expect_tables (0, 0, 0);
  expect_tables (1, 2, 1);
  expect_tables (2, 0, 0);
  expect_tables (3, 4, 2);
  expect_tables (4, 0, 0);
  expect_tables (5, 6, 4);
  expect_tables (6, 0, 0);
  expect_tables (7, 0, 0);
  expect_tables (8, 10, 8);
  expect_tables (13, 0, 0);
  expect_tables (14, 18, 16);
  expect_tables (26, 34, 32);
  expect_tables (50, 66, 63);
  expect_tables (98, 129, 63);
}

/* At random: no further tables are prefetched. */
static void
tables_at_random (void **state)
{
  (void) state;
  expect_tables (2000, 0, 0);
  expect_tables (100, 0, 0);
  expect_tables (3500, 0, 0);
  expect_tables (50, 0, 0);
  /* Not far after the last one: this counts as in order. */
  expect_tables (1000, 1001, 1);
}

/* Empty and damaged L1 entries are skipped. */
static void
tables_with_gaps (void **state)
{
  (void) state;
  entries[2] = 0;
  entries[4] = 513;
  expect_tables (0, 0, 0);
  nr_notes = 0;
  prefetch_table (&layer, TABLE_SPAN);
  assert_int_equal (nr_notes, 2);
  assert_int_equal (notes[1].offset, HOST_OF (3));
  nr_notes = 0;
  prefetch_table (&layer, 2 * TABLE_SPAN);
  prefetch_table (&layer, 4 * TABLE_SPAN);
  prefetch_table (&layer, TABLES * TABLE_SPAN);
  assert_int_equal (nr_notes, 0);
}

/* Of a large table, only a part is prefetched, and at most 4 MiB ahead. */
static void
large_tables (void **state)
{
  const uint64_t span = UINT64_C (1) << (21 + 18);
  unsigned i;

  (void) state;
  image.header.cluster_bits = image.geometry.cluster_bits = 21;
  image.header.l2_bits = image.geometry.l2_bits = 18;
  layer.size = TABLES * span;
  for (i = 0; i < TABLES; ++i)
    entries[i] = UINT64_C (1) * (i + 1) << 21;
  prefetch_table (&layer, span / 2); /* in the second half */
  assert_int_equal (nr_notes, 1);
  assert_int_equal (notes[0].offset, entries[0] + (1 << 20));
  assert_int_equal (notes[0].length, 1 << 20);
  for (i = 1; i < 8; ++i) {
    nr_notes = 0;
    prefetch_table (&layer, i * span);
    assert_int_equal (notes[0].offset, entries[i]);
    assert_true (nr_notes >= 1 && nr_notes <= 1 + 4);
  }
}

/* Cached tables and tables of local images are not prefetched. */
static void
nothing_to_do (void **state)
{
  struct cache_entry *e;

  (void) state;
  assert_int_equal (cache_claim (context.cache,
                                 (struct cache_key){ HOST_OF (7), 0, 0 },
                                 16384, 0, &e),
                    CACHE_MINE);
  cache_fill (e);
  cache_release (e);
  prefetch_table (&layer, 7 * TABLE_SPAN);
  image.source = &local;
  prefetch_table (&layer, 0);
  layer.image = NULL;
  prefetch_table (&layer, 0);
  assert_int_equal (nr_notes, 0);
}

static void
other_sources (void **state)
{
  static struct ranges r;

  (void) state;
  ranges_add (&r, &remote, 0, 10, NULL);
  ranges_add (&r, &second, 1, 11, NULL);
  ranges_add (&r, &local, 2, 12, NULL);
  ranges_add (&r, &remote, 3, 13, NULL);
  ranges_add (&r, &second, 4, 14, NULL);
  prefetch_other_sources (&r);
  assert_int_equal (r.n, 5);
  assert_int_equal (nr_notes, 2);
  assert_ptr_equal (notes[0].source, &second);
  assert_int_equal (notes[0].offset, 1);
  assert_int_equal (notes[1].offset, 4);
}

/* Streams are prefetched only if they do not fit into the workspace. */
static void
streams (void **state)
{
  static struct ranges r;

  (void) state;
  ranges_add (&r, &remote, 0, 600, NULL);
  ranges_add (&r, &remote, 1000, 400, NULL);
  prefetch_streams (&r, 1000);
  assert_int_equal (nr_notes, 0);
  assert_int_equal (r.n, 0);
  ranges_add (&r, &remote, 0, 600, NULL);
  ranges_add (&r, &remote, 1000, 400, NULL);
  ranges_add (&r, &second, 0, 1, NULL);
  prefetch_streams (&r, 1000);
  assert_int_equal (nr_notes, 3);
  assert_int_equal (nr_calls, 2); /* one for each source */
  assert_int_equal (r.n, 0);
}

/* Clusters for a quarter of the cache are inflated; the source prefetches the
 * rest.
 */
static void
clients (void **state)
{
  const uint64_t room = cache_capacity (context.cache) / 4 / CLUSTER;
  struct run run = { .length = CLUSTER, .image = &image, .source = &remote };
  static const enum run_kind never[] = { RUN_HOLE, RUN_ZERO, RUN_BAD };
  static struct prefetch_batch p;
  uint64_t i;

  (void) state;
  assert_true (room > 0);
  prefetch_begin (&p, context.cache);
  for (i = 0; i < sizeof never / sizeof never[0]; ++i) {
    run.kind = never[i];
    assert_false (prefetch_add (&p, &run));
  }
  run.kind = RUN_COMPRESSED;
  run.bound = 1234;
  for (i = 0; i < room; ++i)
    assert_true (prefetch_add (&p, &run));
  run.host = 77;
  assert_false (prefetch_add (&p, &run));
  run.kind = RUN_DATA;
  run.host = CLUSTER;
  assert_false (prefetch_add (&p, &run));
  assert_int_equal (nr_notes, 0);
  prefetch_run (&p);
  assert_int_equal (nr_notes, 2);
  assert_int_equal (notes[0].offset, 77);
  assert_int_equal (notes[0].length, 1234);
  assert_int_equal (notes[1].offset, CLUSTER);
  assert_int_equal (notes[1].length, CLUSTER);
}

#define TEST(f) cmocka_unit_test_setup_teardown (f, make_image, free_image)

static const struct CMUnitTest tests[] = {
  TEST (tables_in_order), TEST (tables_at_random), TEST (tables_with_gaps),
  TEST (large_tables),    TEST (nothing_to_do),    TEST (other_sources),
  TEST (streams),         TEST (clients),
};

UNIT_MAIN (tests)
