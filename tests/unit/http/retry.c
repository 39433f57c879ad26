/* SPDX-License-Identifier: BSD-3-Clause
 *
 * retry.c: tables of what follows which failure.
 */

#include <errno.h>

#include "tests/unit/unit.h"

#include "http/retry.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

#define NOW 1000000

/* One failure after the tries in 'before'. */
struct row {
  const char *what;
  struct retry before;
  struct retry_failure failure; /* 'now' is relative to NOW */
  enum retry_action action;
  uint64_t least, most; /* delay */
  int err;
  struct retry after; /* first_failure is not compared if failures is 0 */
};

/* Members that most rows of failures have. */
#define TRANSIENT .cause = RETRY_TRANSIENT
#define PERMANENT .cause = RETRY_PERMANENT
#define SERVING .serving = true, .responded = true, .recovered = true

static const struct row rows[] = {
  /* The delay doubles, with jitter that takes up to half of it. */
  { "first",
    { 0 },
    { TRANSIENT, SERVING, .random = 0 },
    RETRY_LATER,
    125,
    125,
    0,
    { 1, NOW, false, false } },
  { "first, most jitter",
    { 0 },
    { TRANSIENT, SERVING, .random = 125 },
    RETRY_LATER,
    250,
    250,
    0,
    { 1, NOW, false, false } },
  { "first, any jitter",
    { 0 },
    { TRANSIENT, SERVING, .random = UINT64_MAX },
    RETRY_LATER,
    125,
    250,
    0,
    { 1, NOW, false, false } },
  { "second",
    { 1, NOW - 200, false, false },
    { TRANSIENT, SERVING, .random = 250 },
    RETRY_LATER,
    500,
    500,
    0,
    { 2, NOW - 200, false, false } },
  { "fifth",
    { 4, NOW - 200, false, false },
    { TRANSIENT, SERVING, .random = 2000 },
    RETRY_LATER,
    4000,
    4000,
    0,
    { 5, NOW - 200, false, false } },
  { "longest delay",
    { 5, NOW - 200, false, false },
    { TRANSIENT, SERVING, .random = 4000 },
    RETRY_LATER,
    8000,
    8000,
    0,
    { 6, NOW - 200, false, false } },
  { "still the longest",
    { 7, NOW - 200, false, false },
    { TRANSIENT, SERVING, .random = 4000 },
    RETRY_LATER,
    8000,
    8000,
    0,
    { 8, NOW - 200, false, false } },
  { "many failures in no time",
    { 4000000000U, NOW, false, false },
    { TRANSIENT, SERVING, .random = 4000 },
    RETRY_LATER,
    8000,
    8000,
    0,
    { 4000000001U, NOW, false, false } },

  /* Retry-After */
  { "2 s are asked for",
    { 0 },
    { TRANSIENT, SERVING, .retry_after = 2 },
    RETRY_LATER,
    2000,
    2000,
    0,
    { 1, NOW, false, false } },
  { "less than the delay",
    { 5, NOW, false, false },
    { TRANSIENT, SERVING, .random = 4000, .retry_after = 2 },
    RETRY_LATER,
    8000,
    8000,
    0,
    { 6, NOW, false, false } },
  { "an hour",
    { 0 },
    { TRANSIENT, SERVING, .retry_after = 3600 },
    RETRY_LATER,
    10000,
    10000,
    0,
    { 1, NOW, false, false } },
  { "for ever",
    { 0 },
    { TRANSIENT, SERVING, .retry_after = UINT64_MAX },
    RETRY_LATER,
    10000,
    10000,
    0,
    { 1, NOW, false, false } },

  /* 45 s after the first failure. */
  { "just in time",
    { 9, NOW - 37000, false, false },
    { TRANSIENT, SERVING, .random = 4000 },
    RETRY_LATER,
    8000,
    8000,
    0,
    { 10, NOW - 37000, false, false } },
  { "too late",
    { 9, NOW - 37001, false, false },
    { TRANSIENT, SERVING, .random = 4000 },
    RETRY_GIVE_UP,
    0,
    0,
    EIO,
    { 10, NOW - 37001, false, false } },
  { "too late, however the server responds",
    { 9, NOW - 45000, false, false },
    { TRANSIENT, SERVING, .status = 404 },
    RETRY_GIVE_UP,
    0,
    0,
    EIO,
    { 10, NOW - 45000, false, false } },
  { "progress",
    { 9, NOW - 45000, false, false },
    { TRANSIENT, SERVING, .progress = 4096 },
    RETRY_LATER,
    125,
    125,
    0,
    { 1, NOW, false, false } },
  { "hardly any progress",
    { 9, NOW - 45000, false, false },
    { TRANSIENT, SERVING, .progress = 4095 },
    RETRY_GIVE_UP,
    0,
    0,
    EIO,
    { 10, NOW - 45000, false, false } },

  /* While opening. */
  { "opening, no response",
    { 1, NOW, false, false },
    { TRANSIENT, .recovered = true },
    RETRY_LATER,
    250,
    250,
    0,
    { 2, NOW, false, false } },
  { "opening, no response again",
    { 2, NOW, false, false },
    { TRANSIENT, .recovered = true },
    RETRY_GIVE_UP,
    0,
    0,
    EIO,
    { 3, NOW, false, false } },
  { "opening, bad responses",
    { 5, NOW, false, false },
    { TRANSIENT, .recovered = true, .responded = true },
    RETRY_LATER,
    4000,
    4000,
    0,
    { 6, NOW, false, false } },
  { "opening, bad responses again",
    { 6, NOW, false, false },
    { TRANSIENT, .recovered = true, .responded = true },
    RETRY_GIVE_UP,
    0,
    0,
    EIO,
    { 7, NOW, false, false } },

  /* After others were given up. */
  { "once",
    { 0, 0, true, false },
    { TRANSIENT, .serving = true, .responded = true },
    RETRY_GIVE_UP,
    0,
    0,
    EIO,
    { 1, NOW, true, false } },
  { "once, but another one succeeded",
    { 0, 0, true, false },
    { TRANSIENT, SERVING },
    RETRY_LATER,
    125,
    125,
    0,
    { 1, NOW, false, false } },
  { "once, but with progress",
    { 0, 0, true, false },
    { TRANSIENT, .serving = true, .responded = true, .progress = 5000 },
    RETRY_LATER,
    125,
    125,
    0,
    { 1, NOW, false, false } },

  /* Permanent failures. */
  { "no status", { 0 }, { PERMANENT, SERVING }, RETRY_FAIL, 0, 0, EIO, { 0 } },
  { "400",
    { 0 },
    { PERMANENT, SERVING, .status = 400 },
    RETRY_FAIL,
    0,
    0,
    EIO,
    { 0 } },
  { "401",
    { 0 },
    { PERMANENT, SERVING, .status = 401 },
    RETRY_FAIL,
    0,
    0,
    EACCES,
    { 0 } },
  { "403",
    { 0 },
    { PERMANENT, SERVING, .status = 403 },
    RETRY_FAIL,
    0,
    0,
    EACCES,
    { 0 } },
  { "404",
    { 0 },
    { PERMANENT, SERVING, .status = 404 },
    RETRY_FAIL,
    0,
    0,
    ENOENT,
    { 0 } },
  { "410 after failures",
    { 3, NOW - 1000, false, false },
    { PERMANENT, SERVING, .status = 410 },
    RETRY_FAIL,
    0,
    0,
    ENOENT,
    { 3, NOW - 1000, false, false } },
  { "416",
    { 0 },
    { PERMANENT, SERVING, .status = 416 },
    RETRY_FAIL,
    0,
    0,
    EIO,
    { 0 } },
  { "no memory",
    { 0 },
    { .cause = RETRY_NO_MEMORY, SERVING },
    RETRY_FAIL,
    0,
    0,
    ENOMEM,
    { 0 } },
  { "no memory for a remembered target",
    { 0 },
    { .cause = RETRY_NO_MEMORY, SERVING, .remembered = true },
    RETRY_FAIL,
    0,
    0,
    ENOMEM,
    { 0 } },

  /* A remembered target may have expired. */
  { "expired",
    { 0 },
    { PERMANENT, SERVING, .remembered = true, .status = 403 },
    RETRY_ORIGINAL,
    0,
    0,
    0,
    { 0, 0, false, true } },
  { "expired after failures",
    { 3, NOW - 1000, false, false },
    { PERMANENT, SERVING, .remembered = true, .status = 403 },
    RETRY_ORIGINAL,
    0,
    0,
    0,
    { 3, NOW - 1000, false, true } },
  { "the original fails, too",
    { 0, 0, false, true },
    { PERMANENT, SERVING, .remembered = true, .status = 403 },
    RETRY_FAIL,
    0,
    0,
    EACCES,
    { 0, 0, false, true } },
  { "gone",
    { 0 },
    { TRANSIENT, SERVING, .remembered = true },
    RETRY_ORIGINAL,
    0,
    0,
    0,
    { 1, NOW, false, true } },
  { "gone for long",
    { 9, NOW - 45000, false, false },
    { TRANSIENT, SERVING, .remembered = true },
    RETRY_ORIGINAL,
    0,
    0,
    0,
    { 10, NOW - 45000, false, true } },
  { "the original is gone, too",
    { 1, NOW - 1000, false, true },
    { TRANSIENT, SERVING },
    RETRY_LATER,
    250,
    250,
    0,
    { 2, NOW - 1000, false, true } },
  { "gone, tried once",
    { 0, 0, true, false },
    { TRANSIENT, .serving = true, .remembered = true },
    RETRY_ORIGINAL,
    0,
    0,
    0,
    { 1, NOW, true, true } },
  { "the original is gone, too, tried once",
    { 1, NOW, true, true },
    { TRANSIENT, .serving = true },
    RETRY_GIVE_UP,
    0,
    0,
    EIO,
    { 2, NOW, true, true } },
};

static void
check_row (const struct row *row)
{
  struct retry r = row->before;
  struct retry_failure f = row->failure;
  struct retry_decision d;

  f.now = NOW;
  d = retry_decide (&r, &f);
  if (d.action != row->action)
    fail_msg ("%s: action %d", row->what, (int) d.action);
  if (d.action == RETRY_LATER && (d.delay < row->least || d.delay > row->most))
    fail_msg ("%s: %" PRIu64 " ms", row->what, d.delay);
  if ((d.action == RETRY_FAIL || d.action == RETRY_GIVE_UP)
      && d.err != row->err)
    fail_msg ("%s: errno %d", row->what, d.err);
  if (r.failures != row->after.failures || r.once != row->after.once
      || r.asked_original != row->after.asked_original
      || (r.failures > 0 && r.first_failure != row->after.first_failure))
    fail_msg ("%s: %u failures since %" PRIu64 ", once %d, original %d",
              row->what, r.failures, r.first_failure, r.once,
              r.asked_original);
}

static void
decisions (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i)
    check_row (&rows[i]);
}

/* A server that never comes back: the tries end 45 s after the first failure,
 * and there are some, but not many.
 */
static void
until_given_up (void **state)
{
  uint64_t random;

  (void) state;
  for (random = 0; random < 5000; random += 123) {
    struct retry_failure f = { TRANSIENT, SERVING, .random = random };
    struct retry r = { 0 };
    struct retry_decision d;

    for (f.now = NOW;; f.now += d.delay) {
      d = retry_decide (&r, &f);
      if (d.action != RETRY_LATER)
        break;
    }
    assert_int_equal (d.action, RETRY_GIVE_UP);
    assert_between (f.now, NOW + 37000, NOW + 45000);
    assert_between (r.failures, 8, 20);
  }
}

static void
curl_codes (void **state)
{
  static const struct {
    CURLcode code;
    bool known;
    enum retry_cause cause;
  } codes[] = {
    { CURLE_OK, true, RETRY_TRANSIENT }, /* less than the server said */
    { CURLE_COULDNT_CONNECT, false, RETRY_TRANSIENT },
    { CURLE_OPERATION_TIMEDOUT, false, RETRY_TRANSIENT },
    { CURLE_RECV_ERROR, true, RETRY_TRANSIENT },
    { CURLE_PARTIAL_FILE, true, RETRY_TRANSIENT },
    { CURLE_SSL_CONNECT_ERROR, true, RETRY_TRANSIENT },
    { CURLE_COULDNT_RESOLVE_HOST, false, RETRY_PERMANENT },
    { CURLE_COULDNT_RESOLVE_HOST, true, RETRY_TRANSIENT },
    { CURLE_COULDNT_RESOLVE_PROXY, false, RETRY_PERMANENT },
    { CURLE_COULDNT_RESOLVE_PROXY, true, RETRY_TRANSIENT },
    { CURLE_PEER_FAILED_VERIFICATION, true, RETRY_PERMANENT },
    { CURLE_UNSUPPORTED_PROTOCOL, true, RETRY_PERMANENT },
    { CURLE_SETOPT_OPTION_SYNTAX, true, RETRY_PERMANENT },
    { CURLE_OUT_OF_MEMORY, true, RETRY_NO_MEMORY },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (codes); ++i)
    if (retry_cause_of_curl (codes[i].code, codes[i].known) != codes[i].cause)
      fail_msg ("code %d, known: %d", (int) codes[i].code, codes[i].known);
}

/* --- Requests for what has just failed --- */

#define KIB UINT64_C (1024)

/* A failure of [from, to) at NOW -> what becomes of [begin, end) later. */
static void
hopeless (void **state)
{
  static const struct {
    uint64_t from, to;
    bool given_up;
    uint64_t begin, end, later;
    bool hopeless;
  } cases[] = {
    /* A short range: all that overlaps it, for a second. */
    { 1000, 2000, false, 1000, 2000, 0, true },
    { 1000, 2000, false, 1000, 2000, 999, true },
    { 1000, 2000, false, 1000, 2000, 1000, false },
    { 1000, 2000, false, 1999, 5000, 10, true },
    { 1000, 2000, false, 2000, 5000, 10, false },
    { 1000, 2000, false, 0, 1001, 10, true },
    { 1000, 2000, false, 0, 1000, 10, false },
    { 0, 64 * KIB, false, 1000, 2000, 10, true },
    /* A longer one that was refused: what contains all of it. */
    { 0, 64 * KIB + 1, false, 1000, 2000, 10, false },
    { 0, 64 * KIB + 1, false, 0, 64 * KIB, 10, false },
    { 0, 64 * KIB + 1, false, 0, 64 * KIB + 1, 10, true },
    { 10, 100 * KIB, false, 0, 200 * KIB, 10, true },
    /* … but given up: all that overlaps it. */
    { 0, 100 * KIB, true, 1000, 2000, 10, true },
    { 0, 100 * KIB, true, 1000, 2000, 1000, false },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (cases); ++i) {
    struct retry_history h = { 0 };

    assert_false (retry_is_hopeless (&h, cases[i].begin, cases[i].end, 5));
    retry_note_failure (&h, cases[i].from, cases[i].to, cases[i].given_up,
                        NOW);
    if (retry_is_hopeless (&h, cases[i].begin, cases[i].end,
                           NOW + cases[i].later)
        != cases[i].hopeless)
      fail_msg ("case %zu", i);
  }
}

/* A clock that was read before the failure was noted is no later one. */
static void
earlier_clock (void **state)
{
  struct retry_history h = { 0 };
  struct retry r;

  (void) state;
  retry_note_failure (&h, 0, 100, true, NOW);
  assert_true (retry_is_hopeless (&h, 0, 100, NOW - 1));
  retry_begin (&r, &h, NOW - 1);
  assert_true (r.once);
}

static void
many_failures (void **state)
{
  struct retry_history h = { 0 };
  uint64_t i, n = NR (h.ranges) + 5;

  (void) state;
  for (i = 0; i < n; ++i)
    retry_note_failure (&h, 1000 * i, 1000 * i + 10, false, NOW);
  for (i = 0; i < n; ++i)
    assert_int_equal (retry_is_hopeless (&h, 1000 * i, 1000 * i + 1, NOW),
                      i >= 5);
}

static void
begin_once (void **state)
{
  struct retry_history h = { 0 };
  struct retry r;

  (void) state;
  retry_begin (&r, &h, NOW);
  assert_false (r.once);
  retry_note_failure (&h, 0, 100, false, NOW);
  retry_begin (&r, &h, NOW);
  assert_false (r.once);
  retry_note_failure (&h, 0, 100, true, NOW);
  retry_begin (&r, &h, NOW + 999);
  assert_true (r.once);
  retry_begin (&r, &h, NOW + 1000);
  assert_false (r.once);
  retry_note_success (&h);
  retry_begin (&r, &h, NOW);
  assert_false (r.once);
  /* Bytes that could not be fetched still can't. */
  assert_true (retry_is_hopeless (&h, 0, 100, NOW));
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (decisions),     cmocka_unit_test (until_given_up),
  cmocka_unit_test (curl_codes),    cmocka_unit_test (hopeless),
  cmocka_unit_test (earlier_clock), cmocka_unit_test (many_failures),
  cmocka_unit_test (begin_once),
};

UNIT_MAIN (tests)
