/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the keys for S3 come from.  See credentials-source.h.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "http/credentials-source.h"
#include "http/text-file.h"
#include "url/url.h"

static const char *
first (const char *a, const char *b)
{
  return a ? a : b;
}

static int
no_memory (struct problem *problem)
{
  problem_set (problem, "out of memory");
  errno = ENOMEM;
  return -1;
}

__attribute__ ((format (printf, 2, 3))) static int
invalid (struct problem *problem, const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  vsnprintf (problem->text, sizeof problem->text, fmt, args);
  va_end (args);
  errno = EINVAL;
  return -1;
}

/* --- The shared files --- */

static const char *
profile_name (const struct qcow_http_options *o)
{
  return first (first (o->profile, o->aws.profile), "default");
}

/* A file that does not exist, or that this user may not read, is no error:
 * its name is a default, or comes from the environment.
 */
static int
read_file (const char *name, const char *home, enum profile_syntax syntax,
           const char *profile, struct profile *p, struct problem *problem)
{
  char *path = text_file_path (name, home);
  char *text = path ? text_file_read (path) : NULL;
  struct problem why = { "" };
  int r = 0, err = errno;

  if (text) {
    r = profile_parse (text, syntax, profile, p, &why);
    err = errno;
  }
  else if (err != ENOENT && err != ENOTDIR && err != EACCES) {
    r = -1;
    problem_set (&why, "%s", strerrordesc_np (err));
  }
  secret_free_string (text);
  free (path);
  if (r == 0)
    return 0;
  if (err == ENOMEM)
    return no_memory (problem);
  return invalid (problem, "%s: %s", name, why.text);
}

/* Read both files.  Without a home directory those in it do not exist. */
static int
read_profile (struct credentials_source *source,
              const struct qcow_http_options *o, struct problem *problem)
{
  const struct qcow_aws_options *aws = &o->aws;
  const char *name = profile_name (o);
  const char *config = first (aws->config_file, "~/.aws/config");
  const char *shared = first (aws->credentials_file, "~/.aws/credentials");

  if (((aws->home || config[0] != '~')
       && read_file (config, aws->home, PROFILE_CONFIG, name, &source->config,
                     problem)
            == -1)
      || ((aws->home || shared[0] != '~')
          && read_file (shared, aws->home, PROFILE_CREDENTIALS, name,
                        &source->shared, problem)
               == -1))
    return -1;
  if (!source->config.found && !source->shared.found
      && (o->profile || aws->profile))
    return invalid (problem, "there is no profile '%s' in %s or %s", name,
                    config, shared);
  return 0;
}

/* A value of the profile.  What the credentials file says overrides the
 * config file.
 */
static const char *
value_of (const struct credentials_source *source, enum profile_key key)
{
  return first (source->shared.values[key], source->config.values[key]);
}

/* --- The order --- */

static bool
take_keys (struct credentials_source *source, const char *access_key,
           const char *secret_key, const char *session_token)
{
  if (access_key == NULL && secret_key == NULL)
    return false;
  source->kind = CREDENTIALS_FIXED;
  source->access_key = access_key;
  source->secret_key = secret_key;
  source->session_token = session_token;
  return true;
}

static bool
take_options (struct credentials_source *source,
              const struct qcow_s3_options *s3)
{
  return take_keys (source, s3->access_key, s3->secret_key, s3->session_token);
}

/* The keys in one of the files. */
static bool
take_file (struct credentials_source *source, const struct profile *p)
{
  return take_keys (source, p->values[PROFILE_ACCESS_KEY],
                    p->values[PROFILE_SECRET_KEY],
                    p->values[PROFILE_SESSION_TOKEN]);
}

/* A role whose keys STS gives for the keys of another profile. */
static int
check_role (const struct credentials_source *source,
            const struct qcow_http_options *o, struct problem *problem)
{
  if (value_of (source, PROFILE_ROLE_ARN) == NULL
      || value_of (source, PROFILE_WEB_IDENTITY_TOKEN_FILE))
    return 0;
  return invalid (problem,
                  "the profile '%s' has role_arn without "
                  "web_identity_token_file, which is not supported",
                  profile_name (o));
}

/* Refuse a profile whose keys the AWS CLI would get in another way: other keys
 * would be a surprise.
 */
static int
check_supported (const struct credentials_source *source,
                 const struct qcow_http_options *o, struct problem *problem)
{
  static const struct {
    enum profile_key key;
    const char *name;
  } unsupported[] = {
    { PROFILE_SSO_SESSION, "sso_session" },
    { PROFILE_SSO_START_URL, "sso_start_url" },
    { PROFILE_CREDENTIAL_PROCESS, "credential_process" },
  };
  size_t i;

  for (i = 0; i < sizeof unsupported / sizeof unsupported[0]; ++i)
    if (value_of (source, unsupported[i].key))
      return invalid (problem,
                      "the profile '%s' has %s, which is not supported",
                      profile_name (o), unsupported[i].name);
  return 0;
}

/* --- Web identities --- */

/* A URL that is http or https, without a query.  *where is a new string. */
static int
take_url (const char *text, const char *name, char **where,
          struct problem *problem)
{
  const struct url_s3 none = { NULL, "" };
  struct url url = { .name = NULL };
  struct problem why;
  int r = -1;

  if (strncasecmp (text, "http", 4) != 0 || text[strcspn (text, "?#")] != '\0')
    problem_set (&why, "must be an http or https URL without a query");
  else
    r = url_parse (text, &none, &url, &why);
  if (r == 0)
    *where = strdup (url.text);
  url_free (&url);
  if (r == -1)
    return invalid (problem, "%s: %s", name, why.text);
  return *where ? 0 : no_memory (problem);
}

static int
take_sts (struct credentials_source *source, const struct qcow_http_options *o,
          struct problem *problem)
{
  const char *region = first (first (o->s3.region, o->s3_defaults.region),
                              first (source->region, "us-east-1"));

  if (o->aws.sts_endpoint_url)
    return take_url (o->aws.sts_endpoint_url, "the endpoint of STS",
                     &source->url, problem);
  if (asprintf (&source->url, "https://sts.%s.amazonaws.com/", region) != -1)
    return 0;
  source->url = NULL;
  return no_memory (problem);
}

/* Make the name of a file absolute. */
static int
take_token_file (struct credentials_source *source, const char *name,
                 const struct qcow_http_options *o, struct problem *problem)
{
  source->token_file = text_file_path (name, o->aws.home);
  if (source->token_file)
    return 0;
  return errno == ENOMEM
           ? no_memory (problem)
           : invalid (problem, "%s: %s", name, strerrordesc_np (errno));
}

/* Each value is that of the environment, unless the user names a profile, or
 * else that of the profile.
 */
static int
take_web_identity (struct credentials_source *source,
                   const struct qcow_http_options *o, struct problem *problem)
{
  const struct qcow_aws_options none = { .home = NULL };
  const struct qcow_aws_options *aws = o->profile ? &none : &o->aws;
  const char *file
    = first (aws->web_identity_token_file,
             value_of (source, PROFILE_WEB_IDENTITY_TOKEN_FILE));

  if (file == NULL)
    return 0;
  source->kind = CREDENTIALS_WEB_IDENTITY;
  source->role_arn
    = first (aws->role_arn, value_of (source, PROFILE_ROLE_ARN));
  source->role_session_name
    = first (first (aws->role_session_name,
                    value_of (source, PROFILE_ROLE_SESSION_NAME)),
             "nbdkit-qcow");
  if (source->role_arn == NULL)
    return invalid (problem,
                    "a file with the token of a web identity is given "
                    "(%s), but no role",
                    file);
  return take_token_file (source, file, o, problem) == -1
           ? -1
           : take_sts (source, o, problem);
}

int
credentials_source_find (struct credentials_source *source,
                         const struct qcow_http_options *options,
                         struct problem *problem)
{
  const struct qcow_s3_options *own = &options->s3;
  const struct qcow_s3_options *defaults = &options->s3_defaults;
  bool found = take_options (source, own);

  /* As in the AWS CLI, the profile that the user names on the command line
   * overrides the keys in the environment.
   */
  if (!found && options->profile == NULL) {
    found = take_options (source, defaults);
    if (found && own->session_token)
      source->session_token = own->session_token;
  }
  if (found && (own->region || defaults->region))
    return 0;
  if (read_profile (source, options, problem) == -1)
    return -1;
  source->region = value_of (source, PROFILE_REGION);
  if (found)
    return 0;
  if (check_role (source, options, problem) == -1
      || take_web_identity (source, options, problem) == -1)
    return -1;
  if (source->kind != CREDENTIALS_NONE)
    return 0;
  if (check_supported (source, options, problem) == -1)
    return -1;
  if (!take_file (source, &source->shared))
    take_file (source, &source->config);
  return 0;
}

void
credentials_source_free (struct credentials_source *source)
{
  free (source->token_file);
  free (source->url);
  profile_free (&source->config);
  profile_free (&source->shared);
}
