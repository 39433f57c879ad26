/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Texts of servers in messages.  See redact.h.
 */

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/utf8.h"
#include "url/redact.h"
#include "url/url-name.h"

#define PLACEHOLDER "(not shown: it contains a secret)"

/* This many consecutive characters of a secret count as the secret, since
 * servers and libcurl can truncate texts.
 */
#define WINDOW 8

/* A shorter secret is a part of many words: it counts only as a whole word. */
#define SHORT 4

/* Bytes of a text that are searched: more than are ever shown. */
#define LOOK_AT 2048

/* Bytes, after escaping, that are shown of a text that is too long. */
#define SHOWN (REDACTED_MAX - sizeof "...")

static void
lower_case (char *s)
{
  for (; *s; ++s)
    *s = (char) tolower ((unsigned char) *s);
}

/* --- Secrets --- */

/* Takes over the string. */
static void
append (struct secrets *s, char *secret)
{
  char **list = NULL;

  if (secret)
    list = realloc (s->list, (s->n + 1) * sizeof list[0]);
  if (list == NULL) {
    secret_free_string (secret);
    s->incomplete = true;
    return;
  }
  lower_case (secret);
  s->list = list;
  s->list[s->n++] = secret;
}

/* Add the secret, and if it has escapes, also without them. */
static void
add_part (struct secrets *s, const char *secret, size_t length)
{
  char *copy;

  append (s, strndup (secret, length));
  if (memchr (secret, '%', length) == NULL)
    return;
  copy = strndup (secret, length);
  if (copy)
    url_unescape (copy);
  append (s, copy);
}

void
secrets_add (struct secrets *s, const char *secret)
{
  if (secret && secret[0] != '\0')
    add_part (s, secret, strlen (secret));
}

/* Base64 (RFC 4648, 4).  A new string, or NULL. */
static char *
base64 (const char *text)
{
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz0123456789+/=";
  const unsigned char *p = (const unsigned char *) text;
  const size_t n = strlen (text);
  char *out = malloc ((n + 2) / 3 * 4 + 1), *q = out;
  size_t i;

  if (out == NULL)
    return NULL;
  for (i = 0; i < n; i += 3) {
    const uint32_t bits = (uint32_t) p[i] << 16
                          | (uint32_t) (i + 1 < n ? p[i + 1] : 0) << 8
                          | (i + 2 < n ? p[i + 2] : 0);

    *q++ = digits[bits >> 18];
    *q++ = digits[bits >> 12 & 63];
    *q++ = digits[i + 1 < n ? bits >> 6 & 63 : 64];
    *q++ = digits[i + 2 < n ? bits & 63 : 64];
  }
  *q = '\0';
  return out;
}

void
secrets_add_login (struct secrets *s, const char *user, const char *password)
{
  char *both, *encoded;

  secrets_add (s, user);
  secrets_add (s, password);
  if (user == NULL && password == NULL)
    return;
  if (asprintf (&both, "%s:%s", user ? user : "", password ? password : "")
      == -1) {
    s->incomplete = true;
    return;
  }
  encoded = base64 (both);
  secret_free_string (both);
  append (s, encoded);
}

/* Parameters of presigned URLs whose values are not secret, but occur in
 * ordinary messages: "host", "https", the name of a region.
 */
static bool
is_public (const char *name, size_t length)
{
  static const char *const names[] = {
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-SignedHeaders",
    "X-Goog-Algorithm",
    "X-Goog-Credential",
    "X-Goog-SignedHeaders",
    "spr",
  };
  size_t i;

  for (i = 0; i < sizeof names / sizeof names[0]; ++i)
    if (strlen (names[i]) == length
        && strncasecmp (names[i], name, length) == 0)
      return true;
  return false;
}

void
secrets_add_values (struct secrets *s, const char *text,
                    const char *separators)
{
  while (text && *text) {
    const size_t n = strcspn (text, separators);
    const char *equals = memchr (text, '=', n);
    const char *value = equals ? equals + 1 : text;
    const size_t length = (size_t) (text + n - value);
    const bool public = equals && is_public (text, (size_t) (equals - text));

    if (length >= SHORT && !public)
      add_part (s, value, length);
    text += n + (text[n] != '\0');
  }
}

void
secrets_free (struct secrets *s)
{
  while (s->n > 0)
    secret_free_string (s->list[--s->n]);
  free (s->list);
  *s = (struct secrets){ .list = NULL };
}

/* --- Texts --- */

static bool
is_word_character (const char *text, size_t length, size_t i)
{
  return i < length && isalnum ((unsigned char) text[i]);
}

/* True if it is a whole word of the text. */
static bool
has_word (const char *text, size_t length, const char *word, size_t n)
{
  size_t i;

  for (i = 0; i + n <= length; ++i)
    if (memcmp (text + i, word, n) == 0
        && (i == 0 || !is_word_character (text, length, i - 1))
        && !is_word_character (text, length, i + n))
      return true;
  return false;
}

static bool
has_secret (const char *text, size_t length, const char *secret)
{
  const size_t n = strlen (secret), window = n < WINDOW ? n : WINDOW;
  size_t i;

  if (n < SHORT)
    return has_word (text, length, secret, n);
  for (i = 0; i + window <= n; ++i)
    if (memmem (text, length, secret + i, window))
      return true;
  return false;
}

static bool
has_any (const struct secrets *s, const char *text)
{
  const size_t length = strlen (text);
  size_t i;

  for (; s; s = s->more) {
    if (s->incomplete)
      return true;
    for (i = 0; i < s->n; ++i)
      if (has_secret (text, length, s->list[i]))
        return true;
  }
  return false;
}

bool
secrets_in_text (const struct secrets *s, const char *text)
{
  char plain[LOOK_AT], unescaped[LOOK_AT];

  snprintf (plain, sizeof plain, "%s", text);
  memcpy (unescaped, plain, sizeof plain);
  url_unescape (unescaped);
  lower_case (plain);
  lower_case (unescaped);
  return has_any (s, plain) || has_any (s, unescaped);
}

void
redact (char out[REDACTED_MAX], const char *text, const struct secrets *a,
        const struct secrets *b)
{
  char all[4 * REDACTED_MAX];
  const size_t length = strnlen (text, REDACTED_MAX);

  if ((a && secrets_in_text (a, text)) || (b && secrets_in_text (b, text))) {
    snprintf (out, REDACTED_MAX, "%s", PLACEHOLDER);
    return;
  }
  utf8_escape (all, sizeof all, text, length);
  if (text[length] == '\0' && strlen (all) < REDACTED_MAX) {
    memcpy (out, all, strlen (all) + 1);
    return;
  }
  utf8_escape (out, SHOWN + 1, text, length);
  memcpy (out + strlen (out), "...", sizeof "...");
}
