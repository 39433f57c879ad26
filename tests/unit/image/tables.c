/* SPDX-License-Identifier: BSD-3-Clause
 *
 * snapshot-table.c and bitmap-table.c: their memory counts to the limit of L1
 * tables.
 */

#include <errno.h>

#include "tests/unit/unit.h"

#include "image/bitmap-table.h"
#include "image/snapshot-table.h"
#include "source/file.h"

#define TABLE 4096U

enum { ENTRIES = 3, NAME_BYTES = 60000 };

static struct unit_file file;
static struct context context;
static struct image image;

/* The names are holes in the file.  'name_at' is the offset of the field with
 * the length of the name, in an entry of 'bytes' bytes.
 */
static void
make_image (size_t name_at, size_t bytes)
{
  uint64_t at = TABLE;
  unsigned i;

  file = unit_file_new ();
  for (i = 0; i < ENTRIES; ++i) {
    uint8_t entry[40] = { 0 };

    entry[name_at] = NAME_BYTES >> 8;
    entry[name_at + 1] = NAME_BYTES & 0xff;
    unit_write (&file, entry, bytes, at);
    at += bytes + NAME_BYTES;
  }
  assert_int_equal (ftruncate (file.fd, (off_t) at), 0);
  context
    = (struct context){ .hooks = &unit_hooks, .l1_tables = l1_tables_new () };
  assert_non_null (context.l1_tables);
  image = (struct image){ .context = &context };
  image.source = source_file_open (file.name, true, &unit_hooks);
  assert_non_null (image.source);
  image.name = image.source->name;
  image.header.cluster_bits = 9;
  image.header.bitmap_directory_size = at - TABLE;
  unit_forget ();
}

static void
end (void)
{
  assert_int_equal (l1_tables_bytes (context.l1_tables), 0);
  source_close (image.source);
  l1_tables_free (context.l1_tables);
  close (file.fd);
}

/* Leave so much of the limit. */
static uint64_t
leave (uint64_t bytes)
{
  uint64_t reserved = 0;

  assert_false (
    l1_tables_reserve (context.l1_tables, QCOW_MAX_L1_MEMORY + 1, &reserved));
  assert_int_equal (reserved, 0);
  assert_true (l1_tables_reserve (context.l1_tables,
                                  QCOW_MAX_L1_MEMORY - bytes, &reserved));
  assert_int_equal (reserved, QCOW_MAX_L1_MEMORY - bytes);
  return reserved;
}

static void
snapshots (void **state)
{
  static const uint64_t left[] = { 0, 100, 65000, 70000, 180000 };
  struct snapshot_table *s;
  uint64_t reserved;
  size_t i;

  (void) state;
  make_image (14, 40);
  image.header.nb_snapshots = ENTRIES;
  image.header.snapshots_offset = TABLE;
  s = snapshot_table_load (&image);
  assert_non_null (s);
  assert_int_equal (s->list[ENTRIES - 1].name_length, NAME_BYTES);
  assert_between (l1_tables_bytes (context.l1_tables), ENTRIES * NAME_BYTES,
                  ENTRIES * (NAME_BYTES + 40 + 500));
  snapshot_table_free (s);
  for (i = 0; i < sizeof left / sizeof left[0]; ++i) {
    unit_forget ();
    reserved = leave (left[i]);
    errno = 0;
    assert_null (snapshot_table_load (&image));
    assert_int_equal (errno, ENOMEM);
    assert_int_equal (unit_errors, 1);
    assert_said ("would exceed the limit of 512 MiB");
    assert_int_equal (l1_tables_bytes (context.l1_tables), reserved);
    l1_tables_release (context.l1_tables, reserved);
  }
  end ();
}

static void
bitmaps (void **state)
{
  struct bitmap_table *b;
  uint64_t reserved;

  (void) state;
  make_image (18, 24);
  image.header.nb_bitmaps = ENTRIES;
  image.header.bitmap_directory_offset = TABLE;
  b = bitmap_table_load (&image);
  assert_non_null (b);
  assert_int_equal (b->count, ENTRIES);
  assert_between (l1_tables_bytes (context.l1_tables), ENTRIES * NAME_BYTES,
                  ENTRIES * (NAME_BYTES + 24 + 100));
  bitmap_table_free (b);
  assert_int_equal (unit_warnings, 0);

  /* The disk can be read without them. */
  reserved = leave (180000);
  b = bitmap_table_load (&image);
  assert_non_null (b);
  assert_int_equal (b->count, 0);
  assert_int_equal (unit_warnings, 1);
  assert_said ("would exceed the limit of 512 MiB");
  bitmap_table_free (b);
  assert_int_equal (l1_tables_bytes (context.l1_tables), reserved);
  l1_tables_release (context.l1_tables, reserved);
  end ();
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (snapshots),
  cmocka_unit_test (bitmaps),
};

UNIT_MAIN (tests)
