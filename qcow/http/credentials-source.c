/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the keys for S3 come from.  See credentials-source.h.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
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
    return problem_no_memory (problem);
  return problem_invalid (problem, "%s: %s", name, why.text);
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
    return problem_invalid (problem, "there is no profile '%s' in %s or %s",
                            name, config, shared);
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

static bool
take_process (struct credentials_source *source)
{
  source->process = value_of (source, PROFILE_CREDENTIAL_PROCESS);
  if (source->process)
    source->kind = CREDENTIALS_PROCESS;
  return source->process != NULL;
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
  return problem_invalid (problem,
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
  };
  size_t i;

  for (i = 0; i < sizeof unsupported / sizeof unsupported[0]; ++i)
    if (value_of (source, unsupported[i].key))
      return problem_invalid (
        problem, "the profile '%s' has %s, which is not supported",
        profile_name (o), unsupported[i].name);
  return 0;
}

/* --- Web identities --- */

/* Parse a URL that is http or https.  *url must be freed on success. */
static int
parse_url (const char *text, const char *name, struct url *url,
           struct problem *problem)
{
  const struct url_s3 none = { NULL, "" };
  struct problem why;
  int err = EINVAL;

  *url = (struct url){ .name = NULL };
  if (strncasecmp (text, "http", 4) != 0)
    problem_set (&why, "must be an http or https URL");
  else if (url_parse (text, &none, url, &why) == 0)
    return 0;
  else
    err = errno;
  url_free (url);
  return err == ENOMEM ? problem_no_memory (problem)
                       : problem_invalid (problem, "%s: %s", name, why.text);
}

/* Take the URL of a service, to which a path can be appended. */
static int
take_endpoint (struct credentials_source *source, const char *text,
               const char *name, struct problem *problem)
{
  struct url url;

  if (text[strcspn (text, "?#")] != '\0')
    return problem_invalid (problem, "%s: must have no query and no fragment",
                            name);
  if (parse_url (text, name, &url, problem) == -1)
    return -1;
  source->url = strdup (url.text);
  url_free (&url);
  return source->url ? 0 : problem_no_memory (problem);
}

static int
take_sts (struct credentials_source *source, const struct qcow_http_options *o,
          struct problem *problem)
{
  const char *region = first (first (o->s3.region, o->s3_defaults.region),
                              first (source->region, "us-east-1"));

  if (o->aws.sts_endpoint_url)
    return take_endpoint (source, o->aws.sts_endpoint_url,
                          "the endpoint of STS", problem);
  if (asprintf (&source->url, "https://sts.%s.amazonaws.com/", region) != -1)
    return 0;
  source->url = NULL;
  return problem_no_memory (problem);
}

/* Make the name of a file absolute. */
static int
take_token_file (struct credentials_source *source, const char *name,
                 const struct qcow_http_options *o, struct problem *problem)
{
  source->token_file = text_file_path (name, o->aws.home);
  if (source->token_file)
    return 0;
  return errno == ENOMEM ? problem_no_memory (problem)
                         : problem_invalid (problem, "%s: %s", name,
                                            strerrordesc_np (errno));
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
    return problem_invalid (problem,
                            "a file with the token of a web identity is given "
                            "(%s), but no role",
                            file);
  return take_token_file (source, file, o, problem) == -1
           ? -1
           : take_sts (source, o, problem);
}

/* --- Containers and instances --- */

/* True if the host of http://HOST:PORT is this machine, or one of the
 * addresses at which Amazon's hosts of containers serve keys.
 */
static bool
is_host_of_containers (const char *origin)
{
  static const char *const hosts[]
    = { "localhost", "169.254.170.2", "169.254.170.23", "[::1]",
        "[fd00:ec2::23]" };
  const char *host = origin + strlen ("http://");
  const size_t n
    = host[0] == '[' ? strcspn (host, "]") + 1 : strcspn (host, ":");
  struct in_addr address;
  char name[INET_ADDRSTRLEN];
  size_t i;

  for (i = 0; i < sizeof hosts / sizeof hosts[0]; ++i)
    if (n == strlen (hosts[i]) && strncasecmp (host, hosts[i], n) == 0)
      return true;
  if (n >= sizeof name)
    return false;
  memcpy (name, host, n);
  name[n] = '\0';
  return inet_pton (AF_INET, name, &address) == 1
         && ntohl (address.s_addr) >> 24 == IN_LOOPBACKNET;
}

static int
take_container_uri (struct credentials_source *source,
                    const struct qcow_aws_options *aws,
                    struct problem *problem)
{
  static const char name[] = "the URI of the container's keys";
  struct url url;

  if (aws->container_relative_uri) {
    if (asprintf (&source->url, "http://169.254.170.2%s",
                  aws->container_relative_uri)
        == -1) {
      source->url = NULL;
      return problem_no_memory (problem);
    }
    return aws->container_relative_uri[0] == '/'
             ? 0
             : problem_invalid (problem, "%s: must begin with '/'", name);
  }
  if (parse_url (aws->container_full_uri, name, &url, problem) == -1)
    return -1;
  if (url_is_https (&url) || is_host_of_containers (url.origin))
    source->url = strdup (url.text);
  else
    errno = EINVAL;
  url_free (&url);
  if (source->url)
    return 0;
  return errno == ENOMEM
           ? problem_no_memory (problem)
           : problem_invalid (
             problem,
             "%s: must be https, or a loopback address, or one of "
             "Amazon's for containers",
             name);
}

static int
take_container (struct credentials_source *source,
                const struct qcow_http_options *o, struct problem *problem)
{
  const struct qcow_aws_options *aws = &o->aws;

  if (aws->container_relative_uri == NULL && aws->container_full_uri == NULL)
    return 0;
  source->kind = CREDENTIALS_CONTAINER;
  source->token = aws->container_token;
  if (aws->container_token_file
      && take_token_file (source, aws->container_token_file, o, problem) == -1)
    return -1;
  return take_container_uri (source, aws, problem);
}

static int
take_metadata (struct credentials_source *source,
               const struct qcow_http_options *o, struct problem *problem)
{
  if (!o->instance_metadata)
    return 0;
  source->kind = CREDENTIALS_METADATA;
  return take_endpoint (
    source, first (o->aws.metadata_endpoint, "http://169.254.169.254"),
    "the endpoint of the instance metadata service", problem);
}

/* Look into the profile, and at what follows it. */
static int
take_elsewhere (struct credentials_source *source,
                const struct qcow_http_options *o, struct problem *problem)
{
  if (check_role (source, o, problem) == -1
      || take_web_identity (source, o, problem) == -1)
    return -1;
  if (source->kind != CREDENTIALS_NONE)
    return 0;
  if (check_supported (source, o, problem) == -1)
    return -1;
  if (take_file (source, &source->shared) || take_process (source)
      || take_file (source, &source->config))
    return 0;
  if (take_container (source, o, problem) == -1)
    return -1;
  return source->kind == CREDENTIALS_NONE ? take_metadata (source, o, problem)
                                          : 0;
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
  return found ? 0 : take_elsewhere (source, options, problem);
}

void
credentials_source_free (struct credentials_source *source)
{
  free (source->token_file);
  free (source->url);
  profile_free (&source->config);
  profile_free (&source->shared);
}
