/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Signatures of AWS, version 4, in the Authorization header of a request:
 * "Authenticating Requests (AWS Signature Version 4)" in the API reference
 * of Amazon S3.  Pure: no I/O, no clock, no state.
 *
 * The path is signed as S3 has it: encoded once, and not normalized.  (Other
 * services of AWS want it normalized and encoded twice.)
 */

#ifndef QCOW_HTTP_SIGV4_H
#define QCOW_HTTP_SIGV4_H

#include <stddef.h>

struct sigv4_header {
  const char *name; /* in any case */
  size_t name_length;
  const char *value;
};

/* A request as it is sent.  All of its 'headers' are signed; Host,
 * x-amz-date and, for S3, x-amz-content-sha256 must be among them.
 */
struct sigv4_request {
  const char *method;
  const char *target; /* path and query; percent-encoded */
  const struct sigv4_header *headers;
  size_t nr_headers;
  const char *payload_hash; /* as in x-amz-content-sha256: the SHA-256 of the
                               body in hexadecimal digits, or a word */
};

/* The signer, and the scope of the signature. */
struct sigv4_signer {
  const char *access_key, *secret_key;
  const char *region, *service;
};

/* The value of the Authorization header: a new string.  'date' is the value
 * of x-amz-date, "YYYYMMDDThhmmssZ".  NULL with errno ENOMEM, or EIO: see
 * libgcrypt_reason.  What is derived from the secret key is wiped.
 */
char *sigv4_authorization (const struct sigv4_request *request,
                           const struct sigv4_signer *signer,
                           const char *date);

#endif /* QCOW_HTTP_SIGV4_H */
