/* SPDX-License-Identifier: BSD-3-Clause
 *
 * response.c: tables of what servers say, the good, the broken and the
 * hostile.
 *
 * What is expected follows from RFC 9110 (14.4: Content-Range, with the
 * grammar; 8.8: validators; 15: statuses), RFC 6585 and RFC 8470 (429, 425),
 * and Amazon's page "Error responses" (the XML).
 *
 * Every string that is handed over has just its length, so that the address
 * sanitizer sees every byte that is read beyond.
 */

#include "tests/unit/unit.h"

#include "http/response.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

/* --- Content-Range --- */

static bool
content_range (const char *text, uint64_t *first, uint64_t *last,
               uint64_t *total)
{
  char *copy = strdup (text);
  bool good;

  assert_non_null (copy);
  good = response_content_range (copy, first, last, total);
  free (copy);
  return good;
}

static void
good_ranges (void **state)
{
  static const struct {
    const char *text;
    uint64_t first, last, total;
  } rows[] = {
    { "bytes 0-99/1234", 0, 99, 1234 },
    { "bytes 42-1233/1234", 42, 1233, 1234 },
    { "bytes 0-0/1", 0, 0, 1 },
    { "bytes 9-9/10", 9, 9, 10 },
    { "bytes 0-99/*", 0, 99, UINT64_MAX },
    /* 14.1: names of units have no case. */
    { "Bytes 0-9/10", 0, 9, 10 },
    { "BYTES 0-9/10", 0, 9, 10 },
    { "bytes 000-009/0010", 0, 9, 10 },
    { "bytes 4294967295-4294967296/4294967297", UINT32_MAX, UINT64_C (1) << 32,
      (UINT64_C (1) << 32) + 1 },
    { "bytes 0-0/9223372036854775807", 0, 0, INT64_MAX },
    { "bytes 9223372036854775806-9223372036854775806/9223372036854775807",
      INT64_MAX - 1, INT64_MAX - 1, INT64_MAX },
    { "bytes 00000000000000000000000000000000000000000000000000000000001-"
      "2/3",
      1, 2, 3 },
  };
  uint64_t first, last, total;
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    if (!content_range (rows[i].text, &first, &last, &total))
      fail_msg ("'%s' is refused", rows[i].text);
    assert_int_equal (first, rows[i].first);
    assert_int_equal (last, rows[i].last);
    assert_int_equal (total, rows[i].total);
  }
}

static const char *const bad_range_texts[] = {
  /* Missing parts. */
  "",
  " ",
  "bytes",
  "bytes ",
  "bytes 0",
  "bytes 0-",
  "bytes 0-9",
  "bytes 0-9/",
  "bytes 0-/10",
  "bytes -9/10",
  "bytes -/10",
  "bytes /10",
  "bytes -",
  "bytes /",
  "bytes 09/10",
  "0-9/10",
  /* "Invalid if last-pos is less than first-pos, or complete-length is less
   * than or equal to last-pos".
   */
  "bytes 5-4/10",
  "bytes 0-10/10",
  "bytes 10-10/10",
  "bytes 10-19/10",
  "bytes 0-0/0",
  "bytes 9-0/*",
  /* Unsatisfied, and others with a '*'. */
  "bytes */10",
  "bytes */0",
  "bytes */*",
  "bytes *-9/10",
  "bytes 0-*/10",
  "bytes *",
  "bytes 0-9/**",
  "bytes 0-9/*1",
  "bytes 0-9/1*",
  "* 0-9/10",
  /* Other units. */
  "byte 0-9/10",
  "bytess 0-9/10",
  "octets 0-9/10",
  "lines 0-9/10",
  "kbytes 0-9/10",
  "none 0-9/10",
  "x-bytes 0-9/10",
  /* Other separators. */
  "bytes0-9/10",
  "bytes=0-9/10",
  "bytes:0-9/10",
  "bytes: 0-9/10",
  "bytes\n0-9/10",
  "bytes 0_9/10",
  "bytes 0-9-10",
  "bytes 0/9/10",
  "bytes 0-9\\10",
  "bytes 0-9:10",
  "bytes 0--9/10",
  "bytes 0-9//10",
  /* Spaces. */
  "bytes 0 -9/10",
  "bytes 0- 9/10",
  "bytes 0 - 9/10",
  "bytes 0-9 /10",
  "bytes 0-9/ 10",
  "bytes 0-9/1 0",
  "by tes 0-9/10",
  "bytes 1 0-19/20",
  "bytes 0-9/ *",
  /* Not numbers. */
  "bytes +0-9/10",
  "bytes 0-+9/10",
  "bytes 0-9/+10",
  "bytes -0-9/10",
  "bytes 0-9/-10",
  "bytes 0-9/-1",
  "bytes 0x0-0x9/0x10",
  "bytes 0-9/10h",
  "bytes 0.0-9/10",
  "bytes 0-9/1e1",
  "bytes 0-9/1,000",
  "bytes a-b/c",
  "bytes \xb2-9/10",
  "bytes \xd9\xa0-9/10",
  /* More. */
  "bytes 0-9/10, bytes 20-29/30",
  "bytes 0-9,20-29/30",
  "bytes 0-9/10 x",
  "bytes 0-9/10;x",
  "bytes 0-9/10/10",
  "bytes bytes 0-9/10",
  /* Numbers that are too large, also such as would be good ones if they
   * were cut to 64 bits, or had a sign.
   */
  "bytes 0-9/9223372036854775808",
  "bytes 0-9/18446744073709551615",
  "bytes 0-9/18446744073709551616",
  "bytes 0-9/18446744073709551626",
  "bytes 18446744073709551616-18446744073709551625/18446744073709551626",
  "bytes 18446744073709551616-9/10",
  "bytes 0-18446744073709551625/10",
  "bytes 0-18446744073709551625/*",
  "bytes 0-18446744073709551615/*",
  "bytes 18446744073709551615-18446744073709551615/*",
  "bytes 0-9/184467440737095516160",
  "bytes 0-9/340282366920938463463374607431768211466",
  "bytes 0-99999999999999999999999999999999999999999999999999/*",
};

static void
bad_ranges (void **state)
{
  uint64_t first, last, total;
  size_t i;

  (void) state;
  for (i = 0; i < NR (bad_range_texts); ++i)
    if (content_range (bad_range_texts[i], &first, &last, &total))
      fail_msg ("'%s' is taken for %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                bad_range_texts[i], first, last, total);
}

/* --- Answers --- */

/* What is asked for: [OFFSET, OFFSET + LENGTH), of an object of SIZE bytes. */
enum { OFFSET = 1000, LENGTH = 100, SIZE = 5000 };
#define RANGE "bytes 1000-1099/5000"

static const struct version known = {
  .etag = "\"v1\"",
  .last_modified = "Wed, 21 Oct 2015 07:28:00 GMT",
  .size = SIZE,
};

static struct problem problem;
static struct version seen;
static uint64_t good;

static char *
copy_of (const char *s)
{
  return s ? strdup (s) : NULL;
}

static enum verdict
judge_at (const struct response *a, uint64_t offset, uint64_t length,
          const struct version *old)
{
  char *strings[] = {
    copy_of (a->content_range),  copy_of (a->content_encoding),
    copy_of (a->content_length), copy_of (a->etag),
    copy_of (a->last_modified),
  };
  const struct response copy
    = { a->status,  strings[0], strings[1], strings[2],
        strings[3], strings[4], a->secrets, a->more_secrets };
  enum verdict verdict;
  size_t i;

  problem.text[0] = '\0';
  memset (&seen, 0xee, sizeof seen);
  good = 0xeeeeeeee;
  verdict
    = response_judge (&copy, offset, length, old, &seen, &good, &problem);
  for (i = 0; i < NR (strings); ++i)
    free (strings[i]);
  if (verdict == VERDICT_CHANGED || verdict == VERDICT_NONSENSE)
    assert_string_not_equal (problem.text, "");
  if (verdict == VERDICT_GOOD)
    assert_between (good, 1, length);
  return verdict;
}

static enum verdict
judge (const struct response *a, const struct version *old)
{
  return judge_at (a, OFFSET, LENGTH, old);
}

static void
statuses (void **state)
{
  static const struct {
    long status;
    enum verdict first, later;
  } rows[] = {
    /* Says nothing of ranges. */
    { 200, VERDICT_NO_RANGES, VERDICT_NO_RANGES },

    { 301, VERDICT_REDIRECT, VERDICT_REDIRECT },
    { 302, VERDICT_REDIRECT, VERDICT_REDIRECT },
    { 303, VERDICT_REDIRECT, VERDICT_REDIRECT },
    { 307, VERDICT_REDIRECT, VERDICT_REDIRECT },
    { 308, VERDICT_REDIRECT, VERDICT_REDIRECT },
    /* Leads nowhere by itself, or is not used any more. */
    { 300, VERDICT_REFUSED, VERDICT_REFUSED },
    { 304, VERDICT_REFUSED, VERDICT_REFUSED },
    { 305, VERDICT_REFUSED, VERDICT_REFUSED },
    { 306, VERDICT_REFUSED, VERDICT_REFUSED },

    { 400, VERDICT_REFUSED, VERDICT_REFUSED },
    { 401, VERDICT_REFUSED, VERDICT_REFUSED },
    { 402, VERDICT_REFUSED, VERDICT_REFUSED },
    { 403, VERDICT_REFUSED, VERDICT_REFUSED },
    { 404, VERDICT_REFUSED, VERDICT_REFUSED },
    { 405, VERDICT_REFUSED, VERDICT_REFUSED },
    { 406, VERDICT_REFUSED, VERDICT_REFUSED },
    { 407, VERDICT_REFUSED, VERDICT_REFUSED },
    { 409, VERDICT_REFUSED, VERDICT_REFUSED },
    { 410, VERDICT_REFUSED, VERDICT_REFUSED },
    { 414, VERDICT_REFUSED, VERDICT_REFUSED },
    { 421, VERDICT_REFUSED, VERDICT_REFUSED },
    { 426, VERDICT_REFUSED, VERDICT_REFUSED },
    { 451, VERDICT_REFUSED, VERDICT_REFUSED },
    /* "Treat as 400". */
    { 499, VERDICT_REFUSED, VERDICT_REFUSED },

    { 408, VERDICT_LATER, VERDICT_LATER },
    { 425, VERDICT_LATER, VERDICT_LATER },
    { 429, VERDICT_LATER, VERDICT_LATER },
    { 500, VERDICT_LATER, VERDICT_LATER },
    { 502, VERDICT_LATER, VERDICT_LATER },
    { 503, VERDICT_LATER, VERDICT_LATER },
    { 504, VERDICT_LATER, VERDICT_LATER },
    /* Will not be better the next time. */
    { 501, VERDICT_REFUSED, VERDICT_REFUSED },
    { 505, VERDICT_REFUSED, VERDICT_REFUSED },
    { 511, VERDICT_REFUSED, VERDICT_REFUSED },

    { 412, VERDICT_REFUSED, VERDICT_CHANGED },
    { 416, VERDICT_REFUSED, VERDICT_CHANGED },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    const struct response a = { .status = rows[i].status };
    const enum verdict first = judge (&a, NULL), later = judge (&a, &known);

    if (first != rows[i].first || later != rows[i].later)
      fail_msg ("%ld: %d and %d instead of %d and %d", a.status, (int) first,
                (int) later, (int) rows[i].first, (int) rows[i].later);
  }
}

/* RFC 9110, 15: a client "MUST treat an unrecognized status code as being
 * equivalent to the x00 status code of that class".  Servers behind a content
 * delivery network that do not answer it are such: 520, 522, 524.
 */
static void
unknown_server_errors (void **state)
{
  static const long rows[] = { 520, 522, 524, 530, 599 };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    const struct response a = { .status = rows[i] };

    if (judge (&a, NULL) != VERDICT_LATER
        || judge (&a, &known) != VERDICT_LATER)
      fail_msg ("%ld is not like 500", rows[i]);
  }
}

/* Only 206 brings bytes, whatever else the headers say. */
static void
only_206 (void **state)
{
  struct response a = { .content_range = RANGE,
                        .content_length = "100",
                        .etag = known.etag,
                        .last_modified = known.last_modified };

  (void) state;
  for (a.status = -1; a.status < 1000; ++a.status) {
    const enum verdict first = judge (&a, NULL), later = judge (&a, &known);

    if (a.status == 206) {
      assert_int_equal (first, VERDICT_GOOD);
      assert_int_equal (later, VERDICT_GOOD);
    }
    else if (first == VERDICT_GOOD || first == VERDICT_EMPTY
             || first == VERDICT_CHANGED || later == VERDICT_GOOD
             || later == VERDICT_EMPTY)
      fail_msg ("%ld: %d and %d", a.status, (int) first, (int) later);
  }
}

static void
parts (void **state)
{
  static const struct {
    const char *name, *content_range;
    enum verdict first, later;
    uint64_t length; /* if good */
  } rows[] = {
    { "just that", RANGE, VERDICT_GOOD, VERDICT_GOOD, 100 },
    { "less", "bytes 1000-1049/5000", VERDICT_GOOD, VERDICT_GOOD, 50 },
    { "one byte", "bytes 1000-1000/5000", VERDICT_GOOD, VERDICT_GOOD, 1 },
    { "more", "bytes 1000-1999/5000", VERDICT_GOOD, VERDICT_GOOD, 100 },
    { "to the end", "bytes 1000-4999/5000", VERDICT_GOOD, VERDICT_GOOD, 100 },
    { "of unknown length", "bytes 1000-1099/*", VERDICT_NONSENSE, VERDICT_GOOD,
      100 },
    { "earlier", "bytes 999-1099/5000", VERDICT_NONSENSE, VERDICT_NONSENSE,
      0 },
    { "later", "bytes 1001-1099/5000", VERDICT_NONSENSE, VERDICT_NONSENSE, 0 },
    { "the beginning", "bytes 0-99/5000", VERDICT_NONSENSE, VERDICT_NONSENSE,
      0 },
    { "all", "bytes 0-4999/5000", VERDICT_NONSENSE, VERDICT_NONSENSE, 0 },
    { "nothing", "bytes */5000", VERDICT_NONSENSE, VERDICT_NONSENSE, 0 },
    { "backwards", "bytes 1000-999/5000", VERDICT_NONSENSE, VERDICT_NONSENSE,
      0 },
    { "beyond its end", "bytes 1000-5000/5000", VERDICT_NONSENSE,
      VERDICT_NONSENSE, 0 },
    { "other unit", "lines 1000-1099/5000", VERDICT_NONSENSE, VERDICT_NONSENSE,
      0 },
    { "no header (or several parts)", NULL, VERDICT_NONSENSE, VERDICT_NONSENSE,
      0 },
    { "empty header", "", VERDICT_NONSENSE, VERDICT_NONSENSE, 0 },
    { "size of 2^63", "bytes 1000-1099/9223372036854775808", VERDICT_NONSENSE,
      VERDICT_NONSENSE, 0 },
    { "size of 2^64 + 5000", "bytes 1000-1099/18446744073709556616",
      VERDICT_NONSENSE, VERDICT_NONSENSE, 0 },
    { "it grew", "bytes 1000-1099/5001", VERDICT_GOOD, VERDICT_CHANGED, 100 },
    { "it shrank", "bytes 1000-1099/1100", VERDICT_GOOD, VERDICT_CHANGED,
      100 },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    const struct response a
      = { .status = 206, .content_range = rows[i].content_range };

    if (judge (&a, NULL) != rows[i].first)
      fail_msg ("%s: first: %s", rows[i].name, problem.text);
    if (rows[i].first == VERDICT_GOOD)
      assert_int_equal (good, rows[i].length);
    if (judge (&a, &known) != rows[i].later)
      fail_msg ("%s: later: %s", rows[i].name, problem.text);
    if (rows[i].later == VERDICT_GOOD)
      assert_int_equal (good, rows[i].length);
  }
}

/* Lengths at the end of what can be counted. */
static void
large (void **state)
{
  static const struct version huge = { .size = INT64_MAX };
  struct response a = { .status = 206 };

  (void) state;
  a.content_range
    = "bytes 9223372036854775806-9223372036854775806/9223372036854775807";
  assert_int_equal (judge_at (&a, INT64_MAX - 1, 1, &huge), VERDICT_GOOD);
  assert_int_equal (good, 1);
  a.content_range = "bytes 0-9223372036854775806/9223372036854775807";
  assert_int_equal (judge_at (&a, 0, 10, NULL), VERDICT_GOOD);
  assert_int_equal (good, 10);
  assert_int_equal (seen.size, INT64_MAX);
  /* The number of bytes has 65 bits. */
  a.content_range = "bytes 0-18446744073709551615/*";
  assert_int_equal (judge_at (&a, 0, 10, &huge), VERDICT_NONSENSE);
}

static void
encodings (void **state)
{
  static const struct {
    const char *encoding;
    bool good;
  } rows[] = {
    { NULL, true },         { "identity", true },
    { "Identity", true }, /* 8.4.1: no case */
    { "gzip", false },      { "x-gzip", false },
    { "deflate", false },   { "compress", false },
    { "br", false },        { "zstd", false },
    { "gzip, br", false },  { "identity, gzip", false },
    { "identityx", false },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    const struct response a = { .status = 206,
                                .content_range = RANGE,
                                .content_encoding = rows[i].encoding };
    const enum verdict want = rows[i].good ? VERDICT_GOOD : VERDICT_NONSENSE;

    assert_int_equal (judge (&a, NULL), want);
    assert_int_equal (judge (&a, &known), want);
    if (!rows[i].good)
      assert_non_null (strstr (problem.text, rows[i].encoding));
  }
}

/* A hostile header of any length fits into the reason. */
static void
long_headers (void **state)
{
  static char text[100000];
  struct response a = { .status = 206, .content_encoding = text };

  (void) state;
  memset (text, 'x', sizeof text - 1);
  assert_int_equal (judge (&a, NULL), VERDICT_NONSENSE);
  a.content_encoding = NULL;
  a.content_range = text;
  assert_int_equal (judge (&a, NULL), VERDICT_NONSENSE);
  memset (text, '9', sizeof text - 1);
  memcpy (text, "bytes ", 6);
  assert_int_equal (judge (&a, NULL), VERDICT_NONSENSE);
  memset (text, ' ', sizeof text - 1);
  assert_int_equal (judge (&a, NULL), VERDICT_NONSENSE);
}

/* --- Versions --- */

#define MONDAY "Mon, 19 Oct 2015 07:28:00 GMT"
#define TUESDAY "Tue, 20 Oct 2015 07:28:00 GMT"

static void
first_response (void **state)
{
  static const struct {
    const char *etag, *last_modified;
    const char *seen_etag, *seen_last_modified;
    bool weak;
  } rows[] = {
    { NULL, NULL, "", "", false },
    { "\"abc\"", MONDAY, "\"abc\"", MONDAY, false },
    { "\"abc\"", NULL, "\"abc\"", "", false },
    { NULL, MONDAY, "", MONDAY, false },
    { "W/\"abc\"", MONDAY, "\"abc\"", MONDAY, true },
    { "\"\"", NULL, "\"\"", "", false },
    { "W/\"\"", NULL, "\"\"", "", true },
    { "\"W/abc\"", NULL, "\"W/abc\"", "", false },
    { "", "", "", "", false },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    const struct response a = { .status = 206,
                                .content_range = RANGE,
                                .etag = rows[i].etag,
                                .last_modified = rows[i].last_modified };

    assert_int_equal (judge (&a, NULL), VERDICT_GOOD);
    assert_string_equal (seen.etag, rows[i].seen_etag);
    assert_string_equal (seen.last_modified, rows[i].seen_last_modified);
    assert_int_equal (seen.weak, rows[i].weak);
    assert_int_equal (seen.size, SIZE);
  }
}

static void
versions (void **state)
{
  static const struct {
    const char *name;
    const char *old_etag, *old_last_modified;
    const char *etag, *last_modified, *content_range;
    bool changed;
  } rows[] = {
    { "the same", "\"a\"", MONDAY, "\"a\"", MONDAY, RANGE, false },
    { "no validators", NULL, NULL, NULL, NULL, RANGE, false },
    { "only ETags", "\"a\"", NULL, "\"a\"", NULL, RANGE, false },
    { "only dates", NULL, MONDAY, NULL, MONDAY, RANGE, false },

    { "other ETag", "\"a\"", MONDAY, "\"b\"", MONDAY, RANGE, true },
    /* Of strong ETags, equal ones are equal bytes (8.8.1), whatever the date
     * is.
     */
    { "other date", "\"a\"", MONDAY, "\"a\"", TUESDAY, RANGE, false },
    { "older date", "\"a\"", TUESDAY, "\"a\"", MONDAY, RANGE, false },
    { "other date, empty ETag", "\"\"", MONDAY, "\"\"", TUESDAY, RANGE, true },
    { "other date, ETag without quotes", "abc", MONDAY, "abc", TUESDAY, RANGE,
      true },
    { "other date, half a quote", "\"ab", MONDAY, "\"ab", TUESDAY, RANGE,
      true },
    { "other date, one quote", "\"", MONDAY, "\"", TUESDAY, RANGE, true },
    { "other ETag, no dates", "\"a\"", NULL, "\"b\"", NULL, RANGE, true },
    { "other date, no ETags", NULL, MONDAY, NULL, TUESDAY, RANGE, true },
    { "ETag in capitals", "\"a\"", NULL, "\"A\"", NULL, RANGE, true },
    { "longer ETag", "\"a\"", NULL, "\"ab\"", NULL, RANGE, true },
    { "empty ETag", "\"a\"", NULL, "\"\"", NULL, RANGE, true },
    { "both empty ETags", "\"\"", NULL, "\"\"", NULL, RANGE, false },

    /* One is missing: the others have to do. */
    { "ETag gone", "\"a\"", MONDAY, NULL, MONDAY, RANGE, false },
    { "ETag came", NULL, MONDAY, "\"a\"", MONDAY, RANGE, false },
    { "date gone", "\"a\"", MONDAY, "\"a\"", NULL, RANGE, false },
    { "date came", "\"a\"", NULL, "\"a\"", MONDAY, RANGE, false },
    { "all gone", "\"a\"", MONDAY, NULL, NULL, RANGE, false },
    { "ETag gone, other date", "\"a\"", MONDAY, NULL, TUESDAY, RANGE, true },
    { "date gone, other ETag", "\"a\"", MONDAY, "\"b\"", NULL, RANGE, true },

    /* Weak ones (8.8.3.2): 'W/' says something of the promise and nothing
     * of the version.
     */
    { "both weak", "W/\"a\"", NULL, "W/\"a\"", NULL, RANGE, false },
    { "both weak, other", "W/\"a\"", NULL, "W/\"b\"", NULL, RANGE, true },
    { "strong, then weak", "\"a\"", NULL, "W/\"a\"", NULL, RANGE, false },
    { "weak, then strong", "W/\"a\"", NULL, "\"a\"", NULL, RANGE, false },
    { "strong, then other weak", "\"a\"", NULL, "W/\"b\"", NULL, RANGE, true },
    { "weak, then other strong", "W/\"a\"", NULL, "\"b\"", NULL, RANGE, true },
    { "weak, other date", "W/\"a\"", MONDAY, "W/\"a\"", TUESDAY, RANGE, true },
    { "strong, then weak, other date", "\"a\"", MONDAY, "W/\"a\"", TUESDAY,
      RANGE, true },
    { "weak, then strong, other date", "W/\"a\"", MONDAY, "\"a\"", TUESDAY,
      RANGE, true },

    { "it grew", "\"a\"", MONDAY, "\"a\"", MONDAY, "bytes 1000-1099/5001",
      true },
    { "it shrank", "\"a\"", MONDAY, "\"a\"", MONDAY, "bytes 1000-1099/1100",
      true },
    { "it grew, no validators", NULL, NULL, NULL, NULL,
      "bytes 1000-1099/500000", true },
    { "no size", "\"a\"", MONDAY, "\"a\"", MONDAY, "bytes 1000-1099/*",
      false },
    { "no size, other ETag", "\"a\"", MONDAY, "\"b\"", MONDAY,
      "bytes 1000-1099/*", true },
    { "no size, other date", "\"a\"", MONDAY, "\"a\"", TUESDAY,
      "bytes 1000-1099/*", false },
    { "no size, other date, no ETags", NULL, MONDAY, NULL, TUESDAY,
      "bytes 1000-1099/*", true },
    { "other date, it grew", "\"a\"", MONDAY, "\"a\"", TUESDAY,
      "bytes 1000-1099/5001", true },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    struct response a = { .status = 206,
                          .content_range = RANGE,
                          .etag = rows[i].old_etag,
                          .last_modified = rows[i].old_last_modified };
    struct version old;

    assert_int_equal (judge (&a, NULL), VERDICT_GOOD);
    old = seen;
    a.etag = rows[i].etag;
    a.last_modified = rows[i].last_modified;
    a.content_range = rows[i].content_range;
    if (judge (&a, &old) != (rows[i].changed ? VERDICT_CHANGED : VERDICT_GOOD))
      fail_msg ("%s: should %sbe another version", rows[i].name,
                rows[i].changed ? "" : "not ");
  }
}

/* No problem shows a text of the server that has a secret. */
static void
shown (void **state)
{
#define HIDDEN "(not shown: it contains a secret)"
  static const struct {
    struct response response;
    struct version old;
    const char *text; /* in the problem */
  } rows[] = {
    { { .status = 206, .content_range = "s3cr3t" },
      { .size = 0 },
      "'" HIDDEN "'" },
    { { .status = 206, .content_range = RANGE, .content_encoding = "s3cr3t" },
      { .size = 0 },
      "'" HIDDEN "'" },
    { { .status = 206, .content_range = RANGE, .etag = "\"s3cr3t\"" },
      { .etag = "\"old s3cr3t\"", .size = SIZE },
      "was " HIDDEN ", now it is " HIDDEN },
    { { .status = 206, .content_range = RANGE, .last_modified = "now s3cr3t" },
      { .last_modified = "old s3cr3t", .size = SIZE },
      "modified " HIDDEN ", now " HIDDEN },
  };
  struct secrets secrets = { .list = NULL };
  size_t i;

  (void) state;
  secrets_add (&secrets, "s3cr3t");
  for (i = 0; i < 2 * NR (rows); ++i) {
    struct response a = rows[i / 2].response;
    const struct version *old = &rows[i / 2].old;

    *(i % 2 ? &a.secrets : &a.more_secrets) = &secrets;
    judge (&a, old->size ? old : NULL);
    assert_null (strstr (problem.text, "s3cr3t"));
    if (strstr (problem.text, rows[i / 2].text) == NULL)
      fail_msg ("%s", problem.text);
  }
  secrets_free (&secrets);
}

/* Without secrets, texts are escaped and not too long. */
static void
shown_without_secrets (void **state)
{
  char etag[VALIDATOR_MAX], range[5000];
  struct response a = { .status = 206, .content_range = range, .etag = etag };
  const struct version old = { .etag = "\"\x1b[2J\"", .size = SIZE };

  (void) state;
  memset (range, 'x', sizeof range - 1);
  range[sizeof range - 1] = '\0';
  assert_int_equal (judge (&a, NULL), VERDICT_NONSENSE);
  assert_true (strlen (problem.text) < REDACTED_MAX + 100);
  assert_non_null (strstr (problem.text, "xxx...'"));

  a.content_range = RANGE;
  memset (etag, 'e', sizeof etag - 1);
  etag[sizeof etag - 1] = '\0';
  assert_int_equal (judge (&a, &old), VERDICT_CHANGED);
  assert_true (strlen (problem.text) < 2 * REDACTED_MAX + 100);
  assert_non_null (strstr (problem.text, "was \"\\x1b[2J\", now it is eee"));
}

/* Validators of all lengths around the longest that is kept: equal ones are
 * equal, and others are other as long as they are kept.
 */
static void
long_validators (void **state)
{
  char etag[VALIDATOR_MAX + 8], other[VALIDATOR_MAX + 8];
  size_t length;

  (void) state;
  for (length = VALIDATOR_MAX - 8; length < sizeof etag; ++length) {
    struct response a = { .status = 206,
                          .content_range = RANGE,
                          .etag = etag,
                          .last_modified = etag };
    struct version old;

    memset (etag, 'a', length);
    etag[0] = etag[length - 1] = '"';
    etag[length] = '\0';
    memcpy (other, etag, sizeof other);
    other[length - 2] = 'b';
    assert_int_equal (judge (&a, NULL), VERDICT_GOOD);
    assert_true (seen.etag[0] == '\0' || strcmp (seen.etag, etag) == 0);
    assert_string_equal (seen.last_modified, seen.etag);
    if (length < VALIDATOR_MAX)
      assert_string_equal (seen.etag, etag);
    old = seen;
    assert_int_equal (judge (&a, &old), VERDICT_GOOD);
    a.etag = other;
    a.last_modified = NULL;
    assert_int_equal (judge (&a, &old),
                      length < VALIDATOR_MAX ? VERDICT_CHANGED : VERDICT_GOOD);
  }
}

static void
empty_objects (void **state)
{
  static const struct {
    long status;
    const char *content_range, *content_length;
    enum verdict first;
  } rows[] = {
    /* There is no range of it that could be satisfied. */
    { 416, "bytes */0", NULL, VERDICT_EMPTY },
    { 416, "bytes */0", "162", VERDICT_EMPTY },
    { 416, "Bytes */0", NULL, VERDICT_EMPTY },
    { 416, "bytes */00", NULL, VERDICT_EMPTY },
    { 416, "bytes */1", NULL, VERDICT_REFUSED },
    { 416, "bytes */5000", NULL, VERDICT_REFUSED },
    { 416, "bytes */*", NULL, VERDICT_REFUSED },
    { 416, "bytes */", NULL, VERDICT_REFUSED },
    { 416, "bytes */0x", NULL, VERDICT_REFUSED },
    { 416, "bytes */18446744073709551616", NULL, VERDICT_REFUSED },
    { 416, "bytes 0-0/0", NULL, VERDICT_REFUSED },
    { 416, "lines */0", NULL, VERDICT_REFUSED },
    { 416, "*/0", NULL, VERDICT_REFUSED },
    { 416, NULL, NULL, VERDICT_REFUSED },
    { 416, NULL, "0", VERDICT_REFUSED },
    { 416, "", NULL, VERDICT_REFUSED },
    /* Or the server does not care for the range. */
    { 200, NULL, "0", VERDICT_EMPTY },
    { 200, NULL, "1", VERDICT_NO_RANGES },
    { 200, NULL, "5000", VERDICT_NO_RANGES },
    { 200, NULL, NULL, VERDICT_NO_RANGES },
    { 200, "bytes */0", "7", VERDICT_NO_RANGES },
    /* Says nothing of the object. */
    { 204, NULL, "0", VERDICT_REFUSED },
    { 204, NULL, NULL, VERDICT_REFUSED },
    { 404, "bytes */0", "0", VERDICT_REFUSED },
    { 206, "bytes */0", "0", VERDICT_NONSENSE },
    { 206, NULL, "0", VERDICT_NONSENSE },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    const struct response a = { .status = rows[i].status,
                                .content_range = rows[i].content_range,
                                .content_length = rows[i].content_length };
    const enum verdict first = judge_at (&a, 0, 262144, NULL);
    enum verdict later;

    if (first != rows[i].first)
      fail_msg ("%ld '%s' '%s': %d", a.status, a.content_range,
                a.content_length, (int) first);
    /* Once it had bytes, it can't just have none. */
    later = judge (&a, &known);
    if (later == VERDICT_EMPTY || later == VERDICT_GOOD)
      fail_msg ("%ld '%s' '%s', later: %d", a.status, a.content_range,
                a.content_length, (int) later);
    if (a.status == 416)
      assert_int_equal (later, VERDICT_CHANGED);
  }
}

/* --- Messages --- */

static void
status_texts (void **state)
{
  static const struct {
    long status;
    const char *text;
  } rows[] = {
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 412, "Precondition Failed" },
    { 416, "Range Not Satisfiable" },
    { 429, "Too Many Requests" },
    { 500, "Internal Server Error" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 0, "" },
    { -1, "" },
    { 599, "" },
    { 1000, "" },
  };
  long status;
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i)
    assert_string_equal (response_status_text (rows[i].status), rows[i].text);
  for (status = -10; status < 1010; ++status)
    assert_non_null (response_status_text (status));
}

/* Memory of just the lengths that are told. */
static void
check_s3_code (const char *body, size_t length, size_t max, const char *want)
{
  char *in = malloc (length > 0 ? length : 1), *out = malloc (max);

  assert_true (in != NULL && out != NULL);
  memcpy (in, body, length);
  memset (out, '#', max);
  response_s3_code (in, length, out, max);
  if (memchr (out, '\0', max) == NULL)
    fail_msg ("'%.*s': no end mark", (int) length, body);
  if (strcmp (out, want) != 0)
    fail_msg ("'%.*s': '%s' instead of '%s'", (int) length, body, out, want);
  free (in);
  free (out);
}

#define AMAZON                                                                \
  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"                              \
  "<Error><Code>NoSuchKey</Code><Message>The resource you requested does "    \
  "not exist</Message><Resource>/mybucket/myfoto.jpg</Resource>"              \
  "<RequestId>4442587FB7D0A2F9</RequestId></Error>"

static void
s3_codes (void **state)
{
#define TEXT(s) s, sizeof (s) - 1
  static const struct {
    const char *body;
    size_t length;
    const char *code;
  } rows[] = {
    { TEXT (AMAZON), "NoSuchKey" },
    { TEXT ("<Error><Code>AccessDenied</Code></Error>"), "AccessDenied" },
    { TEXT ("<Code>A</Code>"), "A" },
    { TEXT ("\0\0<Code>SlowDown</Code>"), "SlowDown" },

    { TEXT (""), "" },
    { TEXT ("<html><h1>404 Not Found</h1></html>"), "" },
    { TEXT ("<Error></Error>"), "" },
    { TEXT ("<Code></Code>"), "" },
    { TEXT ("<code>AccessDenied</code>"), "" },
    { TEXT ("Code>AccessDenied</Code>"), "" },
    { TEXT ("</Code>AccessDenied<Code>"), "" },
    { TEXT ("<ErrorCode>AccessDenied</ErrorCode>"), "" },

    { TEXT ("<Code>Access Denied</Code>"), "" },
    { TEXT ("<Code>\nAccessDenied\n</Code>"), "" },
    { TEXT ("<Code>Access\x1b[31mDenied</Code>"), "" },
    { TEXT ("<Code>Access\0Denied</Code>"), "" },
    { TEXT ("<Code>Access\nDenied</Code>"), "" },
    { TEXT ("<Code>\xff\xfe</Code>"), "" },
    { TEXT ("<Code>Zugriff\xc3\xa9</Code>"), "" },
    { TEXT ("<Code>a&lt;b</Code>"), "" },
    { TEXT ("<Code>%s%n</Code>"), "" },
    { TEXT ("<Code>a\x7f</Code>"), "" },
  };
  size_t i, length;

  (void) state;
  for (i = 0; i < NR (rows); ++i)
    check_s3_code (rows[i].body, rows[i].length, 64, rows[i].code);
  /* Cut anywhere before the code's end. */
  for (length = 0; length <= (size_t) (strstr (AMAZON, "</Code>") - AMAZON);
       ++length)
    check_s3_code (AMAZON, length, 64, "");
#undef TEXT
}

/* Codes that do not fit: a part of them, or nothing, but no more. */
static void
long_s3_codes (void **state)
{
  static const char body[] = "<Code>AuthorizationHeaderMalformed</Code>";
  static const char code[] = "AuthorizationHeaderMalformed";
  static char text[100000];
  size_t max;

  (void) state;
  for (max = 1; max <= sizeof code + 1; ++max) {
    char *out = malloc (max);

    memset (out, '#', max);
    response_s3_code (body, sizeof body - 1, out, max);
    assert_non_null (memchr (out, '\0', max));
    assert_memory_equal (out, code, strlen (out));
    if (max >= sizeof code)
      assert_string_equal (out, code);
    free (out);
  }
  memset (text, 'a', sizeof text);
  memcpy (text, "<Code>", 6);
  check_s3_code (text, sizeof text, 64, "");
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (good_ranges),
  cmocka_unit_test (bad_ranges),
  cmocka_unit_test (statuses),
  cmocka_unit_test (unknown_server_errors),
  cmocka_unit_test (only_206),
  cmocka_unit_test (parts),
  cmocka_unit_test (large),
  cmocka_unit_test (encodings),
  cmocka_unit_test (long_headers),
  cmocka_unit_test (first_response),
  cmocka_unit_test (versions),
  cmocka_unit_test (shown),
  cmocka_unit_test (shown_without_secrets),
  cmocka_unit_test (long_validators),
  cmocka_unit_test (empty_objects),
  cmocka_unit_test (status_texts),
  cmocka_unit_test (s3_codes),
  cmocka_unit_test (long_s3_codes),
};

UNIT_MAIN (tests)
