/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Signing requests to S3.  See sign.h.
 *
 * libcurl could sign, too, but not a path as it is: it refuses
 * CURLOPT_AWS_SIGV4 together with CURLOPT_PATH_AS_IS, and without the latter
 * it takes a part of an object's key for a directory.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "http/sign.h"
#include "http/sigv4.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

/* SHA-256 of no bytes: the body of a GET. */
#define EMPTY_HASH                                                            \
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

#define DATE_FORMAT "%Y%m%dT%H%M%SZ"
#define DATE_SIZE 32

#define SPACES " \t\n\v\f\r"

/* Parse a line as CURLOPT_HTTPHEADER does.  False: libcurl does not send that
 * header.
 */
static bool
parse_header (const char *line, struct sigv4_header *h)
{
  const char *end = strchr (line, ':');

  if (end) {
    h->value = end + 1 + strspn (end + 1, SPACES);
    if (h->value[0] == '\0')
      return false;
  }
  else {
    end = strchr (line, ';');
    if (end == NULL || end[1] != '\0')
      return false;
    h->value = "";
  }
  h->name = line;
  h->name_length = (size_t) (end - line);
  return h->name_length > 0;
}

static bool
is_called (const char *line, const char *name)
{
  const size_t n = strlen (name);

  return strncasecmp (line, name, n) == 0
         && (line[n] == ':' || line[n] == ';');
}

static bool
has_header (const struct curl_slist *list, const char *name)
{
  for (; list; list = list->next)
    if (is_called (list->data, name))
      return true;
  return false;
}

bool
sign_is_wanted (const struct http_settings *s)
{
  size_t i;

  for (i = 0; i < s->options.nr_headers; ++i)
    if (is_called (s->options.headers[i], "Authorization"))
      return false;
  return s->s3.access_key != NULL;
}

bool
sign_replaces (const struct http_settings *s, const char *header)
{
  return is_called (header, "x-amz-date")
         || is_called (header, "x-amz-content-sha256")
         || (s->s3.session_token
             && is_called (header, "x-amz-security-token"));
}

/* True if a proxy may change the header. */
static bool
is_changed_by_proxies (const char *line)
{
  static const char *const names[] = {
    "Accept-Encoding",   "Connection", "Expect",     "Keep-Alive", "TE",
    "Transfer-Encoding", "Upgrade",    "User-Agent", "Via",
  };
  size_t i;

  for (i = 0; i < COUNT (names); ++i)
    if (is_called (line, names[i]))
      return true;
  return strncasecmp (line, "Proxy-", 6) == 0;
}

static int
append (struct curl_slist **list, const char *name, const char *value)
{
  char *line;
  int r;

  if (asprintf (&line, "%s: %s", name, value) == -1) {
    errno = ENOMEM;
    return -1;
  }
  r = libcurl_append (list, line);
  secret_free_string (line);
  return r;
}

/* Append the headers that must be signed.  The host is one of them, so that
 * libcurl sends what is signed.
 */
static int
append_signed (const struct http_settings *s, const struct url *url,
               const char *date, struct curl_slist **list)
{
  if ((!has_header (*list, "Host") && append (list, "Host", url->host) == -1)
      || append (list, "x-amz-date", date) == -1
      || append (list, "x-amz-content-sha256", EMPTY_HASH) == -1)
    return -1;
  return s->s3.session_token
           ? append (list, "x-amz-security-token", s->s3.session_token)
           : 0;
}

/* The value of the Authorization header: a new string, or NULL and errno. */
static char *
authorization (const struct http_settings *s, const struct url *url,
               const char *date, const struct curl_slist *list)
{
  const struct sigv4_signer signer = { .access_key = s->s3.access_key,
                                       .secret_key = s->s3.secret_key,
                                       .region = s->s3.region,
                                       .service = "s3" };
  struct sigv4_request request = { .method = "GET",
                                   .target = url->text + strlen (url->origin),
                                   .payload_hash = EMPTY_HASH };
  const struct curl_slist *l;
  struct sigv4_header *headers;
  size_t n = 0;
  char *value;

  for (l = list; l; l = l->next)
    n++;
  headers = malloc (n * sizeof headers[0]);
  if (headers == NULL)
    return NULL;
  for (l = list; l; l = l->next)
    if (!is_changed_by_proxies (l->data)
        && parse_header (l->data, &headers[request.nr_headers]))
      request.nr_headers++;
  request.headers = headers;
  value = sigv4_authorization (&request, &signer, date);
  free (headers);
  return value;
}

int
sign_request (const struct http_settings *s, const struct url *url, time_t now,
              struct curl_slist **list)
{
  char date[DATE_SIZE], *value;
  struct tm tm;
  int r;

  if (gmtime_r (&now, &tm) == NULL
      || strftime (date, sizeof date, DATE_FORMAT, &tm) == 0) {
    errno = EIO;
    return -1;
  }
  if (append_signed (s, url, date, list) == -1)
    return -1;
  value = authorization (s, url, date, *list);
  if (value == NULL)
    return -1;
  r = append (list, "Authorization", value);
  secret_free_string (value);
  return r;
}
