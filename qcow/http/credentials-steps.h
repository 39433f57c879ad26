/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The HTTP requests that get temporary keys from a source, one after the
 * other.  No I/O, but for the files with tokens.
 */

#ifndef QCOW_HTTP_CREDENTIALS_STEPS_H
#define QCOW_HTTP_CREDENTIALS_STEPS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/hooks.h"
#include "base/libcurl.h"
#include "http/credentials-reply.h"
#include "http/credentials-source.h"

/* A request.  Starts as zeros. */
struct credentials_request {
  const char *server; /* for messages: "STS" */
  const char *method;
  char *url;                  /* owned */
  char *body;                 /* owned; NULL: there is none */
  struct curl_slist *headers; /* owned */
  bool is_local;              /* not through a proxy, and with short limits */
};

/* Wipe and free what is owned.  Keeps errno. */
void credentials_request_free (struct credentials_request *r);

/* What earlier requests have brought.  Starts as zeros. */
struct credentials_steps {
  char *token; /* owned; of the metadata service */
  char *role;  /* owned; of the instance */
};

/* Begin anew.  Keeps errno. */
void credentials_steps_reset (struct credentials_steps *steps);

/* Make the next request.  0, or -1 with the reason and errno; ENOMEM, or that
 * of reading a file.  The caller frees it, also on failure.
 */
int credentials_steps_request (const struct credentials_source *source,
                               const struct credentials_steps *steps,
                               const struct qcow_hooks *hooks,
                               struct credentials_request *request,
                               struct problem *problem);

/* Take the body of the successful response to that request.  0: *c has new
 * keys.  1: there is another request to make.  -1: the reason and errno ENOMEM
 * or EINVAL.
 */
int credentials_steps_take (const struct credentials_source *source,
                            struct credentials_steps *steps, const char *body,
                            struct credentials *c, struct problem *problem);

#endif /* QCOW_HTTP_CREDENTIALS_STEPS_H */
