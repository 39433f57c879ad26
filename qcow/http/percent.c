/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Percent-encoding of paths.  See percent.h.
 */

#include <stdlib.h>
#include <string.h>

#include "http/percent.h"

char *
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
