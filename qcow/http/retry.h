/* SPDX-License-Identifier: BSD-3-Clause
 *
 * When a failed request is retried, and when it fails for good.
 * Pure: the caller supplies the time and a random number.  No locking: all of
 * it belongs to the driver thread.
 */

#ifndef QCOW_HTTP_RETRY_H
#define QCOW_HTTP_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/libcurl.h"

/* The tries of one request so far.  Starts as zeros. */
struct retry {
  unsigned failures;      /* in a row, without progress */
  uint64_t first_failure; /* ms: when the first of these happened */
  bool once;              /* one try only, until a try gets bytes */
  bool asked_original;    /* the remembered target is not used any more */
};

/* How a try failed. */
enum retry_cause {
  RETRY_TRANSIENT, /* the next try can succeed */
  RETRY_PERMANENT, /* the server would respond the same again */
  RETRY_NO_MEMORY, /* on our side */
};

struct retry_failure {
  enum retry_cause cause;
  long status;          /* of the response; 0: there was none */
  uint64_t now;         /* ms */
  uint64_t progress;    /* bytes of the object that this try brought */
  uint64_t retry_after; /* seconds to wait, from the server; 0: none */
  uint64_t random;
  bool remembered; /* the try went to a redirect target that was remembered */
  bool serving;    /* false: the image is being opened */
  bool responded;  /* the server has responded, now or before */
  bool recovered;  /* no request of the object was given up, or one has
                      succeeded since */
};

enum retry_action {
  RETRY_LATER,    /* retry after the delay */
  RETRY_ORIGINAL, /* request the object's own URL at once: the target that was
                     remembered may have expired, or its server be gone */
  RETRY_GIVE_UP,  /* fail: all tries have failed */
  RETRY_FAIL,     /* fail at once */
};

struct retry_decision {
  enum retry_action action;
  uint64_t delay; /* ms; for RETRY_LATER */
  int err;        /* errno value; for RETRY_GIVE_UP and RETRY_FAIL */
};

/* Decide what follows a failure, and note it in *r. */
struct retry_decision retry_decide (struct retry *r,
                                    const struct retry_failure *f);

/* The cause if libcurl ended a transfer with this code.  'known': the object
 * was reached before.
 */
enum retry_cause retry_cause_of_curl (CURLcode code, bool known);

/* True if the bytes that a try brought count as progress. */
bool retry_is_progress (uint64_t bytes);

/* Failed requests of one object.  After a range could not be fetched, every
 * client that waits for it would retry for as long, one after the other.  So
 * for a second, requests for such a range fail at once, and after a request
 * was given up, those for other ranges get one try, until one succeeds.
 * Starts as zeros.
 */
struct retry_history {
  uint64_t given_up; /* ms: when a request was given up; 0: none was, or a
                        request has succeeded since */
  unsigned nr;       /* of failures so far; the last ones are in 'ranges' */
  struct retry_range {
    uint64_t at; /* ms; 0: unused */
    uint64_t from, to;
    bool given_up;
  } ranges[32];
};

/* Note that the bytes in [from, to) could not be fetched. */
void retry_note_failure (struct retry_history *history, uint64_t from,
                         uint64_t to, bool given_up, uint64_t now);
void retry_note_success (struct retry_history *history);

/* True if a new request for [from, to) must fail at once. */
bool retry_is_hopeless (const struct retry_history *history, uint64_t from,
                        uint64_t to, uint64_t now);

/* Begin a new request. */
void retry_begin (struct retry *r, const struct retry_history *history,
                  uint64_t now);

#endif /* QCOW_HTTP_RETRY_H */
