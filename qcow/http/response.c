/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Judging HTTP responses.  See response.h.
 */

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/minmax.h"
#include "http/response.h"

/* Parse digits, without sign or space, and move *p past them. */
static bool
parse_number (const char **p, uint64_t *n)
{
  const char *s = *p;

  if (!isdigit ((unsigned char) *s))
    return false;
  for (*n = 0; isdigit ((unsigned char) *s); ++s)
    if (__builtin_mul_overflow (*n, 10, n)
        || __builtin_add_overflow (*n, (uint64_t) (*s - '0'), n))
      return false;
  *p = s;
  return true;
}

static const char *
skip_space (const char *p)
{
  while (*p == ' ' || *p == '\t')
    ++p;
  return p;
}

static bool
parse_total (const char *p, uint64_t *total)
{
  if (*p == '*') {
    *total = UINT64_MAX;
    ++p;
  }
  else if (!parse_number (&p, total) || *total > INT64_MAX)
    return false;
  return *skip_space (p) == '\0';
}

bool
response_content_range (const char *text, uint64_t *first, uint64_t *last,
                        uint64_t *total)
{
  const char *p = skip_space (text);

  if (strncasecmp (p, "bytes", 5) != 0 || (p[5] != ' ' && p[5] != '\t'))
    return false;
  p = skip_space (p + 5);
  if (!parse_number (&p, first) || *p++ != '-' || !parse_number (&p, last)
      || *p++ != '/' || !parse_total (p, total))
    return false;
  return *first <= *last && *last < *total;
}

/* "bytes *" "/0", in a 416: the object is empty. */
static bool
says_empty (const struct response *response)
{
  const char *p
    = response->content_range ? skip_space (response->content_range) : "";
  uint64_t total;

  if (strncasecmp (p, "bytes", 5) != 0)
    return false;
  p = skip_space (p + 5);
  return p[0] == '*' && p[1] == '/' && parse_total (p + 2, &total)
         && total == 0;
}

/* Copy a validator.  One that is too long counts as missing. */
static void
copy (char out[VALIDATOR_MAX], const char *in)
{
  const size_t n = in ? strlen (in) : 0;

  out[0] = '\0';
  if (n > 0 && n < VALIDATOR_MAX)
    memcpy (out, in, n + 1);
}

static void
take_version (const struct response *response, uint64_t total,
              struct version *v)
{
  v->weak = response->etag && strncmp (response->etag, "W/", 2) == 0;
  copy (v->etag, response->etag ? response->etag + (v->weak ? 2 : 0) : NULL);
  copy (v->last_modified, response->last_modified);
  v->size = total;
}

/* A validator that both responses have must be equal.  One can be missing,
 * since several servers can share a name; then the others decide.
 */
static bool
differ (const char *a, const char *b)
{
  return a[0] != '\0' && b[0] != '\0' && strcmp (a, b) != 0;
}

/* True if the server promises that equal ETags mean equal bytes (RFC 9110,
 * 8.8.1).  An ETag without quotes, or with nothing between them, is not one
 * that a server has computed.
 */
static bool
is_strong (const struct version *v)
{
  const size_t n = strlen (v->etag);

  return !v->weak && n > 2 && v->etag[0] == '"' && v->etag[n - 1] == '"';
}

static const char *
show (const struct response *response, char out[REDACTED_MAX],
      const char *text)
{
  redact (out, text, response->secrets, response->more_secrets);
  return out;
}

/* Equal strong ETags identify the bytes.  Last-Modified is weaker: in S3 a
 * change of tags or access rights alone makes it later.
 */
static int
compare (const struct response *response, const struct version *known,
         const struct version *seen, struct problem *problem)
{
  char before[REDACTED_MAX], now[REDACTED_MAX];

  if (seen->size != UINT64_MAX && seen->size != known->size)
    return problem_set (problem,
                        "it had %" PRIu64 " bytes, now it has %" PRIu64,
                        known->size, seen->size);
  if (differ (known->etag, seen->etag))
    return problem_set (problem, "its ETag was %s, now it is %s",
                        show (response, before, known->etag),
                        show (response, now, seen->etag));
  if (is_strong (known) && is_strong (seen))
    return 0; /* they do not differ */
  if (differ (known->last_modified, seen->last_modified))
    return problem_set (problem, "it was last modified %s, now %s",
                        show (response, before, known->last_modified),
                        show (response, now, seen->last_modified));
  return 0;
}

/* 206: a part. */
static enum verdict
judge_part (const struct response *response, uint64_t offset, uint64_t length,
            const struct version *known, struct version *seen, uint64_t *good,
            struct problem *problem)
{
  uint64_t first, last, total;
  char text[REDACTED_MAX];

  if (response->content_encoding
      && strcasecmp (response->content_encoding, "identity") != 0)
    problem_set (problem,
                 "the server sends the bytes in the encoding '%s', which was "
                 "not requested",
                 show (response, text, response->content_encoding));
  else if (response->content_range == NULL)
    problem_set (problem, "the server does not say which bytes it sends (its "
                          "206 response has no Content-Range)");
  else if (!response_content_range (response->content_range, &first, &last,
                                    &total))
    problem_set (problem, "the server's Content-Range is not valid: '%s'",
                 show (response, text, response->content_range));
  else if (known == NULL && total == UINT64_MAX)
    problem_set (problem,
                 "the server does not say how long the file is "
                 "(its Content-Range is '%s')",
                 show (response, text, response->content_range));
  else if (first != offset)
    problem_set (problem,
                 "bytes from offset %" PRIu64 " were requested, but the "
                 "server sends bytes from offset %" PRIu64,
                 offset, first);
  else {
    take_version (response, total, seen);
    if (known && compare (response, known, seen, problem) == -1)
      return VERDICT_CHANGED;
    *good = min64 (last - first + 1, length);
    return VERDICT_GOOD;
  }
  return VERDICT_NONSENSE;
}

enum verdict
response_judge (const struct response *response, uint64_t offset,
                uint64_t length, const struct version *known,
                struct version *seen, uint64_t *good, struct problem *problem)
{
  switch (response->status) {
  case 206:
    return judge_part (response, offset, length, known, seen, good, problem);
  case 200:
    if (known == NULL && response->content_length
        && strcmp (response->content_length, "0") == 0)
      return VERDICT_EMPTY;
    return VERDICT_NO_RANGES;
  case 301:
  case 302:
  case 303:
  case 307:
  case 308:
    return VERDICT_REDIRECT;
  case 408:
  case 425:
  case 429:
  case 500:
  case 502:
  case 503:
  case 504:
    return VERDICT_LATER;
  case 412:
    if (known == NULL)
      return VERDICT_REFUSED;
    problem_set (problem, "the server says that it has another version now");
    return VERDICT_CHANGED;
  case 416:
    if (known == NULL)
      return says_empty (response) ? VERDICT_EMPTY : VERDICT_REFUSED;
    problem_set (problem,
                 "the server says that it has no bytes at offset %" PRIu64,
                 offset);
    return VERDICT_CHANGED;
  default:
    /* An undefined status is like 500 (RFC 9110, 15).  Content delivery
     * networks send those when they can't reach the server.
     */
    return response->status >= 520 ? VERDICT_LATER : VERDICT_REFUSED;
  }
}

const char *
response_status_text (long status)
{
  static const struct {
    long status;
    const char *text;
  } texts[] = {
    { 301, "Moved Permanently" },   { 302, "Found" },
    { 400, "Bad Request" },         { 401, "Unauthorized" },
    { 403, "Forbidden" },           { 404, "Not Found" },
    { 405, "Method Not Allowed" },  { 407, "Proxy Authentication Required" },
    { 408, "Request Timeout" },     { 410, "Gone" },
    { 412, "Precondition Failed" }, { 416, "Range Not Satisfiable" },
    { 429, "Too Many Requests" },   { 500, "Internal Server Error" },
    { 501, "Not Implemented" },     { 502, "Bad Gateway" },
    { 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
  };
  size_t i;

  for (i = 0; i < sizeof texts / sizeof texts[0]; ++i)
    if (texts[i].status == status)
      return texts[i].text;
  return "";
}

void
response_s3_code (const char *body, size_t length, char *out, size_t max)
{
  static const char begin[] = "<Code>";
  const char *p = memmem (body, length, begin, strlen (begin));
  const char *end = body + length;
  size_t n = 0;

  out[0] = '\0';
  if (p == NULL)
    return;
  for (p += strlen (begin); p < end && isalnum ((unsigned char) *p); ++p)
    if (n + 1 < max)
      out[n++] = *p;
  out[p < end && *p == '<' ? n : 0] = '\0';
}
