/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What messages may show of a URL.  See url-show.h.
 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/url-show.h"
#include "http/url.h"

/* Does the name start with the protocol, or has it after another one?
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
 * rbd:pool/image:key=...  Either may follow another driver, as in
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
  /* A password may have characters in it that should have been escaped, even
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
