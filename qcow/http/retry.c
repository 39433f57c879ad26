/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The retry policy.  See retry.h.
 */

#include <errno.h>
#include <stddef.h>

#include "base/backoff.h"
#include "base/minmax.h"
#include "http/retry.h"

#define MAX_RETRY_AFTER 10 /* seconds */

/* While the image is opened a server that responds at all gets more time. */
#define MAX_RETRIES_OF_SERVER_AT_START 6

/* A try that brought this many bytes is no failure. */
#define PROGRESS_BYTES 4096

/* A failed range up to this length is bad as a whole.  A longer one can have
 * good parts.
 */
#define SHORT_RANGE (64U << 10)

bool
retry_is_progress (uint64_t bytes)
{
  return bytes >= PROGRESS_BYTES;
}

static int
errno_of (const struct retry_failure *f)
{
  if (f->cause == RETRY_NO_MEMORY)
    return ENOMEM;
  if (f->cause != RETRY_PERMANENT)
    return EIO;
  switch (f->status) {
  case 404:
  case 410:
    return ENOENT;
  case 401:
  case 403:
    return EACCES;
  default:
    return EIO;
  }
}

static uint64_t
delay_after (const struct retry *r, const struct retry_failure *f)
{
  return max64 (backoff_delay (r->failures, f->random),
                min64 (f->retry_after, MAX_RETRY_AFTER) * 1000);
}

/* True if a try after 'delay' ms would be too late, or one too many. */
static bool
is_last (const struct retry *r, const struct retry_failure *f, uint64_t delay)
{
  const unsigned max_at_start
    = f->responded ? MAX_RETRIES_OF_SERVER_AT_START : BACKOFF_RETRIES_AT_START;

  return r->once || (!f->serving && r->failures > max_at_start)
         || f->now + delay - r->first_failure > BACKOFF_GIVE_UP_MS;
}

static void
note (struct retry *r, const struct retry_failure *f)
{
  if (retry_is_progress (f->progress)) {
    r->failures = 0;
    r->once = false;
  }
  if (f->recovered)
    r->once = false;
  if (r->failures++ == 0)
    r->first_failure = f->now;
}

struct retry_decision
retry_decide (struct retry *r, const struct retry_failure *f)
{
  struct retry_decision d = { .action = RETRY_FAIL, .err = errno_of (f) };

  if (f->cause == RETRY_NO_MEMORY)
    return d;
  if (f->cause == RETRY_TRANSIENT)
    note (r, f);
  if (f->remembered && !r->asked_original) {
    r->asked_original = true;
    d.action = RETRY_ORIGINAL;
  }
  else if (f->cause == RETRY_TRANSIENT) {
    d.delay = delay_after (r, f);
    d.action = is_last (r, f, d.delay) ? RETRY_GIVE_UP : RETRY_LATER;
  }
  return d;
}

enum retry_cause
retry_cause_of_curl (CURLcode code, bool known)
{
  switch (code) {
  case CURLE_OUT_OF_MEMORY:
    return RETRY_NO_MEMORY;
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_RESOLVE_PROXY:
    return known ? RETRY_TRANSIENT : RETRY_PERMANENT;
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_SSL_ENGINE_NOTFOUND:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_NOT_BUILT_IN:
  case CURLE_URL_MALFORMAT:
  case CURLE_BAD_FUNCTION_ARGUMENT:
  case CURLE_SETOPT_OPTION_SYNTAX:
    return RETRY_PERMANENT;
  default:
    return RETRY_TRANSIENT;
  }
}

void
retry_note_failure (struct retry_history *history, uint64_t from, uint64_t to,
                    bool given_up, uint64_t now)
{
  const size_t size = sizeof history->ranges / sizeof history->ranges[0];

  history->ranges[history->nr++ % size]
    = (struct retry_range){ now, from, to, given_up };
  if (given_up)
    history->given_up = now;
}

void
retry_note_success (struct retry_history *history)
{
  history->given_up = 0;
}

/* After a refusal of a long range, only requests that contain all of it are
 * hopeless.
 */
bool
retry_is_hopeless (const struct retry_history *history, uint64_t from,
                   uint64_t to, uint64_t now)
{
  const size_t size = sizeof history->ranges / sizeof history->ranges[0];
  size_t i;

  for (i = 0; i < size; ++i) {
    const struct retry_range *range = &history->ranges[i];

    if (backoff_is_recent (range->at, now) && range->from < to
        && from < range->to
        && (range->given_up || range->to - range->from <= SHORT_RANGE
            || (from <= range->from && range->to <= to)))
      return true;
  }
  return false;
}

void
retry_begin (struct retry *r, const struct retry_history *history,
             uint64_t now)
{
  *r = (struct retry){ .once = backoff_is_recent (history->given_up, now) };
}
