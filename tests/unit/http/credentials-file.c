/* SPDX-License-Identifier: BSD-3-Clause
 *
 * credentials-file.c: what the AWS CLI takes from the two files, and what it
 * refuses.  What is expected was compared with "aws configure
 * export-credentials" (2.9.19).
 */

#include <errno.h>

#include "tests/unit/unit.h"

#include "http/credentials-file.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

/* Parse a copy that ends where its memory ends. */
static int
parse (const char *text, enum profile_syntax syntax, const char *name,
       struct profile *p, struct problem *problem)
{
  char *copy = strdup (text);
  int r;

  assert_non_null (copy);
  *p = (struct profile){ .found = false };
  r = profile_parse (copy, syntax, name, p, problem);
  free (copy);
  return r;
}

struct row {
  const char *text, *name;
  bool found;
  const char *access_key; /* NULL: not set */
};

static void
check (const struct row *row, enum profile_syntax syntax)
{
  struct problem problem;
  struct profile p;

  assert_int_equal (parse (row->text, syntax, row->name, &p, &problem), 0);
  assert_int_equal (p.found, row->found);
  if (row->access_key == NULL)
    assert_null (p.values[PROFILE_ACCESS_KEY]);
  else {
    assert_non_null (p.values[PROFILE_ACCESS_KEY]);
    assert_string_equal (p.values[PROFILE_ACCESS_KEY], row->access_key);
  }
  profile_free (&p);
}

#define KEY "aws_access_key_id = AKID\n"

static void
credentials (void **state)
{
  static const struct row rows[] = {
    { "", "default", false, NULL },
    { "[default]\n" KEY, "default", true, "AKID" },
    { "[default]\r\naws_access_key_id = AKID\r\n", "default", true, "AKID" },
    { "[default]\naws_access_key_id=AKID", "default", true, "AKID" },
    { "[default]\nAWS_Access_Key_Id : AKID", "default", true, "AKID" },
    { "[default]\naws_access_key_id\t=\tA=B:C # d\n", "default", true,
      "A=B:C # d" },
    { "[default]\n; no\n# " KEY "\n  # no\n", "default", true, NULL },
    { "[default]\naws_access_key_id =\n", "default", true, NULL },
    { "[default]\naws_access_key_id = ONE\n" KEY, "default", true, "AKID" },
    { "[default]\n" KEY "aws_access_key_id =\n", "default", true, NULL },
    { "[other]\n" KEY, "default", false, NULL },
    { "[one]\naws_access_key_id = ONE\n[two]\n" KEY, "two", true, "AKID" },
    { "[two words]\n" KEY, "two words", true, "AKID" },
    { "[Default]\n" KEY, "default", false, NULL },
    { "[profile one]\n" KEY, "one", false, NULL },
    { "[profile one]\n" KEY, "profile one", true, "AKID" },
    { "  [default]\n  aws_access_key_id = AKID\n", "default", true, "AKID" },
    /* Lines that continue another setting. */
    { "[default]\ns3 =\n  aws_access_key_id = NO\n" KEY, "default", true,
      "AKID" },
    { "[default]\ns3 =\n  [other]\n" KEY, "default", true, "AKID" },
    { "[default]\na_aws_access_key_id = NO\naws_access_key_idx = NO\n",
      "default", true, NULL },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i)
    check (&rows[i], PROFILE_CREDENTIALS);
}

static void
config (void **state)
{
  static const struct row rows[] = {
    { "[default]\n" KEY, "default", true, "AKID" },
    { "[profile default]\n" KEY, "default", true, "AKID" },
    { "[profile one]\n" KEY, "one", true, "AKID" },
    { "[profile \t one]\n" KEY, "one", true, "AKID" },
    { "[profile \"two words\"]\n" KEY, "two words", true, "AKID" },
    { "[profile 'two words']\n" KEY, "two words", true, "AKID" },
    { "[one]\n" KEY, "one", false, NULL },
    { "[profileone]\n" KEY, "one", false, NULL },
    { "[profile]\n" KEY, "", false, NULL },
    { "[profile \"]\n" KEY, "one", false, NULL },
    { "[sso-session one]\n" KEY, "one", false, NULL },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i)
    check (&rows[i], PROFILE_CONFIG);
}

static void
all_keys (void **state)
{
  static const char text[]
    = "[default]\naws_access_key_id=0\naws_secret_access_key=1\n"
      "aws_session_token=2\nregion=3\nrole_arn=4\nrole_session_name=5\n"
      "web_identity_token_file=6\ncredential_process=7\nsso_session=8\n"
      "sso_start_url=9\n";
  struct problem problem;
  struct profile p;
  char digit[2] = "0";
  size_t i;

  (void) state;
  assert_int_equal (parse (text, PROFILE_CONFIG, "default", &p, &problem), 0);
  for (i = 0; i < PROFILE_NR_KEYS; ++i) {
    digit[0] = (char) ('0' + i);
    assert_string_equal (p.values[i], digit);
  }
  profile_free (&p);
}

static void
malformed (void **state)
{
  static const struct {
    const char *text;
    const char *why;
  } rows[] = {
    { KEY, "line 1 is not valid" },
    { "x", "line 1 is not valid" },
    { "[default\n", "line 1 is not valid" },
    { "[]\n", "line 1 is not valid" },
    { "\n[default]\n\nS3CRET\n", "line 4 is not valid" },
    { "[other]\nS3CRET\n", "line 2 is not valid" },
    { "[default]\naws_access_key_id =\n  S3CRET\n", "line 3 is not valid" },
  };
  struct problem problem;
  struct profile p;
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    errno = 0;
    assert_int_equal (
      parse (rows[i].text, PROFILE_CREDENTIALS, "default", &p, &problem), -1);
    assert_int_equal (errno, EINVAL);
    assert_string_equal (problem.text, rows[i].why);
    profile_free (&p);
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (credentials),
  cmocka_unit_test (config),
  cmocka_unit_test (all_keys),
  cmocka_unit_test (malformed),
};

UNIT_MAIN (tests)
