/* SPDX-License-Identifier: BSD-3-Clause
 *
 * error.c: names from files can't control a terminal, long names neither hide
 * the cause nor need a large stack, and a repeated error is reported once.
 */

#include <errno.h>

#include <pthread.h>
#include <sys/resource.h>

#include "tests/unit/unit.h"

#include "base/error.h"
#include "base/wait.h"

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
  escapes ("\xe2\nx\x9b", "\\xe2\\x0ax\\x9b: x");
  /* Latin-1. */
  escapes ("gr\xfc\xdf", "gr\\xfc\\xdf: x");
}

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static char long_name[4096];

static void *
report_long (void *unused)
{
  (void) unused;
  error_report (&unit_hooks, EIO, long_name, "'%s' and '%s' are bad: x",
                long_name, long_name);
  return NULL;
}

static void
long_names (void **state)
{
  (void) state;
  memset (long_name, 1, sizeof long_name - 1);
  unit_forget ();
  report_long (NULL);
  /* The whole message. */
  assert_int_equal (strlen (unit_error_text),
                    3 * 4 * (sizeof long_name - 1)
                      + strlen (": '' and '' are bad: x"));
  assert_said ("\\x01' are bad: x");
}

/* The stack of a thread with musl. */
#define STACK (128U << 10)
#define PATTERN 0xa5

static void *
do_nothing (void *unused)
{
  return unused;
}

/* Return how much of its stack a thread that runs this function writes to. */
static size_t
stack_used (void *(*function) (void *) )
{
  pthread_attr_t attr;
  pthread_t thread;
  uint8_t *stack = aligned_alloc (4096, STACK);
  size_t untouched = 0;

  assert_non_null (stack);
  memset (stack, PATTERN, STACK);
  assert_int_equal (pthread_attr_init (&attr), 0);
  assert_int_equal (pthread_attr_setstack (&attr, stack, STACK), 0);
  assert_int_equal (pthread_create (&thread, &attr, function, NULL), 0);
  assert_int_equal (pthread_join (thread, NULL), 0);
  pthread_attr_destroy (&attr);
  while (untouched < STACK && stack[untouched] == PATTERN)
    ++untouched;
  free (stack);
  return STACK - untouched;
}

static void
small_stack (void **state)
{
  size_t nothing, message;

  (void) state;
  if (SANITIZED || getenv ("QCOW_VALGRIND")) /* their frames are larger */
    return;
  memset (long_name, 1, sizeof long_name - 1);
  report_long (NULL); /* (libc initializes itself) */
  nothing = stack_used (do_nothing);
  message = stack_used (report_long);
  print_message ("# a message needs %zu bytes of stack\n", message - nothing);
  assert_true (message - nothing < 8192);
}

static void
without_memory (void **state)
{
  struct rlimit before, none;

  (void) state;
  if (SANITIZED || getenv ("QCOW_VALGRIND")) /* they need memory, too */
    return;
  memset (long_name, 'x', sizeof long_name - 1);
  unit_forget ();
  assert_int_equal (getrlimit (RLIMIT_AS, &before), 0);
  none = (struct rlimit){ 0, before.rlim_max };
  assert_int_equal (setrlimit (RLIMIT_AS, &none), 0);
  errno = 0;
  error_report (&unit_hooks, EIO, long_name, "too long %100000000s", "");
  assert_int_equal (setrlimit (RLIMIT_AS, &before), 0);
  assert_int_equal (errno, EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("too long ");
}

/* Clients can see messages, so they have no path while serving. */
static void
while_serving (void **state)
{
  static const char *const names[][2] = {
    { "/srv/images/disk.qcow2", "disk.qcow2: x" },
    { "images/disk", "disk: x" },
    { "disk.qcow2", "disk.qcow2: x" },
    { "https://example.com/a/disk%20b", "disk%20b: x" },
    { "https://example.com/", "the URL: x" },
    { "s3://bucket/key", "key: x" },
    { "s3://bucket/nbd://a?b/key", "key: x" },
    { "nbd://host/images/disk", "disk: x" },
    { "nbd://host/", "the URL: x" },
    { "nbd+unix:///disk?socket=/run/nbd.sock", "disk: x" },
    { "nbds+unix:///images/disk?socket=/run/nbd.sock", "disk: x" },
    { "nbd+unix:///?socket=/run/nbd.sock", "nbd.sock: x" },
    { "nbd+unix:///images/?socket=/run/nbd.sock", "nbd.sock: x" },
    { "nbd/a://b?c/disk", "disk: x" },
    { "url=", "url=: x" },
  };
  struct qcow_hooks serving = unit_hooks;
  size_t i;

  (void) state;
  serving.serving = true;
  serving.debug = unit_on_warning;
  for (i = 0; i < sizeof names / sizeof names[0]; ++i) {
    error_report (&serving, EIO, names[i][0], "x");
    assert_string_equal (unit_error_text, names[i][1]);
    error_warn (&serving, names[i][0], "x");
    assert_string_equal (unit_error_text, names[i][1]);
  }
  error_debug (&serving, names[0][0], "x");
  assert_string_equal (unit_error_text, "/srv/images/disk.qcow2: x");
  error_report (&unit_hooks, EIO, names[0][0], "x");
  assert_string_equal (unit_error_text, "/srv/images/disk.qcow2: x");
}

/* A hint is in parentheses.  A hint without a text adds nothing. */
static void
hints (void **state)
{
  const struct qcow_hooks without = { .error = unit_on_error };

  (void) state;
  error_report (&unit_hooks, EIO, "name", "x" HINT,
                HINT_ARGS (&unit_hooks, QCOW_HINT_FORCE_SHARE));
  assert_string_equal (unit_error_text, "name: x (words of the user)");
  error_report (&unit_hooks, EIO, "name", "x" HINT,
                HINT_ARGS (&unit_hooks, QCOW_HINT_RAW));
  assert_string_equal (unit_error_text, "name: x");
  error_report (&without, EIO, "name", "x" HINT,
                HINT_ARGS (&without, QCOW_HINT_FORCE_SHARE));
  assert_string_equal (unit_error_text, "name: x");
}

/* The value takes the place of "%s", wherever that is, and is ignored if there
 * is none.
 */
static void
hints_with_value (void **state)
{
  static const char *const texts[QCOW_NR_HINTS] = {
    [QCOW_HINT_ALLOW] = "add allow=%s, or not",
    [QCOW_HINT_BACKING] = "%s",
    [QCOW_HINT_CAINFO] = "100 % sure%",
  };
  static const struct {
    enum qcow_hint hint;
    const char *wanted;
  } rows[] = {
    { QCOW_HINT_ALLOW, " (add allow=a %s b, or not)" },
    { QCOW_HINT_BACKING, " (a %s b)" },
    { QCOW_HINT_CAINFO, " (100 % sure%)" },
    { QCOW_HINT_RAW, "" },
    { QCOW_HINT_NONE, "" },
  };
  const struct qcow_hooks hooks = { .hints = texts };
  struct hint_room room;
  size_t i;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i)
    assert_string_equal (
      error_hint_with (&hooks, rows[i].hint, "a %s b", &room), rows[i].wanted);
}

/* A place is new once in a minute. */
static void
places (void **state)
{
  struct error_filter filter;
  uint64_t i;

  (void) state;
  error_filter_init (&filter);
  for (i = 0; i < ERROR_FILTER_MAX; ++i) {
    assert_true (error_filter_is_new (&filter, i));
    assert_false (error_filter_is_new (&filter, i));
  }
  assert_false (error_filter_is_new (&filter, i));
  error_filter_each_minute (&filter, 59999);
  assert_false (error_filter_is_new (&filter, i));
  error_filter_each_minute (&filter, 60000);
  assert_true (error_filter_is_new (&filter, i));
  assert_true (error_filter_is_new (&filter, 0));
  error_filter_destroy (&filter);
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
  /* One message for each place, and one about the limit. */
  assert_int_equal (unit_errors, ERROR_FILTER_MAX + 1);
  assert_said ("further errors are not reported");
  error_filter_destroy (&filter);
}

static void
count_message (void *opaque, const char *text)
{
  assert_string_equal (text, "name: x");
  ++*(unsigned *) opaque;
}

static int
count_sleep (void *opaque, unsigned ms)
{
  assert_int_equal (ms, 7);
  ++*(unsigned *) opaque;
  return -1;
}

/* Each hook gets the opaque pointer. */
static void
opaque (void **state)
{
  unsigned calls = 0;
  const struct qcow_hooks hooks = { .opaque = &calls,
                                    .error = count_message,
                                    .warn = count_message,
                                    .debug = count_message,
                                    .sleep = count_sleep };

  (void) state;
  error_report (&hooks, EIO, "name", "x");
  error_warn (&hooks, "name", "x");
  error_debug (&hooks, "name", "x");
  assert_int_equal (hooks_sleep (&hooks, 7), -1);
  assert_int_equal (calls, 4);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (control_characters),
  cmocka_unit_test (long_names),
  cmocka_unit_test (small_stack),
  cmocka_unit_test (without_memory),
  cmocka_unit_test (while_serving),
  cmocka_unit_test (repeated),
  cmocka_unit_test (opaque),
  cmocka_unit_test (hints),
  cmocka_unit_test (hints_with_value),
  cmocka_unit_test (places),
};

UNIT_MAIN (tests)
