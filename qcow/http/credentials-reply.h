/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Temporary keys, and the responses that bring them: JSON from containers,
 * from the metadata of an instance and from commands; XML from STS.  Pure.
 *
 * The responses can be hostile.  Keys must be printable ASCII without spaces,
 * since they become parts of headers.  No reason quotes a response.
 *
 * Sources: "Sourcing credentials with an external process" in the AWS CLI's
 * user guide, "Retrieve security credentials from instance metadata" in that
 * of EC2, and AssumeRoleWithWebIdentity in the API reference of STS.
 */

#ifndef QCOW_HTTP_CREDENTIALS_REPLY_H
#define QCOW_HTTP_CREDENTIALS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The keys of one lifetime.  Starts as zeros. */
struct credentials {
  char *access_key, *secret_key; /* owned */
  char *session_token;           /* owned; NULL: there is none */
  int64_t expires;               /* seconds since 1970; INT64_MAX: never */
};

/* Wipe and free the keys. */
void credentials_free (struct credentials *c);

/* Take keys from a JSON object.  'is_versioned': it must have a "Version" of
 * 1.  0, or -1 with the reason and errno ENOMEM or EINVAL; then *c is zeros.
 */
int credentials_from_json (const char *text, bool is_versioned,
                           struct credentials *c, struct problem *problem);

/* The same for the response of STS. */
int credentials_from_xml (const char *text, struct credentials *c,
                          struct problem *problem);

/* Copy the code of an error in JSON or XML, such as "AccessDenied"; "" if
 * there is none.
 */
void credentials_error_code (const char *text, char *out, size_t max);

/* Parse a time as in RFC 3339, and also without the colon in its offset.
 * False if it is anything else.
 */
bool credentials_parse_time (const char *text, int64_t *seconds);

#endif /* QCOW_HTTP_CREDENTIALS_REPLY_H */
