/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: any text as a response with keys, in JSON and in XML, and as a
 * file with profiles.
 */

#include "tests/fuzz/fuzz.h"

#include "http/credentials-file.h"
#include "http/credentials-reply.h"

#define MAX_TEXT 65536

static struct guarded text_area, code_area;

/* Keys become parts of headers. */
static void
check_key (const char *key, const char *text)
{
  const char *p;

  if (key == NULL)
    return;
  MUST (key[0] != '\0');
  for (p = key; *p; ++p)
    MUST (*p > ' ' && *p <= '~');
  /* (Only JSON can have backslashes, which are omitted.) */
  MUST (strchr (text, '\\') || strstr (text, key));
}

static void
check_keys (int r, struct credentials *c, const char *text,
            const struct problem *problem)
{
  if (r == -1) {
    must_have_reason (problem);
    MUST (!c->access_key && !c->secret_key && !c->session_token);
    return;
  }
  MUST (c->access_key && c->secret_key);
  check_key (c->access_key, text);
  check_key (c->secret_key, text);
  check_key (c->session_token, text);
  credentials_free (c);
}

static void
check_code (const char *text, enum side side)
{
  const size_t max = 1 + strlen (text) % 64;
  char *code = (char *) guarded_place (&code_area, side, max);
  size_t n;

  credentials_error_code (text, code, max);
  MUST (memchr (code, '\0', max));
  n = strlen (code);
  MUST (strspn (code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                      "abcdefghijklmnopqrstuvwxyz")
        == n);
  MUST (strstr (text, code));
}

static void
check_profile (const char *text, enum profile_syntax syntax)
{
  struct profile p = { .found = false };
  struct problem problem;
  size_t i;
  int r;

  no_problem (&problem);
  r = profile_parse (text, syntax, "default", &p, &problem);
  if (r == -1)
    must_have_reason (&problem);
  for (i = 0; i < PROFILE_NR_KEYS; ++i)
    if (p.values[i]) {
      MUST (p.found && p.values[i][0] != '\0');
      MUST (strstr (text, p.values[i]) && !strchr (p.values[i], '\n'));
    }
  profile_free (&p);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct problem problem;
  struct credentials c;
  enum side side;
  char *text;
  int64_t seconds;
  int r;

  if (text_area.start == NULL) {
    text_area = guarded_new (MAX_TEXT + 1);
    code_area = guarded_new (64);
  }
  if (size > MAX_TEXT)
    return 0;
  for (side = AT_END; side < SIDES; ++side) {
    text = (char *) guarded_place (&text_area, side, size + 1);
    if (size > 0)
      memcpy (text, data, size);
    text[size] = '\0';
    no_problem (&problem);
    r = credentials_from_json (text, side == AT_START, &c, &problem);
    check_keys (r, &c, text, &problem);
    no_problem (&problem);
    r = credentials_from_xml (text, &c, &problem);
    check_keys (r, &c, text, &problem);
    check_code (text, side);
    check_profile (text, PROFILE_CONFIG);
    check_profile (text, PROFILE_CREDENTIALS);
    if (credentials_parse_time (text, &seconds))
      MUST (seconds > -86400 && seconds < INT64_C (1) << 38);
  }
  return 0;
}
