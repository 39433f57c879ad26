/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Places that parties share: qcow/share.h.
 */

#include "unit.h"

#include "qcow/share.h"

enum { MAX_PARTIES = 8 };

static struct share share;
static struct party parties[MAX_PARTIES], other;

static void
begin (unsigned places, unsigned n)
{
  share = (struct share){ .places = places, .parties = n };
  memset (parties, 0, sizeof parties);
  other.used = 1;
}

/* How many it gets. */
static unsigned
take_all (struct party *p)
{
  unsigned n = 0;

  for (; share_may_take (&share, p); ++n)
    share_take (&share, p);
  return n;
}

static void
alone (void **state)
{
  unsigned places;

  (void) state;
  for (places = 1; places < 40; ++places) {
    begin (places, 1);
    assert_int_equal (take_all (&parties[0]), places);
  }
}

/* However greedy the others are, there is a place for each that has none; but
 * no more than a quarter of all is kept for them.
 */
static void
greedy (void **state)
{
  static const struct {
    unsigned places, n, first;
  } table[] = {
    { 1, 2, 1 },   { 2, 2, 2 },     { 3, 8, 3 },   { 4, 2, 3 },
    { 4, 8, 3 },   { 16, 2, 15 },   { 16, 3, 14 }, { 16, 5, 12 },
    { 16, 8, 12 }, { 256, 8, 249 },
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof table / sizeof table[0]; ++i) {
    unsigned k, used = table[i].first;

    begin (table[i].places, table[i].n);
    assert_int_equal (take_all (&parties[0]), used);
    /* Nobody else: not even a lane. */
    assert_false (share_may_take (&share, &other));
    for (k = 1; k < table[i].n && used < table[i].places; ++k) {
      assert_true (share_may_take (&share, &parties[k]));
      share_take (&share, &parties[k]);
      used++;
    }
    assert_int_equal (share.used, used);
  }
}

/* What is given back is free again, and who has none has a right again. */
static void
giving (void **state)
{
  unsigned i;

  (void) state;
  begin (8, 2);
  assert_int_equal (take_all (&parties[0]), 7);
  assert_int_equal (take_all (&parties[1]), 1);
  assert_int_equal (share.busy, 2);
  share_give (&share, &parties[1]);
  assert_int_equal (share.busy, 1);
  assert_false (share_may_take (&share, &parties[0]));
  share_give (&share, &parties[0]);
  assert_true (share_may_take (&share, &other));
  share_take (&share, &other);
  assert_false (share_may_take (&share, &parties[0]));
  assert_true (share_may_take (&share, &parties[1]));
  share_give (&share, &other);
  for (i = 0; i < 6; ++i)
    share_give (&share, &parties[0]);
  assert_int_equal (share.used, 0);
  assert_int_equal (share.busy, 0);
  assert_int_equal (take_all (&parties[1]), 7);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (alone),
  cmocka_unit_test (greedy),
  cmocka_unit_test (giving),
};

UNIT_MAIN (tests)
