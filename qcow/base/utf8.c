/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Clean text.  See utf8.h.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

size_t
utf8_clean_character (const char *text, size_t length)
{
  /* The smallest character of each length: below it, an encoding is overlong.
   */
  static const uint32_t least[] = { 0, 0x20, 0xa0, 0x800, 0x10000 };
  const unsigned char *p = (const unsigned char *) text;
  const size_t n = *p < 0x80             ? 1
                   : (*p & 0xe0) == 0xc0 ? 2
                   : (*p & 0xf0) == 0xe0 ? 3
                   : (*p & 0xf8) == 0xf0 ? 4
                                         : 0;
  uint32_t c;
  size_t i;

  if (n == 0 || n > length)
    return 0;
  c = n == 1 ? *p : *p & (0x7fU >> n);
  for (i = 1; i < n; ++i) {
    if ((p[i] & 0xc0) != 0x80)
      return 0;
    c = c << 6 | (p[i] & 0x3f);
  }
  if (c < least[n] || c == 0x7f || c > 0x10ffff
      || (c >= 0xd800 && c <= 0xdfff))
    return 0;
  return n;
}

bool
utf8_is_clean (const char *text, size_t length)
{
  while (length > 0) {
    const size_t n = utf8_clean_character (text, length);

    if (n == 0)
      return false;
    text += n;
    length -= n;
  }
  return true;
}

size_t
utf8_escape (char *out, size_t max, const char *text, size_t length)
{
  const char *const end = text + length;
  size_t whole = 0, written = 0;

  while (text < end) {
    const size_t n = utf8_clean_character (text, (size_t) (end - text));
    char escaped[5];

    if (n == 0)
      snprintf (escaped, sizeof escaped, "\\x%02x", (unsigned char) *text);
    whole += n > 0 ? n : 4;
    if (whole < max) {
      memcpy (out + written, n > 0 ? text : escaped, whole - written);
      written = whole;
    }
    text += n > 0 ? n : 1;
  }
  if (max > 0)
    out[written] = '\0';
  return whole;
}
