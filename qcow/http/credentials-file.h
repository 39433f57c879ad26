/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The two files in which the clients of AWS keep profiles: "config" and
 * "credentials".  Pure.
 *
 * The syntax is what the AWS CLI accepts: "Configuration and credential file
 * settings" in its user guide.  Messages never quote a line, which can be a
 * secret.
 */

#ifndef QCOW_HTTP_CREDENTIALS_FILE_H
#define QCOW_HTTP_CREDENTIALS_FILE_H

#include <stdbool.h>

#include "base/error.h"

enum profile_key {
  PROFILE_ACCESS_KEY,
  PROFILE_SECRET_KEY,
  PROFILE_SESSION_TOKEN,
  PROFILE_REGION,
  PROFILE_ROLE_ARN,
  PROFILE_ROLE_SESSION_NAME,
  PROFILE_WEB_IDENTITY_TOKEN_FILE,
  PROFILE_CREDENTIAL_PROCESS,
  PROFILE_SSO_SESSION,
  PROFILE_SSO_START_URL,
  PROFILE_NR_KEYS
};

/* What one file says about a profile.  Starts as zeros. */
struct profile {
  bool found;                    /* there is such a section */
  char *values[PROFILE_NR_KEYS]; /* owned; NULL: not set, or empty */
};

enum profile_syntax {
  PROFILE_CONFIG,      /* [profile NAME], or [default] */
  PROFILE_CREDENTIALS, /* [NAME] */
};

/* Add what a file's text says about a profile; the last of several values
 * wins.  0, or -1 with the reason and errno ENOMEM or EINVAL.  The caller
 * calls profile_free, also on failure.
 */
int profile_parse (const char *text, enum profile_syntax syntax,
                   const char *name, struct profile *p,
                   struct problem *problem);

/* Wipe and free the values. */
void profile_free (struct profile *p);

#endif /* QCOW_HTTP_CREDENTIALS_FILE_H */
