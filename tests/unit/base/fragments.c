/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fragments.c: what is remembered, joined, and forgotten.
 */

#include "base/fragments.h"
#include "tests/unit/unit.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

static struct fragments f;

static void
check_known (uint64_t offset, uint64_t start, uint64_t end, bool hole)
{
  struct fragment found;
  uint64_t after;

  if (!fragments_find (&f, offset, &found, &after))
    fail_msg ("%" PRIu64 " is not known", offset);
  assert_int_equal (found.start, start);
  assert_int_equal (found.end, end);
  assert_int_equal (found.hole, hole);
}

static void
check_unknown (uint64_t offset, uint64_t expected)
{
  struct fragment found;
  uint64_t after;

  if (fragments_find (&f, offset, &found, &after))
    fail_msg ("%" PRIu64 " is known", offset);
  assert_int_equal (after, expected);
}

static void
add (uint64_t start, uint64_t end, bool hole)
{
  const struct fragment one = { start, end, hole };

  fragments_add (&f, &one, 1);
}

static void
gaps (void **state)
{
  (void) state;
  fragments_init (&f, 10);
  check_unknown (0, 0);
  add (10, 20, true);
  add (30, 40, false);
  check_unknown (9, 0);
  check_known (10, 10, 20, true);
  check_known (19, 10, 20, true);
  check_unknown (20, 20);
  check_unknown (29, 20);
  check_known (39, 30, 40, false);
  check_unknown (40, 40);
  check_unknown (UINT64_MAX, 40);
  fragments_destroy (&f);
}

static void
joined (void **state)
{
  static const struct fragment three[]
    = { { 20, 30, true }, { 30, 40, false }, { 40, 50, true } };

  (void) state;
  fragments_init (&f, 10);
  add (10, 20, true);
  add (50, 60, true);
  fragments_add (&f, three, NR (three));
  assert_int_equal (f.n, 3);
  check_known (10, 10, 30, true);
  check_known (30, 30, 40, false);
  check_known (40, 40, 60, true);
  add (0, 10, false);
  check_known (0, 0, 10, false);
  check_known (10, 10, 30, true);
  fragments_destroy (&f);
}

/* What is known stays as it is. */
static void
overlapping (void **state)
{
  static const struct fragment three[]
    = { { 0, 15, true }, { 15, 45, false }, { 45, 70, true } };

  (void) state;
  fragments_init (&f, 10);
  add (10, 20, false);
  add (40, 50, true);
  fragments_add (&f, three, NR (three));
  check_known (9, 0, 10, true);
  check_known (10, 10, 40, false);
  check_known (40, 40, 70, true);
  add (0, 70, false);
  assert_int_equal (f.n, 3);
  fragments_destroy (&f);
}

static void
too_many (void **state)
{
  struct fragment many[20];
  uint64_t i;

  (void) state;
  fragments_init (&f, 10);
  for (i = 0; i < 10; ++i)
    add (2 * i, 2 * i + 1, i % 2);
  check_known (18, 18, 19, true);
  add (100, 101, true);
  check_known (0, 0, 1, false);
  check_unknown (18, 1);
  check_known (100, 100, 101, true);

  /* Of more than there is room for, the first. */
  for (i = 0; i < 20; ++i)
    many[i] = (struct fragment){ 200 + i, 201 + i, i % 2 };
  fragments_add (&f, many, NR (many));
  check_known (0, 0, 1, false);
  check_known (208, 208, 209, false);
  check_unknown (209, 209);
  fragments_destroy (&f);

  /* One at another place than 0 is not kept. */
  fragments_init (&f, 2);
  add (5, 6, true);
  add (7, 8, true);
  add (9, 10, true);
  check_unknown (5, 0);
  check_known (9, 9, 10, true);
  fragments_destroy (&f);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (gaps),
  cmocka_unit_test (joined),
  cmocka_unit_test (overlapping),
  cmocka_unit_test (too_many),
};

UNIT_MAIN (tests)
