/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests.  See internal.h.
 *
 * A response is judged when its first byte arrives, before that byte is
 * stored.  Redirects are followed here and not by libcurl, which would not
 * keep all secrets from other origins.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/minmax.h"
#include "base/monotonic.h"
#include "http/internal.h"
#include "url/url-name.h"

#define MAX_REDIRECTS 10

/* How often a request is retried with new output of a script. */
#define MAX_REFUSALS 3

/* An error's body is read to its end, so that the connection can be reused,
 * but not if it is longer than this.
 */
#define MAX_ERROR_BODY 65536

/* Kinds of failures (report) that have neither a status nor a CURLcode. */
#define KIND_NO_RANGES 1000
#define KIND_NONSENSE 1001
#define KIND_LIBCURL 1002
#define KIND_KEYS 1003

/* A server that rejects so many generations of keys has another reason, or
 * another time.
 */
#define MAX_REJECTIONS 3

struct request *
request_new (struct http_object *o, struct fetch *f)
{
  struct request *r = calloc (1, sizeof *r);
  size_t i;

  if (r == NULL)
    return NULL;
  r->object = o;
  r->fetch = f;
  for (i = 0; i < f->nr_pieces; ++i)
    r->length += f->pieces[i].length;
  return r;
}

void
request_free_try (struct request *r)
{
  libcurl.easy_cleanup (r->easy);
  libcurl_free_secrets (r->headers);
  r->easy = NULL;
  r->headers = NULL;
}

void
request_free (struct request *r)
{
  request_free_try (r);
  target_release (r->target);
  free (r);
}

static bool
is_redirected (const struct request *r)
{
  return r->target && r->target != r->object->own;
}

static const struct version *
known_version (const struct http_object *o)
{
  return o->known ? &o->version : NULL;
}

/* --- Responses --- */

static const char *
header_value (CURL *easy, const char *name)
{
  struct curl_header *h;

  return libcurl.easy_header (easy, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK
           ? h->value
           : NULL;
}

static void
judge (struct request *r)
{
  struct http_object *o = r->object;
  struct response response = {
    .content_range = header_value (r->easy, "Content-Range"),
    .content_encoding = header_value (r->easy, "Content-Encoding"),
    .content_length = header_value (r->easy, "Content-Length"),
    .etag = header_value (r->easy, "ETag"),
    .last_modified = header_value (r->easy, "Last-Modified"),
    .secrets = &o->http->secrets,
    .more_secrets = &r->target->secrets,
  };
  struct version seen;
  uint64_t length;

  libcurl.easy_getinfo (r->easy, CURLINFO_RESPONSE_CODE, &response.status);
  r->verdict = response_judge (&response, r->fetch->offset + r->filled,
                               r->length - r->filled, known_version (o), &seen,
                               &length, &r->problem);
  if (r->verdict == VERDICT_EMPTY) {
    o->known = true;
    r->length = 0;
  }
  if (r->verdict != VERDICT_GOOD)
    return;
  if (!o->known) {
    o->version = seen;
    o->known = true;
    r->length = min64 (r->length, seen.size);
  }
  r->expected = min64 (r->filled + length, r->length);
}

/* Store bytes of the object. */
static void
take_bytes (struct request *r, const char *bytes, uint64_t n)
{
  struct fetch *f = r->fetch;

  n = min64 (n, r->expected - r->filled);
  r->filled += n;
  while (n > 0) {
    const struct fetch_piece *piece = &f->pieces[r->piece];
    const size_t now = (size_t) min64 (n, piece->length - r->in_piece);

    memcpy (piece->buf + r->in_piece, bytes, now);
    bytes += now;
    n -= now;
    r->in_piece += now;
    if (r->in_piece == piece->length) {
      if (f->piece_done)
        f->piece_done (f, r->piece);
      r->piece++;
      r->in_piece = 0;
    }
  }
}

/* Store bytes of an error's body.  False: it is too long. */
static bool
take_error (struct request *r, const char *bytes, size_t n)
{
  if (r->body_length < sizeof r->body)
    memcpy (r->body + r->body_length, bytes,
            (size_t) min64 (n, sizeof r->body - r->body_length));
  r->body_length += n;
  return r->body_length <= MAX_ERROR_BODY;
}

/* Returning less than the length ends the transfer. */
static size_t
on_body (char *bytes, size_t size, size_t n, void *opaque)
{
  struct request *r = opaque;
  const size_t length = size * n;

  if (r->verdict == VERDICT_NONE)
    judge (r);
  switch (r->verdict) {
  case VERDICT_GOOD:
    if (r->filled == r->expected)
      return 0; /* more than was requested */
    take_bytes (r, bytes, length);
    return length;
  case VERDICT_NO_RANGES:
  case VERDICT_NONSENSE:
    return 0; /* the body can be a whole large file */
  default:
    return take_error (r, bytes, length) ? length : 0;
  }
}

/* --- Beginning a try --- */

/* A request that waits for a retry gets it, even if others fail meanwhile. */
bool
request_is_hopeless (const struct request *r, uint64_t now)
{
  const struct http_object *o = r->object;

  return o->changed
         || (r->began == 0
             && retry_is_hopeless (&o->history, r->fetch->offset,
                                   r->fetch->offset + r->length, now));
}

/* After a redirect the target is set.  Else begin at the remembered target, or
 * at the object's own URL.
 */
static struct target *
next_target (const struct request *r)
{
  const struct http_object *o = r->object;

  if (r->hops > 0)
    return r->target;
  return o->remembered && !r->retry.asked_original ? o->remembered : o->own;
}

static void
choose_target (struct request *r)
{
  struct target *next = target_share (next_target (r));

  target_release (r->target);
  r->target = next;
}

bool
request_is_for_own (const struct request *r)
{
  return handle_is_own (r->object->http, &next_target (r)->url);
}

CURLcode
request_begin_try (struct request *r)
{
  const struct http_object *o = r->object;

  if (r->began == 0)
    retry_begin (&r->retry, &o->history, monotonic_ms ());
  choose_target (r);
  r->verdict = VERDICT_NONE;
  r->body_length = 0;
  r->generation = 0;
  r->filled_before = r->expected = r->filled;
  r->began = monotonic_ms ();
  r->error[0] = '\0';
  scripts_note_use (o->http, r->script_outputs);
  r->easy = libcurl.easy_init ();
  if (r->easy == NULL)
    return CURLE_OUT_OF_MEMORY;
  return handle_set_up (r, on_body);
}

/* --- Failures --- */

/* Report an error and set errno.  Of several errors of one object in a minute
 * that have the same 'kind' (a status, a CURLcode or KIND_*), only the first
 * is reported.
 */
static void
report (const struct request *r, int err, unsigned kind, const char *why)
{
  struct http_object *o = r->object;
  const struct qcow_hooks *hooks = o->http->hooks;
  const struct reference *ref = o->known ? NULL : o->ref;
  char tries[64] = "", what[96] = "can't open it";
  char shown[REDACTED_MAX], via[REDACTED_MAX + 32] = "";
  struct hint_room room;

  error_filter_each_minute (&o->errors, monotonic_ms ());
  if (is_redirected (r)) {
    request_redact (r, shown, error_name (hooks, r->target->url.name));
    snprintf (via, sizeof via, " (redirected to %s)", shown);
  }
  if (r->retry.failures > 1)
    snprintf (tries, sizeof tries, ", after %u tries", r->retry.failures);
  if (o->known)
    snprintf (what, sizeof what, "can't read %" PRIu64 " bytes at 0x%" PRIx64,
              r->length, r->fetch->offset);
  if (ref && ref->image)
    error_report_once (&o->errors, kind, hooks, err, ref->image,
                       "can't open the %s " NAMED "%s: %s%s%s", ref->what,
                       NAMED_ARGS (ref->name, o->own->url.name), via, why,
                       tries,
                       err == ENOENT ? error_hint_with (hooks, ref->hint,
                                                        ref->hint_value, &room)
                                     : "");
  else
    error_report_once (&o->errors, kind, hooks, err, o->own->url.name,
                       "%s%s: %s%s", what, via, why, tries);
}

void
request_fail_in_libcurl (const struct request *r, bool no_memory,
                         const char *why)
{
  char text[256];

  snprintf (text, sizeof text, "libcurl failed: %s", why);
  report (r, no_memory ? ENOMEM : EIO, KIND_LIBCURL, text);
}

void
request_fail_without_keys (const struct request *r)
{
  char text[FAILURE_MAX];

  renewal_failure (&r->object->http->renewal, text, sizeof text);
  report (r, EIO, KIND_KEYS, text);
}

static void
report_change (struct request *r)
{
  struct http_object *o = r->object;

  if (!o->changed)
    error_report (o->http->hooks, EIO, o->own->url.name,
                  "the file was changed while it was being served: %s; "
                  "it is not read any more until the server is restarted",
                  r->problem.text);
  o->changed = true;
  errno = EIO;
}

static void
forget_target (struct request *r)
{
  struct http_object *o = r->object;

  if (o->remembered == r->target) {
    target_release (o->remembered);
    o->remembered = NULL;
  }
}

static struct retry_decision
decide (struct request *r, enum retry_cause cause)
{
  struct http *h = r->object->http;
  struct retry_failure f = {
    .cause = cause,
    .now = monotonic_ms (),
    .progress = r->filled - r->filled_before,
    .random = (uint64_t) rand_r (&h->seed),
    .remembered = r->hops == 0 && is_redirected (r),
    .serving = h->serving,
    .recovered = r->object->history.given_up == 0,
  };
  curl_off_t after = 0;

  libcurl.easy_getinfo (r->easy, CURLINFO_RESPONSE_CODE, &f.status);
  f.responded = r->object->known || f.status > 0;
  libcurl.easy_getinfo (r->easy, CURLINFO_RETRY_AFTER, &after);
  if (after > 0)
    f.retry_after = (uint64_t) after;
  return retry_decide (&r->retry, &f);
}

/* The try failed.  'kind' is as for report; the rest is the reason. */
__attribute__ ((format (printf, 4, 5))) static enum request_next
failed (struct request *r, enum retry_cause cause, unsigned kind,
        const char *fmt, ...)
{
  const struct retry_decision d = decide (r, cause);
  const uint64_t now = monotonic_ms (), begin = r->fetch->offset;
  char why[2048];
  va_list args;

  va_start (args, fmt);
  vsnprintf (why, sizeof why, fmt, args);
  va_end (args);
  switch (d.action) {
  case RETRY_LATER:
    /* Do not stay at a redirect target: its server may be broken. */
    r->hops = 0;
    r->due = now + d.delay;
    snprintf (r->why, sizeof r->why, "%.*s", FAILURE_MAX - 1, why);
    error_debug (r->object->http->hooks, r->object->own->url.name,
                 "%s; next try in %" PRIu64 " ms", why, d.delay);
    return REQUEST_AGAIN;
  case RETRY_ORIGINAL:
    forget_target (r);
    r->due = 0;
    return REQUEST_AGAIN;
  case RETRY_GIVE_UP:
  case RETRY_FAIL:
    break;
  }
  if (cause != RETRY_NO_MEMORY)
    retry_note_failure (&r->object->history, begin + r->filled,
                        begin + r->length, d.action == RETRY_GIVE_UP, now);
  if (r->verdict == VERDICT_CHANGED)
    report_change (r);
  else
    report (r, d.err, kind, why);
  return REQUEST_FAIL;
}

static enum request_next
failed_by_status (struct request *r, enum retry_cause cause, long status)
{
  char why[FAILURE_MAX];

  failure_of_status (r, status, why);
  return failed (r, cause, (unsigned) status, "%s%s", why,
                 status == 416 ? " (is it empty?)" : "");
}

/* Retry if the server has refused what a script has printed, and the script
 * can print something else.
 */
static bool
is_for_scripts (struct request *r, long status)
{
  struct http *h = r->object->http;

  if ((status != 401 && status != 403) || r->refusals == MAX_REFUSALS
      || !handle_is_own (h, &r->target->url)
      || !scripts_refused (h, r->script_outputs))
    return false;
  r->refusals++;
  r->due = 0;
  return true;
}

/* True if the server says that the keys have expired, and there will be
 * others.
 */
static bool
wait_for_keys (struct request *r)
{
  char code[64];

  response_s3_code (r->body, (size_t) min64 (r->body_length, sizeof r->body),
                    code, sizeof code);
  if (r->generation == 0 || strcmp (code, "ExpiredToken") != 0
      || r->rejections++ >= MAX_REJECTIONS
      || !renewal_reject (&r->object->http->renewal, r->generation))
    return false;
  r->keys_needed = r->generation + 1;
  r->hops = 0;
  r->due = 0;
  return true;
}

static enum request_next
failed_in_transfer (struct request *r, CURLcode code)
{
  const enum retry_cause cause = retry_cause_of_curl (code, r->object->known);
  char why[FAILURE_MAX];

  failure_of_transfer (r, code, why);
  return failed (r, cause, (unsigned) code, "%s",
                 cause == RETRY_NO_MEMORY ? "out of memory" : why);
}

/* --- Redirects --- */

/* Take a redirect's URL, if it may be followed.  0, or -1, the reason, and
 * errno ENOMEM or EINVAL.  (A redirect to s3:// is refused.)
 */
static int
take_location (const struct request *r, const char *location, struct url *next,
               struct problem *problem)
{
  const struct http_settings *s = &r->object->http->settings;
  const struct url_s3 none = { NULL, "" };

  if (strncasecmp (location, "http", 4) != 0)
    problem_set (problem, "only http and https URLs are");
  else if (url_parse (location, &none, next, problem) == -1)
    return -1;
  else if (!s->options.followlocation)
    problem_set (problem, "followlocation=false was given");
  else if (r->hops >= MAX_REDIRECTS)
    problem_set (problem, "there were %d redirects before", MAX_REDIRECTS);
  else if (url_is_https (&r->target->url) && !url_is_https (next))
    problem_set (problem, "it leads from https to http");
  else if (url_is_https (next) ? !s->allow_https : !s->allow_http)
    problem_set (problem, "protocols= does not allow it");
  else
    return 0;
  errno = EINVAL;
  return -1;
}

static enum request_next
failed_without_location (struct request *r, long status)
{
  char why[FAILURE_MAX];

  failure_of_status (r, status, why);
  return failed (r, RETRY_PERMANENT, (unsigned) status,
                 "%s, but not where to%s", why,
                 r->object->own->url.s3 ? " (is the region right?)" : "");
}

/* 'next' is the URL as far as it could be parsed. */
static enum request_next
failed_to_follow (struct request *r, long status, const char *location,
                  const struct url *next, const struct problem *problem)
{
  char shown[REDACTED_MAX];
  struct url_room room;

  request_redact (
    r, shown,
    error_name (r->object->http->hooks,
                next->name ? next->name : url_hide (location, &room)));
  return failed (
    r, RETRY_PERMANENT, (unsigned) status,
    "the web server redirects to %s, which is not followed: %.500s", shown,
    problem->text);
}

static enum request_next
follow (struct request *r, long status)
{
  struct url next = { .name = NULL };
  struct target *target = NULL;
  struct problem problem;
  char *location = NULL;
  enum request_next then;

  libcurl.easy_getinfo (r->easy, CURLINFO_REDIRECT_URL, &location);
  if (location == NULL)
    return failed_without_location (r, status);
  if (take_location (r, location, &next, &problem) == 0)
    target = target_new (&next, r->target);
  if (target) {
    target_release (r->target);
    r->target = target;
    r->hops++;
    r->due = 0;
    return REQUEST_AGAIN;
  }
  then = errno == ENOMEM
           ? failed (r, RETRY_NO_MEMORY, (unsigned) status, "out of memory")
           : failed_to_follow (r, status, location, &next, &problem);
  url_free (&next);
  return then;
}

/* --- Ending a try --- */

/* Note the time from sending the request to the response's first byte. */
static void
note_latency (const struct request *r)
{
  curl_off_t sent = 0, responded = 0;

  libcurl.easy_getinfo (r->easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
  libcurl.easy_getinfo (r->easy, CURLINFO_STARTTRANSFER_TIME_T, &responded);
  if (responded > sent)
    transport_note_latency (&r->object->transport,
                            (uint64_t) (responded - sent));
}

/* The next request begins where redirects led this one. */
static void
remember_target (struct request *r)
{
  struct http_object *o = r->object;

  if (r->hops == 0)
    return;
  target_release (o->remembered);
  o->remembered = target_share (r->target);
}

/* Decide what follows a good response, which may be short. */
static enum request_next
after_good_response (struct request *r, CURLcode code)
{
  if (r->filled == r->length) {
    note_latency (r);
    remember_target (r);
    retry_note_success (&r->object->history);
    return REQUEST_DONE;
  }
  if (r->filled < r->expected)
    return failed_in_transfer (r, code);
  if (!retry_is_progress (r->filled - r->filled_before))
    return failed (r, RETRY_TRANSIENT, 206,
                   "the web server sent almost nothing");
  r->due = 0;
  return REQUEST_AGAIN;
}

static void
debug_try (const struct request *r, long status, CURLcode code)
{
  const struct http *h = r->object->http;
  char name[REDACTED_MAX];

  if (!h->debug)
    return;
  if (is_redirected (r))
    request_redact (r, name, r->target->url.name);
  error_debug (h->hooks, is_redirected (r) ? name : r->object->own->url.name,
               "GET bytes=%" PRIu64 "-%" PRIu64 ": status %ld, %" PRIu64
               " bytes, %" PRIu64 " ms%s%s",
               r->fetch->offset + r->filled_before,
               r->fetch->offset + r->length - 1, status,
               r->filled - r->filled_before, monotonic_ms () - r->began,
               code == CURLE_OK ? "" : ": ",
               code == CURLE_OK ? "" : libcurl.easy_strerror (code));
}

enum request_next
request_end_try (struct request *r, CURLcode code)
{
  long status = 0;

  libcurl.easy_getinfo (r->easy, CURLINFO_RESPONSE_CODE, &status);
  if (r->verdict == VERDICT_NONE && code == CURLE_OK)
    judge (r); /* a response without a body */
  debug_try (r, status, code);

  switch (r->verdict) {
  case VERDICT_NONE:
    return failed_in_transfer (r, code);
  case VERDICT_GOOD:
    return after_good_response (r, code);
  case VERDICT_EMPTY:
    return REQUEST_DONE;
  case VERDICT_REDIRECT:
    return follow (r, status);
  case VERDICT_LATER:
    return failed_by_status (r, RETRY_TRANSIENT, status);
  case VERDICT_REFUSED:
    if (is_for_scripts (r, status) || wait_for_keys (r))
      return REQUEST_AGAIN;
    return failed_by_status (r, RETRY_PERMANENT, status);
  case VERDICT_NO_RANGES:
    return failed (r, RETRY_PERMANENT, KIND_NO_RANGES,
                   "the web server does not support range requests (it sends "
                   "the whole file when a part is requested), so images can't "
                   "be read from it");
  case VERDICT_CHANGED:
  case VERDICT_NONSENSE:
    break;
  }
  return failed (r, RETRY_PERMANENT, KIND_NONSENSE, "%s", r->problem.text);
}
