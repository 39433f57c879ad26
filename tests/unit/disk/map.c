/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Maps: when the runs of a region are cached, and errors within a run.
 */

#include <errno.h>

#include "tests/unit/unit.h"

#include "base/cache.h"
#include "disk/map.h"

enum { BITS = 16, LAYERS = 4, SIZE = 4 << 20 };

/* Empty L2 tables, or a failure of tables from 'bad' on. */
static int read_error;
static uint64_t bad;
static unsigned nr_reads;

static int
read_tables (struct source *s, const struct source_range *ranges, size_t n,
             enum source_use use)
{
  size_t i;

  (void) s;
  (void) use;
  nr_reads++;
  for (i = 0; i < n; ++i)
    memset (ranges[i].buf, 0, ranges[i].length);
  if (read_error == 0 || ranges[0].offset < bad)
    return 0;
  errno = read_error;
  return -1;
}

static const struct source_ops ops = { .readv = read_tables };
static char name[] = "tables";
static struct source source
  = { .ops = &ops, .hooks = &unit_hooks, .name = name, .size = INT64_MAX };
static const uint64_t entry = 1 << BITS;
static struct l1_table l1 = { .entries = &entry, .size = 1 };
static struct context context = { .hooks = &unit_hooks };
static struct image images[LAYERS];
static struct qcow_view *view;

static int
make_view (void **state)
{
  unsigned i;

  (void) state;
  read_error = 0;
  bad = 0;
  context.cache = cache_new (1 << 20, MAP_LARGEST_CACHED);
  view = calloc (1, sizeof *view + LAYERS * sizeof view->layers[0]);
  if (context.cache == NULL || view == NULL)
    return -1;
  *view = (struct qcow_view){ .context = &context,
                              .name = name,
                              .id = CONTEXT_FIRST_VIEW_ID,
                              .cluster_bits = BITS,
                              .size = SIZE,
                              .nr_layers = LAYERS };
  for (i = 0; i < LAYERS; ++i) {
    images[i] = (struct image){
      .context = &context,
      .name = name,
      .source = &source,
      .data = &source,
      .header = { .cluster_bits = BITS, .l2_bits = BITS - 3 },
      .geometry = { .version = 3,
                    .cluster_bits = BITS,
                    .l2_bits = BITS - 3,
                    .file_size = INT64_MAX },
      .id = i,
    };
    view->layers[i] = (struct layer){ &images[i], &l1, &source, SIZE };
  }
  return 0;
}

static int
free_view (void **state)
{
  (void) state;
  free (view);
  cache_free (context.cache);
  return 0;
}

/* Map the disk, which is one hole.  Returns how many cached entries the map
 * uses.
 */
static uint64_t
map_disk (void)
{
  const uint64_t hits = cache_stats (context.cache).hits;
  struct lookup lookup = LOOKUP_INIT;
  struct map m;
  struct run run;

  map_begin (&m, view, &lookup, 0, SIZE);
  assert_int_equal (map_next (&m, &run), 1);
  assert_int_equal (run.kind, RUN_HOLE);
  assert_int_equal (run.length, SIZE);
  assert_int_equal (map_next (&m, &run), 0);
  map_end (&m);
  return cache_stats (context.cache).hits - hits;
}

static void
fail_to_map (int error)
{
  struct lookup lookup = LOOKUP_INIT;
  struct map m;
  struct run run;

  read_error = error;
  map_begin (&m, view, &lookup, 0, SIZE);
  errno = 0;
  assert_int_equal (map_next (&m, &run), -1);
  assert_int_equal (errno, error);
  map_end (&m);
  read_error = 0;
}

static void
cached (void **state)
{
  (void) state;
  map_disk ();
  assert_int_equal (map_disk (), 1);
}

/* A client that disconnects does not spoil the region for others. */
static void
client_disconnects (void **state)
{
  (void) state;
  fail_to_map (ESHUTDOWN);
  map_disk ();
  assert_int_equal (map_disk (), 1);
}

/* A region with a table that can't be read stays unknown.  Requests use the
 * layers, and do not try to fill the region again.
 */
static void
unreadable_table (void **state)
{
  (void) state;
  fail_to_map (EIO);
  map_disk ();
  assert_true (map_disk () > LAYERS);
}

/* A read fails while runs are joined: the map returns the run before the
 * failure, and then the error without a second read.  Later it can go on.
 */
static void
error_in_run (void **state)
{
  const uint64_t slice = 128 << 20; /* guest bytes that a slice maps */
  struct lookup lookup = LOOKUP_INIT;
  struct map m;
  struct run run;

  (void) state;
  view->nr_layers = 1;
  view->size = view->layers[0].size = 2 * slice;
  read_error = EIO;
  bad = entry + 1;
  nr_reads = 0;
  map_begin (&m, view, &lookup, 0, view->size);
  assert_int_equal (map_next (&m, &run), 1);
  assert_int_equal (run.length, slice);
  assert_int_equal (nr_reads, 2);
  errno = 0;
  assert_int_equal (map_next (&m, &run), -1);
  assert_int_equal (errno, EIO);
  assert_int_equal (nr_reads, 2);
  read_error = 0;
  assert_int_equal (map_next (&m, &run), 1);
  assert_int_equal (run.offset, slice);
  assert_int_equal (run.length, slice);
  map_end (&m);
}

#define TEST(f) cmocka_unit_test_setup_teardown (f, make_view, free_view)

static const struct CMUnitTest tests[] = {
  TEST (cached),
  TEST (client_disconnects),
  TEST (unreadable_table),
  TEST (error_in_run),
};

UNIT_MAIN (tests)
