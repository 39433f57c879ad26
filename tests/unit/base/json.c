/* SPDX-License-Identifier: BSD-3-Clause
 *
 * json.c: hostile strings, and the layout of nested objects and arrays.  The
 * expected texts are written by hand.  (tests/info.t gives the output to a
 * JSON parser.)
 */

#include "tests/unit/unit.h"

#include "base/json.h"

/* A string and its JSON, without the quotes. */
struct sample {
  const char *name, *text;
  size_t length;
  const char *json;
};

#define TEXT(s) s, sizeof (s) - 1

/* clang-format off */
static const struct sample samples[] = {
  { "nothing", TEXT (""), "" },
  { "ASCII", TEXT ("disk-1.qcow2"), "disk-1.qcow2" },
  { "quotes", TEXT ("a\"b\\c/d"), "a\\\"b\\\\c/d" },
  { "the end of a string", TEXT ("x\", \"format\": \"raw"),
    "x\\\", \\\"format\\\": \\\"raw" },
  { "control characters", TEXT ("\x01\x1f\n\t\x7f"),
    "\\u0001\\u001f\\u000a\\u0009\\u007f" },
  { "NUL", TEXT ("a\0b"), "a\\u0000b" },
  { "C1 control characters", TEXT ("\xc2\x80\xc2\x9f\xc2\xa0"),
    "\\u0080\\u009f\xc2\xa0" },
  { "two to four bytes", TEXT ("\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xa9"),
    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xa9" },
  { "no UTF-8", TEXT ("a\xff" "b\x80"), "a\\ufffd" "b\\ufffd" },
  { "cut", TEXT ("\xe2\x82"), "\\ufffd\\ufffd" },
  { "cut by a quote", TEXT ("\xe2\""), "\\ufffd\\\"" },
  { "cut C1", TEXT ("\xc2"), "\\ufffd" },
  { "overlong quote", TEXT ("\xc0\xa2"), "\\ufffd\\ufffd" },
  { "surrogate", TEXT ("\xed\xa0\x80"), "\\ufffd\\ufffd\\ufffd" },
};
/* clang-format on */

static char *printed;
static size_t printed_length;

static struct json
begin (void)
{
  struct json j = { .out = open_memstream (&printed, &printed_length) };

  assert_non_null (j.out);
  return j;
}

static void
assert_printed (const struct json *j, const char *name, const char *wanted)
{
  assert_int_equal (fclose (j->out), 0);
  if (strcmp (printed, wanted) != 0)
    fail_msg ("%s: '%s' instead of '%s'", name, printed, wanted);
  free (printed);
}

static void
strings (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof samples / sizeof samples[0]; ++i) {
    const struct sample *s = &samples[i];
    /* Exactly as long, so that reads past the end are found. */
    char *text = malloc (s->length + (s->length == 0)), wanted[256];
    struct json j = begin ();

    assert_non_null (text);
    memcpy (text, s->text, s->length);
    json_text (&j, NULL, text, s->length);
    snprintf (wanted, sizeof wanted, "\"%s\"", s->json);
    assert_printed (&j, s->name, wanted);
    free (text);
  }
}

static void
layout (void **state)
{
  struct json j = begin ();

  (void) state;
  json_begin (&j, NULL, '{');
  json_number (&j, "most", UINT64_MAX);
  json_bool (&j, "yes", true);
  json_begin (&j, "list", '[');
  json_begin (&j, NULL, '{');
  json_string (&j, "a", "b");
  json_end (&j, '}');
  json_number (&j, NULL, 0);
  json_end (&j, ']');
  json_begin (&j, "none", '[');
  json_end (&j, ']');
  json_bool (&j, "no", false);
  json_end (&j, '}');
  assert_printed (&j, "an object",
                  "{\n"
                  "    \"most\": 18446744073709551615,\n"
                  "    \"yes\": true,\n"
                  "    \"list\": [\n"
                  "        {\n"
                  "            \"a\": \"b\"\n"
                  "        },\n"
                  "        0\n"
                  "    ],\n"
                  "    \"none\": [],\n"
                  "    \"no\": false\n"
                  "}\n");
}

static void
only_an_object (void **state)
{
  struct json j = begin ();

  (void) state;
  json_begin (&j, NULL, '{');
  json_end (&j, '}');
  assert_printed (&j, "nothing", "{}\n");
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (strings),
  cmocka_unit_test (layout),
  cmocka_unit_test (only_an_object),
};

UNIT_MAIN (tests)
