/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Percent-encoding (RFC 3986, 2.1).  Pure.
 */

#ifndef QCOW_URL_PERCENT_H
#define QCOW_URL_PERCENT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Letters, digits and "-._~": never encoded. */
static inline bool
percent_is_unreserved (unsigned char c)
{
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
         || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_'
         || c == '~';
}

/* The value of a hexadecimal digit, or -1. */
static inline int
percent_hex_digit (char c)
{
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* Write %XX, and return its end.  No NUL is written. */
static inline char *
percent_encode (char *out, unsigned char c)
{
  static const char digits[] = "0123456789ABCDEF";

  *out++ = '%';
  *out++ = digits[c >> 4];
  *out++ = digits[c & 15];
  return out;
}

/* The next byte of a text that is not at its end.  Moves *p past it.  A '%'
 * without two digits stands for itself.
 */
static inline char
percent_decode (const char **p)
{
  const char *s = *p;

  if (*s == '%' && percent_hex_digit (s[1]) >= 0
      && percent_hex_digit (s[2]) >= 0) {
    *p = s + 3;
    return (char) (16 * percent_hex_digit (s[1]) + percent_hex_digit (s[2]));
  }
  *p = s + 1;
  return *s;
}

/* Encode all bytes of a path but unreserved ones and slashes, as S3 signs it.
 * A new string, or NULL: out of memory.
 */
static inline char *
percent_encode_path (const char *path)
{
  char *out = malloc (3 * strlen (path) + 1), *p = out;

  if (out == NULL)
    return NULL;
  for (; *path; ++path) {
    const unsigned char c = (unsigned char) *path;

    if (percent_is_unreserved (c) || c == '/')
      *p++ = (char) c;
    else
      p = percent_encode (p, c);
  }
  *p = '\0';
  return out;
}

#endif /* QCOW_URL_PERCENT_H */
