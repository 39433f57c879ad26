/* SPDX-License-Identifier: BSD-3-Clause
 *
 * target.c: what messages about a target must not show, and how long it lives
 * (which the sanitizers and valgrind check).
 */

#include "tests/unit/unit.h"

#include "http/internal.h"

static struct target *
target_of (const char *text, const struct target *previous)
{
  const struct url_s3 none = { NULL, "" };
  struct problem problem;
  struct target *t;
  struct url url;

  assert_int_equal (url_parse (text, &none, &url, &problem), 0);
  t = target_new (&url, previous);
  assert_non_null (t);
  assert_null (url.text); /* the target's now */
  return t;
}

/* The secrets of the URL, and of all URLs that led to it: the server of a
 * redirect's target may have been told them.
 */
static void
secrets (void **state)
{
  struct target *own
    = target_of ("http://uname:pa%73sword@h/x?sig=first", NULL);
  struct target *hop = target_of ("https://other/y?sig=second", own);
  struct target *next = target_of ("https://third/z?sig=third-one", hop);

  (void) state;
  assert_string_equal (own->url.text, "http://h/x?sig=first");
  assert_true (secrets_in_text (&own->secrets, "it was uname"));
  assert_true (secrets_in_text (&own->secrets, "with password"));
  assert_true (secrets_in_text (&own->secrets, "a first one"));
  assert_false (secrets_in_text (&own->secrets, "a second one"));
  assert_true (secrets_in_text (&hop->secrets, "with password"));
  assert_true (secrets_in_text (&hop->secrets, "a first one"));
  assert_true (secrets_in_text (&hop->secrets, "a second one"));
  assert_true (secrets_in_text (&next->secrets, "with password"));
  assert_true (secrets_in_text (&next->secrets, "a first one"));
  assert_true (secrets_in_text (&next->secrets, "a second one"));
  assert_true (secrets_in_text (&next->secrets, "the third-one"));
  assert_false (secrets_in_text (&hop->secrets, "the third-one"));
  target_release (own);
  target_release (hop);
  target_release (next);
}

static void
references (void **state)
{
  struct target *t = target_of ("http://h/x", NULL);

  (void) state;
  assert_ptr_equal (target_share (t), t);
  target_release (t);
  assert_string_equal (t->url.name, "http://h/x");
  target_release (t);
  target_release (NULL);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (secrets),
  cmocka_unit_test (references),
};

UNIT_MAIN (tests)
