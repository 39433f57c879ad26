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

static int
no_memory (struct problem *problem)
{
  problem_set (problem, "out of memory");
  errno = ENOMEM;
  return -1;
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
  return request->url && request->body ? 0 : no_memory (problem);
}

/* --- All sources --- */

int
credentials_steps_request (const struct credentials_source *source,
                           const struct qcow_hooks *hooks,
                           struct credentials_request *request,
                           struct problem *problem)
{
  return request_role (source, hooks, request, problem);
}

int
credentials_steps_take (const struct credentials_source *source,
                        const char *body, struct credentials *c,
                        struct problem *problem)
{
  (void) source;
  return credentials_from_xml (body, c, problem);
}
