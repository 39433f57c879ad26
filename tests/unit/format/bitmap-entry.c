/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bitmap-entry.c: directories of dirty bitmaps that are cut at every byte, in
 * buffers of exactly their length, so that a sanitizer finds each access
 * beyond; and a table of single-field changes of a good bitmap, with the
 * expected reason.
 */

#include "tests/unit/unit.h"

#include "format/bitmap-entry.h"

/* --- Parsing --- */

#define FIXED 24 /* bytes before the extra data (spec) */

static void
put_be16 (uint8_t *p, uint16_t v)
{
  v = htobe16 (v);
  memcpy (p, &v, sizeof v);
}

/* Return byte i of the name and of the extra data of an entry. */
static uint8_t
name_byte (size_t i)
{
  return (uint8_t) ('a' + i % 23);
}

/* Return the length of an entry, with its padding. */
static size_t
padded (size_t name_length, size_t extra_length)
{
  return (FIXED + extra_length + name_length + 7) / 8 * 8;
}

/* Write an entry in which each field has another value. */
static void
put_entry (uint8_t *p, uint16_t name_length, uint32_t extra_length)
{
  size_t i;

  memset (p, 0xee, padded (name_length, extra_length));
  put_be64 (p, UINT64_C (0x0123456789abcdef));
  put_be32 (p + 8, 0x11223344);
  put_be32 (p + 12, 0x55667788);
  p[16] = 0x99;
  p[17] = 0xaa;
  put_be16 (p + 18, name_length);
  put_be32 (p + 20, extra_length);
  memset (p + FIXED, 0xdd, extra_length);
  for (i = 0; i < name_length; ++i)
    p[FIXED + extra_length + i] = name_byte (i);
}

/* Parse the entry at 'pos' of a copy that has exactly this length, and read
 * the whole name.  Returns the start of the next entry, or 0 and the reason.
 */
static size_t
parse (const uint8_t *directory, size_t length, size_t pos, unsigned number,
       struct bitmap_entry *b, struct problem *problem)
{
  uint8_t *copy = malloc (length);
  const size_t start = pos;
  size_t i;
  int r;

  assert_non_null (copy);
  if (length > 0)
    memcpy (copy, directory, length);
  problem->text[0] = '\0';
  r = bitmap_entry_parse (copy, length, &pos, number, b, problem);
  if (r == 0) {
    assert_string_equal (problem->text, "");
    assert_true (pos > start && pos <= length);
    for (i = 0; i < b->name_length; ++i)
      assert_int_equal (b->name[i], name_byte (i));
  }
  else {
    assert_int_equal (r, -1);
    assert_string_not_equal (problem->text, "");
    pos = 0;
  }
  free (copy);
  return pos;
}

static const struct lengths {
  uint16_t name;
  uint32_t extra;
} lengths[] = {
  { 0, 0 },     { 1, 0 },         { 7, 0 },       { 8, 0 },     { 9, 0 },
  { 0, 1 },     { 0, 8 },         { 1, 7 },       { 13, 11 },   { 1023, 0 },
  { 5, 1 },     { 5, 1024 },      { 1023, 1024 }, { 65535, 0 }, { 65535, 1 },
  { 0, 70000 }, { 65535, 70000 },
};

#define NR_LENGTHS (sizeof lengths / sizeof lengths[0])

static void
fields (void **state)
{
  uint8_t *directory = malloc (padded (65535, 70000));
  struct problem problem;
  struct bitmap_entry b;
  size_t i;

  (void) state;
  assert_non_null (directory);
  for (i = 0; i < NR_LENGTHS; ++i) {
    const struct lengths l = lengths[i];
    const size_t bytes = FIXED + (size_t) l.extra + l.name;
    const size_t all = padded (l.name, l.extra);

    put_entry (directory, l.name, l.extra);
    assert_int_equal (parse (directory, all, 0, 1, &b, &problem), all);
    assert_int_equal (b.table_offset, UINT64_C (0x0123456789abcdef));
    assert_int_equal (b.table_size, 0x11223344);
    assert_int_equal (b.flags, 0x55667788);
    assert_int_equal (b.type, 0x99);
    assert_int_equal (b.granularity_bits, 0xaa);
    assert_int_equal (b.name_length, l.name);
    assert_int_equal (b.extra_length, l.extra);

    /* The last entry without its padding, or with part of it. */
    assert_int_equal (parse (directory, bytes, 0, 1, &b, &problem), bytes);
    assert_int_equal (b.name_length, l.name);
    if (bytes + 1 < all)
      assert_int_equal (parse (directory, bytes + 1, 0, 1, &b, &problem),
                        bytes + 1);
  }
  free (directory);
}

static void
truncated (void **state)
{
  uint8_t *directory = malloc (padded (65535, 70000));
  struct problem problem;
  struct bitmap_entry b;
  size_t i, length;

  (void) state;
  assert_non_null (directory);
  for (i = 0; i < NR_LENGTHS; ++i) {
    const size_t bytes = FIXED + (size_t) lengths[i].extra + lengths[i].name;
    /* Each length, unless there are too many. */
    const size_t step = bytes < 3000 ? 1 : 997;

    put_entry (directory, lengths[i].name, lengths[i].extra);
    for (length = 0; length < bytes; length += length < 64 ? 1 : step) {
      assert_int_equal (parse (directory, length, 0, 7, &b, &problem), 0);
      if (strstr (problem.text, "entry 7") == NULL)
        fail_msg ("%zu of %zu bytes: '%s'", length, bytes, problem.text);
    }
    assert_int_equal (parse (directory, bytes - 1, 0, 7, &b, &problem), 0);
  }
  free (directory);
}

/* Lengths whose sum exceeds 32 bits. */
static void
huge_lengths (void **state)
{
  static const struct lengths huge[] = {
    { 0, UINT32_MAX },      { 65535, UINT32_MAX }, { 8, UINT32_MAX - 31 },
    { 0, UINT32_MAX - 23 }, { 65535, 0x7fffffff }, { 0, 0x80000000 },
  };
  uint8_t directory[256];
  struct problem problem;
  struct bitmap_entry b;
  size_t i;

  (void) state;
  for (i = 0; i < sizeof huge / sizeof huge[0]; ++i) {
    char bytes[32];

    memset (directory, 0, sizeof directory);
    put_be16 (directory + 18, huge[i].name);
    put_be32 (directory + 20, huge[i].extra);
    assert_int_equal (parse (directory, sizeof directory, 0, 3, &b, &problem),
                      0);
    snprintf (bytes, sizeof bytes, "%" PRIu64,
              UINT64_C (24) + huge[i].extra + huge[i].name);
    if (strstr (problem.text, bytes) == NULL)
      fail_msg ("no '%s' in '%s'", bytes, problem.text);
  }
}

/* Several entries of all lengths, with nothing after the last. */
static void
several (void **state)
{
  uint8_t *directory;
  struct problem problem;
  struct bitmap_entry b;
  size_t total = 0, last = 0, pos, i;

  (void) state;
  for (i = 0; i < NR_LENGTHS; ++i)
    total += padded (lengths[i].name, lengths[i].extra);
  directory = malloc (total);
  assert_non_null (directory);
  for (pos = i = 0; i < NR_LENGTHS; ++i) {
    put_entry (directory + pos, lengths[i].name, lengths[i].extra);
    put_be32 (directory + pos + 8, (uint32_t) i);
    last = pos;
    pos += padded (lengths[i].name, lengths[i].extra);
  }
  for (pos = i = 0; i < NR_LENGTHS; ++i) {
    pos = parse (directory, total, pos, (unsigned) i + 1, &b, &problem);
    assert_int_not_equal (pos, 0);
    assert_int_equal (b.table_size, i);
    assert_int_equal (b.name_length, lengths[i].name);
    assert_int_equal (b.extra_length, lengths[i].extra);
  }
  assert_int_equal (pos, total);
  assert_int_equal (parse (directory, total, pos, 18, &b, &problem), 0);
  assert_non_null (strstr (problem.text, "entry 18"));

  /* Entries before one that ends past the end can still be read. */
  assert_int_equal (parse (directory, last + 100, 0, 1, &b, &problem),
                    padded (lengths[0].name, lengths[0].extra));
  assert_int_equal (parse (directory, last + 100, last, 17, &b, &problem), 0);
  free (directory);
}

/* --- Checking --- */

#define DISK (UINT64_C (1) << 30)

/* Four entries of 256 MiB each. */
static const struct bitmap_entry good = {
  .table_offset = 0x50000,
  .table_size = 4,
  .flags = 0,
  .type = 1,
  .granularity_bits = 9,
  .name_length = 1,
  .extra_length = 0,
  .name = "b",
};

enum field { NONE, TABLE_OFFSET, TABLE_SIZE, FLAGS, TYPE, GRANULARITY, EXTRA };

/* The reason must contain 'said'.  NULL: accepted. */
struct change {
  const char *name;
  enum field field;
  uint64_t value;
  const char *said;
};

/* clang-format off */
static const struct change changes[] = {
  { "nothing", NONE, 0, NULL },
  { "type 0", TYPE, 0, "type is 0" },
  { "type 2", TYPE, 2, "type is 2" },
  { "type 255", TYPE, 255, "type is 255" },
  { "in use", FLAGS, 1, "in use" },
  { "in use, auto", FLAGS, 3, "in use" },
  { "in use, and an unknown flag", FLAGS, 0x80000001, "in use" },
  { "auto", FLAGS, 2, NULL },
  { "extra data compatible, without any", FLAGS, 4, NULL },
  { "all harmless flags", FLAGS, 6, NULL },
  { "flag 3", FLAGS, 8, "flags are 0x8" },
  { "flag 3 and known ones", FLAGS, 14, "flags are 0xe" },
  { "flag 31", FLAGS, 0x80000000, "flags are 0x80000000" },
  { "all flags but in use", FLAGS, 0xfffffffe, "flags are 0xfffffffe" },
  { "extra data", EXTRA, 1, "1 bytes of unknown extra data" },
  { "much extra data", EXTRA, 0xffffffff,
    "4294967295 bytes of unknown extra data" },
  { "granularity_bits 0", GRANULARITY, 0, "granularity_bits is 0" },
  { "granularity_bits 8", GRANULARITY, 8, "granularity_bits is 8" },
  { "granularity_bits 32", GRANULARITY, 32, "granularity_bits is 32" },
  { "granularity_bits 63", GRANULARITY, 63, "granularity_bits is 63" },
  { "granularity_bits 64", GRANULARITY, 64, "granularity_bits is 64" },
  { "granularity_bits 255", GRANULARITY, 255, "granularity_bits is 255" },
  /* The header is at this offset (qemu refuses it, too). */
  { "table at 0", TABLE_OFFSET, 0, "its table offset is 0x0" },
  { "table one byte on", TABLE_OFFSET, 0x50001, "is 0x50001" },
  { "table one sector on", TABLE_OFFSET, 0x50200, "is 0x50200" },
  { "table half a cluster on", TABLE_OFFSET, 0x58000, "is 0x58000" },
  { "table at the end of the numbers", TABLE_OFFSET, UINT64_MAX,
    "is 0xffffffffffffffff" },
  { "table elsewhere", TABLE_OFFSET, 0x10000, NULL },
  { "no entries", TABLE_SIZE, 0, "has 0 entries" },
  { "too few entries", TABLE_SIZE, 3, "has 3 entries" },
  { "too many entries", TABLE_SIZE, 5, "has 5 entries" },
  { "512 MiB", TABLE_SIZE, 0x2000, "has 8192 entries" },
  { "more than 512 MiB", TABLE_SIZE, 0x2001, "exceed 512 MiB" },
  { "all ones in table_size", TABLE_SIZE, UINT32_MAX,
    "has 4294967295 entries" },
};
/* clang-format on */

/* Return the reason, or "" if the bitmap can be used. */
static const char *
check (const struct bitmap_entry *b, uint64_t size, unsigned cluster_bits)
{
  static struct problem problem;

  problem.text[0] = '\0';
  if (bitmap_entry_check (b, size, cluster_bits, &problem) == 0) {
    assert_string_equal (problem.text, "");
    return "";
  }
  assert_string_not_equal (problem.text, "");
  return problem.text;
}

static void
change (struct bitmap_entry *b, enum field field, uint64_t value)
{
  switch (field) {
  case NONE:
    break;
  case TABLE_OFFSET:
    b->table_offset = value;
    break;
  case TABLE_SIZE:
    b->table_size = (uint32_t) value;
    break;
  case FLAGS:
    b->flags = (uint32_t) value;
    break;
  case TYPE:
    b->type = (uint8_t) value;
    break;
  case GRANULARITY:
    b->granularity_bits = (uint8_t) value;
    break;
  case EXTRA:
    b->extra_length = (uint32_t) value;
    break;
  }
}

static void
single_fields (void **state)
{
  unsigned wrong = 0;
  size_t i;

  (void) state;
  for (i = 0; i < sizeof changes / sizeof changes[0]; ++i) {
    const struct change *c = &changes[i];
    struct bitmap_entry b = good;
    const char *said;

    change (&b, c->field, c->value);
    said = check (&b, DISK, 16);
    if (c->said ? strstr (said, c->said) == NULL : said[0] != '\0') {
      print_message ("# %s: '%s', wanted '%s'\n", c->name, said,
                     c->said ? c->said : "");
      wrong++;
    }
  }
  assert_int_equal (wrong, 0);
}

/* Extra data that the reader may ignore. */
static void
compatible_extra_data (void **state)
{
  struct bitmap_entry b = good;

  (void) state;
  b.extra_length = 77;
  b.flags = QCOW_BITMAP_EXTRA_COMPATIBLE;
  assert_string_equal (check (&b, DISK, 16), "");
  b.flags |= QCOW_BITMAP_IN_USE;
  assert_non_null (strstr (check (&b, DISK, 16), "in use"));
}

/* Every cluster size and granularity, with disks that end where a table entry
 * ends, or one byte before or after.
 */
static void
table_sizes (void **state)
{
  static const int around[] = { -1, 0, 1 };
  unsigned cluster_bits, bits, n;
  size_t i;

  (void) state;
  for (cluster_bits = 9; cluster_bits <= 21; ++cluster_bits)
    for (bits = 9; bits <= 31; ++bits)
      for (n = 1; n <= 3; ++n)
        for (i = 0; i < 3; ++i) {
          /* A bitmap has a bit for each granule, and 8 bits in a byte. */
          const uint64_t covered = (UINT64_C (8) << cluster_bits) << bits;
          const uint64_t size = n * covered + (uint64_t) around[i];
          struct bitmap_entry b = good;

          b.granularity_bits = (uint8_t) bits;
          b.table_offset = UINT64_C (1) << 21;
          b.table_size = n + (around[i] > 0);
          assert_string_equal (check (&b, size, cluster_bits), "");
          b.table_size++;
          assert_string_not_equal (check (&b, size, cluster_bits), "");
          b.table_size -= 2;
          assert_string_not_equal (check (&b, size, cluster_bits), "");
        }
}

/* The largest bitmap that qemu accepts, 2^32 bits, and the largest disk that a
 * header can describe.
 */
static void
limits (void **state)
{
  struct bitmap_entry b = good;
  unsigned cluster_bits;

  (void) state;
  b.table_offset = UINT64_C (1) << 21;
  for (cluster_bits = 9; cluster_bits <= 21; ++cluster_bits) {
    b.granularity_bits = 9;
    b.table_size = 1U << (29 - cluster_bits);
    assert_string_equal (check (&b, UINT64_C (1) << 41, cluster_bits), "");
    b.table_size++;
    assert_non_null (
      strstr (check (&b, (UINT64_C (1) << 41) + 1, cluster_bits), "512 MiB"));
  }
  b.granularity_bits = 31;
  b.table_size = 256;
  assert_string_equal (check (&b, INT64_MAX, 21), "");
  b.table_size = 255;
  assert_non_null (strstr (check (&b, INT64_MAX, 21), "256"));
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (fields),        cmocka_unit_test (truncated),
  cmocka_unit_test (huge_lengths),  cmocka_unit_test (several),
  cmocka_unit_test (single_fields), cmocka_unit_test (compatible_extra_data),
  cmocka_unit_test (table_sizes),   cmocka_unit_test (limits),
};

UNIT_MAIN (tests)
