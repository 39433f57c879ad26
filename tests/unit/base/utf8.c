/* SPDX-License-Identifier: BSD-3-Clause
 *
 * utf8.c: which bytes are clean text, and how others are escaped in buffers of
 * any size.
 *
 * The slow reader here uses the byte ranges of RFC 3629's grammar, while
 * utf8.c decodes characters.  Every buffer has exactly the length that is
 * passed, so the address sanitizer finds every access beyond it.
 */

#include "tests/unit/unit.h"

#include "base/utf8.h"

/* RFC 3629, section 4: a range for each byte of a character.  U+0080 to U+009F
 * are excluded: C2 starts at U+00A0.
 */
struct shape {
  size_t length;
  uint8_t low[4], high[4];
};

/* clang-format off */
static const struct shape shapes[] = {
  { 1, { 0x20 }, { 0x7e } },
  { 2, { 0xc2, 0xa0 }, { 0xc2, 0xbf } },
  { 2, { 0xc3, 0x80 }, { 0xdf, 0xbf } },
  { 3, { 0xe0, 0xa0, 0x80 }, { 0xe0, 0xbf, 0xbf } },
  { 3, { 0xe1, 0x80, 0x80 }, { 0xec, 0xbf, 0xbf } },
  { 3, { 0xed, 0x80, 0x80 }, { 0xed, 0x9f, 0xbf } },
  { 3, { 0xee, 0x80, 0x80 }, { 0xef, 0xbf, 0xbf } },
  { 4, { 0xf0, 0x90, 0x80, 0x80 }, { 0xf0, 0xbf, 0xbf, 0xbf } },
  { 4, { 0xf1, 0x80, 0x80, 0x80 }, { 0xf3, 0xbf, 0xbf, 0xbf } },
  { 4, { 0xf4, 0x80, 0x80, 0x80 }, { 0xf4, 0x8f, 0xbf, 0xbf } },
};
/* clang-format on */

/* Return the length of the clean character that p[0..left) starts with, or 0.
 */
static size_t
slow_character (const uint8_t *p, size_t left)
{
  size_t i, j;

  for (i = 0; i < sizeof shapes / sizeof shapes[0]; ++i) {
    const struct shape *s = &shapes[i];

    if (s->length > left)
      continue;
    for (j = 0; j < s->length; ++j)
      if (p[j] < s->low[j] || p[j] > s->high[j])
        break;
    if (j == s->length)
      return j;
  }
  return 0;
}

static bool
slow_is_clean (const uint8_t *p, size_t length)
{
  size_t n;

  for (; length > 0; p += n, length -= n)
    if ((n = slow_character (p, length)) == 0)
      return false;
  return true;
}

/* Check a text in memory of exactly its size. */
static bool
is_clean (const void *text, size_t length)
{
  char *p = malloc (length);
  bool clean;

  assert_true (p != NULL || length == 0);
  if (length > 0)
    memcpy (p, text, length);
  clean = utf8_is_clean (p, length);
  free (p);
  return clean;
}

struct sample {
  const char *name;
  const char *text;
  size_t length;
  bool clean;
  const char *escaped;
};

#define TEXT(s) s, sizeof (s) - 1

/* clang-format off */
static const struct sample samples[] = {
  { "nothing", TEXT (""), true, "" },
  { "ASCII", TEXT ("snap 1~\\x00'\""), true, "snap 1~\\x00'\"" },
  { "NUL", TEXT ("a\0b"), false, "a\\x00b" },
  { "newline", TEXT ("a\nb"), false, "a\\x0ab" },
  { "escape", TEXT ("\x1b[31m"), false, "\\x1b[31m" },
  { "unit separator", TEXT ("\x1f"), false, "\\x1f" },
  { "delete", TEXT ("\x7f"), false, "\\x7f" },
  { "two bytes", TEXT ("\xc3\xa9"), true, "\xc3\xa9" },
  { "three bytes", TEXT ("\xe2\x82\xac"), true, "\xe2\x82\xac" },
  { "four bytes", TEXT ("\xf0\x9f\x92\xbe"), true, "\xf0\x9f\x92\xbe" },
  { "all lengths", TEXT ("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbez"), true,
    "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbez" },
  { "U+0080", TEXT ("\xc2\x80"), false, "\\xc2\\x80" },
  { "CSI in UTF-8", TEXT ("\xc2\x9b"), false, "\\xc2\\x9b" },
  { "U+009F", TEXT ("\xc2\x9f"), false, "\\xc2\\x9f" },
  { "U+00A0", TEXT ("\xc2\xa0"), true, "\xc2\xa0" },
  { "CSI in Latin-1", TEXT ("\x9b" "1m"), false, "\\x9b1m" },
  { "U+07FF", TEXT ("\xdf\xbf"), true, "\xdf\xbf" },
  { "U+0800", TEXT ("\xe0\xa0\x80"), true, "\xe0\xa0\x80" },
  { "U+FFFF", TEXT ("\xef\xbf\xbf"), true, "\xef\xbf\xbf" },
  { "U+10000", TEXT ("\xf0\x90\x80\x80"), true, "\xf0\x90\x80\x80" },
  { "U+10FFFF", TEXT ("\xf4\x8f\xbf\xbf"), true, "\xf4\x8f\xbf\xbf" },

  { "slash in two bytes", TEXT ("\xc0\xaf"), false, "\\xc0\\xaf" },
  { "DEL in two bytes", TEXT ("\xc1\xbf"), false, "\\xc1\\xbf" },
  { "NUL in two bytes", TEXT ("\xc0\x80"), false, "\\xc0\\x80" },
  { "slash in three bytes", TEXT ("\xe0\x80\xaf"), false,
    "\\xe0\\x80\\xaf" },
  { "U+07FF in three bytes", TEXT ("\xe0\x9f\xbf"), false,
    "\\xe0\\x9f\\xbf" },
  { "U+FFFF in four bytes", TEXT ("\xf0\x8f\xbf\xbf"), false,
    "\\xf0\\x8f\\xbf\\xbf" },
  { "five bytes", TEXT ("\xf8\x88\x80\x80\x80"), false,
    "\\xf8\\x88\\x80\\x80\\x80" },
  { "six bytes", TEXT ("\xfc\x84\x80\x80\x80\x80"), false,
    "\\xfc\\x84\\x80\\x80\\x80\\x80" },
  { "FE and FF", TEXT ("\xfe\xff"), false, "\\xfe\\xff" },
  { "U+D7FF", TEXT ("\xed\x9f\xbf"), true, "\xed\x9f\xbf" },
  { "U+D800", TEXT ("\xed\xa0\x80"), false, "\\xed\\xa0\\x80" },
  { "U+DFFF", TEXT ("\xed\xbf\xbf"), false, "\\xed\\xbf\\xbf" },
  { "U+E000", TEXT ("\xee\x80\x80"), true, "\xee\x80\x80" },
  { "a surrogate pair", TEXT ("\xed\xa0\xbd\xed\xb2\xbe"), false,
    "\\xed\\xa0\\xbd\\xed\\xb2\\xbe" },
  { "U+110000", TEXT ("\xf4\x90\x80\x80"), false, "\\xf4\\x90\\x80\\x80" },
  { "U+1FFFFF", TEXT ("\xf7\xbf\xbf\xbf"), false, "\\xf7\\xbf\\xbf\\xbf" },

  { "a tail alone", TEXT ("\x80"), false, "\\x80" },
  { "a tail too many", TEXT ("\xc3\xa9\xa9"), false, "\xc3\xa9\\xa9" },
  { "cut after one of two", TEXT ("\xc3"), false, "\\xc3" },
  { "cut after two of three", TEXT ("\xe2\x82"), false, "\\xe2\\x82" },
  { "cut after three of four", TEXT ("\xf0\x9f\x92"), false,
    "\\xf0\\x9f\\x92" },
  { "cut by another", TEXT ("\xe2\x82z\xc3\xa9"), false,
    "\\xe2\\x82z\xc3\xa9" },
  { "cut by a start", TEXT ("\xf0\x9f\xc3\xa9"), false,
    "\\xf0\\x9f\xc3\xa9" },
};
/* clang-format on */

/* Escape into memory of exactly 'max' bytes.  The caller frees it. */
static char *
escape (const void *text, size_t length, size_t max)
{
  char *in = malloc (length), *out = malloc (max);
  size_t whole;

  assert_true (out != NULL && (in != NULL || length == 0));
  if (length > 0)
    memcpy (in, text, length);
  memset (out, '#', max);
  whole = utf8_escape (out, max, in, length);
  assert_int_equal (whole, utf8_escape (NULL, 0, in, length));
  free (in);
  if (memchr (out, '\0', max) == NULL)
    fail_msg ("no NUL in %zu bytes", max);
  assert_int_equal (whole < max, strlen (out) == whole);
  return out;
}

static void
by_hand (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof samples / sizeof samples[0]; ++i) {
    const struct sample *s = &samples[i];
    char *out = escape (s->text, s->length, 100);

    if (is_clean (s->text, s->length) != s->clean)
      fail_msg ("%s: should %sbe clean", s->name, s->clean ? "" : "not ");
    if (strcmp (out, s->escaped) != 0)
      fail_msg ("%s: '%s' instead of '%s'", s->name, out, s->escaped);
    free (out);
  }
}

static void
compare (const uint8_t *p, size_t length)
{
  if (utf8_is_clean ((const char *) p, length) != slow_is_clean (p, length))
    fail_msg ("%02x %02x %02x %02x, %zu bytes: should %sbe clean", p[0], p[1],
              p[2], p[3], length, slow_is_clean (p, length) ? "" : "not ");
}

/* All texts of one and two bytes, and longer ones of the bytes at both ends of
 * each range.
 */
static void
all_bytes (void **state)
{
  static const uint8_t edges[]
    = { 0x00, 0x1f, 0x20, 0x41, 0x7e, 0x7f, 0x80, 0x8f, 0x90,
        0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xf0, 0xff };
  const size_t nr_edges = sizeof edges / sizeof edges[0];
  uint8_t p[4] = { 0 };
  unsigned a, b;
  size_t i, j;

  (void) state;
  for (a = 0; a < 256; ++a) {
    p[0] = (uint8_t) a;
    compare (p, 1);
    for (b = 0; b < 256; ++b) {
      p[1] = (uint8_t) b;
      compare (p, 2);
      for (i = 0; i < nr_edges; ++i) {
        p[2] = edges[i];
        compare (p, 3);
        /* Other starts give at most two bytes. */
        if (a < 0xe0)
          continue;
        for (j = 0; j < nr_edges; ++j) {
          p[3] = edges[j];
          compare (p, 4);
        }
      }
    }
  }
}

/* Encode a number like a character in 'length' bytes, also in more than it
 * needs.
 */
static void
encode (uint8_t *p, uint32_t c, size_t length)
{
  static const uint8_t first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
  size_t i;

  for (i = length - 1; i > 0; --i) {
    p[i] = (uint8_t) (0x80 | (c & 0x3f));
    c >>= 6;
  }
  p[0] = (uint8_t) (first[length] | c);
}

static bool
is_control (uint32_t c)
{
  return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* Every number, in every length that it fits. */
static void
all_characters (void **state)
{
  static const uint32_t most[] = { 0, 0x7f, 0x7ff, 0xffff, 0x1fffff };
  uint32_t c;
  size_t length;

  (void) state;
  for (length = 1; length <= 4; ++length)
    for (c = 0; c <= most[length]; ++c) {
      const bool shortest = length == 1 || c > most[length - 1];
      const bool clean = shortest && !is_control (c) && c <= 0x10ffff
                         && (c < 0xd800 || c > 0xdfff);
      uint8_t p[4];

      encode (p, c, length);
      if (utf8_is_clean ((const char *) p, length) != clean)
        fail_msg ("U+%04" PRIX32 " in %zu bytes: should %sbe clean", c, length,
                  clean ? "" : "not ");
    }
}

/* A clean text that is cut within a character is not clean, and the bytes
 * after the cut are not read.
 */
static void
cut_anywhere (void **state)
{
  static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbez";
  static const bool clean_to[]
    = { 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 1 }; /* by length */
  size_t length;

  (void) state;
  assert_int_equal (sizeof text, sizeof clean_to);
  for (length = 0; length < sizeof text; ++length) {
    char *out = escape (text, length, 100);

    assert_int_equal (is_clean (text, length), clean_to[length]);
    assert_true (is_clean (out, strlen (out)));
    free (out);
  }
}

/* The expected content of a buffer of 'max' bytes: as many pieces as fit.  A
 * piece is a character, or the four bytes of an escape.
 */
static void
slow_escape (char *out, size_t max, const uint8_t *p, size_t length)
{
  char piece[5];
  size_t n, used = 0;

  for (; length > 0; p += n, length -= n) {
    n = slow_character (p, length);
    if (n > 0) {
      memcpy (piece, p, n);
      piece[n] = '\0';
    }
    else {
      snprintf (piece, sizeof piece, "\\x%02x", *p);
      n = 1;
    }
    if (used + strlen (piece) + 1 > max)
      break;
    strcpy (out + used, piece);
    used += strlen (piece);
  }
  out[used] = '\0';
}

/* Buffers of all lengths, up to one that is longer than necessary. */
static void
small_buffers (void **state)
{
  static const char mixed[] = "ab\x1b\xc3\xa9\xe2\x82\xac\n\xf0\x9f\x92\xbe"
                              "\xf0\x9f\x92\xc2\x9bz\xed\xa0\x80\xff";
  char want[200];
  size_t length, max;

  (void) state;
  for (length = 0; length < sizeof mixed; ++length)
    for (max = 1; max <= 4 * length + 2; ++max) {
      char *out = escape (mixed, length, max);

      slow_escape (want, max, (const uint8_t *) mixed, length);
      if (strcmp (out, want) != 0)
        fail_msg ("%zu bytes in %zu: '%s' instead of '%s'", length, max, out,
                  want);
      free (out);
    }
}

/* Random bytes and buffer sizes: the output is what the slow reader expects,
 * and is clean.
 */
static void
random_bytes (void **state)
{
  uint64_t x = 88172645463325252;
  unsigned round;

  (void) state;
  for (round = 0; round < 20000; ++round) {
    uint8_t text[24];
    char want[sizeof text * 4 + 1], *out;
    const size_t length = round % (sizeof text + 1);
    const size_t max = 1 + round / 7 % (sizeof text * 4 + 1);
    size_t i;

    for (i = 0; i < length; ++i) {
      static const uint8_t likely[]
        = { 0xc2, 0xc3, 0xe0, 0xe2, 0xed, 0xf0, 0xf4, 0x80, 0x9f, 0xa0, 0xbf };

      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      text[i] = x & 3 ? likely[(x >> 8) % sizeof likely] : (uint8_t) (x >> 16);
    }
    assert_int_equal (is_clean (text, length), slow_is_clean (text, length));
    out = escape (text, length, max);
    slow_escape (want, max, text, length);
    assert_string_equal (out, want);
    assert_true (is_clean (out, strlen (out)));
    free (out);
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (by_hand),        cmocka_unit_test (all_bytes),
  cmocka_unit_test (all_characters), cmocka_unit_test (cut_anywhere),
  cmocka_unit_test (small_buffers),  cmocka_unit_test (random_bytes),
};

UNIT_MAIN (tests)
