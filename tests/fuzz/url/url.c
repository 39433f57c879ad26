/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: any text as a URL, the name of a file beside it, a prefix that
 * is allowed, and an S3 endpoint, a line each.  What is compared with the
 * prefix must be what is asked for; what is asked for must lead to the host
 * that the name says; and nothing secret may stay in it.
 */

#include "tests/fuzz/fuzz.h"

#include "codec/libgcrypt.h"
#include "http/sigv4.h"
#include "url/url-name.h"
#include "url/url.h"

/* The part of a URL up to its path.  (http and https.) */
static size_t
origin_length (const char *url)
{
  const char *host = strstr (url, "://");

  MUST (host);
  return (size_t) (host + 3 - url) + strcspn (host + 3, "/?#");
}

static bool
same_origin (const char *a, const char *b)
{
  return origin_length (a) == origin_length (b)
         && strncmp (a, b, origin_length (a)) == 0;
}

/* Nothing that could end a line or a word of a request. */
static bool
is_one_word (const char *s)
{
  for (; *s; ++s)
    if ((unsigned char) *s <= ' ' || *s == 0x7f)
      return false;
  return true;
}

/* Is a part of the path "." or ".." as it is written? */
static bool
has_dots (const char *path)
{
  const char *p;

  for (p = strchr (path, '/'); p; p = strchr (p + 1, '/')) {
    const size_t n = strcspn (p + 1, "/");

    if ((n == 1 && p[1] == '.') || (n == 2 && p[1] == '.' && p[2] == '.'))
      return true;
  }
  return false;
}

/* To take it apart once more changes nothing: so libcurl, which does just
 * that, asks the host that we have looked at.
 */
static void
check_again (const char *text, const char *name, const char *origin)
{
  struct problem problem;
  struct url again;

  MUST (url_parse (text, NULL, &again, &problem) == 0);
  MUST (again.user == NULL && again.password == NULL);
  MUST (strcmp (again.text, text) == 0);
  MUST (name == NULL || strcmp (again.name, name) == 0);
  MUST (strcmp (again.origin, origin) == 0);
  url_free (&again);
}

static void
check_url (const struct url *u)
{
  const size_t n = strlen (u->origin);

  MUST (strncmp (u->text, "http://", 7) == 0
        || strncmp (u->text, "https://", 8) == 0);
  MUST (strncmp (u->text, u->origin, n) == 0 && u->text[n] == '/');
  MUST (strchr (u->origin, '@') == NULL);
  MUST (origin_length (u->text) == n);
  MUST (strchr (u->text, '#') == NULL);
  MUST (is_one_word (u->text));
  MUST (u->user || u->password == NULL);
  check_again (u->text, u->s3 ? NULL : u->name, u->origin);
  if (u->s3)
    return;
  MUST (strchr (u->name, '?') == NULL);
  MUST (strncmp (u->name, u->text, strlen (u->name)) == 0);
  check_again (u->name, u->name, u->origin);
}

static void
check_join (const struct url *u, const char *file, const struct url_s3 *s3)
{
  char *dir = url_directory (u->name);
  char *joined = url_join (u->name, file);
  struct problem problem;
  struct url again;

  MUST (dir && joined);
  MUST (url_covers (dir, u->name));
  MUST (strncmp (dir, u->name, strlen (dir)) == 0);
  MUST (same_origin (joined, u->name));
  MUST (!has_dots (joined + origin_length (joined)));
  if (url_parse (joined, s3, &again, &problem) == 0) {
    MUST (strcmp (again.name, joined) == 0);
    MUST (strcmp (again.origin, u->origin) == 0);
    MUST (u->s3 || again.user == NULL);
    MUST (u->s3 || strcmp (again.text, joined) == 0);
  }
  url_free (&again);
  free (joined);
  free (dir);
}

static void
check_prefix (const struct url *u, const char *text)
{
  struct problem problem;
  struct url prefix;

  no_problem (&problem);
  if (url_parse_prefix (text, &prefix, &problem) == -1)
    must_have_reason (&problem);
  else if (url_covers (prefix.name, u->name)) {
    MUST (prefix.s3 == u->s3);
    MUST (same_origin (prefix.name, u->name));
    MUST (u->s3 || strcmp (prefix.origin, u->origin) == 0);
    MUST (u->s3 || strncmp (u->text, prefix.name, strlen (prefix.name)) == 0);
  }
  url_free (&prefix);
}

/* The request for it can be signed. */
static void
check_signature (const struct url *u)
{
  const struct sigv4_header header = { "Host", strlen ("Host"), u->host };
  const struct sigv4_request request
    = { "GET", u->text + strlen (u->origin), &header, 1, "" };
  const struct sigv4_signer signer = { "access", "secret", "region", "s3" };
  char *value;

  MUST (is_one_word (u->host) && u->host[0] != '\0');
  MUST (request.target[0] == '/');
  value = sigv4_authorization (&request, &signer, "20130524T000000Z");
  MUST (value);
  free (value);
}

static void
check_hidden (const char *text)
{
  struct url_room room;

  MUST (strpbrk (url_hide (text, &room), "@?#") == NULL);
  MUST (url_show (text, &room) == text || strpbrk (room.text, "@?#") == NULL);
}

/* The name is that of a URI again, and covers itself and what its directory
 * covers.
 */
static void
check_nbd (const struct url *u, const char *file)
{
  const struct url_s3 none = { NULL, "" };
  char *joined = url_join (u->name, file),
       *directory = url_directory (u->name);
  struct problem problem;
  struct url again;

  MUST (u->name && u->text && joined && directory);
  MUST (url_parse (u->name, &none, &again, &problem) == 0);
  MUST (strcmp (again.name, u->name) == 0 && again.user == NULL);
  MUST (url_covers (u->name, u->name) && url_covers (directory, u->name));
  url_free (&again);
  free (joined);
  free (directory);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input in = { data, size };
  char *text = take_line (&in), *file = take_line (&in);
  char *prefix = take_line (&in), *endpoint = take_line (&in);
  /* settings.c refuses others. */
  const bool good_endpoint = (strncmp (endpoint, "http://", 7) == 0
                              || strncmp (endpoint, "https://", 8) == 0)
                             && strpbrk (endpoint, "?#") == NULL;
  static bool loaded;
  const struct url_s3 s3 = { good_endpoint ? endpoint : NULL, "us-east-1" };
  struct problem problem;
  struct url u;

  if (!loaded)
    MUST (libgcrypt_load () == 0);
  loaded = true;
  no_problem (&problem);
  (void) url_hides_dotdot (text);
  check_hidden (text);
  if (url_parse (text, &s3, &u, &problem) == -1)
    must_have_reason (&problem);
  else if (u.nbd)
    check_nbd (&u, file);
  else {
    MUST (u.name && u.text && u.origin);
    MUST (url_is_one (text));
    check_url (&u);
    check_signature (&u);
    if (!u.s3)
      check_prefix (&u, prefix);
    /* Others are no names beside it. */
    if (file[0] && file[0] != '/')
      check_join (&u, file, &s3);
  }
  url_free (&u);
  free (endpoint);
  free (prefix);
  free (file);
  free (text);
  return 0;
}
