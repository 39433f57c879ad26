/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inbox.c: order, when the driver has to be woken, and the end.
 */

#include "tests/unit/unit.h"

#include "base/inbox.h"

static void
in_order (void **state)
{
  struct inbox_item items[3], *taken;
  struct inbox inbox;
  unsigned round, i;
  bool first;

  (void) state;
  inbox_init (&inbox);
  assert_true (inbox_take (&inbox, &taken));
  assert_null (taken);
  for (round = 0; round < 2; ++round) {
    for (i = 0; i < 3; ++i) {
      assert_true (inbox_add (&inbox, &items[i], &first));
      assert_true (first == (i == 0));
    }
    assert_true (inbox_take (&inbox, &taken));
    for (i = 0; i < 3; ++i, taken = taken->next)
      assert_ptr_equal (taken, &items[i]);
    assert_null (taken);
  }
  inbox_destroy (&inbox);
}

/* What was added before the end is not lost. */
static void
closed (void **state)
{
  struct inbox_item before, after, *taken;
  struct inbox inbox;
  bool first;

  (void) state;
  inbox_init (&inbox);
  assert_true (inbox_add (&inbox, &before, &first));
  inbox_close (&inbox);
  assert_false (inbox_add (&inbox, &after, &first));
  assert_false (inbox_take (&inbox, &taken));
  assert_ptr_equal (taken, &before);
  assert_null (taken->next);
  assert_false (inbox_take (&inbox, &taken));
  assert_null (taken);
  inbox_destroy (&inbox);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (in_order),
  cmocka_unit_test (closed),
};

UNIT_MAIN (tests)
