/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an HTTP server answers -> what that means for us.  Pure.
 *
 * Nothing is taken on trust: an answer counts only if it says which bytes
 * it brings, that they are those that were asked for, and that they are of
 * the same version as the bytes before.
 *
 * Source: RFC 9110 (14.4 Content-Range, 8.8 validators, 13.1.1 If-Match).
 */

#ifndef QCOW_HTTP_RESPONSE_H
#define QCOW_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "http/redact.h"

/* What identifies one version of an object.  Strings are empty where the
 * server says nothing.
 */
#define VALIDATOR_MAX 512

struct version {
  char etag[VALIDATOR_MAX]; /* without W/, with its quotes */
  bool weak;                /* the etag was weak */
  char last_modified[VALIDATOR_MAX];
  uint64_t size; /* bytes of the whole object */
};

/* The headers of an answer, as they came; NULL: not there. */
struct response {
  long status;
  const char *content_range, *content_encoding, *content_length;
  const char *etag, *last_modified;

  /* Write what may be shown of a text of the server; NULL: all that is
   * clean.
   */
  void (*show) (void *opaque, char out[REDACTED_MAX], const char *text);
  void *opaque;
};

enum verdict {
  VERDICT_GOOD,      /* bytes follow, see struct good */
  VERDICT_EMPTY,     /* the object has no bytes at all */
  VERDICT_REDIRECT,  /* ask elsewhere */
  VERDICT_LATER,     /* the server is busy or broken: ask again later */
  VERDICT_REFUSED,   /* by its status: asking again is of no use */
  VERDICT_CHANGED,   /* the object is not what it was */
  VERDICT_NO_RANGES, /* the server sends all or nothing */
  VERDICT_NONSENSE,  /* other; the reason is told */
};

struct good {
  uint64_t length; /* so many bytes of those that were asked for follow */
};

/* Judge the answer to a request for [offset, offset + length).  'known' is
 * the version that was seen before; NULL: this is the first answer.  If it is
 * good, *seen is set to what the answer says of the version.  'problem' is
 * set for CHANGED and NONSENSE.
 */
enum verdict response_judge (const struct response *a, uint64_t offset,
                             uint64_t length, const struct version *known,
                             struct version *seen, struct good *good,
                             struct problem *problem);

/* "bytes 0-99/1234" -> the numbers; a total of '*' is UINT64_MAX.  False if
 * it is anything else.
 */
bool response_content_range (const char *text, uint64_t *first, uint64_t *last,
                             uint64_t *total);

/* The words for a status code that people know, or "". */
const char *response_status_text (long status);

/* The Code in the XML that S3 sends with an error: "AccessDenied"; copied to
 * out, or "" if there is none that looks like one.
 */
void response_s3_code (const char *body, size_t length, char *out, size_t max);

#endif /* QCOW_HTTP_RESPONSE_H */
