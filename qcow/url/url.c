/* SPDX-License-Identifier: BSD-3-Clause
 *
 * URLs.  See url.h.
 */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/libcurl.h"
#include "base/secret.h"
#include "url/nbd-uri.h"
#include "url/percent.h"
#include "url/url.h"

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

/* --- Parsing --- */

/* (libcurl before 8.0 returns CURLUE_BAD_LOGIN only if it has no memory for a
 * login, since no login is malformed.)
 */
static bool
is_no_memory (CURLUcode code)
{
  return code == CURLUE_OUT_OF_MEMORY || code == CURLUE_BAD_LOGIN;
}

/* -1 with errno ENOMEM, or EINVAL: the URL is malformed. */
static int
failed (CURLUcode code)
{
  errno = is_no_memory (code) ? ENOMEM : EINVAL;
  return -1;
}

/* Get a part of the URL.  *out is NULL if it is missing.  0, or -1 with errno
 * ENOMEM.  (All strings of a struct url are from malloc, not libcurl, so that
 * 'free' frees them.)
 */
static int
take_part (CURLU *u, CURLUPart part, unsigned flags, char **out)
{
  char *from_curl;
  const CURLUcode r = libcurl.url_get (u, part, &from_curl, flags);

  *out = NULL;
  if (r != CURLUE_OK)
    return is_no_memory (r) ? failed (r) : 0;
  *out = strdup (from_curl);
  explicit_bzero (from_curl, strlen (from_curl));
  libcurl.free (from_curl);
  return *out ? 0 : failed (CURLUE_OUT_OF_MEMORY);
}

/* Take user and password, and remove them and the fragment from 'u'.  (libcurl
 * can unescape them, too, but has one error code for out of memory and for an
 * escaped control character.)
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
  /* (Removing needs no memory.) */
  libcurl.url_set (u, CURLUPART_USER, NULL, 0);
  libcurl.url_set (u, CURLUPART_PASSWORD, NULL, 0);
  libcurl.url_set (u, CURLUPART_OPTIONS, NULL, 0);
  libcurl.url_set (u, CURLUPART_FRAGMENT, NULL, 0);
  return 0;
}

/* The text of the whole URL, as the parts of 'u' are now. */
static int
whole (CURLU *u, char **out)
{
  if (take_part (u, CURLUPART_URL, CURLU_NO_DEFAULT_PORT, out) == -1)
    return -1;
  return *out ? 0 : failed (CURLUE_MALFORMED_INPUT);
}

/* Make a host lower case, so that origins can be compared.  The zone of an
 * address (RFC 6874: "[fe80::1%25eth0]") keeps its case.  False: it has a
 * character that no host has; libcurl accepts more.
 */
static bool
normalize_host (char *host, size_t length)
{
  static const char name[] = ".-_[]:", zone[] = "-._~%";
  const char *others = name;
  size_t i;

  for (i = 0; i < length; ++i) {
    const unsigned char c = (unsigned char) host[i];

    if (c == '%' && host[0] == '[')
      others = zone;
    else if (c == ']')
      others = name;
    if (!isalnum (c) && !strchr (others, c) && (c < 0x80 || others == zone))
      return false;
    if (others == name)
      host[i] = (char) tolower (c);
  }
  return length > 0;
}

/* Take the host and port that libcurl sends: without the zone. */
static int
take_host (struct url *url, const char *host)
{
  const size_t n = strcspn (host, "%");
  const char *rest = host[n] ? strchr (host + n, ']') : "";

  if (asprintf (&url->host, "%.*s%s", (int) n, host, rest) != -1)
    return 0;
  url->host = NULL;
  return failed (CURLUE_OUT_OF_MEMORY);
}

#define URL_FLAGS                                                             \
  (CURLU_ALLOW_SPACE | CURLU_URLENCODE | CURLU_NON_SUPPORT_SCHEME)

/* For a request, libcurl parses the text again.  The result must be the same.
 * (It changes the host 1%2e3 to 1.3, and 1.3 to 1.0.0.3.)
 */
static int
check_text (CURLU *u, const char *text)
{
  const CURLUcode code = libcurl.url_set (u, CURLUPART_URL, text, URL_FLAGS);
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

/* Take the parts of 'u'.  Changes 'u'. */
static int
take_parts (CURLU *u, struct url *url)
{
  size_t n, host;

  if (take_user_info (u, url) == -1 || whole (u, &url->text) == -1)
    return -1;
  libcurl.url_set (u, CURLUPART_QUERY, NULL, 0);
  if (whole (u, &url->name) == -1)
    return -1;
  /* The path is never empty: "/" remains. */
  libcurl.url_set (u, CURLUPART_PATH, NULL, 0);
  if (whole (u, &url->origin) == -1)
    return -1;
  n = strlen (url->origin);
  if (n > 0 && url->origin[n - 1] == '/')
    url->origin[--n] = '\0';
  host = strcspn (url->origin, ":") + strlen ("://");
  if (host > n || !normalize_host (url->origin + host, n - host)
      || !normalize_host (url->name + host, n - host)
      || !normalize_host (url->text + host, n - host))
    return failed (CURLUE_BAD_HOSTNAME);
  if (take_host (url, url->origin + host) == -1)
    return -1;
  return check_text (u, url->text);
}

/* (Newer versions of libcurl escape control characters.) */
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

  /* If the host is empty, libcurl takes the first part of the path for it. */
  host = strstr (text, "://");
  if (host == NULL || host[3] == '/' || host[3] == '\0')
    return invalid (problem, "the host is missing");
  if (has_control_character (text))
    return invalid (problem, "it is not a valid URL: it contains a control "
                             "character");
  u = libcurl.url ();
  if (u == NULL)
    return no_memory (problem);
  code = libcurl.url_set (u, CURLUPART_URL, text, URL_FLAGS);
  if (is_no_memory (code))
    r = no_memory (problem);
  else if (code != CURLUE_OK) {
    problem_set (problem, "it is not a valid URL: %s",
                 libcurl.url_strerror (code));
    r = failed (code);
  }
  else if (take_parts (u, url) == -1)
    r = errno == ENOMEM ? no_memory (problem)
                        : invalid (problem, "it is not a valid URL");
  else
    r = 0;
  libcurl.url_cleanup (u);
  return r;
}

static int
parse_s3 (const char *text, const struct url_s3 *s3, struct url *url,
          struct problem *problem)
{
  char *http = s3_to_http (text, s3, problem);
  int r;

  if (http == NULL)
    return -1;
  r = parse_http (http, url, problem);
  free (http);
  if (r == -1)
    return -1;
  url->s3 = true;
  free (url->name);
  url->name = strdup (text);
  if (url->name == NULL)
    return no_memory (problem);
  memcpy (url->name, S3_PREFIX, strlen (S3_PREFIX));
  return 0;
}

static int
parse_nbd (const char *text, struct url *url, struct problem *problem)
{
  char *p;

  if (has_control_character (text))
    return invalid (problem, "it is not a valid URI: it contains a control "
                             "character");
  url->nbd = true;
  url->name = nbd_uri_name (text);
  url->text = strdup (text);
  url->user = nbd_uri_user (text);
  if (url->name == NULL || url->text == NULL)
    return no_memory (problem);
  /* libnbd knows schemes only in lower case. */
  for (p = url->text; *p != ':'; ++p)
    *p = (char) tolower ((unsigned char) *p);
  if (nbd_uri_check (url->text, problem) == -1) {
    errno = EINVAL;
    return -1;
  }
  return 0;
}

/* The scheme is no secret. */
static int
not_supported (const char *text, struct problem *problem)
{
  const size_t n = url_scheme_length (text);

  if (!url_looks_like_one (text) || n > 32)
    return invalid (problem,
                    "must begin with http://, https://, s3:// or nbd://");
  problem_set (problem,
               "%.*s:// is not supported: only http, https, s3 and nbd are",
               (int) n, text);
  errno = EINVAL;
  return -1;
}

int
url_parse (const char *text, const struct url_s3 *s3, struct url *url,
           struct problem *problem)
{
  *url = (struct url){ .name = NULL };
  if (url_is_nbd (text))
    return parse_nbd (text, url, problem);
  if (libcurl_load (problem) == -1) {
    errno = EINVAL;
    return -1;
  }
  if (url_is_s3 (text))
    return parse_s3 (text, s3, url, problem);
  if (strncasecmp (text, "s3:", 3) == 0)
    return invalid (problem, S3_SYNTAX);
  if (!url_is_one (text))
    return not_supported (text, problem);
  return parse_http (text, url, problem);
}

int
url_parse_prefix (const char *text, struct url *url, struct problem *problem)
{
  const struct url_s3 s3 = { "http://endpoint", "" };
  const bool bucket_only
    = url_is_s3 (text) && strchr (text + strlen (S3_PREFIX), '/') == NULL;
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
  const char *const strings[] = { from->name, from->text, from->origin,
                                  from->host, from->user, from->password };
  char **const copies[] = { &to->name, &to->text, &to->origin,
                            &to->host, &to->user, &to->password };
  size_t i;

  *to = (struct url){ .s3 = from->s3, .nbd = from->nbd };
  for (i = 0; i < sizeof strings / sizeof strings[0]; ++i)
    if (strings[i] && (*copies[i] = strdup (strings[i])) == NULL)
      return -1;
  return 0;
}

int
url_take (const char *text, const struct url_s3 *s3, const char *holder,
          const struct qcow_hooks *hooks, struct url *url)
{
  struct problem problem;
  struct url_room room;
  const char *shown;
  int err;

  if (url_parse (text, s3, url, &problem) == 0)
    return 0;
  err = errno;
  url_free (url);
  shown = url_hide (text, &room);
  if (holder[0] == '\0')
    return error_report (hooks, err, shown, "%s", problem.text);
  return error_report (hooks, err, holder,
                       "can't use the URL '%s' that is named in it: %s", shown,
                       problem.text);
}

bool
url_is_https (const struct url *url)
{
  return strncmp (url->text, "https:", 6) == 0;
}
