/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Responses with temporary keys.  See credentials-reply.h.
 */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/keep-errno.h"
#include "base/secret.h"
#include "http/credentials-reply.h"
#include "http/json-members.h"

/* A longer key or token would not fit into the headers of a request. */
#define MAX_LENGTH 16384

/* A part of the response; p is NULL: there is none. */
struct value {
  const char *p;
  size_t n;
};

struct reply {
  struct value access_key, secret_key, session_token, expires;
};

void
credentials_free (struct credentials *c)
{
  KEEP_ERRNO;

  secret_free_string (c->access_key);
  secret_free_string (c->secret_key);
  secret_free_string (c->session_token);
  *c = (struct credentials){ .access_key = NULL };
}

/* --- Times --- */

/* A number of exactly n digits at *p, which moves behind it; -1: there are
 * fewer.
 */
static int
take_number (const char **p, size_t n)
{
  int number = 0;

  for (; n > 0; --n, ++*p) {
    if (!isdigit ((unsigned char) **p))
      return -1;
    number = 10 * number + (**p - '0');
  }
  return number;
}

/* "Z", "+HH:MM" or "-HHMM" up to the end.  In seconds. */
static bool
take_offset (const char *p, int *offset)
{
  const int sign = *p == '-' ? -1 : 1;
  int hours, minutes;

  *offset = 0;
  if (*p == 'Z' || *p == 'z')
    return p[1] == '\0';
  if (*p != '+' && *p != '-')
    return false;
  ++p;
  hours = take_number (&p, 2);
  if (hours == -1)
    return false;
  p += *p == ':';
  minutes = take_number (&p, 2);
  *offset = sign * (hours * 3600 + minutes * 60);
  return minutes >= 0 && minutes < 60 && hours < 24 && *p == '\0';
}

bool
credentials_parse_time (const char *text, int64_t *seconds)
{
  static const char separators[] = "--T::";
  int parts[6], offset;
  struct tm tm = { .tm_year = 0 };
  size_t i;

  for (i = 0; i < 6; ++i) {
    parts[i] = take_number (&text, i == 0 ? 4 : 2);
    if (parts[i] == -1)
      return false;
    if (i < 5 && *text++ != separators[i])
      return false;
  }
  if (*text == '.') {
    const size_t digits = strspn (text + 1, "0123456789");

    if (digits == 0)
      return false;
    text += 1 + digits;
  }
  if (parts[0] < 1970 || parts[1] < 1 || parts[1] > 12 || parts[2] < 1
      || parts[2] > 31 || parts[3] > 23 || parts[4] > 59 || parts[5] > 60
      || !take_offset (text, &offset))
    return false;
  tm.tm_year = parts[0] - 1900;
  tm.tm_mon = parts[1] - 1;
  tm.tm_mday = parts[2];
  tm.tm_hour = parts[3];
  tm.tm_min = parts[4];
  tm.tm_sec = parts[5];
  *seconds = (int64_t) timegm (&tm) - offset;
  return true;
}

/* --- Keys --- */

/* Copy a key.  Without one, the result is NULL.  JSON can have a backslash
 * before a '/'; it is omitted.
 */
static int
take_key (struct value v, char **key, struct problem *problem)
{
  char *out;
  size_t i;

  *key = NULL;
  if (v.n == 0)
    return 0;
  for (i = 0; i < v.n; ++i)
    if (v.p[i] <= ' ' || v.p[i] > '~' || v.n > MAX_LENGTH)
      return problem_invalid (problem, "a key in the response is not valid");
  *key = out = malloc (v.n + 1);
  if (out == NULL)
    return problem_no_memory (problem);
  for (i = 0; i < v.n; ++i)
    if (v.p[i] != '\\')
      *out++ = v.p[i];
  *out = '\0';
  return 0;
}

static int
take_expiry (struct value v, int64_t *expires, struct problem *problem)
{
  char text[64];

  *expires = INT64_MAX;
  if (v.p == NULL)
    return 0;
  if (v.n < sizeof text) {
    memcpy (text, v.p, v.n);
    text[v.n] = '\0';
    if (credentials_parse_time (text, expires))
      return 0;
  }
  return problem_invalid (problem,
                          "the response has an Expiration that is no time");
}

static int
take_reply (const struct reply *r, struct credentials *c,
            struct problem *problem)
{
  *c = (struct credentials){ .access_key = NULL };
  if (r->access_key.n == 0 || r->secret_key.n == 0)
    return problem_invalid (
      problem, r->access_key.n == 0 ? "the response has no AccessKeyId"
                                    : "the response has no SecretAccessKey");
  if (take_key (r->access_key, &c->access_key, problem) == 0
      && take_key (r->secret_key, &c->secret_key, problem) == 0
      && take_key (r->session_token, &c->session_token, problem) == 0
      && take_expiry (r->expires, &c->expires, problem) == 0)
    return 0;
  credentials_free (c);
  return -1;
}

/* --- Errors --- */

/* Copy a code that consists of letters and digits; else "". */
static void
copy_code (struct value v, char *out, size_t max)
{
  size_t n = 0;

  for (; v.p && n < v.n && isalnum ((unsigned char) v.p[n]); ++n)
    if (n + 1 < max)
      out[n] = v.p[n];
  if (n < v.n || n >= max)
    n = 0;
  out[n] = '\0';
}

/* --- XML --- */

/* What is between <NAME> and </NAME>, without spaces around it. */
static struct value
find_element (struct value in, const char *name)
{
  const struct value none = { NULL, 0 };
  const char *p, *q;
  char tag[64];

  if (in.p == NULL)
    return none;
  snprintf (tag, sizeof tag, "<%s>", name);
  p = memmem (in.p, in.n, tag, strlen (tag));
  if (p == NULL)
    return none;
  p += strlen (tag);
  snprintf (tag, sizeof tag, "</%s>", name);
  q = memmem (p, in.n - (size_t) (p - in.p), tag, strlen (tag));
  if (q == NULL)
    return none;
  while (p < q && isspace ((unsigned char) *p))
    ++p;
  while (q > p && isspace ((unsigned char) q[-1]))
    --q;
  return (struct value){ p, (size_t) (q - p) };
}

static bool
has_markup (struct value v)
{
  size_t i;

  for (i = 0; i < v.n; ++i)
    if (strchr ("<&\\", v.p[i]))
      return true;
  return false;
}

int
credentials_from_xml (const char *text, struct credentials *c,
                      struct problem *problem)
{
  const struct value all = { text, strlen (text) };
  const struct value keys = find_element (all, "Credentials");
  const struct reply r = { find_element (keys, "AccessKeyId"),
                           find_element (keys, "SecretAccessKey"),
                           find_element (keys, "SessionToken"),
                           find_element (keys, "Expiration") };

  *c = (struct credentials){ .access_key = NULL };
  if (has_markup (r.access_key) || has_markup (r.secret_key)
      || has_markup (r.session_token))
    return problem_invalid (problem, "a key in the response is not valid");
  return take_reply (&r, c, problem);
}

/* --- JSON --- */

/* True if the text has other escapes than "\/", which no key needs. */
static bool
has_escapes (struct value v)
{
  size_t i;

  for (i = 0; i < v.n; ++i)
    if (v.p[i] == '\\' && v.p[i + 1] != '/')
      return true;
  return false;
}

/* Set *v if the member has that name.  null is no value.  False: it is not a
 * string, or has escapes.
 */
static bool
take_member (const struct json_member *m, const char *name, struct value *v)
{
  if (!json_member_is (m, name))
    return true;
  *v = (struct value){ NULL, 0 };
  if (m->kind == JSON_WORD && m->value_length == 4
      && memcmp (m->value, "null", 4) == 0)
    return true;
  if (m->kind != JSON_STRING)
    return false;
  *v = (struct value){ m->value, m->value_length };
  return !has_escapes (*v);
}

int
credentials_from_json (const char *text, bool is_versioned,
                       struct credentials *c, struct problem *problem)
{
  struct reply r = { .access_key.p = NULL };
  struct value code = { NULL, 0 };
  struct json_member m;
  const char *p;
  char word[64];
  int more;

  *c = (struct credentials){ .access_key = NULL };
  if (!json_members_begin (text, &p))
    return problem_invalid (problem, "the response is not a JSON object");
  while ((more = json_members_next (&p, &m)) == 1) {
    if (json_member_is (&m, "Version"))
      is_versioned
        = is_versioned
          && (m.kind != JSON_WORD || m.value_length != 1 || m.value[0] != '1');
    if (!take_member (&m, "AccessKeyId", &r.access_key)
        || !take_member (&m, "SecretAccessKey", &r.secret_key)
        || !take_member (&m, "SessionToken", &r.session_token)
        || !take_member (&m, "Token", &r.session_token)
        || !take_member (&m, "Expiration", &r.expires)
        || !take_member (&m, "Code", &code))
      return problem_invalid (problem, "a key in the response is not valid");
  }
  if (more == -1)
    return problem_invalid (problem, "the response is not valid JSON");
  if (is_versioned)
    return problem_invalid (problem, "the response has no Version of 1");
  copy_code (code, word, sizeof word);
  if (code.p && strcmp (word, "Success") != 0)
    return problem_invalid (problem, "the response has the code %s",
                            word[0] ? word : "of an error");
  return take_reply (&r, c, problem);
}

void
credentials_error_code (const char *text, char *out, size_t max)
{
  struct value code
    = find_element ((struct value){ text, strlen (text) }, "Code");
  struct json_member m;
  const char *p;

  if (code.p == NULL && json_members_begin (text, &p))
    while (json_members_next (&p, &m) == 1)
      if ((json_member_is (&m, "Code") || json_member_is (&m, "code"))
          && m.kind == JSON_STRING)
        code = (struct value){ m.value, m.value_length };
  copy_code (code, out, max);
}
