/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Slices of tables: how the cache keeps those of a local and of a remote file.
 */

#include "tests/unit/transport.h"
#include "tests/unit/unit.h"

#include "image/image.h"
#include "source/file.h"

static struct cache_key
key (uint64_t host)
{
  return (struct cache_key){ host, 0, 0 };
}

/* Bytes past the end of the file are zeros. */
static void
check_slice (const struct source_pin *slice, uint64_t host, size_t size)
{
  const uint64_t end = fake.transport.size;
  const size_t present = end - host < size ? (size_t) (end - host) : size;
  size_t i;

  assert_int_equal ((uintptr_t) slice->data % 8, 0);
  check_bytes (slice->data, host, present);
  for (i = present; i < size; ++i)
    assert_int_equal (slice->data[i], 0);
}

static void
remote (void **state)
{
  static const struct {
    uint64_t host;
    size_t size;
    bool in_place;
  } rows[] = {
    { M, 16 * K, true },
    { M + 48 * K, 16 * K, true },
    { M + 4 * K, 4 * K, true },
    { M + 8, 512, true },
    { M, 64 * K, true },
    /* Version 1 tables may be anywhere. */
    { M + 4, 4 * K, false },
    { M + 1, 4 * K, false },
    { M + 60 * K + 8, 4 * K, false },
    { M + 63 * K + 7, 4 * K, false },
    /* The end of the file, at 2 MiB + 5000. */
    { 2 * M, 4 * K, true },
    { 2 * M + 904, 4 * K, true },
    { 2 * M + 912, 4 * K, false },
    { 2 * M, 16 * K, false },
    { 2 * M - 64 * K, 64 * K, true },
    { 2 * M - 4 * K, 16 * K, false },
  };
  struct context context = { .hooks = &hooks };
  struct image image = { .context = &context };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    const uint64_t host = rows[i].host;
    const size_t size = rows[i].size;
    struct source_pin slice, block, again;

    start (2 * M + 5000, 0, 64 * M);
    context.cache = cache;
    image.name = name;
    image.source = image.data = source;
    assert_false (image_peek_slice (&image, key (host), size, &slice));
    assert_int_equal (fake.nr_asked, 0);
    assert_int_equal (image_get_slice (&image, key (host), size, &slice), 0);
    check_slice (&slice, host, size);
    assert_int_equal (fake.nr_asked, 1);
    assert_int_equal (fake.asked[0].how, rows[i].in_place ? 's' : 'd');

    /* It is cached once, and is found again. */
    assert_int_equal (cache_stats (cache).misses, 1);
    assert_int_equal (source_pin (source, host, 1, true, &block),
                      rows[i].in_place);
    if (rows[i].in_place) {
      assert_ptr_equal (slice.data, block.data);
      cache_release (block.entry);
    }
    assert_true (image_peek_slice (&image, key (host), size, &again));
    assert_ptr_equal (again.data, slice.data);
    cache_release (again.entry);
    cache_release (slice.entry);
    assert_int_equal (image_get_slice (&image, key (host), size, &again), 0);
    cache_release (again.entry);
    assert_int_equal (fake.nr_asked, 1);
    stop_transport ();
  }
}

/* The slice's block can't be read, but the slice itself can. */
static void
bad_block (void **state)
{
  struct context context = { .hooks = &hooks };
  struct image image = { .context = &context, .name = name };
  struct source_pin slice;

  (void) state;
  start (10 * M, 0, 64 * M);
  context.cache = cache;
  image.source = source;
  fake.bad = M + 20 * K;
  assert_int_equal (image_get_slice (&image, key (M), 16 * K, &slice), 0);
  check_slice (&slice, M, 16 * K);
  cache_release (slice.entry);
  ASKED ({ 's', M, 64 * K }, { 'd', M, 16 * K });
  errno = 0;
  assert_int_equal (image_get_slice (&image, key (M + 16 * K), 16 * K, &slice),
                    -1);
  assert_int_equal (errno, EIO);
  assert_null (slice.entry);
  fake.bad = UINT64_MAX;
  assert_int_equal (image_get_slice (&image, key (M + 16 * K), 16 * K, &slice),
                    0);
  check_slice (&slice, M + 16 * K, 16 * K);
  cache_release (slice.entry);
  stop_transport ();
}

static void
local (void **state)
{
  const struct unit_file f = unit_file_new ();
  struct context context = { .hooks = &unit_hooks };
  struct image image = { .context = &context };
  struct source_pin slice, again;

  (void) state;
  unit_write_be64 (&f, 0x0102030405060708, 4001);
  image.source = source_file_open (f.name, 0, &unit_hooks);
  assert_non_null (image.source);
  image.name = image.source->name;
  context.cache = cache_new (1 << 20, 4096);
  assert_non_null (context.cache);

  assert_false (image_peek_slice (&image, key (4001), 4096, &slice));
  assert_null (slice.entry);
  assert_int_equal (image_get_slice (&image, key (4001), 4096, &slice), 0);
  assert_int_equal ((uintptr_t) slice.data % 8, 0);
  assert_memory_equal (slice.data, "\1\2\3\4\5\6\7\10\0", 9);
  assert_int_equal (slice.data[4095], 0);
  assert_true (image_peek_slice (&image, key (4001), 4096, &again));
  assert_ptr_equal (again.data, slice.data);
  cache_release (again.entry);
  cache_release (slice.entry);
  cache_free (context.cache);
  source_close (image.source);
  close (f.fd);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (remote),
  cmocka_unit_test (bad_block),
  cmocka_unit_test (local),
};

UNIT_MAIN (tests)
