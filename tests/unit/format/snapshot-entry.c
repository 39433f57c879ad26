/* SPDX-License-Identifier: BSD-3-Clause
 *
 * snapshot-entry.c: entries of all lengths, and tables that end anywhere.
 *
 * Each table is parsed in a buffer of exactly its length, so the address
 * sanitizer finds every access beyond it.
 */

#include "tests/unit/unit.h"

#include "format/snapshot-entry.h"

/* The length of an entry before its extra data. */
#define FIXED 40

/* The lengths of the parts of an entry to make. */
struct made {
  uint32_t extra;
  uint16_t id, name; /* lengths */
};

static void
put_be16 (uint8_t *p, uint16_t v)
{
  p[0] = (uint8_t) (v >> 8);
  p[1] = (uint8_t) v;
}

/* Each entry has different bytes, none of them 0. */
static uint8_t
id_byte (unsigned number, size_t i)
{
  return (uint8_t) (1 + (number * 7 + i) % 255);
}

static uint8_t
name_byte (unsigned number, size_t i)
{
  return (uint8_t) (255 - (number * 7 + i) % 255);
}

/* Fields of the extra data, as far as they fit. */
static uint64_t
vm_state_size_64 (unsigned number)
{
  return UINT64_C (0x1122334455667700) + number;
}

static uint64_t
disk_size (unsigned number)
{
  return UINT64_C (0x99aabbccddeeff00) + number;
}

/* Return where the entry ends, without its padding. */
static size_t
end_of (const struct made *m, size_t start)
{
  return start + FIXED + m->extra + m->id + m->name;
}

static size_t
round_up (size_t n)
{
  return (n + 7) / 8 * 8;
}

/* Write entry 'number' at 'start' of the table.  Returns where the next one
 * starts.  The bytes of the padding are not 0, and must be ignored.
 */
static size_t
make_entry (uint8_t *table, size_t start, unsigned number,
            const struct made *m)
{
  uint8_t *p = table + start;
  uint8_t known[24];
  size_t i;

  put_be64 (p, UINT64_C (0x8877665544332200) + number);
  put_be32 (p + 8, 0xfedcba00 + number);
  put_be16 (p + 12, m->id);
  put_be16 (p + 14, m->name);
  put_be32 (p + 16, 0xf0000000 + number);
  put_be32 (p + 20, 0xeeeeeeee);          /* nanoseconds */
  put_be64 (p + 24, 0xeeeeeeeeeeeeeeee);  /* guest run time */
  put_be32 (p + 32, 0xabcdef00 + number); /* VM state size */
  put_be32 (p + 36, m->extra);
  memset (p + FIXED, 0xee, m->extra);
  put_be64 (known, vm_state_size_64 (number));
  put_be64 (known + 8, disk_size (number));
  memset (known + 16, 0xee, 8); /* icount */
  memcpy (p + FIXED, known, m->extra < 24 ? m->extra : 24);
  for (i = 0; i < m->id; ++i)
    p[FIXED + m->extra + i] = id_byte (number, i);
  for (i = 0; i < m->name; ++i)
    p[FIXED + m->extra + m->id + i] = name_byte (number, i);
  for (i = end_of (m, start); i < round_up (end_of (m, start)); ++i)
    table[i] = 0xdd;
  return round_up (end_of (m, start));
}

/* Copy table[0..length) to memory of exactly its size.  The caller frees it.
 */
static uint8_t *
exact_copy (const uint8_t *table, size_t length)
{
  uint8_t *p = malloc (length);

  assert_true (p != NULL || length == 0);
  if (length > 0)
    memcpy (p, table, length);
  return p;
}

static void
check_entry (const struct snapshot_entry *s, unsigned number,
             const struct made *m)
{
  size_t i;

  assert_int_equal (s->l1_table_offset,
                    UINT64_C (0x8877665544332200) + number);
  assert_int_equal (s->l1_size, 0xfedcba00 + number);
  assert_int_equal (s->date_seconds, 0xf0000000 + number);
  assert_int_equal (s->vm_state_size, m->extra >= 8 ? vm_state_size_64 (number)
                                                    : 0xabcdef00 + number);
  assert_int_equal (s->has_disk_size, m->extra >= 16);
  if (s->has_disk_size)
    assert_int_equal (s->disk_size, disk_size (number));
  assert_int_equal (s->id_length, m->id);
  assert_int_equal (s->name_length, m->name);
  for (i = 0; i < m->id; ++i)
    if ((uint8_t) s->id[i] != id_byte (number, i))
      fail_msg ("entry %u: byte %zu of its id", number, i);
  for (i = 0; i < m->name; ++i)
    if ((uint8_t) s->name[i] != name_byte (number, i))
      fail_msg ("entry %u: byte %zu of its name", number, i);
}

static const struct made single[] = {
  /* The extra data of old and new versions of qemu. */
  { 0, 1, 3 },
  { 8, 1, 3 },
  { 16, 2, 7 },
  { 24, 1, 20 },
  /* Too short for a field. */
  { 1, 1, 1 },
  { 7, 1, 1 },
  { 9, 2, 2 },
  { 15, 3, 5 },
  { 17, 3, 5 },
  { 23, 0, 1 },
  /* Longer than the known fields. */
  { 25, 1, 1 },
  { 1000, 8, 8 },
  { 1023, 1, 1 },
  { 1024, 1, 1 },
  { 1024, 0, 0 },
  /* Lengths of the names. */
  { 0, 0, 0 },
  { 16, 0, 0 },
  { 16, 0, 9 },
  { 16, 9, 0 },
  { 16, 65535, 0 },
  { 16, 0, 65535 },
  { 0, 65535, 65535 },
  { 1024, 65535, 65535 },
};

/* Large enough for every entry. */
static uint8_t table[FIXED + 1024 + 2 * 65535 + 8];

static void
one_entry (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof single / sizeof single[0]; ++i) {
    const struct made *m = &single[i];
    const size_t length = make_entry (table, 0, 5, m);
    uint8_t *p = exact_copy (table, length);
    struct snapshot_entry s;
    struct problem problem;
    size_t pos = 0;

    memset (&s, 0xee, sizeof s);
    assert_int_equal (snapshot_entry_parse (p, length, &pos, 6, &s, &problem),
                      1);
    assert_int_equal (pos, length);
    check_entry (&s, 5, m);
    /* They point into the table. */
    assert_ptr_equal (s.id, p + FIXED + m->extra);
    assert_ptr_equal (s.name, p + FIXED + m->extra + m->id);
    free (p);
  }
}

/* Only some lengths of the largest entries: all would take a minute. */
static bool
is_tried (size_t length, size_t end)
{
  return length < 1200 || length + 100 > end || length % 9973 == 0
         || (length > FIXED + 65535 - 50 && length < FIXED + 65535 + 50);
}

static void
cut_entry (void **state)
{
  size_t i, length;

  (void) state;
  for (i = 0; i < sizeof single / sizeof single[0]; ++i) {
    const struct made *m = &single[i];
    const size_t end = end_of (m, 0);

    make_entry (table, 0, 9, m);
    for (length = 0; length <= round_up (end); ++length) {
      uint8_t *p;
      struct snapshot_entry s;
      struct problem problem;
      size_t pos = 0;
      int r;

      if (!is_tried (length, end))
        continue;
      p = exact_copy (table, length);
      memset (&s, 0xee, sizeof s);
      r = snapshot_entry_parse (p, length, &pos, 10, &s, &problem);
      if (r != (length >= end))
        fail_msg ("%" PRIu32 " bytes of extra data, names of %u and %u, "
                  "length %zu: %d",
                  m->extra, m->id, m->name, length, r);
      if (r == 1) {
        /* The last entry can lack its padding. */
        assert_int_equal (pos, length);
        check_entry (&s, 9, m);
      }
      free (p);
    }
  }
}

/* Parse a table of n entries, and return how many it has.  Works like
 * snapshot-table.c, but checks each entry.
 */
static unsigned
parse_all (const uint8_t *p, size_t length, const struct made *made,
           const size_t *starts, unsigned n)
{
  struct snapshot_entry s;
  struct problem problem;
  size_t pos = 0;
  unsigned i;

  memset (&s, 0xee, sizeof s);
  for (i = 0; i < n; ++i) {
    if (pos < length)
      assert_int_equal (pos, starts[i]);
    if (snapshot_entry_parse (p, length, &pos, i + 1, &s, &problem) != 1)
      break;
    assert_true (pos <= length);
    check_entry (&s, i, &made[i]);
  }
  return i;
}

/* Entries of many lengths, each at a multiple of 8. */
static void
several_entries (void **state)
{
  enum { N = 40 };
  struct made made[N];
  size_t starts[N + 1], ends[N], length;
  unsigned i;

  (void) state;
  starts[0] = 0;
  for (i = 0; i < N; ++i) {
    made[i] = (struct made){ i % 3 * 8 + i / 13, (uint16_t) (i % 11),
                             (uint16_t) (i * 5 % 17) };
    starts[i + 1] = make_entry (table, starts[i], i, &made[i]);
    ends[i] = end_of (&made[i], starts[i]);
    assert_int_equal (starts[i + 1] % 8, 0);
  }
  for (length = 0; length <= starts[N]; ++length) {
    uint8_t *p = exact_copy (table, length);
    unsigned complete = 0;

    while (complete < N && ends[complete] <= length)
      complete++;
    assert_int_equal (parse_all (p, length, made, starts, N), complete);
    free (p);
  }
}

/* What follows the table is not part of it. */
static void
bytes_after (void **state)
{
  const struct made m = { 16, 3, 4 };
  const size_t end = make_entry (table, 0, 1, &m);
  struct snapshot_entry s;
  struct problem problem;
  size_t pos = 0;
  uint8_t *p;

  (void) state;
  memset (table + end, 0xff, 500);
  p = exact_copy (table, end + 500);
  assert_int_equal (snapshot_entry_parse (p, end + 500, &pos, 1, &s, &problem),
                    1);
  assert_int_equal (pos, end);
  check_entry (&s, 1, &m);
  free (p);
}

static void
too_much_extra (void **state)
{
  static const uint32_t extras[]
    = { 1025, 1032, 65536, 0x7fffffff, 0x80000000, 0xffffffff };
  const struct made m = { 0, 1, 1 };
  char said[64];
  size_t i;

  (void) state;
  for (i = 0; i < sizeof extras / sizeof extras[0]; ++i) {
    struct snapshot_entry s;
    struct problem problem = { "" };
    uint8_t *p;
    size_t pos = 0;

    make_entry (table, 0, 1, &m);
    put_be32 (table + 36, extras[i]);
    /* More bytes of it would not change the result. */
    p = exact_copy (table, FIXED);
    assert_int_equal (snapshot_entry_parse (p, FIXED, &pos, 7, &s, &problem),
                      -1);
    snprintf (said, sizeof said, "entry 7 has %" PRIu32 " bytes of extra data",
              extras[i]);
    if (strstr (problem.text, said) == NULL)
      fail_msg ("'%s' instead of '%s'", problem.text, said);
    free (p);

    p = exact_copy (table, 2000);
    pos = 0;
    assert_int_equal (snapshot_entry_parse (p, 2000, &pos, 7, &s, &problem),
                      -1);
    free (p);
    p = exact_copy (table, FIXED - 1);
    assert_int_equal (
      snapshot_entry_parse (p, FIXED - 1, &pos, 7, &s, &problem), 0);
    free (p);
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (one_entry),       cmocka_unit_test (cut_entry),
  cmocka_unit_test (several_entries), cmocka_unit_test (bytes_after),
  cmocka_unit_test (too_much_extra),
};

UNIT_MAIN (tests)
