/* SPDX-License-Identifier: BSD-3-Clause
 *
 * error.c: names from files can't play with a terminal, long names do not
 * hide what is wrong, and a repeated error is one message.
 */

#include <errno.h>

#include "unit.h"

#include "qcow/error.h"

static void
escapes (const char *name, const char *said)
{
  unit_forget ();
  assert_int_equal (error_report (&unit_hooks, EIO, name, "x"), -1);
  assert_int_equal (errno, EIO);
  assert_string_equal (unit_error_text, said);
}

static void
control_characters (void **state)
{
  (void) state;
  escapes ("disk.qcow2", "disk.qcow2: x");
  escapes ("a\nb\x1b[31m\x7f", "a\\x0ab\\x1b[31m\\x7f: x");
  escapes ("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f: x");
  /* U+201C: its last byte alone would be a control character. */
  escapes ("\xe2\x80\x9c", "\xe2\x80\x9c: x");
  escapes ("\xf0\x9f\x92\xbe", "\xf0\x9f\x92\xbe: x");
  /* CSI, in Latin-1 and in UTF-8. */
  escapes ("\x9b"
           "31m",
           "\\x9b31m: x");
  escapes ("\xc2\x9b"
           "31m",
           "\\xc2\\x9b31m: x");
  escapes ("\xe2\nx\x9b", "\xe2\\x0ax\\x9b: x");
}

static void
long_names (void **state)
{
  char name[4096];

  (void) state;
  memset (name, 1, sizeof name);
  name[4095] = '\0';
  unit_forget ();
  error_report (&unit_hooks, EIO, name, "'%s' is not supported", name);
  assert_said ("\\x01' is not supported");
}

static void
repeated (void **state)
{
  struct error_filter filter;
  uint64_t i;

  (void) state;
  unit_forget ();
  error_filter_init (&filter);
  for (i = 0; i < 1000; ++i) {
    assert_int_equal (error_report_once (&filter, i / 10, &unit_hooks, EIO,
                                         "name", "place %d", (int) i / 10),
                      -1);
    assert_int_equal (errno, EIO);
  }
  /* One for each place, and that there will be no more. */
  assert_int_equal (unit_errors, ERROR_FILTER_MAX + 1);
  assert_said ("further ones will not be");
  error_filter_destroy (&filter);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (control_characters),
  cmocka_unit_test (long_names),
  cmocka_unit_test (repeated),
};

UNIT_MAIN (tests)
