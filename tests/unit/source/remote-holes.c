/* SPDX-License-Identifier: BSD-3-Clause
 *
 * remote.c: how a server is asked for holes.
 */

#include "tests/unit/transport.h"
#include "tests/unit/unit.h"

#define G (K * M)

static void
check_extent (uint64_t offset, bool hole, uint64_t end)
{
  bool got_hole;
  uint64_t got_end;

  assert_true (source_extent (source, offset, false, &got_hole, &got_end));
  if (got_hole != hole || got_end != end)
    fail_msg ("at %" PRIu64 ": %d up to %" PRIu64
              ", expected %d up to %" PRIu64,
              offset, got_hole, got_end, hole, end);
}

static bool
is_known (uint64_t offset)
{
  bool hole;
  uint64_t end;

  return source_extent (source, offset, true, &hole, &end);
}

static void
begin (uint64_t size, uint64_t fragment, size_t reply)
{
  start (size, 0, 64 * M);
  fake.transport.has_holes = true;
  fake.fragment = fragment;
  fake.reply = reply;
}

/* One request for each 2 GiB. */
static void
windows (void **state)
{
  (void) state;
  begin (5 * G + 1, M, 10000);
  assert_false (is_known (0));
  ASKED_NOTHING;
  check_extent (0, false, M);
  ASKED ({ 'h', 0, 2 * G });
  check_extent (M, true, 2 * M);
  check_extent (2 * G - 1, true, 2 * G);
  assert_true (is_known (5));
  assert_false (source_is_solid (source));
  ASKED_NOTHING;
  /* Backwards. */
  check_extent (5 * G, false, 5 * G + 1);
  ASKED ({ 'h', 4 * G, G + 1 });
  check_extent (4 * G + 3 * M + 5, true, 4 * G + 4 * M);
  ASKED_NOTHING;
  check_extent (3 * G, false, 3 * G + M);
  ASKED ({ 'h', 2 * G, 2 * G });
  /* The end of the object is no matter for the server. */
  check_extent (5 * G + 1, true, UINT64_MAX);
  ASKED_NOTHING;
  stop_transport ();
}

/* It is asked again from where a reply ended, and for what is wanted if that
 * does not help.
 */
static void
short_replies (void **state)
{
  (void) state;
  begin (G, M, 3);
  check_extent (0, false, M);
  ASKED ({ 'h', 0, G });
  check_extent (4 * M, false, 5 * M);
  ASKED ({ 'h', 3 * M, G - 3 * M });
  check_extent (100 * M, false, 101 * M);
  ASKED ({ 'h', 6 * M, G - 6 * M }, { 'h', 100 * M, G - 100 * M });
  stop_transport ();
}

static void
solid (void **state)
{
  (void) state;
  begin (3 * G, 8 * G, 1);
  assert_false (source_is_solid (source));
  ASKED_NOTHING;
  check_extent (M, false, 3 * G);
  assert_true (source_is_solid (source));
  ASKED ({ 'h', 0, 2 * G });
  stop_transport ();

  /* HTTP. */
  start (3 * G, 0, 64 * M);
  assert_true (source_is_solid (source));
  assert_true (is_known (5));
  check_extent (5, false, 3 * G);
  ASKED_NOTHING;
  stop_transport ();
}

/* Then there may be data anywhere, and the server is left alone for a while.
 */
static void
failing (void **state)
{
  (void) state;
  begin (3 * G, M, 0);
  check_extent (5 * M, false, 3 * G);
  ASKED ({ 'h', 0, 2 * G });
  fake.reply = 10000;
  check_extent (M, false, 3 * G);
  check_extent (2 * G, false, 3 * G);
  ASKED_NOTHING;
  stop_transport ();
}

/* Nothing is remembered for the next client. */
static void
leaving (void **state)
{
  (void) state;
  begin (G, M, 10000);
  left = true;
  check_extent (M, false, G);
  left = false;
  fake.nr_asked = 0;
  check_extent (M, true, 2 * M);
  ASKED ({ 'h', 0, G });
  stop_transport ();
}

/* More fragments than are kept: correct, and 0 is asked for once. */
static void
many (void **state)
{
  uint64_t offset;

  (void) state;
  begin (16 * G, 64 * K, 32768);
  for (offset = 0; offset < 16 * G; offset += 50 * M)
    check_extent (offset, offset / (64 * K) % 2 == 1,
                  round_down64 (offset, 64 * K) + 64 * K);
  fake.nr_asked = 0;
  check_extent (0, false, 64 * K);
  ASKED_NOTHING;
  stop_transport ();
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (windows), cmocka_unit_test (short_replies),
  cmocka_unit_test (solid),   cmocka_unit_test (failing),
  cmocka_unit_test (leaving), cmocka_unit_test (many),
};

UNIT_MAIN (tests)
