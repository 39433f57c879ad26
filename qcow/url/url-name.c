/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names of URLs.  See url-name.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "url/percent.h"
#include "url/url-name.h"

/* --- Escaping --- */

bool
url_unescape (char *s)
{
  const char *in = s;
  bool clean = true;

  while (*in) {
    const char *escape = in;
    char c = percent_decode (&in);

    if ((unsigned char) c < 0x20 && in > escape + 1) {
      c = '%';
      in = escape + 1;
      clean = false;
    }
    *s++ = c;
  }
  /* What is cut off can be the end of a password. */
  memset (s, '\0', (size_t) (in - s) + 1);
  return clean;
}

/* --- Kinds --- */

static bool
has_prefix (const char *s, const char *prefix)
{
  return strncasecmp (s, prefix, strlen (prefix)) == 0;
}

bool
url_is_s3 (const char *name)
{
  return has_prefix (name, "s3://");
}

bool
url_is_web (const char *name)
{
  return has_prefix (name, "http://") || has_prefix (name, "https://")
         || url_is_s3 (name);
}

bool
url_is_nbd (const char *name)
{
  static const char *const prefixes[]
    = { "nbd://",       "nbds://",      "nbd+unix://",
        "nbds+unix://", "nbd+vsock://", "nbds+vsock://" };
  size_t i;

  for (i = 0; i < sizeof prefixes / sizeof prefixes[0]; ++i)
    if (has_prefix (name, prefixes[i]))
      return true;
  return false;
}

bool
url_is_one (const char *name)
{
  return url_is_web (name) || url_is_nbd (name);
}

size_t
url_scheme_length (const char *name)
{
  return strspn (name, "abcdefghijklmnopqrstuvwxyz"
                       "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+");
}

bool
url_is_local (const char *name)
{
  return url_is_nbd (name) && name[strcspn (name, "+:")] == '+';
}

bool
url_looks_like_one (const char *name)
{
  const size_t n = url_scheme_length (name);

  return n > 0 && has_prefix (name + n, "://");
}

bool
url_has_query (const char *name)
{
  return !url_is_s3 (name) && !url_is_nbd (name) && strchr (name, '?');
}

/* --- Paths --- */

/* The path of a URL, with its first slash. */
static const char *
path_of (const char *name)
{
  const char *host = strstr (name, "://");

  host = host ? host + 3 : name;
  return host + strcspn (host, "/");
}

/* The end of the path.  In the name of an NBD URI the socket follows.  (In
 * other names a '?' is a part of the path.)
 */
static const char *
path_end (const char *name)
{
  return name + (url_is_nbd (name) ? strcspn (name, "?") : strlen (name));
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

/* The length of a name with the last slash of the path. */
static size_t
directory_length (const char *name)
{
  const char *path = path_of (name), *end = path_end (name);
  const char *slash = memrchr (path, '/', (size_t) (end - path));

  return (size_t) ((slash ? slash + 1 : path) - name);
}

char *
url_directory (const char *base)
{
  char *directory;

  return asprintf (&directory, "%.*s%s", (int) directory_length (base), base,
                   path_end (base))
             == -1
           ? NULL
           : directory;
}

char *
url_join (const char *base, const char *file)
{
  char *escaped
    = url_is_s3 (base) ? strdup (file) : percent_encode_path (file);
  char *path = NULL, *joined = NULL;

  if (escaped
      && asprintf (&path, "%.*s%s", (int) directory_length (base), base,
                   escaped)
           == -1)
    path = NULL;
  free (escaped);
  if (path && *path_of (path) == '/')
    remove_dots (path + (path_of (path) - path));
  if (path && asprintf (&joined, "%s%s", path, path_end (base)) == -1)
    joined = NULL;
  free (path);
  return joined;
}

bool
url_covers (const char *prefix, const char *name)
{
  const size_t n = (size_t) (path_end (prefix) - prefix);

  if (strcmp (prefix + n, path_end (name)) != 0
      || strncmp (prefix, name, n) != 0)
    return false;
  return name + n == path_end (name) || name[n] == '/'
         || (n > 0 && prefix[n - 1] == '/');
}

/* The next byte of a path as a server might understand it. */
static char
next_unescaped (const char **p)
{
  const char c = percent_decode (p);

  return (char) (c == '\\' ? '/' : c);
}

bool
url_hides_dotdot (const char *name)
{
  const char *p = path_of (name), *const end = path_end (name);
  unsigned dots = 0;
  bool other = false, parameters = false;

  /* A part of the path that is nothing but one or two dots.  (Some servers
   * ignore what follows a ';'.)
   */
  while (p < end) {
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

/* --- What messages show --- */

/* True if the name starts with the protocol, or has it after another one.
 * 'protocol' has a ':' at both ends.
 */
static bool
has_protocol (const char *name, const char *protocol)
{
  return strncasecmp (name, protocol + 1, strlen (protocol + 1)) == 0
         || strstr (name, protocol);
}

/* Secrets are also in texts that are nearly URLs (ftp://, htps://, https:/),
 * and in the options of qemu's drivers: json:{"password":...},
 * rbd:pool/image:key=...  Either can follow another driver, as in
 * blkdebug::https://.
 */
static bool
may_have_secret (const char *name)
{
  const size_t n = url_scheme_length (name);

  if (n <= 1 || name[n] != ':')
    return false;
  if (has_protocol (name, ":json:"))
    return true;
  if (has_protocol (name, ":rbd:") && strchr (name, '='))
    return true;
  return strstr (name, ":/") && strpbrk (name, "@?");
}

/* Find the part that may be shown after the scheme: from *begin to *end.
 * Returns the length of the scheme.
 */
static size_t
find_safe (const char *text, const char **begin, const char **end)
{
  const size_t n = url_scheme_length (text);
  const char *rest = text, *p;

  if (n > 0 && text[n] == ':' && (text[n + 1] == '/' || text[n + 1] == ':'))
    rest += n + strspn (text + n, ":/");
  *begin = rest;
  *end = rest + strcspn (rest, "?#");
  /* A password can have characters that should have been escaped, even
   * '?' and '#'.  The host starts after the last '@'.
   */
  if (strchr (*end, '@'))
    *end = *begin;
  for (p = *begin; p < *end; ++p)
    if (*p == '@')
      *begin = p + 1;
  return (size_t) (rest - text);
}

const char *
url_hide (const char *text, struct url_room *room)
{
  const char *begin, *end;
  size_t scheme;

  if (has_protocol (text, ":json:") || has_protocol (text, ":rbd:")) {
    begin = end = text;
    scheme = url_scheme_length (text);
    scheme = text[scheme] == ':' ? scheme + 1 : 0;
  }
  else
    scheme = find_safe (text, &begin, &end);
  snprintf (room->text, sizeof room->text, "%.*s%.*s%s", (int) scheme, text,
            (int) (end - begin), begin, begin == end ? "..." : "");
  return room->text;
}

const char *
url_show (const char *name, struct url_room *room)
{
  return may_have_secret (name) ? url_hide (name, room) : name;
}
