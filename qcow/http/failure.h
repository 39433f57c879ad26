/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Why a try failed, in words that say what is at fault: the server, the
 * network or a parameter.
 *
 * Texts of servers and of libcurl are redacted: a server knows the secrets
 * that it was sent, and may repeat them.
 */

#ifndef QCOW_HTTP_FAILURE_H
#define QCOW_HTTP_FAILURE_H

#include <stddef.h>

#include "base/hooks.h"
#include "http/settings.h"
#include "http/target.h"

/* Room for a description, with the end mark. */
#define FAILURE_MAX 512

/* What is known of the try.  All of it belongs to the caller. */
struct failure {
  const struct qcow_hooks *hooks;
  const struct http_settings *settings;
  const struct target *target; /* where it went */
  CURL *easy;                  /* the transfer is over */
  const char *error;           /* libcurl's text, or "" */
  const char *body;            /* the beginning of an error's body */
  size_t body_length;
};

/* Describe a status that is no success: "403 Forbidden (AccessDenied)". */
void failure_of_status (const struct failure *f, long status,
                        char out[FAILURE_MAX]);

/* Describe why there was no response, or not all of it.  CURLE_OK: the server
 * ended it.
 */
void failure_of_transfer (const struct failure *f, CURLcode code,
                          char out[FAILURE_MAX]);

#endif /* QCOW_HTTP_FAILURE_H */
