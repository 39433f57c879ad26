/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The requests that get temporary keys.  See credentials-steps.h.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/keep-errno.h"
#include "base/secret.h"
#include "http/credentials-steps.h"
#include "http/text-file.h"
#include "url/percent.h"

void
credentials_request_free (struct credentials_request *r)
{
  KEEP_ERRNO;

  free (r->url);
  secret_free_string (r->body);
  libcurl_free_secrets (r->headers);
  *r = (struct credentials_request){ .url = NULL };
}

/* Read a token: a file's text without white space at its end.  NULL with the
 * reason and errno.
 */
static char *
read_token (const char *path, const struct qcow_hooks *hooks,
            struct problem *problem)
{
  char *token = text_file_read (path);
  size_t n;

  if (token == NULL) {
    const int err = errno;

    problem_set (problem, "can't read the token in %s: %s",
                 error_name (hooks, path), strerrordesc_np (err));
    errno = err;
    return NULL;
  }
  for (n = strlen (token); n > 0 && strchr (" \t\r\n", token[n - 1]); --n)
    token[n - 1] = '\0';
  if (n > 0)
    return token;
  secret_free_string (token);
  problem_set (problem, "the file %s is empty", error_name (hooks, path));
  errno = ENODATA;
  return NULL;
}

/* --- STS --- */

/* Append "NAME=VALUE", with the value encoded, and return the end. */
static char *
put_parameter (char *out, const char *name, const char *value)
{
  out = stpcpy (out, name);
  *out++ = '=';
  for (; *value; ++value)
    if (percent_is_unreserved ((unsigned char) *value))
      *out++ = *value;
    else
      out = percent_encode (out, (unsigned char) *value);
  *out = '\0';
  return out;
}

/* AssumeRoleWithWebIdentity: the token authenticates the request, so it needs
 * no signature.
 */
static int
request_role (const struct credentials_source *source,
              const struct qcow_hooks *hooks,
              struct credentials_request *request, struct problem *problem)
{
  char *token = read_token (source->token_file, hooks, problem), *p;

  if (token == NULL)
    return -1;
  request->server = "STS";
  request->method = "POST";
  request->url = strdup (source->url);
  request->body = p = malloc (128
                              + 3
                                  * (strlen (token) + strlen (source->role_arn)
                                     + strlen (source->role_session_name)));
  if (p) {
    p = put_parameter (p, "Action", "AssumeRoleWithWebIdentity");
    p = put_parameter (p, "&Version", "2011-06-15");
    p = put_parameter (p, "&RoleArn", source->role_arn);
    p = put_parameter (p, "&RoleSessionName", source->role_session_name);
    put_parameter (p, "&WebIdentityToken", token);
  }
  secret_free_string (token);
  return request->url && request->body ? 0 : problem_no_memory (problem);
}

/* --- Containers --- */

/* True if it can be the value of a header. */
static bool
is_header_value (const char *text)
{
  for (; *text; ++text)
    if ((unsigned char) *text < ' ' || *text > '~')
      return false;
  return true;
}

/* Append a header with a secret. */
static int
add_header (struct credentials_request *request, const char *name,
            const char *value, struct problem *problem)
{
  char *line;
  int r;

  if (!is_header_value (value))
    return problem_invalid (problem,
                            "the token has a line break, or is no text");
  if (asprintf (&line, "%s: %s", name, value) == -1)
    return problem_no_memory (problem);
  r = libcurl_append (&request->headers, line);
  secret_free_string (line);
  return r == 0 ? 0 : problem_no_memory (problem);
}

static int
request_container (const struct credentials_source *source,
                   const struct qcow_hooks *hooks,
                   struct credentials_request *request,
                   struct problem *problem)
{
  char *token = NULL;
  int r = 0;

  request->server = "the server of the container's keys";
  request->method = "GET";
  request->is_local = true;
  request->url = strdup (source->url);
  if (request->url == NULL)
    return problem_no_memory (problem);
  if (source->token_file) {
    token = read_token (source->token_file, hooks, problem);
    r = token ? add_header (request, "Authorization", token, problem) : -1;
  }
  else if (source->token)
    r = add_header (request, "Authorization", source->token, problem);
  if (token) {
    KEEP_ERRNO;
    secret_free_string (token);
  }
  return r;
}

/* --- The metadata of an instance, version 2 --- */

#define TOKEN_PATH "/latest/api/token"
#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"

/* Get a token, with it the name of the role, and with both the keys. */
static int
request_metadata (const struct credentials_source *source,
                  const struct credentials_steps *steps,
                  struct credentials_request *request, struct problem *problem)
{
  size_t n = strlen (source->url);

  while (n > 0 && source->url[n - 1] == '/')
    --n;
  request->server = "the instance metadata service";
  request->method = steps->token ? "GET" : "PUT";
  request->is_local = true;
  if (asprintf (&request->url, "%.*s%s%s", (int) n, source->url,
                steps->token ? ROLES_PATH : TOKEN_PATH,
                steps->role ? steps->role : "")
      == -1) {
    request->url = NULL;
    return problem_no_memory (problem);
  }
  return steps->token
           ? add_header (request, "X-aws-ec2-metadata-token", steps->token,
                         problem)
           : add_header (request, "X-aws-ec2-metadata-token-ttl-seconds",
                         "21600", problem);
}

/* Take the first line of a response.  1, or -1 as credentials_steps_take. */
static int
take_line (const char *body, char **line, const char *what,
           struct problem *problem)
{
  const size_t n = strcspn (body, "\r\n");

  *line = strndup (body, n);
  if (*line == NULL)
    return problem_no_memory (problem);
  if (n > 0 && is_header_value (*line))
    return 1;
  secret_free_string (*line);
  *line = NULL;
  return problem_invalid (problem, "the response has no %s", what);
}

static int
take_metadata (struct credentials_steps *steps, const char *body,
               struct credentials *c, struct problem *problem)
{
  char *role = NULL;

  if (steps->token == NULL)
    return take_line (body, &steps->token, "token", problem);
  if (steps->role)
    return credentials_from_json (body, false, c, problem);
  if (take_line (body, &role, "role", problem) == -1 || role == NULL)
    return -1;
  steps->role = percent_encode_path (role);
  free (role);
  return steps->role ? 1 : problem_no_memory (problem);
}

/* --- All sources --- */

void
credentials_steps_reset (struct credentials_steps *steps)
{
  KEEP_ERRNO;

  secret_free_string (steps->token);
  free (steps->role);
  *steps = (struct credentials_steps){ .token = NULL };
}

int
credentials_steps_request (const struct credentials_source *source,
                           const struct credentials_steps *steps,
                           const struct qcow_hooks *hooks,
                           struct credentials_request *request,
                           struct problem *problem)
{
  switch (source->kind) {
  case CREDENTIALS_CONTAINER:
    return request_container (source, hooks, request, problem);
  case CREDENTIALS_METADATA:
    return request_metadata (source, steps, request, problem);
  default:
    return request_role (source, hooks, request, problem);
  }
}

int
credentials_steps_take (const struct credentials_source *source,
                        struct credentials_steps *steps, const char *body,
                        struct credentials *c, struct problem *problem)
{
  switch (source->kind) {
  case CREDENTIALS_CONTAINER:
    return credentials_from_json (body, false, c, problem);
  case CREDENTIALS_METADATA:
    return take_metadata (steps, body, c, problem);
  default:
    return credentials_from_xml (body, c, problem);
  }
}
