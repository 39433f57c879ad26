/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The paths of URLs.  See url-path.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/percent.h"
#include "http/url-path.h"
#include "http/url.h"

/* The path of a URL, with its first slash. */
static const char *
path_of (const char *name)
{
  const char *host = strstr (name, "://");

  host = host ? host + 3 : name;
  return host + strcspn (host, "/");
}

/* Remove "." and ".." from a path in place (RFC 3986, 5.2.4).  It begins
 * with '/'.
 */
static void
remove_dots (char *path)
{
  char *out = path;
  const char *in = path;

  while (*in) {
    const size_t n = 1 + strcspn (in + 1, "/");
    const bool last = in[n] == '\0';

    if (n == 2 && in[1] == '.') {
      if (last)
        *out++ = '/';
    }
    else if (n == 3 && in[1] == '.' && in[2] == '.') {
      while (out > path && *--out != '/')
        ;
      if (last)
        *out++ = '/';
    }
    else {
      memmove (out, in, n);
      out += n;
    }
    in += n;
  }
  *out = '\0';
}

/* The length of a name up to the last slash of the path. */
static size_t
directory_length (const char *name)
{
  const char *path = path_of (name);
  const char *slash = strrchr (path, '/');

  return (size_t) ((slash ? slash + 1 : path) - name);
}

char *
url_directory (const char *base)
{
  return strndup (base, directory_length (base));
}

char *
url_join (const char *base, const char *file)
{
  const size_t dir = directory_length (base);
  char *escaped
    = url_is_s3 (base) ? strdup (file) : percent_encode_path (file);
  char *joined = NULL;

  if (escaped && asprintf (&joined, "%.*s%s", (int) dir, base, escaped) == -1)
    joined = NULL;
  free (escaped);
  if (joined && *path_of (joined) == '/')
    remove_dots (joined + (path_of (joined) - joined));
  return joined;
}

bool
url_covers (const char *prefix, const char *name)
{
  const size_t n = strlen (prefix);

  if (strncmp (prefix, name, n) != 0)
    return false;
  return name[n] == '\0' || name[n] == '/' || (n > 0 && prefix[n - 1] == '/');
}

/* The next byte of a path as a server may understand it. */
static char
next_unescaped (const char **p)
{
  const char c = percent_decode (p);

  return (char) (c == '\\' ? '/' : c);
}

bool
url_hides_dotdot (const char *name)
{
  const char *p = path_of (name);
  unsigned dots = 0;
  bool other = false, parameters = false;

  /* A part of the path that is nothing but one or two dots.  (Some servers
   * ignore what comes after a ';'.)
   */
  while (*p) {
    const char c = next_unescaped (&p);

    if (c == '/') {
      if (!other && (dots == 1 || dots == 2))
        return true;
      dots = 0;
      other = parameters = false;
    }
    else if (c == ';' || parameters)
      parameters = true;
    else if (c == '.')
      dots++;
    else
      other = true;
  }
  return !other && (dots == 1 || dots == 2);
}
