/* SPDX-License-Identifier: BSD-3-Clause
 *
 * s3://BUCKET/KEY.  See s3-name.h.
 */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "url/percent.h"
#include "url/s3-name.h"

/* True if all characters are those of bucket names, which can become a part of
 * a host's name.
 */
static bool
is_plain (const char *s, size_t length)
{
  size_t i;

  for (i = 0; i < length; ++i)
    if (!isalnum ((unsigned char) s[i]) && strchr (".-_", s[i]) == NULL)
      return false;
  return true;
}

/* The length of "TENANT:" before a bucket, or 0.  (The tenant may be empty.)
 */
static size_t
tenant_length (const char *s, size_t length)
{
  const char *colon = memchr (s, ':', length);

  return colon ? (size_t) (colon - s) + 1 : 0;
}

/* True for "BUCKET" and "TENANT:BUCKET". */
static bool
is_bucket (const char *s, size_t length)
{
  const size_t tenant = tenant_length (s, length);

  return (tenant == 0 || is_plain (s, tenant - 1)) && length > tenant
         && is_plain (s + tenant, length - tenant) && s[tenant] != '.';
}

/* True if a component of the path is "." or "..", which libcurl removes when
 * it parses a URL.
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

/* The URL of "BUCKET/KEY", where the bucket's name has n bytes.  Amazon's
 * servers expect the bucket in the host's name.  But their certificates do not
 * cover buckets with dots, and old buckets have names that no host can have.
 * These are put in the path, where other servers expect all buckets.
 */
static char *
http_text (const char *name, size_t n, const struct url_s3 *s3)
{
  char *path = percent_encode_path (name), *text = NULL;
  int r = -1;

  if (path && s3->endpoint) {
    size_t length = strlen (s3->endpoint);

    while (length > 0 && s3->endpoint[length - 1] == '/')
      --length;
    r = asprintf (&text, "%.*s/%s", (int) length, s3->endpoint, path);
  }
  else if (path && strspn (name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n)
    r = asprintf (&text, "https://%.*s.s3.%s.amazonaws.com%s", (int) n, path,
                  s3->region, path + n);
  else if (path)
    r = asprintf (&text, "https://s3.%s.amazonaws.com/%s", s3->region, path);
  free (path);
  return r == -1 ? NULL : text;
}

static char *
invalid (struct problem *problem, const char *why)
{
  problem_set (problem, "%s", why);
  errno = EINVAL;
  return NULL;
}

char *
s3_to_http (const char *text, const struct url_s3 *s3, struct problem *problem)
{
  const char *name = text + strlen (S3_PREFIX);
  const size_t n = strcspn (name, "/");
  char *http;

  if (!is_bucket (name, n) || name[n] != '/')
    return invalid (problem, S3_SYNTAX);
  if (s3->endpoint == NULL && tenant_length (name, n) > 0)
    return invalid (problem, "Amazon S3 has no tenants (for another server, "
                             "use endpoint-url=)");
  if (has_dots (name + n))
    return invalid (problem, "a key must not have '.' or '..' between "
                             "slashes");
  http = http_text (name, n, s3);
  if (http == NULL) {
    problem_set (problem, "out of memory");
    errno = ENOMEM;
  }
  return http;
}
