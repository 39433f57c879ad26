/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Judging HTTP responses.  Pure.
 *
 * A response is good only if it says which bytes it has, if these are the
 * bytes that were requested, and if they are of the same version as the bytes
 * before.
 *
 * Source: RFC 9110 (14.4 Content-Range, 8.8 validators, 13.1.1 If-Match).
 */

#ifndef QCOW_HTTP_RESPONSE_H
#define QCOW_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "url/redact.h"

#define VALIDATOR_MAX 512

/* What identifies one version of an object.  Strings that the server does not
 * send are empty.
 */
struct version {
  char etag[VALIDATOR_MAX]; /* without W/, with its quotes */
  bool weak;                /* the etag was weak */
  char last_modified[VALIDATOR_MAX];
  uint64_t size; /* bytes of the whole object */
};

/* The headers of a response, as they came; NULL: missing. */
struct response {
  long status;
  const char *content_range, *content_encoding, *content_length;
  const char *etag, *last_modified;

  /* What messages must not show; as for redact. */
  const struct secrets *secrets, *more_secrets;
};

enum verdict {
  VERDICT_NONE,      /* there is no response yet */
  VERDICT_GOOD,      /* bytes of the object follow */
  VERDICT_EMPTY,     /* the object is empty */
  VERDICT_REDIRECT,  /* to another URL */
  VERDICT_LATER,     /* the server is busy or broken: retry later */
  VERDICT_REFUSED,   /* by its status: a retry is useless */
  VERDICT_CHANGED,   /* it is another version of the object */
  VERDICT_NO_RANGES, /* the server sends all of the object or nothing */
  VERDICT_NONSENSE,  /* anything else; 'problem' has the reason */
};

/* Judge the response to a request for [offset, offset + length).  'known' is
 * the version that was seen before; NULL: this is the first response.  If the
 * response is good, *seen is set to its version, and *good to the number of
 * requested bytes that follow.  'problem' is set for CHANGED and NONSENSE.
 */
enum verdict response_judge (const struct response *response, uint64_t offset,
                             uint64_t length, const struct version *known,
                             struct version *seen, uint64_t *good,
                             struct problem *problem);

/* Parse "bytes 0-99/1234".  A total of '*' becomes UINT64_MAX.  False if the
 * text is anything else.
 */
bool response_content_range (const char *text, uint64_t *first, uint64_t *last,
                             uint64_t *total);

/* The reason phrase of a well-known status, or "". */
const char *response_status_text (long status);

/* Copy to 'out' the Code in the XML that S3 sends with an error, such as
 * "AccessDenied"; "" if there is none.
 */
void response_s3_code (const char *body, size_t length, char *out, size_t max);

#endif /* QCOW_HTTP_RESPONSE_H */
