/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A writer of JSON.  See json.h.
 */

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

static void
new_line (const struct json *j)
{
  unsigned i;

  fputc ('\n', j->out);
  for (i = 0; i < j->depth; ++i)
    fputs ("    ", j->out);
}

/* Write what comes before a member's value. */
static void
begin_member (struct json *j, const char *key)
{
  if (j->begun)
    fputc (',', j->out);
  if (j->depth > 0)
    new_line (j);
  if (key)
    fprintf (j->out, "\"%s\": ", key);
  j->begun = true;
}

void
json_begin (struct json *j, const char *key, char bracket)
{
  begin_member (j, key);
  fputc (bracket, j->out);
  j->depth++;
  j->begun = false;
}

void
json_end (struct json *j, char bracket)
{
  j->depth--;
  if (j->begun)
    new_line (j);
  fputc (bracket, j->out);
  if (j->depth == 0)
    fputc ('\n', j->out);
  j->begun = true;
}

/* U+0080 to U+009F in UTF-8: control characters, which are valid. */
static bool
is_c1_control (const unsigned char *p, size_t left)
{
  return left >= 2 && p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
}

/* Write the character that starts at 'text', or U+FFFD for an invalid byte.
 * Returns its length in the text.
 */
static size_t
put_character (FILE *out, const char *text, size_t left)
{
  const unsigned char *p = (const unsigned char *) text;
  const size_t n = utf8_clean_character (text, left);

  if (n == 1 && (*p == '"' || *p == '\\'))
    fputc ('\\', out);
  if (n > 0) {
    fwrite (text, 1, n, out);
    return n;
  }
  if (is_c1_control (p, left)) {
    fprintf (out, "\\u%04x", p[1]);
    return 2;
  }
  if (*p < 0x80)
    fprintf (out, "\\u%04x", *p);
  else
    fputs ("\\ufffd", out);
  return 1;
}

void
json_text (struct json *j, const char *key, const char *text, size_t length)
{
  begin_member (j, key);
  fputc ('"', j->out);
  while (length > 0) {
    const size_t n = put_character (j->out, text, length);

    text += n;
    length -= n;
  }
  fputc ('"', j->out);
}

void
json_string (struct json *j, const char *key, const char *text)
{
  json_text (j, key, text, strlen (text));
}

void
json_number (struct json *j, const char *key, uint64_t value)
{
  begin_member (j, key);
  fprintf (j->out, "%" PRIu64, value);
}

void
json_bool (struct json *j, const char *key, bool value)
{
  begin_member (j, key);
  fputs (value ? "true" : "false", j->out);
}
