/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Objects in S3 that http URLs name.  See url-s3.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/percent.h"
#include "http/s3-name.h"
#include "http/url-name.h"
#include "http/url-s3.h"

static bool
has_suffix (const char *s, const char *suffix)
{
  const size_t n = strlen (s), length = strlen (suffix);

  return n >= length && strcmp (s + n - length, suffix) == 0;
}

/* A new string, or NULL: out of memory, or an escaped NUL. */
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

/* Find "s3" in the host "[BUCKET.]s3.[REGION.]amazonaws.com".  NULL: the host
 * is another.
 */
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

/* "BUCKET/KEY" that the URL names.  The bucket is in the host's name if there
 * is something before 's3'.  A new string, or NULL: the URL names no object,
 * or out of memory.
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
  if (object == NULL || s3_is_object (object))
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

  /* Other names of Amazon's servers have other forms. */
  if (s3 == NULL
      && (has_suffix (url->host, ".amazonaws.com")
          || has_suffix (url->host, ".amazonaws.com.cn")))
    return NULL;
  object = object_of (url, s3);
  if (object == NULL)
    return NULL;
  if (region && strncmp (region, "dualstack.", strlen ("dualstack.")) == 0)
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
