/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The members of a JSON object.  See json-members.h.
 *
 * The values of nested objects and arrays are skipped: only their strings and
 * brackets are checked.  The position is always at or before the NUL.
 */

#include <string.h>

#include "http/json-members.h"

/* Deeper nesting is refused. */
#define MAX_DEPTH 64

static const char *
skip_spaces (const char *p)
{
  return p + strspn (p, " \t\r\n");
}

/* Take a string from its first quote on.  False: it is malformed. */
static bool
take_string (const char **p, const char **text, size_t *length)
{
  const char *q = *p + 1;

  if (**p != '"')
    return false;
  *text = q;
  for (; *q != '"'; ++q) {
    if ((unsigned char) *q < ' ')
      return false;
    if (*q == '\\' && (unsigned char) *++q < ' ')
      return false;
  }
  *length = (size_t) (q - *text);
  *p = q + 1;
  return true;
}

static bool
take_word (const char **p, const char **text, size_t *length)
{
  *text = *p;
  *length = strspn (*p, "+-.0123456789abcdefghijklmnopqrstuvwxyzE");
  *p += *length;
  return *length > 0;
}

/* Skip an object or an array. */
static bool
skip_nested (const char **p)
{
  char closing[MAX_DEPTH];
  size_t depth = 0, length;
  const char *text;

  do {
    *p += strcspn (*p, "\"[]{}");
    switch (**p) {
    case '"':
      if (!take_string (p, &text, &length))
        return false;
      continue;
    case '[':
    case '{':
      if (depth == MAX_DEPTH)
        return false;
      closing[depth++] = **p == '[' ? ']' : '}';
      break;
    default:
      if (**p == '\0' || depth == 0 || closing[--depth] != **p)
        return false;
    }
    ++*p;
  } while (depth > 0);
  return true;
}

static bool
take_value (const char **p, struct json_member *m)
{
  switch (**p) {
  case '"':
    m->kind = JSON_STRING;
    return take_string (p, &m->value, &m->value_length);
  case '[':
  case '{':
    m->kind = JSON_NESTED;
    m->value = *p;
    if (!skip_nested (p))
      return false;
    m->value_length = (size_t) (*p - m->value);
    return true;
  default:
    m->kind = JSON_WORD;
    return take_word (p, &m->value, &m->value_length);
  }
}

bool
json_members_begin (const char *text, const char **p)
{
  text = skip_spaces (text);
  *p = text;
  return *text == '{';
}

int
json_members_next (const char **p, struct json_member *m)
{
  const char *q = skip_spaces (*p);
  const bool is_first = *q == '{';

  if (is_first)
    q = skip_spaces (q + 1);
  if (*q == '}')
    return *skip_spaces (q + 1) == '\0' ? 0 : -1;
  if (!is_first) {
    if (*q != ',')
      return -1;
    q = skip_spaces (q + 1);
  }
  if (!take_string (&q, &m->name, &m->name_length))
    return -1;
  q = skip_spaces (q);
  if (*q != ':')
    return -1;
  q = skip_spaces (q + 1);
  if (!take_value (&q, m))
    return -1;
  *p = q;
  return 1;
}

bool
json_member_is (const struct json_member *m, const char *name)
{
  return m->name_length == strlen (name)
         && memcmp (m->name, name, m->name_length) == 0;
}
