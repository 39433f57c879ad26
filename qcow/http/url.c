/* SPDX-License-Identifier: BSD-3-Clause
 *
 * URLs.  See url.h.  The syntax is libcurl's business.
 */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "http/libcurl.h"
#include "http/percent.h"
#include "http/url.h"

#define S3_PREFIX "s3://"
#define MUST_BE_S3 "must be s3://BUCKET/KEY"

#define SCHEME_CHARACTERS                                                     \
  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+"

static bool
has_prefix (const char *s, const char *prefix)
{
  return strncasecmp (s, prefix, strlen (prefix)) == 0;
}

static bool
has_suffix (const char *s, const char *suffix)
{
  const size_t n = strlen (s), length = strlen (suffix);

  return n >= length && strcmp (s + n - length, suffix) == 0;
}

bool
url_is_one (const char *name)
{
  return has_prefix (name, "http://") || has_prefix (name, "https://")
         || has_prefix (name, S3_PREFIX);
}

bool
url_looks_like_one (const char *name)
{
  const size_t n = strspn (name, SCHEME_CHARACTERS);

  return n > 0 && has_prefix (name + n, "://");
}

static int
invalid (struct problem *problem, const char *why)
{
  problem_set (problem, "%s", why);
  errno = EINVAL;
  return -1;
}

static int
no_memory (struct problem *problem)
{
  problem_set (problem, "out of memory");
  errno = ENOMEM;
  return -1;
}

/* --- Escaping --- */

/* Escape everything but unreserved characters and slashes, as S3 signs it.
 * A new string.
 */
static char *
escape_path (const char *path)
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
  *s = '\0';
  return clean;
}

/* --- Taking apart --- */

static void
lower_case (char *s)
{
  for (; *s; ++s)
    *s = (char) tolower ((unsigned char) *s);
}

/* (A login has no form that it could violate: libcurl before 8.0 says that it
 * is bad if there is no memory for it.)
 */
static bool
is_no_memory (CURLUcode code)
{
  return code == CURLUE_OUT_OF_MEMORY || code == CURLUE_BAD_LOGIN;
}

/* -1 with errno ENOMEM, or EINVAL: it is the URL's fault. */
static int
failed (CURLUcode code)
{
  errno = is_no_memory (code) ? ENOMEM : EINVAL;
  return -1;
}

/* A part of the URL that may be missing: then *out is NULL.  -1 with errno
 * ENOMEM.
 */
static int
get_part (CURLU *u, CURLUPart part, unsigned flags, char **out)
{
  const CURLUcode r = curl_url_get (u, part, out, flags);

  if (r == CURLUE_OK)
    return 0;
  *out = NULL;
  return is_no_memory (r) ? failed (r) : 0;
}

/* Set a part to a value that is known to be valid, so that it can only fail
 * for want of memory, whatever libcurl says: 8.14 calls a host that it has no
 * memory for a bad one.
 */
static int
set_part (CURLU *u, CURLUPart part, const char *value)
{
  if (curl_url_set (u, part, value, 0) == CURLUE_OK)
    return 0;
  return failed (CURLUE_OUT_OF_MEMORY);
}

/* The same in memory of ours, so that there is one way to free it. */
static int
take_part (CURLU *u, CURLUPart part, unsigned flags, char **out)
{
  char *from_curl;

  if (get_part (u, part, flags, &from_curl) == -1)
    return -1;
  *out = NULL;
  if (from_curl == NULL)
    return 0;
  *out = strdup (from_curl);
  explicit_bzero (from_curl, strlen (from_curl));
  curl_free (from_curl);
  return *out ? 0 : failed (CURLUE_OUT_OF_MEMORY);
}

/* (libcurl would unescape, but does not tell a lack of memory from an escaped
 * control character.)
 */
static int
take_user_info (CURLU *u, struct url *url)
{
  if (take_part (u, CURLUPART_USER, 0, &url->user) == -1
      || take_part (u, CURLUPART_PASSWORD, 0, &url->password) == -1)
    return -1;
  if ((url->user && !url_unescape (url->user))
      || (url->password && !url_unescape (url->password)))
    return failed (CURLUE_URLDECODE);
  /* (To take away needs no memory.) */
  curl_url_set (u, CURLUPART_USER, NULL, 0);
  curl_url_set (u, CURLUPART_PASSWORD, NULL, 0);
  curl_url_set (u, CURLUPART_OPTIONS, NULL, 0);
  curl_url_set (u, CURLUPART_FRAGMENT, NULL, 0);
  return 0;
}

/* A name or an address. */
static bool
is_host (const char *s)
{
  for (; *s; ++s)
    if ((unsigned char) *s < 0x80 && !isalnum ((unsigned char) *s)
        && strchr (".-_[]:", *s) == NULL)
      return false;
  return true;
}

/* The name of an interface, as RFC 6874 has it in URLs; libcurl would take
 * what ends a word, too.
 */
static bool
is_zone (const char *s)
{
  for (; *s; ++s)
    if (!isalnum ((unsigned char) *s) && strchr ("-._~%", *s) == NULL)
      return false;
  return true;
}

/* To set the host loses its zone.  Both come from libcurl. */
static int
set_host (CURLU *u, const char *host, const char *zone)
{
  if (host == NULL || !is_host (host) || (zone && !is_zone (zone)))
    return failed (CURLUE_BAD_HOSTNAME);
  if (set_part (u, CURLUPART_HOST, host) == -1)
    return -1;
  return zone ? set_part (u, CURLUPART_ZONEID, zone) : 0;
}

/* The host in lower case, so that origins can be compared. */
static int
normalize_host (CURLU *u)
{
  char *host, *zone;
  int r;

  if (get_part (u, CURLUPART_HOST, 0, &host) == -1)
    return -1;
  if (get_part (u, CURLUPART_ZONEID, 0, &zone) == -1) {
    curl_free (host);
    return -1;
  }
  if (host)
    lower_case (host);
  r = set_host (u, host, zone);
  curl_free (host);
  curl_free (zone);
  return r;
}

/* The whole of what 'u' is now. */
static int
whole (CURLU *u, char **out)
{
  if (take_part (u, CURLUPART_URL, CURLU_NO_DEFAULT_PORT, out) == -1)
    return -1;
  return *out ? 0 : failed (CURLUE_MALFORMED_INPUT);
}

/* As libcurl says it: without the zone and the default port. */
static int
take_host (CURLU *u, char **out)
{
  char *host, *port = NULL;
  int r = -1;

  if (get_part (u, CURLUPART_HOST, 0, &host) == -1)
    return -1;
  if (get_part (u, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT, &port) == 0)
    r = asprintf (out, "%s%s%s", host, port ? ":" : "", port ? port : "");
  curl_free (host);
  curl_free (port);
  if (r >= 0)
    return 0;
  *out = NULL;
  return failed (CURLUE_OUT_OF_MEMORY);
}

#define URL_FLAGS                                                             \
  (CURLU_ALLOW_SPACE | CURLU_URLENCODE | CURLU_NON_SUPPORT_SCHEME)

/* libcurl takes the text apart once more when it is asked for: then it must
 * be the same.  (Of the host 1%2e3 it makes 1.3, but of that 1.0.0.3.)
 */
static int
check_text (CURLU *u, const char *text)
{
  const CURLUcode code = curl_url_set (u, CURLUPART_URL, text, URL_FLAGS);
  char *again;
  int r;

  if (code != CURLUE_OK)
    return failed (code);
  if (whole (u, &again) == -1)
    return -1;
  r = strcmp (again, text) == 0 ? 0 : failed (CURLUE_BAD_HOSTNAME);
  secret_free_string (again);
  return r;
}

/* (It is another in the end.) */
static int
take_apart (CURLU *u, struct url *url)
{
  size_t n;

  if (take_user_info (u, url) == -1 || normalize_host (u) == -1
      || take_host (u, &url->host) == -1 || whole (u, &url->text) == -1)
    return -1;
  curl_url_set (u, CURLUPART_QUERY, NULL, 0);
  if (whole (u, &url->name) == -1)
    return -1;
  /* The path is never empty: "/" remains. */
  curl_url_set (u, CURLUPART_PATH, NULL, 0);
  if (whole (u, &url->origin) == -1)
    return -1;
  n = strlen (url->origin);
  if (n > 0 && url->origin[n - 1] == '/')
    url->origin[n - 1] = '\0';
  return check_text (u, url->text);
}

/* Newer versions of libcurl would escape it. */
static bool
has_control_character (const char *s)
{
  for (; *s; ++s)
    if (iscntrl ((unsigned char) *s))
      return true;
  return false;
}

static int
parse_http (const char *text, struct url *url, struct problem *problem)
{
  const char *host;
  CURLU *u;
  CURLUcode code;
  int r;

  /* libcurl would take the next part of the path for the host. */
  host = strstr (text, "://");
  if (host == NULL || host[3] == '/' || host[3] == '\0')
    return invalid (problem, "the host is missing");
  if (has_control_character (text))
    return invalid (problem, "it is not a valid URL: there is a control "
                             "character in it");
  u = curl_url ();
  if (u == NULL)
    return no_memory (problem);
  code = curl_url_set (u, CURLUPART_URL, text, URL_FLAGS);
  if (is_no_memory (code))
    r = no_memory (problem);
  else if (code != CURLUE_OK) {
    problem_set (problem, "it is not a valid URL: %s",
                 curl_url_strerror (code));
    r = failed (code);
  }
  else if (take_apart (u, url) == -1)
    r = errno == ENOMEM ? no_memory (problem)
                        : invalid (problem, "it is not a valid URL");
  else
    r = 0;
  curl_url_cleanup (u);
  return r;
}

/* Amazon wants the bucket in the host's name, but its certificates do not
 * cover a name with more dots, and old buckets have names that no host has;
 * other servers know it only in the path.
 */
static char *
s3_text (const char *bucket, const char *key, const struct url_s3 *s3)
{
  const bool path_style
    = s3->endpoint
      || strspn (bucket, "abcdefghijklmnopqrstuvwxyz0123456789-")
           != strlen (bucket);
  char *escaped_bucket = escape_path (bucket);
  char *escaped_key = escape_path (key);
  char *text = NULL;
  int r = -1;

  if (escaped_bucket == NULL || escaped_key == NULL)
    r = -1;
  else if (s3->endpoint) {
    size_t n = strlen (s3->endpoint);

    while (n > 0 && s3->endpoint[n - 1] == '/')
      --n;
    r = asprintf (&text, "%.*s/%s/%s", (int) n, s3->endpoint, escaped_bucket,
                  escaped_key);
  }
  else if (path_style)
    r = asprintf (&text, "https://s3.%s.amazonaws.com/%s/%s", s3->region,
                  escaped_bucket, escaped_key);
  else
    r = asprintf (&text, "https://%s.s3.%s.amazonaws.com/%s", escaped_bucket,
                  s3->region, escaped_key);
  free (escaped_bucket);
  free (escaped_key);
  return r == -1 ? NULL : text;
}

/* The characters of a bucket's name, which is perhaps a part of a host's. */
static bool
is_plain (const char *s, size_t length)
{
  size_t i;

  for (i = 0; i < length; ++i)
    if (!isalnum ((unsigned char) s[i]) && strchr (".-_", s[i]) == NULL)
      return false;
  return true;
}

/* How much of "TENANT:BUCKET" is before the bucket.  (The tenant may be
 * empty.)
 */
static size_t
tenant_length (const char *s, size_t length)
{
  const char *colon = memchr (s, ':', length);

  return colon ? (size_t) (colon - s) + 1 : 0;
}

/* "BUCKET" or "TENANT:BUCKET"? */
static bool
is_bucket (const char *s, size_t length)
{
  const size_t tenant = tenant_length (s, length);

  return (tenant == 0 || is_plain (s, tenant - 1)) && length > tenant
         && is_plain (s + tenant, length - tenant) && s[tenant] != '.';
}

/* Is a part of the path just "." or ".."?  Such a path would not come through
 * to the server as it is.
 */
static bool
has_dots (const char *path)
{
  while (*path) {
    const size_t n = strcspn (path + 1, "/");

    if ((n == 1 && path[1] == '.')
        || (n == 2 && path[1] == '.' && path[2] == '.'))
      return true;
    path += 1 + n;
  }
  return false;
}

static int
parse_s3 (const char *text, const struct url_s3 *s3, struct url *url,
          struct problem *problem)
{
  const char *bucket = text + strlen (S3_PREFIX);
  const size_t n = strcspn (bucket, "/");
  char *name, *http;
  int r;

  if (!is_bucket (bucket, n) || bucket[n] != '/')
    return invalid (problem, MUST_BE_S3);
  if (s3->endpoint == NULL && tenant_length (bucket, n) > 0)
    return invalid (problem, "Amazon S3 has no tenants (name the server that "
                             "has with endpoint-url=)");
  if (has_dots (bucket + n))
    return invalid (problem, "a key must not have '.' or '..' between "
                             "slashes");
  name = strdup (text);
  if (name == NULL)
    return no_memory (problem);
  memcpy (name, S3_PREFIX, strlen (S3_PREFIX));
  name[strlen (S3_PREFIX) + n] = '\0';
  http = s3_text (name + strlen (S3_PREFIX), bucket + n + 1, s3);
  name[strlen (S3_PREFIX) + n] = '/';
  r = http ? parse_http (http, url, problem) : no_memory (problem);
  free (http);
  free (url->name);
  url->name = name;
  url->s3 = true;
  return r;
}

/* A new string, or NULL: out of memory, or there is a zero byte in it. */
static char *
unescape_path (const char *path)
{
  char *out = malloc (strlen (path) + 1), *p = out;

  while (out && *path) {
    *p = percent_decode (&path);
    if (*p++ == '\0') {
      free (out);
      return NULL;
    }
  }
  if (out)
    *p = '\0';
  return out;
}

/* "[BUCKET.]s3.[REGION.]amazonaws.com": where "s3" is, or NULL. */
static const char *
find_amazon_s3 (const char *host)
{
  const char *end = strstr (host, ".amazonaws.com");
  const char *s3
    = strncmp (host, "s3.", 3) == 0 ? host : strstr (host, ".s3.");

  if (s3 == NULL || end == NULL || strcmp (end, ".amazonaws.com") != 0)
    return NULL;
  return s3 == host ? s3 : s3 + 1;
}

/* "BUCKET/KEY" of an object that could be meant? */
static bool
is_object (const char *name)
{
  const size_t n = strcspn (name, "/"), length = strlen (name);

  return is_bucket (name, n) && length > n + 1 && name[length - 1] != '/'
         && !has_dots (name + n);
}

/* "BUCKET/KEY" that the URL names; the bucket may be in the host's name. NULL:
 * out of memory, or there is none.
 */
static char *
object_of (const struct url *url, const char *s3)
{
  const int bucket = s3 && s3 > url->host ? (int) (s3 - url->host) - 1 : 0;
  char *path = unescape_path (url->name + strlen (url->origin) + 1);
  char *object = NULL;

  if (path
      && asprintf (&object, "%.*s%s%s", bucket, url->host, bucket ? "/" : "",
                   path)
           == -1)
    object = NULL;
  free (path);
  if (object == NULL || is_object (object))
    return object;
  free (object);
  return NULL;
}

char *
url_as_s3 (const struct url *url)
{
  const char *s3 = find_amazon_s3 (url->host);
  const char *region = s3 ? s3 + 3 : NULL;
  char *object, *text;
  int r;

  /* Amazon's servers have more forms of names than are known here. */
  if (s3 == NULL
      && (has_suffix (url->host, ".amazonaws.com")
          || has_suffix (url->host, ".amazonaws.com.cn")))
    return NULL;
  object = object_of (url, s3);
  if (object == NULL)
    return NULL;
  if (region && has_prefix (region, "dualstack."))
    region += strlen ("dualstack.");
  if (region == NULL)
    r = asprintf (&text, "url=s3://%s endpoint-url=%s", object, url->origin);
  else if (strcmp (region, "amazonaws.com") == 0)
    r = asprintf (&text, "url=s3://%s", object);
  else
    r = asprintf (&text, "url=s3://%s region=%.*s", object,
                  (int) strcspn (region, "."), region);
  free (object);
  return r == -1 ? NULL : text;
}

/* What comes before "://" is no secret. */
static int
not_supported (const char *text, struct problem *problem)
{
  const size_t n = strspn (text, SCHEME_CHARACTERS);

  if (!url_looks_like_one (text) || n > 32)
    return invalid (problem, "must begin with http://, https:// or s3://");
  problem_set (problem,
               "%.*s:// is not supported: only http, https and s3 are",
               (int) n, text);
  errno = EINVAL;
  return -1;
}

int
url_parse (const char *text, const struct url_s3 *s3, struct url *url,
           struct problem *problem)
{
  *url = (struct url){ .name = NULL };
  if (libcurl_load (problem) == -1) {
    errno = EINVAL;
    return -1;
  }
  if (has_prefix (text, S3_PREFIX))
    return parse_s3 (text, s3, url, problem);
  if (has_prefix (text, "s3:"))
    return invalid (problem, MUST_BE_S3);
  if (!url_is_one (text))
    return not_supported (text, problem);
  return parse_http (text, url, problem);
}

int
url_parse_prefix (const char *text, struct url *url, struct problem *problem)
{
  const struct url_s3 s3 = { "http://endpoint", "" };
  const bool bucket_only = has_prefix (text, S3_PREFIX)
                           && strchr (text + strlen (S3_PREFIX), '/') == NULL;
  char *with_slash;
  int r;

  if (asprintf (&with_slash, "%s%s", text, bucket_only ? "/" : "") == -1) {
    *url = (struct url){ .name = NULL };
    return no_memory (problem);
  }
  r = url_parse (with_slash, &s3, url, problem);
  free (with_slash);
  return r;
}

void
url_free (struct url *url)
{
  free (url->name);
  secret_free_string (url->text);
  free (url->origin);
  free (url->host);
  secret_free_string (url->user);
  secret_free_string (url->password);
  *url = (struct url){ .name = NULL };
}

int
url_copy (const struct url *from, struct url *to)
{
  *to = (struct url){
    .name = strdup (from->name),
    .text = strdup (from->text),
    .origin = strdup (from->origin),
    .host = strdup (from->host),
    .s3 = from->s3,
  };
  if (to->name && to->text && to->origin && to->host)
    return 0;
  url_free (to);
  return -1;
}

bool
url_is_https (const struct url *url)
{
  return strncmp (url->text, "https:", 6) == 0;
}

bool
url_has_query (const char *name)
{
  return !has_prefix (name, S3_PREFIX) && strchr (name, '?') != NULL;
}

/* Does the name begin with the protocol (":rbd:"), or have it below another
 * one?
 */
static bool
has_protocol (const char *name, const char *protocol)
{
  return has_prefix (name, protocol + 1) || strstr (name, protocol);
}

/* Also of what was only meant to be a URL (ftp://, htps://, https:/), and of
 * the names of qemu's drivers, which have secrets as options:
 * json:{"password":...}, rbd:pool/image:key=...  Both may be below others, as
 * in blkdebug::https://.
 */
static bool
may_have_secret (const char *name)
{
  const size_t n = strspn (name, SCHEME_CHARACTERS);

  if (n <= 1 || name[n] != ':')
    return false;
  if (has_protocol (name, ":json:"))
    return true;
  if (has_protocol (name, ":rbd:") && strchr (name, '='))
    return true;
  return strstr (name, ":/") && strpbrk (name, "@?");
}

/* The scheme and what follows it, as far as it can be shown: from *begin to
 * *end.  Returns the length of the scheme.
 */
static size_t
find_safe (const char *text, const char **begin, const char **end)
{
  const size_t n = strspn (text, SCHEME_CHARACTERS);
  const char *rest = text, *p;

  if (n > 0 && text[n] == ':' && (text[n + 1] == '/' || text[n + 1] == ':'))
    rest += n + strspn (text + n, ":/");
  *begin = rest;
  *end = rest + strcspn (rest, "?#");
  /* A password may have all characters in it that should have been escaped:
   * the host begins after the last '@', if there is one in the query, too.
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
    scheme = strspn (text, SCHEME_CHARACTERS);
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

/* --- Joining --- */

/* Where the path begins, with its slash. */
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

/* How much of a name is its directory, with the slash. */
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
    = has_prefix (base, S3_PREFIX) ? strdup (file) : escape_path (file);
  char *joined = NULL;

  if (escaped && asprintf (&joined, "%.*s%s", (int) dir, base, escaped) == -1)
    joined = NULL;
  free (escaped);
  if (joined && *path_of (joined) == '/')
    remove_dots (joined + (path_of (joined) - joined));
  return joined;
}

/* --- Comparing --- */

bool
url_covers (const char *prefix, const char *name)
{
  const size_t n = strlen (prefix);

  if (strncmp (prefix, name, n) != 0)
    return false;
  return name[n] == '\0' || name[n] == '/' || (n > 0 && prefix[n - 1] == '/');
}

bool
url_covers_as_s3 (const char *prefix, const struct url *url)
{
  char *object = object_of (url, find_amazon_s3 (url->host)), *name;
  bool covers = false;

  if (object && asprintf (&name, S3_PREFIX "%s", object) != -1) {
    covers = url_covers (prefix, name);
    free (name);
  }
  free (object);
  return covers;
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
