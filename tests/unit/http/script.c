/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http/script.c: when a script runs, and which lines of its output count.  The
 * test chooses the time, so that nothing waits for a renewal.
 */

#include <poll.h>

#include "tests/unit/unit.h"

#include "http/script.h"

#define RENEW 100 /* seconds */

static const uint64_t begin = 1000000; /* ms */

static const struct secrets nothing;

static struct script
new_script (enum script_kind kind, const char *text, unsigned renew)
{
  const struct script_options options = { .hooks = &unit_hooks,
                                          .kind = kind,
                                          .key = "a-script=",
                                          .text = text,
                                          .url = "http://h/x",
                                          .renew = renew,
                                          .hide = &nothing };
  struct script s;

  unit_forget ();
  script_init (&s, &options);
  return s;
}

/* Go on until the script does not run any more. */
static bool
finish (struct script *s, uint64_t now)
{
  bool any = false;

  while (s->command) {
    struct pollfd polls[COMMAND_NR_FDS];
    int fds[COMMAND_NR_FDS];
    const size_t n = command_fds (s->command, fds);
    size_t i;

    for (i = 0; i < n; ++i)
      polls[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
    poll (polls, (nfds_t) n, script_wait_ms (s, now));
    any |= script_step (s, false, now);
  }
  return any;
}

/* Run the script for the first time. */
static void
run (struct script *s)
{
  assert_int_equal (script_want (s, begin), SCRIPT_WAIT);
  assert_true (finish (s, begin));
  assert_int_equal (script_want (s, begin), SCRIPT_READY);
}

static void
assert_lines (enum script_kind kind, const char *text, size_t n,
              const char *const *lines)
{
  struct script s = new_script (kind, text, 0);
  size_t i;

  run (&s);
  assert_int_equal (s.nr_lines, n);
  for (i = 0; i < n; ++i)
    assert_string_equal (s.lines[i], lines[i]);
  script_free (&s);
}

static void
output (void **state)
{
  (void) state;
  assert_lines (SCRIPT_COOKIE, "printf 'a=b; c=d \\t\\r\\nx=y\\n'", 1,
                (const char *[]){ "a=b; c=d" });
  assert_lines (SCRIPT_COOKIE, "printf a=b", 1, (const char *[]){ "a=b" });
  assert_lines (SCRIPT_COOKIE, "printf '\\na=b\\n'", 0, NULL);
  assert_lines (SCRIPT_COOKIE, "true", 0, NULL);
  assert_lines (SCRIPT_HEADERS, "printf 'A: b\\r\\n\\nno header\\nC;\\nD:'", 3,
                (const char *[]){ "A: b", "C;", "D:" });
  assert_lines (SCRIPT_HEADERS, "printf 'A: b\\rC: d\\nE: f\\n'", 1,
                (const char *[]){ "E: f" });
  assert_lines (SCRIPT_HEADERS, "true", 0, NULL);
  assert_lines (SCRIPT_HEADERS, "echo \"$url: $iteration\"", 1,
                (const char *[]){ "http://h/x: 0" });
}

static void
no_script (void **state)
{
  struct script s = new_script (SCRIPT_COOKIE, NULL, 0);

  (void) state;
  assert_int_equal (script_want (&s, begin), SCRIPT_READY);
  assert_false (script_step (&s, true, begin));
  assert_false (script_refused (&s, 0, begin));
  assert_int_equal (script_wait_ms (&s, begin), INT_MAX);
  script_free (&s);
}

/* The old output is used until the new one is there, if it began in time. */
static void
renewal (void **state)
{
  struct script s = new_script (SCRIPT_COOKIE, "echo n=$iteration", RENEW);
  const uint64_t due = begin + RENEW * 1000;

  (void) state;
  run (&s);
  assert_int_equal (script_want (&s, due - 1), SCRIPT_READY);
  assert_false (script_step (&s, true, due - 1));
  assert_null (s.command);
  assert_false (script_step (&s, false, due)); /* nobody needs it */
  assert_null (s.command);
  assert_false (script_step (&s, true, due));
  assert_non_null (s.command);
  assert_int_equal (script_want (&s, due), SCRIPT_READY);
  assert_string_equal (s.lines[0], "n=0");
  assert_true (finish (&s, due));
  assert_string_equal (s.lines[0], "n=1");
  assert_int_equal (script_want (&s, due), SCRIPT_READY);

  /* Much later. */
  assert_int_equal (script_want (&s, due + RENEW * 2000), SCRIPT_WAIT);
  assert_true (finish (&s, due + RENEW * 2000));
  assert_string_equal (s.lines[0], "n=2");
  assert_int_equal (s.generation, 3);
  script_free (&s);
}

static void
never_renewed (void **state)
{
  struct script s = new_script (SCRIPT_COOKIE, "echo n=$iteration", 0);

  (void) state;
  run (&s);
  assert_int_equal (script_want (&s, UINT64_MAX / 2), SCRIPT_READY);
  assert_false (script_step (&s, true, UINT64_MAX / 2));
  assert_null (s.command);
  assert_false (script_refused (&s, 1, UINT64_MAX / 2));
  script_free (&s);
}

/* One retry after a second, then a failure, which counts for a second. */
static void
failures (void **state)
{
  struct script s
    = new_script (SCRIPT_COOKIE, "echo no luck >&2; exit 1", RENEW);

  (void) state;
  assert_int_equal (script_want (&s, begin), SCRIPT_WAIT);
  assert_false (finish (&s, begin));
  assert_int_equal (unit_errors, 0);
  assert_int_equal (script_wait_ms (&s, begin + 1), 999);
  assert_int_equal (script_want (&s, begin + 999), SCRIPT_WAIT);
  assert_null (s.command);
  assert_false (script_step (&s, false, begin + 1000));
  assert_non_null (s.command);
  assert_false (finish (&s, begin + 1000));
  assert_int_equal (unit_errors, 1);
  assert_said ("a-script=: the script failed twice: exit status 1: no luck");
  assert_int_equal (script_want (&s, begin + 1001), SCRIPT_FAILED);
  assert_int_equal (script_want (&s, begin + 1999), SCRIPT_FAILED);

  /* The next one is not reported: it is in the same minute. */
  assert_int_equal (script_want (&s, begin + 2000), SCRIPT_WAIT);
  finish (&s, begin + 2000);
  script_step (&s, false, begin + 3000);
  finish (&s, begin + 3000);
  assert_int_equal (script_want (&s, begin + 3000), SCRIPT_FAILED);
  assert_int_equal (unit_errors, 1);
  script_free (&s);
}

/* A renewal that fails: the retry succeeds, and the old output is used
 * meanwhile; or it fails, and the old output is gone.
 */
static void
failing_renewal (void **state)
{
  struct script s = new_script (
    SCRIPT_COOKIE,
    "test $iteration = 1 -o $iteration -ge 3 && exit 1; echo a=b", RENEW);
  uint64_t now = begin + RENEW * 1000;

  (void) state;
  run (&s);
  script_step (&s, true, now);
  finish (&s, now);
  assert_int_equal (script_want (&s, now + 1), SCRIPT_READY);
  script_step (&s, true, now + 1000);
  assert_true (finish (&s, now + 1000));
  assert_int_equal (unit_errors, 0);

  now += RENEW * 1000 + 1000;
  script_step (&s, true, now);
  finish (&s, now);
  assert_int_equal (script_want (&s, now), SCRIPT_READY);
  script_step (&s, true, now + 1000);
  finish (&s, now + 1000);
  assert_int_equal (script_want (&s, now + 1000), SCRIPT_FAILED);
  assert_int_equal (script_want (&s, now + 2001), SCRIPT_WAIT);
  assert_null (s.output);
  script_free (&s);
}

static void
refusals (void **state)
{
  struct script s = new_script (SCRIPT_COOKIE, "echo n=$iteration", RENEW);

  (void) state;
  run (&s);
  assert_false (script_refused (&s, 1, begin + 999)); /* it is new */
  assert_true (script_refused (&s, 0, begin + 999));  /* not this one */
  assert_int_equal (script_want (&s, begin + 999), SCRIPT_READY);
  assert_true (script_refused (&s, 1, begin + 1000));
  assert_int_equal (script_want (&s, begin + 1000), SCRIPT_WAIT);
  assert_true (script_refused (&s, 1, begin + 1000));
  assert_true (finish (&s, begin + 1000));
  assert_int_equal (script_want (&s, begin + 1000), SCRIPT_READY);
  assert_string_equal (s.lines[0], "n=1");

  /* A renewal runs already: its output is waited for. */
  assert_int_equal (script_want (&s, begin + RENEW * 1000 + 1000),
                    SCRIPT_READY);
  assert_non_null (s.command);
  assert_true (script_refused (&s, 2, begin + RENEW * 1000 + 1000));
  assert_int_equal (script_want (&s, begin + RENEW * 1000 + 1000),
                    SCRIPT_WAIT);
  assert_true (finish (&s, begin + RENEW * 1000 + 9000));
  assert_false (script_refused (&s, 3, begin + RENEW * 1000 + 9999));
  assert_true (script_refused (&s, 3, begin + RENEW * 1000 + 10000));
  assert_int_equal (script_want (&s, begin + RENEW * 1000 + 10000),
                    SCRIPT_WAIT);
  script_hang_up (&s);
  assert_null (s.command);
  script_free (&s);
}

/* What the script has printed is in no message. */
static void
secret (void **state)
{
  struct script s
    = new_script (SCRIPT_HEADERS,
                  "echo 'A: Bearer T0KEN-1'; echo T0KEN-1 is old >&2; "
                  "exit $iteration",
                  RENEW);
  const uint64_t due = begin + RENEW * 1000;

  (void) state;
  run (&s);
  script_step (&s, true, due);
  finish (&s, due);
  script_step (&s, true, due + 1000);
  finish (&s, due + 1000);
  assert_int_equal (unit_errors, 1);
  assert_null (strstr (unit_error_text, "T0KEN"));
  script_free (&s);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (output),          cmocka_unit_test (no_script),
  cmocka_unit_test (renewal),         cmocka_unit_test (never_renewed),
  cmocka_unit_test (failures),        cmocka_unit_test (refusals),
  cmocka_unit_test (failing_renewal), cmocka_unit_test (secret),
};

UNIT_MAIN (tests)
