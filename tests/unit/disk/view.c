/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Views of snapshots over other layers, and threads that open, use and close
 * them at the same time (for the thread sanitizer, too).
 */

#include <pthread.h>

#include "tests/unit/model.h"

static struct content snapshots[MAX_SNAPSHOTS];

/* An image with snapshots of other sizes, over three layers. */
enum { SNAPSHOT_LAYERS = 4 };

static void
set_snapshots (void)
{
  unsigned i;

  set_layer (0, 3, 9, 70000, "");
  random_units (&layers[0], &layers[0].active, 5);
  set_layer (1, 2, 9, 90000, "");
  random_units (&layers[1], &layers[1].active, 4);
  set_layer (2, 1, 12, 120000, "");
  random_units (&layers[2], &layers[2].active, 4);
  set_layer (3, 0, 12, 80001, "dddddddddddddddddddd");
  for (i = 0; i < MAX_SNAPSHOTS; ++i) {
    struct content *c = &snapshots[i];

    memset (c, 0, sizeof *c);
    c->tag = (uint8_t) (10 + i);
    c->size = i == 8 ? 29 * 4096 : 20000 + 12345 * i;
    random_units (&layers[0], c, 5);
  }
  /* One ends in the middle of its map, and one past its end, where its L1
   * table has no entries.
   */
  snapshots[4].size -= 5000;
  snapshots[5].size += 50000;
  /* From before qemu recorded the size. */
  snapshots[7].old_entry = true;
  /* Nothing was written between these two, but the size was changed. */
  snapshots[9].same_l1 = 9;
  snapshots[9].tag = snapshots[8].tag;
  memcpy (snapshots[9].units, snapshots[8].units, MAX_UNITS);
  snapshots[9].size = snapshots[8].size + 4321;
  layers[0].nr_snapshots = MAX_SNAPSHOTS;
  layers[0].snapshots = snapshots;
}

/* The expected views of the active layer and of each snapshot. */
static struct expected views[MAX_SNAPSHOTS + 1];

static void
expect_snapshots (void)
{
  unsigned i;

  views[0]
    = expect_view (SNAPSHOT_LAYERS, &layers[0].active, layers[0].active.size);
  for (i = 0; i < MAX_SNAPSHOTS; ++i) {
    struct content *c = &snapshots[i];

    if (c->old_entry)
      c->size = layers[0].active.size;
    views[i + 1] = expect_view (SNAPSHOT_LAYERS, c, c->size);
  }
}

static void
free_snapshots (void)
{
  unsigned i;

  for (i = 0; i <= MAX_SNAPSHOTS; ++i)
    free_expected (&views[i]);
}

/* Open a snapshot by its id or name; 0 is the active layer. */
static struct qcow_view *
open_number (struct qcow *q, unsigned number, bool by_name)
{
  char name[16];

  snprintf (name, sizeof name, by_name ? "snap%u" : "%u", number);
  return qcow_view_open (q, number == 0 ? "" : name);
}

/* Each view has the size of its time, and shows the layers below up to there.
 */
static void
snapshots_over_layers (void **state)
{
  struct qcow *q;
  unsigned i;

  (void) state;
  set_snapshots ();
  q = open_chain (SNAPSHOT_LAYERS, 1 << 20, &unit_hooks);
  assert_non_null (q);
  expect_snapshots ();
  for (i = 0; i <= MAX_SNAPSHOTS; ++i) {
    struct qcow_view *v = open_number (q, i, i % 2);

    check_view (SNAPSHOT_LAYERS, v, &views[i]);
    qcow_view_close (v);
  }
  /* Two views of one snapshot, closed one after the other. */
  for (i = 1; i <= MAX_SNAPSHOTS; ++i) {
    struct qcow_view *a = open_number (q, i, false);
    struct qcow_view *b = open_number (q, i, true);

    check_view (SNAPSHOT_LAYERS, a, &views[i]);
    qcow_view_close (a);
    check_view (SNAPSHOT_LAYERS, b, &views[i]);
    qcow_view_close (b);
  }
  assert_null (qcow_view_open (q, "snap11"));
  assert_int_equal (errno, ENOENT);
  qcow_close (q);
  free_snapshots ();
}

/* Threads open views of all snapshots, use them for a while and close them,
 * all at the same time.
 */
enum { THREADS = 12, OPENED = 60, REQUESTS = 12 };

static struct qcow *image;

static int
count_views (void *opaque, const char *name, const char *description)
{
  (void) name;
  (void) description;
  ++*(unsigned *) opaque;
  return 0;
}

static void *
worker (void *arg)
{
  unsigned seed = (unsigned) (uintptr_t) arg, listed;
  uint8_t *buf = malloc (MAX_SIZE);
  int i, j;

  if (buf == NULL)
    abort ();
  for (i = 0; i < OPENED; ++i) {
    const unsigned number = (unsigned) rand_r (&seed) % (MAX_SNAPSHOTS + 1);
    struct qcow_view *v = open_number (image, number, i % 2);

    if (v == NULL || qcow_view_size (v) != views[number].size)
      abort ();
    for (j = 0; j < REQUESTS; ++j) {
      const uint64_t random
        = (uint64_t) rand_r (&seed) << 24 ^ (uint64_t) rand_r (&seed);

      if (wrong_at_random (v, &views[number], buf, random))
        abort ();
    }
    listed = 0;
    if (qcow_list (image, count_views, &listed) == -1
        || listed != MAX_SNAPSHOTS + 1)
      abort ();
    qcow_view_close (v);
  }
  free (buf);
  return NULL;
}

static void
run_threads (uint64_t cache_size)
{
  pthread_t t[THREADS];
  unsigned i;

  set_snapshots ();
  image = open_chain (SNAPSHOT_LAYERS, cache_size, &silent);
  assert_non_null (image);
  expect_snapshots ();
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (
      pthread_create (&t[i], NULL, worker, (void *) (uintptr_t) (i + 1)), 0);
  for (i = 0; i < THREADS; ++i)
    pthread_join (t[i], NULL);
  qcow_close (image);
  free_snapshots ();
}

/* So small that every entry is evicted at once. */
static void
threads_tiny_cache (void **state)
{
  (void) state;
  run_threads (0);
}

/* With room for some regions of long chains (map.c). */
static void
threads_small_cache (void **state)
{
  (void) state;
  run_threads (128 << 10);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test_setup_teardown (snapshots_over_layers, make_dir,
                                   remove_dir),
  cmocka_unit_test_setup_teardown (threads_tiny_cache, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (threads_small_cache, make_dir, remove_dir),
};

UNIT_MAIN (tests)
