/* SPDX-License-Identifier: BSD-3-Clause
 *
 * quota.h: slots that clients share.
 */

#include "tests/unit/unit.h"

#include "base/quota.h"

enum { MAX_CLIENTS = 8 };

static struct quota quota;
static struct quota_client clients[MAX_CLIENTS];

static void
start (unsigned slots, unsigned n)
{
  quota = (struct quota){ .slots = slots, .clients = n };
  memset (clients, 0, sizeof clients);
}

/* Take all slots that the client may take, and return their number. */
static unsigned
take_all (struct quota_client *c)
{
  unsigned n = 0;

  for (; quota_may_take (&quota, c); ++n)
    quota_take (&quota, c);
  return n;
}

static void
alone (void **state)
{
  unsigned slots;

  (void) state;
  for (slots = 1; slots < 40; ++slots) {
    start (slots, 1);
    assert_int_equal (take_all (&clients[0]), slots);
  }
}

/* One slot is kept for each client that had one and has none, and one for
 * those that never had one, but not more than a quarter of all slots.
 */
static void
greedy (void **state)
{
  static const struct {
    unsigned slots, n, known, first;
  } table[] = {
    { 1, 2, 2, 1 },     { 2, 2, 2, 2 },     { 3, 8, 8, 3 },   { 4, 2, 2, 3 },
    { 4, 8, 8, 3 },     { 16, 2, 2, 15 },   { 16, 3, 3, 14 }, { 16, 5, 5, 12 },
    { 16, 8, 8, 12 },   { 16, 8, 0, 15 },   { 16, 8, 1, 15 }, { 16, 8, 2, 14 },
    { 256, 8, 8, 249 }, { 256, 8, 3, 253 }, { 3, 8, 0, 3 },
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof table / sizeof table[0]; ++i) {
    unsigned k, used = table[i].first;

    start (table[i].slots, table[i].n);
    for (k = 0; k < table[i].known; ++k) {
      quota_take (&quota, &clients[k]);
      quota_give (&quota, &clients[k]);
    }
    assert_int_equal (take_all (&clients[0]), used);
    for (k = 1; k < table[i].n && used < table[i].slots; ++k) {
      assert_true (quota_may_take (&quota, &clients[k]));
      quota_take (&quota, &clients[k]);
      used++;
    }
    assert_int_equal (quota.used, used);
  }
}

/* A slot that is given back can be taken again, and is kept for a client that
 * has none.
 */
static void
giving (void **state)
{
  unsigned i;

  (void) state;
  start (8, 2);
  assert_int_equal (take_all (&clients[0]), 7);
  assert_int_equal (take_all (&clients[1]), 1);
  assert_int_equal (quota.busy, 2);
  quota_give (&quota, &clients[1]);
  assert_int_equal (quota.busy, 1);
  assert_false (quota_may_take (&quota, &clients[0]));
  quota_give (&quota, &clients[0]);
  assert_int_equal (take_all (&clients[0]), 1);
  assert_true (quota_may_take (&quota, &clients[1]));
  for (i = 0; i < 7; ++i)
    quota_give (&quota, &clients[0]);
  assert_int_equal (quota.used, 0);
  assert_int_equal (quota.busy, 0);
  assert_int_equal (take_all (&clients[1]), 7);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (alone),
  cmocka_unit_test (greedy),
  cmocka_unit_test (giving),
};

UNIT_MAIN (tests)
