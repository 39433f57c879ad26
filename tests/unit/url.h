/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Helpers for the tests of URLs: parse them and compare the result.
 *
 * A string to parse is copied to memory of exactly its length, so that the
 * address sanitizer detects reads past its end.
 */

#ifndef TESTS_UNIT_URL_H
#define TESTS_UNIT_URL_H

#include "tests/unit/unit.h"

#include "url/url.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

static const struct url_s3 amazon = { NULL, "us-east-1" };

static struct problem problem;

static inline int
parse (const char *text, const struct url_s3 *s3, struct url *url)
{
  char *copy = strdup (text);
  int r;

  assert_non_null (copy);
  problem.text[0] = '\0';
  r = url_parse (copy, s3, url, &problem);
  free (copy);
  if (r == -1 && problem.text[0] == '\0')
    fail_msg ("'%s': no reason", text);
  return r;
}

/* Parse a URL that must be accepted. */
static inline void
parse_good (const char *text, const struct url_s3 *s3, struct url *url)
{
  if (parse (text, s3, url) == -1)
    fail_msg ("'%s' is refused: %s", text, problem.text);
}

static inline void
refused (const char *text)
{
  struct url url;

  if (parse (text, &amazon, &url) == 0)
    fail_msg ("'%s' is taken, for '%s'", text, url.text);
  url_free (&url);
}

static inline void
same (const char *given, const char *what, const char *is, const char *want)
{
  if ((is == NULL) != (want == NULL) || (is && want && strcmp (is, want) != 0))
    fail_msg ("'%s': the %s is '%s' instead of '%s'", given, what,
              is ? is : "(null)", want ? want : "(null)");
}

#endif /* TESTS_UNIT_URL_H */
