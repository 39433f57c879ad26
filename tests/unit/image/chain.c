/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Chains of all kinds of layers: reads, extents, and the runs of the map,
 * through all layers.
 */

#include "tests/unit/model.h"

#include "disk/map.h"

/* Every format over every other, with every kind of cluster next to every
 * other.
 */
static void
two_layers (void **state)
{
  unsigned top, base;

  (void) state;
  for (top = 1; top < FORMATS; ++top)
    for (base = 0; base < FORMATS; ++base) {
      /* At least some clusters of each. */
      const bool large = formats[top].bits == 16 || formats[base].bits == 16;
      const uint64_t size = large ? 120000 : 30000;
      struct model *l;

      l = set_format (0, &formats[top], size + top * 512);
      if (!l->extended && l->bits <= 12)
        all_pairs (l, &l->active);
      else
        random_units (l, &l->active, 2);
      l = set_format (1, &formats[base], size + base * 777);
      random_units (l, &l->active, 2);
      check_chain (2);
    }
}

/* Base, middle and top of all lengths: each cuts off the layers below it. */
static void
lengths (void **state)
{
  static const uint64_t sizes[] = { 0, 512, 4096, 20001, 40000 };
  enum { N = sizeof sizes / sizeof sizes[0] };
  unsigned i;

  (void) state;
  for (i = 0; i < N * N * N; ++i) {
    const uint64_t top = sizes[i % N], mid = sizes[i / N % N],
                   base = sizes[i / N / N];

    /* Version 1 has at least 2 bytes. */
    set_layer (0, i % 2 ? 3 : 2, i % 5 ? 12 : 9, top, "");
    random_units (&layers[0], &layers[0].active, 6);
    set_layer (1, mid > 0 && i % 3 == 0 ? 1 : 2, i % 7 ? 9 : 12, mid, "");
    random_units (&layers[1], &layers[1].active, 6);
    set_layer (2, i % 4 == 0 ? 3 : 0, 12, base, "dddddddddd");
    check_chain (3);
  }
}

/* The same by hand: beyond the end of the middle there are zeros, not the
 * base's data (iotest 274).
 */
static void
middle_cuts (void **state)
{
  static const struct {
    uint64_t length;
    const char *found;
  } want[]
    = { { 4096, "base" }, { 4096, "middle" }, { 8192, "base" }, { 904, "0" },
        { 3192, "0" },    { 8192, "0" },      { 4096, "top" },  { 500, "0" } };
  struct qcow *q;
  struct qcow_view *v;
  uint64_t offset = 0, i;
  size_t part;

  (void) state;
  set_layer (0, 3, 12, 33268, ".......d.");
  set_layer (1, 2, 9, 16384, "........dddddddd");
  set_layer (2, 0, 12, 70001, "dddddddddddddddddd");
  q = open_chain (3, 1 << 20, &unit_hooks);
  assert_non_null (q);
  v = qcow_view_open (q, "");
  assert_non_null (v);
  assert_int_equal (qcow_view_size (v), 33268);
  assert_int_equal (qcow_read (v, buffer, 33268, 0), 0);
  for (part = 0; part < sizeof want / sizeof want[0]; ++part)
    for (i = 0; i < want[part].length; ++i, ++offset) {
      const char found = want[part].found[0];
      const struct content *c = &layers[found == 't'   ? 0
                                        : found == 'm' ? 1
                                                       : 2]
                                   .active;

      assert_int_equal (buffer[offset],
                        found == '0' ? 0 : byte_at (c, offset));
    }
  assert_int_equal (offset, 33268);
  qcow_view_close (v);
  qcow_close (q);
}

/* Includes chains of so many layers that a map allocates memory. */
static void
random_chains (void **state)
{
  unsigned round, i;

  (void) state;
  for (round = 0; round < 42; ++round) {
    const unsigned n = 1 + round % 7;

    for (i = 0; i < n; ++i) {
      /* Raw only below all others. */
      const bool raw = i == n - 1 && n > 1 && random_number () % 2 == 0;
      const struct format *f
        = &formats[raw ? 0 : 1 + random_number () % (FORMATS - 1)];
      struct model *l = set_format (i, f, 30000 + random_number () % 60000);

      random_units (l, &l->active, i == n - 1 ? 1 : 6);
    }
    check_chain (n);
  }
}

/* A damaged cluster has no effect where another layer hides it; elsewhere
 * exactly the reads that touch it fail.
 */
static void
damage (void **state)
{
  static const unsigned bits[] = { 9, 12, 14 };
  unsigned i, version, between;

  (void) state;
  for (i = 0; i < 18; ++i) {
    version = 1 + i / 3 % 3;
    set_layer (0, 3, 12, 60000, "d.z.c..dddd..x..");
    /* Long chains use regions (map.c). */
    between = i < 9 ? 0 : 2;
    set_layer (1, 2, 12, 58000, "");
    set_layer (2, 3, 9, 57000, "");
    set_layer (1 + between, version, bits[i % 3], 55000,
               "xxxxxxxxx.dddxxdcd...xd.........dddddd.......xxx");
    set_layer (2 + between, 0, 12, 50000, "ddddddddddddd");
    check_chain (3 + between);
  }
}

/* In chains this long, the runs of 64 clusters of the top layer are cached if
 * there are at most 64: test the limit, and one more.
 */
static void
many_runs (void **state)
{
  static const unsigned counts[] = { 1, 63, 64, 65, 66, 512 };
  unsigned i, n;

  (void) state;
  for (i = 0; i < sizeof counts / sizeof counts[0]; ++i) {
    set_layer (0, 3, 12, 3 * (64 << 12) + 5000, "");
    set_layer (1, 2, 9, 3 * (64 << 12) + 4000, "");
    set_layer (2, 1, 12, 3 * (64 << 12) + 6000, "");
    set_layer (3, 0, 9, 3 * (64 << 12) + 3000, "");
    memset (layers[3].active.units, 'd', 3 * 512 + 6);
    memset (layers[1].active.units, '.', 3 * 512 + 8);
    /* The upper and the lower layer alternate. */
    for (n = counts[i] % 2; n < counts[i]; n += 2)
      layers[1].active.units[n] = layers[1].active.units[2 * 512 + n] = 'd';
    layers[1].active.units[512 + 256] = 'd';
    check_chain (4);
  }
}

/* A layer loses its L2 table: reads that need it fail, reads of layers above
 * it do not, and all succeed again once the table is back.
 */
static void
lost_table (void **state)
{
  unsigned n, i;

  (void) state;
  for (n = 2; n <= 5; ++n) {
    const unsigned lowest = n - 1;
    struct expected e;
    struct qcow_view *v;
    struct qcow *q;
    char path[128];

    for (i = 1; i < lowest; ++i)
      set_layer (i, 2, 9, 50000, "");
    set_layer (0, 3, 9, 50000, "dddddddd");
    set_layer (lowest, 3, 12, 50000, "ddd.cc.ddzz");
    q = open_chain (n, 1 << 20, &silent);
    assert_non_null (q);
    e = expect_view (n, &layers[0].active, 50000);
    v = qcow_view_open (q, "");
    assert_non_null (v);

    /* The L2 table follows the header, the refcount and the L1 table. */
    snprintf (path, sizeof path, "%s/%u", dir, lowest);
    assert_int_equal (truncate (path, 3 * 4096), 0);
    for (i = 0; i < 3; ++i) {
      assert_null (wrong_read (v, &e, buffer, 0, 4096));
      errno = 0;
      assert_int_equal (qcow_read (v, buffer, 10, 4096), -1);
      assert_int_equal (errno, EIO);
      assert_int_equal (qcow_read (v, buffer, 50000, 0), -1);
    }
    save_layer (lowest, n);
    check_view (n, v, &e);
    qcow_view_close (v);
    qcow_close (q);
    free_expected (&e);
  }
}

/* A raw file's holes are zeros, and join with those of the layers above. */
static void
holes_of_a_raw_file (void **state)
{
  unsigned round;

  (void) state;
  for (round = 0; round < 3; ++round) {
    set_layer (0, 1 + round, 12, 950000 + round * 40000, "");
    random_units (&layers[0], &layers[0].active, 4);
    set_layer (1, 0, 16, 1000000, "d..dd.d.....d..d");
    layers[1].sparse = true;
    check_chain (2);
  }
}

static void
expect_extents (unsigned n, unsigned want)
{
  struct qcow *q = open_chain (n, 1 << 20, &unit_hooks);
  const uint64_t size = layers[0].active.size;
  struct expected e = expect_view (n, &layers[0].active, size);
  struct extents x = { .expected = &e, .end = size };
  struct qcow_view *v;

  assert_non_null (q);
  v = qcow_view_open (q, "");
  assert_non_null (v);
  assert_int_equal (qcow_extents (v, (uint32_t) size, 0, false, on_extent, &x),
                    0);
  assert_int_equal (x.count, want);
  check_view (n, v, &e);
  qcow_view_close (v);
  qcow_close (q);
  free_expected (&e);
}

static int
give_up (void *opaque, uint64_t offset, uint64_t length, enum qcow_extent kind)
{
  unsigned *left = opaque;

  (void) offset;
  (void) length;
  (void) kind;
  if (*left == 0) {
    errno = ENOMEM;
    return -1;
  }
  --*left;
  return 0;
}

/* If the callback fails, at whichever extent, the caller gets its error. */
static void
callback_fails (void **state)
{
  struct qcow *q;
  struct qcow_view *v;
  unsigned n;

  (void) state;
  set_layer (0, 3, 12, 65536, "d.d.d");
  q = open_chain (1, 1 << 20, &unit_hooks);
  assert_non_null (q);
  v = qcow_view_open (q, "");
  assert_non_null (v);
  for (n = 0; n <= 6; ++n) {
    unsigned left = n;

    errno = 0;
    assert_int_equal (qcow_extents (v, 65536, 0, false, give_up, &left),
                      n < 6 ? -1 : 0);
    assert_int_equal (errno, n < 6 ? ENOMEM : 0);
    assert_int_equal (left, 0);
  }
  qcow_view_close (v);
  qcow_close (q);
}

/* Runs join across layers, whatever they consist of. */
static void
joins (void **state)
{
  uint64_t i;

  (void) state;
  /* Data, data and data. */
  set_layer (0, 3, 12, 65536, ".d.d.dc..cc.dd.d");
  set_layer (1, 0, 12, 65536, "dddddddddddddddd");
  expect_extents (2, 1);
  set_layer (1, 1, 9, 65536, "");
  memset (layers[1].active.units, 'c', 128);
  expect_extents (2, 1);
  set_layer (0, 2, 12, 65536, ".d.d.dc..cc.dd.d");
  set_layer (1, 3, 14, 65536, "d.c.");
  set_layer (2, 2, 9, 65536, "");
  memset (layers[2].active.units, 'd', 128);
  expect_extents (3, 1);

  /* Zeros with and without a place, unallocated clusters, and past the end. */
  set_layer (0, 3, 12, 65536, ".zp..z..p......z");
  set_layer (1, 2, 9, 20001, "");
  expect_extents (2, 1);
  set_layer (1, 3, 9, 30001, "");
  memset (layers[1].active.units, 'p', 10);
  set_layer (2, 1, 12, 1000, "");
  expect_extents (3, 1);

  /* Data up to the end of the middle, though the base is longer. */
  set_layer (0, 3, 12, 65536, ".d.............z");
  set_layer (1, 2, 9, 20001, "");
  set_layer (2, 0, 12, 65536, "dddddddddddddddd");
  expect_extents (3, 2);

  /* So many clusters that the map needs several windows: extents join across
   * their ends, and changes near these are reported.
   */
  set_layer (0, 3, 9, MAX_UNITS * 512, "");
  set_layer (1, 0, 9, MAX_UNITS * 512, "");
  memset (layers[1].active.units, 'd', MAX_UNITS);
  expect_extents (2, 1);
  set_layer (0, 3, 9, MAX_UNITS * 512, "");
  memset (layers[0].active.units, '.', MAX_UNITS);
  for (i = 0; i < MAX_UNITS; i += 1024)
    layers[0].active.units[i] = layers[0].active.units[i + 1023] = 'z';
  expect_extents (2, 2 * MAX_UNITS / 1024 + 1);

  /* An L2 table that is read in parts: 32 KiB. */
  layers[0].version = 1;
  layers[0].l2_bits = 12;
  for (i = 0; i < MAX_UNITS; ++i)
    layers[0].active.units[i] = i % 1000 == 48 ? '.' : 'd';
  expect_extents (2, 1);
}

static unsigned
get_runs (struct qcow_view *v, uint64_t offset, bool kinds_only,
          struct run *runs, unsigned max)
{
  struct lookup lookup = LOOKUP_INIT;
  struct map m;
  unsigned n = 0;

  lookup.kinds_only = kinds_only;
  map_begin (&m, v, &lookup, offset, qcow_view_size (v) - offset);
  while (n < max && map_next (&m, &runs[n]) == 1)
    n++;
  map_end (&m);
  return n;
}

static void
check_run (const struct run *run, enum run_kind kind, uint64_t offset,
           uint64_t length)
{
  assert_int_equal (run->kind, kind);
  assert_int_equal (run->offset, offset);
  assert_int_equal (run->length, length);
}

/* The runs must be few and long, since each costs a call of the source. */
static void
runs (void **state)
{
  enum { C = 4096, MAX = 10 };
  struct run r[MAX];
  struct qcow *q;
  struct qcow_view *v;
  unsigned kinds_only;

  (void) state;
  /* Zeros of two layers. */
  set_layer (0, 3, 12, 6 * C, ".zp.z.");
  set_layer (1, 3, 9, 6 * C, "");
  memset (layers[1].active.units, 'z', 6 * C / 512);
  q = open_chain (2, 1 << 20, &unit_hooks);
  assert_non_null (q);
  v = qcow_view_open (q, "");
  assert_non_null (v);
  for (kinds_only = 0; kinds_only <= 1; ++kinds_only) {
    assert_int_equal (get_runs (v, 0, kinds_only, r, MAX), 1);
    check_run (&r[0], RUN_ZERO, 0, 6 * C);
    assert_int_equal (get_runs (v, 5000, kinds_only, r, MAX), 1);
    check_run (&r[0], RUN_ZERO, 5000, 6 * C - 5000);
  }
  qcow_view_close (v);
  qcow_close (q);

  /* Nothing is allocated in any layer, and one layer is short. */
  set_layer (0, 2, 12, 6 * C, "");
  set_layer (1, 1, 9, 3000, "");
  q = open_chain (2, 1 << 20, &unit_hooks);
  assert_non_null (q);
  v = qcow_view_open (q, "");
  assert_non_null (v);
  assert_int_equal (get_runs (v, 0, false, r, MAX), 1);
  check_run (&r[0], RUN_HOLE, 0, 6 * C);
  qcow_view_close (v);
  qcow_close (q);

  /* Data of two layers, with and without regard to its place. */
  set_layer (0, 3, 12, 6 * C, "..dd..");
  set_layer (1, 0, 12, 6 * C, "dddddd");
  q = open_chain (2, 1 << 20, &unit_hooks);
  assert_non_null (q);
  v = qcow_view_open (q, "");
  assert_non_null (v);
  assert_int_equal (get_runs (v, 1000, false, r, MAX), 3);
  check_run (&r[0], RUN_DATA, 1000, 2 * C - 1000);
  assert_null (r[0].image);
  assert_int_equal (r[0].host, 1000);
  check_run (&r[1], RUN_DATA, 2 * C, 2 * C);
  assert_non_null (r[1].image);
  assert_int_equal (r[1].host % C, 0);
  check_run (&r[2], RUN_DATA, 4 * C, 2 * C);
  assert_null (r[2].image);
  assert_int_equal (r[2].host, 4 * C);
  assert_ptr_equal (r[2].source, r[0].source);
  assert_ptr_not_equal (r[1].source, r[0].source);
  assert_int_equal (get_runs (v, 1000, true, r, MAX), 1);
  check_run (&r[0], RUN_DATA, 1000, 6 * C - 1000);
  qcow_view_close (v);
  qcow_close (q);

  /* However many windows it takes. */
  set_layer (0, 3, 9, MAX_UNITS * 512, "");
  set_layer (1, 2, 12, MAX_UNITS * 512, "");
  set_layer (2, 0, 9, MAX_UNITS * 512, "");
  memset (layers[2].active.units, 'd', MAX_UNITS);
  q = open_chain (3, 1 << 20, &unit_hooks);
  assert_non_null (q);
  v = qcow_view_open (q, "");
  assert_non_null (v);
  assert_int_equal (get_runs (v, 1000, false, r, MAX), 1);
  check_run (&r[0], RUN_DATA, 1000, MAX_UNITS * 512 - 1000);
  assert_int_equal (r[0].host, 1000);
  qcow_view_close (v);
  qcow_close (q);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test_setup_teardown (two_layers, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (lengths, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (middle_cuts, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (random_chains, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (damage, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (many_runs, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (lost_table, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (holes_of_a_raw_file, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (callback_fails, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (joins, make_dir, remove_dir),
  cmocka_unit_test_setup_teardown (runs, make_dir, remove_dir),
};

UNIT_MAIN (tests)
