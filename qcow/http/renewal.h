/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The keys that sign requests to S3, and their renewal before they expire.
 *
 * Keys are renewed by transfers that the driver drives beside those of
 * requests, or by a command, so that no request waits as long as the keys are
 * valid.  A failed
 * renewal is retried, and the keys are used until they expire.
 *
 * No locking: all of it belongs to the driver thread.
 */

#ifndef QCOW_HTTP_RENEWAL_H
#define QCOW_HTTP_RENEWAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/command.h"
#include "base/libcurl.h"
#include "http/credentials-steps.h"
#include "http/settings.h"

struct renewal {
  const struct http_settings *settings;
  bool serving; /* false: the image is being opened */

  struct credentials keys; /* the current ones */
  unsigned generation;     /* their number, from 1; 0: there are none yet */
  unsigned needed;         /* older generations were rejected by the server */
  int64_t renew_at;        /* seconds since 1970 */

  /* Of the last two generations: requests that an older one has signed can
   * still be in-flight.  settings->secrets continues with these lists.
   */
  struct secrets secrets[2];

  bool wanted;            /* a request needs keys */
  uint64_t due;           /* ms: the next transfer does not begin earlier */
  unsigned failures;      /* in a row */
  uint64_t first_failure; /* ms: when the first of these happened */
  bool given_up;          /* do not let requests wait for the renewal */
  char why[512];          /* the last failure */
  unsigned seed;          /* of rand_r */

  struct credentials_steps steps;

  struct command *command; /* that runs; NULL: there is none */

  /* The transfer. */
  CURL *easy; /* NULL: there is none */
  struct credentials_request request;
  char *body;
  size_t length;
  char error[CURL_ERROR_SIZE];
};

/* 0, or -1 with errno ENOMEM. */
int renewal_init (struct renewal *r, struct http_settings *settings);
void renewal_free (struct renewal *r);

enum renewal_state {
  RENEWAL_READY,   /* the keys are valid */
  RENEWAL_WAITING, /* there will be others */
  RENEWAL_FAILED,  /* there are none: see renewal_failure */
};

/* The state for a request that needs keys of this generation, or a later one;
 * 0: any.
 */
enum renewal_state renewal_state (struct renewal *r, unsigned generation);

/* Describe why there are no valid keys. */
void renewal_failure (const struct renewal *r, char *out, size_t max);

/* The server says that the keys of this generation have expired.  False: there
 * is no way to get others.
 */
bool renewal_reject (struct renewal *r, unsigned generation);

/* Begin a renewal that is due.  Returns a new handle if there is a transfer to
 * drive, or NULL.
 */
CURL *renewal_begin (struct renewal *r, uint64_t now);

/* The transfer is over, with this code, and its handle is not in a multi
 * handle any more.
 */
void renewal_end (struct renewal *r, CURLcode code);

/* Look whether a command is over. */
void renewal_step (struct renewal *r);

/* The descriptors of a command, to poll; returns how many there are. */
#define RENEWAL_NR_FDS COMMAND_NR_FDS
unsigned renewal_fds (const struct renewal *r,
                      struct curl_waitfd fds[RENEWAL_NR_FDS]);

/* Give up the transfer, or the command, if there is one. */
void renewal_cancel (struct renewal *r);

/* The time in ms until renewal_step and renewal_begin must be called, at most
 * 'max'.
 */
uint64_t renewal_wait_ms (const struct renewal *r, uint64_t now, uint64_t max);

#endif /* QCOW_HTTP_RENEWAL_H */
