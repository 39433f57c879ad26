/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The environment variables of AWS's clients.  See options.h.
 */

#include <stdlib.h>

#include "base/options.h"

/* An empty variable counts as unset. */
static const char *
environment (const char *name)
{
  const char *value = getenv (name);

  return value && value[0] != '\0' ? value : NULL;
}

/* The first of two variables that is set. */
static const char *
environment_of (const char *name, const char *other)
{
  const char *value = environment (name);

  return value ? value : environment (other);
}

void
qcow_options_take_environment (struct qcow_options *options)
{
  struct qcow_s3_options *s3 = &options->http.s3_defaults;
  struct qcow_aws_options *aws = &options->http.aws;

  s3->access_key = environment ("AWS_ACCESS_KEY_ID");
  s3->secret_key = environment ("AWS_SECRET_ACCESS_KEY");
  s3->session_token = environment ("AWS_SESSION_TOKEN");
  s3->region = environment_of ("AWS_REGION", "AWS_DEFAULT_REGION");
  s3->endpoint_url
    = environment_of ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
  aws->home = environment ("HOME");
  aws->web_identity_token_file = environment ("AWS_WEB_IDENTITY_TOKEN_FILE");
  aws->role_arn = environment ("AWS_ROLE_ARN");
  aws->role_session_name = environment ("AWS_ROLE_SESSION_NAME");
  aws->sts_endpoint_url
    = environment_of ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL");
  aws->container_relative_uri
    = environment ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  aws->container_full_uri = environment ("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  aws->container_token = environment ("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  aws->container_token_file
    = environment ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  aws->metadata_endpoint = environment ("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  aws->profile = environment_of ("AWS_PROFILE", "AWS_DEFAULT_PROFILE");
  aws->config_file = environment ("AWS_CONFIG_FILE");
  aws->credentials_file = environment ("AWS_SHARED_CREDENTIALS_FILE");
}
