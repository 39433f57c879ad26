/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the keys for S3 come from, in the order of the AWS CLI: parameters,
 * the environment, a web identity, the profile in the shared files, the
 * container, the instance.
 *
 * Decided once, while there is only one thread; constant afterwards.
 */

#ifndef QCOW_HTTP_CREDENTIALS_SOURCE_H
#define QCOW_HTTP_CREDENTIALS_SOURCE_H

#include "base/error.h"
#include "base/options.h"
#include "http/credentials-file.h"

enum credentials_kind {
  CREDENTIALS_NONE,  /* requests are not signed */
  CREDENTIALS_FIXED, /* the keys are known */

  /* Temporary keys: */
  CREDENTIALS_WEB_IDENTITY, /* STS gives them for a token */
  CREDENTIALS_PROCESS,      /* a command prints them */
  CREDENTIALS_CONTAINER,    /* a server of the container's host */
  CREDENTIALS_METADATA,     /* the metadata service of an EC2 instance */
};

/* Strings belong to the options, or to the profile.  NULL: not set. */
struct credentials_source {
  enum credentials_kind kind;
  const char *access_key, *secret_key, *session_token;
  const char *region; /* of the profile */

  const char *role_arn, *role_session_name;
  const char *process; /* a command line for the shell */
  const char *token;   /* the container's authorization */
  char *token_file;    /* owned; absolute; overrides the token */
  char *url;           /* owned; where to ask for keys */

  struct profile config, shared; /* the profile in the two files */
};

/* Decide.  libcurl must be loaded.  Reads the shared files if the keys, or the
 * region, are not in the options.  0, or -1 with the reason and errno ENOMEM
 * or EINVAL.  The caller calls credentials_source_free, also on failure.
 */
int credentials_source_find (struct credentials_source *source,
                             const struct qcow_http_options *options,
                             struct problem *problem);

void credentials_source_free (struct credentials_source *source);

#endif /* QCOW_HTTP_CREDENTIALS_SOURCE_H */
