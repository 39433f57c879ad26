/* SPDX-License-Identifier: BSD-3-Clause
 *
 * s3://BUCKET/KEY.  See s3-name.h.
 */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/percent.h"
#include "http/s3-name.h"

/* Has it only characters of bucket names, which may become a part of a host's
 * name?
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

/* "BUCKET" or "TENANT:BUCKET"? */
static bool
is_bucket (const char *s, size_t length)
{
  const size_t tenant = tenant_length (s, length);

  return (tenant == 0 || is_plain (s, tenant - 1)) && length > tenant
         && is_plain (s + tenant, length - tenant) && s[tenant] != '.';
}

/* Is a component of the path "." or ".."?  libcurl removes those from a
 * request's path.
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

bool
s3_is_object (const char *name)
{
  const size_t n = strcspn (name, "/"), length = strlen (name);

  return is_bucket (name, n) && length > n + 1 && name[length - 1] != '/'
         && !has_dots (name + n);
}

/* Amazon's servers expect the bucket in the host's name.  But their
 * certificates do not cover names with more dots, and old buckets have names
 * that no host can have.  Other servers expect the bucket in the path.
 */
static char *
http_text (const char *bucket, const char *key, const struct url_s3 *s3)
{
  const bool path_style
    = s3->endpoint
      || strspn (bucket, "abcdefghijklmnopqrstuvwxyz0123456789-")
           != strlen (bucket);
  char *escaped_bucket = percent_encode_path (bucket);
  char *escaped_key = percent_encode_path (key);
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
  char *bucket, *http;

  if (!is_bucket (name, n) || name[n] != '/')
    return invalid (problem, S3_SYNTAX);
  if (s3->endpoint == NULL && tenant_length (name, n) > 0)
    return invalid (problem, "Amazon S3 has no tenants (name the server that "
                             "has with endpoint-url=)");
  if (has_dots (name + n))
    return invalid (problem, "a key must not have '.' or '..' between "
                             "slashes");
  bucket = strndup (name, n);
  http = bucket ? http_text (bucket, name + n + 1, s3) : NULL;
  free (bucket);
  if (http == NULL) {
    problem_set (problem, "out of memory");
    errno = ENOMEM;
  }
  return http;
}
