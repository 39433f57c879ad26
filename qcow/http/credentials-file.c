/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The syntax of AWS's configuration files.  See credentials-file.h.
 *
 * The AWS CLI reads them with Python's configparser: a comment takes a whole
 * line, '=' or ':' ends a name, names are in any case, and a line that is
 * indented further than the setting before it continues that setting.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "http/credentials-file.h"

#define SPACES " \t\v\f\r"

static const char *const names[PROFILE_NR_KEYS] = {
  [PROFILE_ACCESS_KEY] = "aws_access_key_id",
  [PROFILE_SECRET_KEY] = "aws_secret_access_key",
  [PROFILE_SESSION_TOKEN] = "aws_session_token",
  [PROFILE_REGION] = "region",
  [PROFILE_ROLE_ARN] = "role_arn",
  [PROFILE_ROLE_SESSION_NAME] = "role_session_name",
  [PROFILE_WEB_IDENTITY_TOKEN_FILE] = "web_identity_token_file",
  [PROFILE_CREDENTIAL_PROCESS] = "credential_process",
  [PROFILE_SSO_SESSION] = "sso_session",
  [PROFILE_SSO_START_URL] = "sso_start_url",
};

/* A part of the text. */
struct span {
  const char *p;
  size_t n;
};

struct parser {
  enum profile_syntax syntax;
  const char *name; /* of the wanted profile */
  struct profile *profile;

  bool in_section;  /* there was a section … */
  bool wanted;      /* … and it is that of the profile */
  bool in_setting;  /* a setting can be continued … */
  char **continued; /* … and is this one, if not NULL */
  size_t indent;    /* of the last setting or section */
};

static struct span
trim (struct span s)
{
  while (s.n > 0 && strchr (SPACES, s.p[0])) {
    s.p++;
    s.n--;
  }
  while (s.n > 0 && strchr (SPACES, s.p[s.n - 1]))
    s.n--;
  return s;
}

static bool
equals (struct span s, const char *text)
{
  return s.n == strlen (text) && memcmp (s.p, text, s.n) == 0;
}

/* The position of a byte, or s.n. */
static size_t
find (struct span s, char c)
{
  const char *p = memchr (s.p, c, s.n);

  return p ? (size_t) (p - s.p) : s.n;
}

static struct span
unquote (struct span s)
{
  if (s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0])
    return (struct span){ s.p + 1, s.n - 2 };
  return s;
}

/* True if the text in brackets names the wanted profile. */
static bool
is_wanted (const struct parser *parser, struct span header)
{
  static const char word[] = "profile";
  const size_t n = strlen (word);

  if (parser->syntax == PROFILE_CREDENTIALS)
    return equals (header, parser->name);
  if (equals (header, "default"))
    return strcmp (parser->name, "default") == 0;
  if (header.n <= n || memcmp (header.p, word, n) != 0
      || strchr (SPACES, header.p[n]) == NULL)
    return false;
  return equals (unquote (trim ((struct span){ header.p + n, header.n - n })),
                 parser->name);
}

static int
begin_section (struct parser *parser, struct span line)
{
  size_t n = line.n;

  while (n > 0 && line.p[n - 1] != ']')
    --n;
  if (n < 3)
    return -1;
  parser->in_section = true;
  parser->in_setting = false;
  parser->wanted
    = is_wanted (parser, trim ((struct span){ line.p + 1, n - 2 }));
  if (parser->wanted)
    parser->profile->found = true;
  return 0;
}

/* Where the value of that name belongs, or NULL. */
static char **
place_of (const struct parser *parser, struct span name)
{
  size_t i;

  for (i = 0; parser->wanted && i < PROFILE_NR_KEYS; ++i)
    if (name.n == strlen (names[i])
        && strncasecmp (name.p, names[i], name.n) == 0)
      return &parser->profile->values[i];
  return NULL;
}

/* "NAME = VALUE".  0, or -1 and errno. */
static int
take_setting (struct parser *parser, struct span line)
{
  const size_t equal = find (line, '='), colon = find (line, ':');
  const size_t n = equal < colon ? equal : colon;
  struct span value;

  if (!parser->in_section || n == line.n) {
    errno = EINVAL;
    return -1;
  }
  value = trim ((struct span){ line.p + n + 1, line.n - n - 1 });
  parser->in_setting = true;
  parser->continued = place_of (parser, trim ((struct span){ line.p, n }));
  if (parser->continued == NULL)
    return 0;
  secret_free_string (*parser->continued);
  *parser->continued = NULL;
  if (value.n == 0)
    return 0;
  *parser->continued = strndup (value.p, value.n);
  return *parser->continued ? 0 : -1;
}

/* Take a line without its newline.  0, or -1 and errno. */
static int
take_line (struct parser *parser, struct span whole)
{
  const struct span line = trim (whole);
  const size_t indent = (size_t) (line.p - whole.p);

  if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
    return 0;
  errno = EINVAL;
  if (parser->in_setting && indent > parser->indent)
    /* Settings of other programs have lines that go on; no value here does. */
    return parser->continued ? -1 : 0;
  parser->indent = indent;
  return line.p[0] == '[' ? begin_section (parser, line)
                          : take_setting (parser, line);
}

int
profile_parse (const char *text, enum profile_syntax syntax, const char *name,
               struct profile *p, struct problem *problem)
{
  struct parser parser = { .syntax = syntax, .name = name, .profile = p };
  unsigned number = 1;

  for (;; ++number) {
    const size_t n = strcspn (text, "\n");

    if (take_line (&parser, (struct span){ text, n }) == -1)
      return errno == ENOMEM
               ? problem_no_memory (problem)
               : problem_invalid (problem, "line %u is not valid", number);
    if (text[n] == '\0')
      return 0;
    text += n + 1;
  }
}

void
profile_free (struct profile *p)
{
  size_t i;

  for (i = 0; i < PROFILE_NR_KEYS; ++i)
    secret_free_string (p->values[i]);
  *p = (struct profile){ .found = false };
}
