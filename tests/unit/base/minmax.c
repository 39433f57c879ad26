/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Minimum, maximum and rounding; keeping errno.
 */

#include "tests/unit/unit.h"

#include "base/keep-errno.h"
#include "base/minmax.h"

static void
smallest_and_largest (void **state)
{
  (void) state;
  assert_int_equal (min64 (3, 4), 3);
  assert_int_equal (min64 (UINT64_MAX, 0), 0);
  assert_int_equal (max64 (3, 4), 4);
  assert_int_equal (max64 (UINT64_MAX, 0), UINT64_MAX);
}

static void
rounding (void **state)
{
  static const struct {
    uint64_t n, unit, down, up;
  } table[] = {
    { 0, 512, 0, 0 },
    { 1, 512, 0, 512 },
    { 511, 512, 0, 512 },
    { 512, 512, 512, 512 },
    { 513, 512, 512, 1024 },
    { 5, 1, 5, 5 },
    { UINT64_MAX - 1, 2, UINT64_MAX - 1, UINT64_MAX - 1 },
    { (UINT64_C (1) << 63) + 1, UINT64_C (1) << 32, UINT64_C (1) << 63,
      (UINT64_C (1) << 63) + (UINT64_C (1) << 32) },
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof table / sizeof table[0]; ++i) {
    assert_int_equal (round_down64 (table[i].n, table[i].unit), table[i].down);
    assert_int_equal (round_up64 (table[i].n, table[i].unit), table[i].up);
  }
}

static int
change_errno (int value, int result)
{
  KEEP_ERRNO;

  errno = value;
  return result;
}

static void
errno_is_kept (void **state)
{
  (void) state;
  errno = ENOENT;
  assert_int_equal (change_errno (EIO, 7), 7);
  assert_int_equal (errno, ENOENT);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (smallest_and_largest),
  cmocka_unit_test (rounding),
  cmocka_unit_test (errno_is_kept),
};

UNIT_MAIN (tests)
