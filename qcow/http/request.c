/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One fetch: what is asked, what the answer is worth, what comes next.
 *
 * An answer is judged when its first byte comes, before that byte goes
 * anywhere.  What is secret goes to the user's own origin and nowhere else,
 * so redirects are followed here and not by libcurl, which knows of fewer
 * secrets than we do.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"
#include "http/url-show.h"

/* Hardly any progress for so long: something between us is broken, or
 * somebody wants to keep us waiting.
 */
#define STALL_SECONDS 15L
#define STALL_BYTES_PER_SECOND 256L

/* While serving, retry for so long: the restart of a gateway takes half a
 * minute, and guests would not wait much longer than a minute.
 */
#define GIVE_UP_MS 45000
#define FIRST_DELAY_MS 250
#define MAX_DELAY_MS 8000
#define MAX_RETRY_AFTER 10 /* seconds */

/* At the start somebody sits at a terminal, and the name of a server may be
 * just wrong; one that responds at all gets more time.
 */
#define MAX_RETRIES_AT_START 2
#define MAX_RETRIES_OF_SERVER_AT_START 6

/* A try that got so far is no failure. */
#define PROGRESS_BYTES 4096

#define MAX_REDIRECTS 10

/* An error's body is read to its end, so that the connection can be used
 * again, but not if it is longer than that.
 */
#define MAX_ERROR_BODY 65536

static const struct version *
known_version (const struct http_object *o)
{
  return o->known ? &o->version : NULL;
}

static void
show_in_response (void *opaque, char out[REDACTED_MAX], const char *text)
{
  const struct request *r = opaque;

  request_show (r->object->http, r, out, text);
}

/* --- Answers --- */

static const char *
header_value (CURL *easy, const char *name)
{
  struct curl_header *h;

  return curl_easy_header (easy, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK
           ? h->value
           : NULL;
}

static void
judge (struct request *r)
{
  struct http_object *o = r->object;
  struct response a = {
    .content_range = header_value (r->easy, "Content-Range"),
    .content_encoding = header_value (r->easy, "Content-Encoding"),
    .content_length = header_value (r->easy, "Content-Length"),
    .etag = header_value (r->easy, "ETag"),
    .last_modified = header_value (r->easy, "Last-Modified"),
    .show = show_in_response,
    .opaque = r,
  };
  struct version seen;
  struct good good;

  curl_easy_getinfo (r->easy, CURLINFO_RESPONSE_CODE, &a.status);
  r->judged = true;
  r->verdict
    = response_judge (&a, r->fetch->offset + r->filled, r->length - r->filled,
                      known_version (o), &seen, &good, &r->problem);
  if (r->verdict == VERDICT_EMPTY) {
    o->known = true;
    r->length = 0;
  }
  if (r->verdict != VERDICT_GOOD)
    return;
  if (!o->known) {
    o->version = seen;
    o->known = true;
    if (seen.size < r->length)
      r->length = seen.size;
  }
  r->expected = r->filled + good.length;
  if (r->expected > r->length)
    r->expected = r->length;
}

/* Bytes of the object. */
static void
take_bytes (struct request *r, const char *bytes, uint64_t n)
{
  struct fetch *f = r->fetch;

  if (n > r->expected - r->filled)
    n = r->expected - r->filled;
  r->filled += n;
  while (n > 0) {
    const struct fetch_piece *piece = &f->pieces[r->piece];
    const size_t room = piece->length - r->in_piece;
    const size_t now = n < room ? (size_t) n : room;

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

/* Returning less than 'length' ends the transfer. */
static size_t
on_body (char *bytes, size_t size, size_t n, void *opaque)
{
  struct request *r = opaque;
  const size_t length = size * n;

  if (!r->judged)
    judge (r);
  switch (r->verdict) {
  case VERDICT_GOOD:
    if (r->filled == r->expected)
      return 0; /* more than was asked for */
    take_bytes (r, bytes, length);
    return length;
  case VERDICT_NO_RANGES:
  case VERDICT_NONSENSE:
    return 0; /* perhaps all of a large file */
  default:
    break;
  }
  if (r->body_length + length > MAX_ERROR_BODY)
    return 0;
  if (r->body_length < sizeof r->body)
    memcpy (r->body + r->body_length, bytes,
            length < sizeof r->body - r->body_length
              ? length
              : sizeof r->body - r->body_length);
  r->body_length += length;
  return length;
}

/* --- Requests --- */

#define SET(easy, option, value)                                              \
  do {                                                                        \
    const CURLcode set = curl_easy_setopt (easy, option, value);              \
                                                                              \
    if (set != CURLE_OK)                                                      \
      return set;                                                             \
  } while (0)

static CURLcode
prepare_tls (const struct http_settings *s, CURL *easy)
{
  SET (easy, CURLOPT_SSL_VERIFYPEER, s->sslverify ? 1L : 0L);
  SET (easy, CURLOPT_SSL_VERIFYHOST, s->sslverify ? 2L : 0L);
  if (s->cainfo == NULL && s->capath == NULL)
    return CURLE_OK; /* the system's */
  /* Both, for libcurl has a default for each. */
  SET (easy, CURLOPT_CAINFO,
       s->cainfo && s->cainfo[0] != '\0' ? s->cainfo : NULL);
  SET (easy, CURLOPT_CAPATH, s->capath);
  return CURLE_OK;
}

CURLcode
request_prepare_handle (const struct http *h, CURL *easy)
{
  const struct http_settings *s = &h->settings;

  SET (easy, CURLOPT_NOSIGNAL, 1L);
  SET (easy, CURLOPT_QUICK_EXIT, 1L);
  SET (easy, CURLOPT_FOLLOWLOCATION, 0L);
  SET (easy, CURLOPT_PROTOCOLS_STR, "http,https");
  /* Dots are removed before, and a signature is of the path as it is. */
  SET (easy, CURLOPT_PATH_AS_IS, 1L);
  SET (easy, CURLOPT_HTTP_VERSION, s->http_version);
  SET (easy, CURLOPT_PIPEWAIT,
       s->http_version > CURL_HTTP_VERSION_1_1 ? 1L : 0L);
  /* Fewer system calls than with the usual 16 KiB.  It is allocated for each
   * request, and what malloc would map for that costs more than it gains.
   */
  SET (easy, CURLOPT_BUFFERSIZE, 64L << 10);
  SET (easy, CURLOPT_CONNECTTIMEOUT, STALL_SECONDS);
  SET (easy, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES_PER_SECOND);
  SET (easy, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
  SET (easy, CURLOPT_TIMEOUT, s->timeout);
  SET (easy, CURLOPT_TCP_KEEPALIVE, s->tcp_keepalive ? 1L : 0L);
  if (s->user_agent)
    SET (easy, CURLOPT_USERAGENT, s->user_agent);
  if (s->unix_socket_path)
    SET (easy, CURLOPT_UNIX_SOCKET_PATH, s->unix_socket_path);
  if (s->resolve)
    SET (easy, CURLOPT_RESOLVE, s->resolve);
  if (s->proxy)
    SET (easy, CURLOPT_PROXY, s->proxy);
  if (s->proxy_user)
    SET (easy, CURLOPT_PROXYUSERNAME, s->proxy_user);
  if (s->proxy_password)
    SET (easy, CURLOPT_PROXYPASSWORD, s->proxy_password);
  SET (easy, CURLOPT_WRITEFUNCTION, on_body);
  return prepare_tls (s, easy);
}

/* libcurl before 8.0 can't use a connection again that has begun with HTTP/2
 * without TLS: it would begin once more (curl's issue 10634).
 */
static bool
needs_fresh_connection (const struct http *h, const struct url *url)
{
  return h->settings.http_version == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
         && !url_is_https (url)
         && curl_version_info (CURLVERSION_NOW)->version_num < 0x080000;
}

static CURLcode
set_connection (const struct http *h, CURL *easy, const struct url *url)
{
  const long fresh = needs_fresh_connection (h, url) ? 1L : 0L;

  SET (easy, CURLOPT_FRESH_CONNECT, fresh);
  SET (easy, CURLOPT_FORBID_REUSE, fresh);
  return CURLE_OK;
}

static bool
is_own (const struct http *h, const struct url *url)
{
  return strcmp (url->origin, h->settings.own_origin) == 0;
}

static bool
is_signed (const struct http *h, const struct request *r,
           const struct url *url)
{
  return r->object->url.s3 && is_own (h, url) && sign_is_wanted (&h->settings);
}

static int
add_header (struct request *r, const char *header)
{
  struct curl_slist *longer = curl_slist_append (r->headers, header);

  if (longer == NULL) {
    errno = ENOMEM;
    return -1;
  }
  r->headers = longer;
  return 0;
}

/* If-Match asks for a strong comparison, which a weak ETag never passes. */
static int
add_if_match (struct request *r)
{
  const struct version *known = known_version (r->object);
  char header[VALIDATOR_MAX + 16];

  if (known == NULL || known->etag[0] == '\0' || known->weak)
    return 0;
  snprintf (header, sizeof header, "If-Match: %s", known->etag);
  return add_header (r, header);
}

/* -1 with errno. */
static int
add_headers (const struct http *h, struct request *r, const struct url *url)
{
  const struct http_settings *s = &h->settings;
  const bool sign = is_signed (h, r, url);
  const struct curl_slist *l;

  if (is_own (h, url))
    for (l = s->headers; l; l = l->next)
      if (!(sign && sign_replaces (s, l->data))
          && add_header (r, l->data) == -1)
        return -1;
  if (add_if_match (r) == -1)
    return -1;
  return sign ? sign_request (s, url, time (NULL), &r->headers) : 0;
}

/* All of it each time: a handle that had them may go elsewhere next. */
static CURLcode
set_secrets (const struct http *h, const struct request *r,
             const struct url *url)
{
  const struct http_settings *s = &h->settings;
  const struct url *mine = &r->object->url;
  const bool own = is_own (h, url);
  const char *user = own ? s->user : NULL;
  const char *password = own ? s->password : NULL;

  /* What is in the URL is for its own server, also when that redirects to
   * itself.
   */
  if (mine->user && strcmp (url->origin, mine->origin) == 0) {
    if (mine->password || user == NULL || strcmp (user, mine->user) != 0)
      password = mine->password;
    user = mine->user;
  }
  if (is_signed (h, r, url))
    user = password = NULL;
  SET (r->easy, CURLOPT_USERNAME, user);
  SET (r->easy, CURLOPT_PASSWORD, password);
  SET (r->easy, CURLOPT_COOKIE, own ? s->cookie : NULL);
  return CURLE_OK;
}

static void
reset_try (struct request *r)
{
  r->judged = false;
  r->body_length = 0;
  r->filled_before = r->expected = r->filled;
  r->began = monotonic_ms ();
  r->error[0] = '\0';
  http_free_headers (r->headers);
  r->headers = NULL;
}

void
request_let_go (CURL *easy)
{
  curl_easy_setopt (easy, CURLOPT_ERRORBUFFER, NULL);
  curl_easy_setopt (easy, CURLOPT_HTTPHEADER, NULL);
  curl_easy_setopt (easy, CURLOPT_WRITEDATA, NULL);
}

void
request_clear (struct request *r)
{
  http_free_headers (r->headers);
  url_free (&r->target);
  url_free (&r->hop);
}

CURLcode
request_set_up (struct http *h, struct request *r)
{
  const struct http_object *o = r->object;
  const struct url *url;
  CURLcode code;
  char range[64];

  reset_try (r);
  if (r->hop.text == NULL) {
    url_free (&r->target);
    if (o->target.text && !r->asked_original
        && url_copy (&o->target, &r->target) == -1)
      return CURLE_OUT_OF_MEMORY;
    r->generation = o->generation;
  }
  url = request_url (r);
  snprintf (range, sizeof range, "%" PRIu64 "-%" PRIu64,
            r->fetch->offset + r->filled, r->fetch->offset + r->length - 1);
  SET (r->easy, CURLOPT_URL, url->text);
  SET (r->easy, CURLOPT_RANGE, range);
  SET (r->easy, CURLOPT_PRIVATE, r);
  SET (r->easy, CURLOPT_WRITEDATA, r);
  SET (r->easy, CURLOPT_ERRORBUFFER, r->error);
  code = set_connection (h, r->easy, url);
  if (code == CURLE_OK)
    code = set_secrets (h, r, url);
  if (code != CURLE_OK)
    return code;
  if (add_headers (h, r, url) == -1)
    return errno == ENOMEM ? CURLE_OUT_OF_MEMORY : CURLE_AUTH_ERROR;
  SET (r->easy, CURLOPT_HTTPHEADER, r->headers);
  return CURLE_OK;
}

/* --- What next? --- */

/* One message for what is the same for many: in a minute, of a kind. */
static enum next
fail (const struct http *h, struct request *r, int err, unsigned kind,
      const char *why)
{
  struct http_object *o = r->object;
  const struct reference *ref = o->known ? NULL : o->ref;
  const bool redirected = request_is_redirected (r);
  const char *via = redirected ? " (redirected to " : "";
  const char *bracket = redirected ? ")" : "";
  const uint64_t place = (monotonic_ms () / 60000) << 16 | kind;
  char tries[64] = "", what[96] = "can't open it", target[REDACTED_MAX] = "";

  if (redirected)
    request_show (h, r, target, error_name (h->hooks, request_url (r)->name));
  if (r->failures > 1)
    snprintf (tries, sizeof tries, ", after %u tries", r->failures);
  if (o->known)
    snprintf (what, sizeof what, "can't read %" PRIu64 " bytes at 0x%" PRIx64,
              r->length, r->fetch->offset);
  if (ref && ref->image)
    error_report_once (
      &o->errors, place, h->hooks, err, ref->image,
      "can't open the %s " NAMED "%s%s%s: %s%s%s%s%s", ref->what,
      NAMED_ARGS (ref->name, o->url.name), via, target, bracket, why, tries,
      err == ENOENT ? " (if it is elsewhere now, say where with " : "",
      err == ENOENT ? ref->parameter : "", err == ENOENT ? "=URL)" : "");
  else
    error_report_once (&o->errors, place, h->hooks, err, o->url.name,
                       "%s%s%s%s: %s%s", what, via, target, bracket, why,
                       tries);
  return NEXT_FAIL;
}

static enum next
fail_changed (const struct http *h, struct request *r)
{
  struct http_object *o = r->object;

  if (!o->changed)
    error_report (h->hooks, EIO, o->url.name,
                  "the file was changed while it was being served: %s; "
                  "nothing more is read of it until the server is started "
                  "again",
                  r->problem.text);
  o->changed = true;
  errno = EIO;
  return NEXT_FAIL;
}

/* The remembered target of a redirect may have expired. */
static bool
ask_original (struct request *r)
{
  struct http_object *o = r->object;

  if (!r->target.text || r->hop.text || r->asked_original)
    return false;
  r->asked_original = true;
  r->failures = 0;
  r->due = 0;
  if (o->generation == r->generation) {
    url_free (&o->target);
    o->generation++;
  }
  return true;
}

static uint64_t
jitter (struct http *h, uint64_t ms)
{
  h->random = h->random * UINT64_C (6364136223846793005)
              + UINT64_C (1442695040888963407);
  return ms / 2 + (h->random >> 33) % (ms / 2 + 1);
}

/* The time until the next try: it doubles with each failure. */
static uint64_t
retry_delay (struct http *h, const struct request *r)
{
  uint64_t delay = FIRST_DELAY_MS;
  curl_off_t after = 0;
  unsigned i;

  for (i = 1; i < r->failures && delay < MAX_DELAY_MS; ++i)
    delay *= 2;
  delay = jitter (h, delay);
  curl_easy_getinfo (r->easy, CURLINFO_RETRY_AFTER, &after);
  if (after > MAX_RETRY_AFTER)
    after = MAX_RETRY_AFTER;
  return after > 0 && (uint64_t) after * 1000 > delay ? (uint64_t) after * 1000
                                                      : delay;
}

/* True if a try after 'delay' ms would be too late, or one too many. */
static bool
is_too_late (const struct http *h, const struct request *r, unsigned kind,
             uint64_t delay)
{
  const unsigned max_at_start = r->object->known || kind >= 100
                                  ? MAX_RETRIES_OF_SERVER_AT_START
                                  : MAX_RETRIES_AT_START;

  return r->once || (!h->threaded && r->failures > max_at_start)
         || monotonic_ms () + delay - r->first_failure > GIVE_UP_MS;
}

/* Something went wrong that may go right the next time. */
static enum next
again_later (struct http *h, struct request *r, unsigned kind, const char *why)
{
  uint64_t delay;

  if (r->filled >= r->filled_before + PROGRESS_BYTES) {
    r->failures = 0;
    r->once = false;
  }
  if (r->object->failed_at == 0)
    r->once = false; /* something has succeeded since */
  if (r->failures == 0)
    r->first_failure = monotonic_ms ();
  r->failures++;

  delay = retry_delay (h, r);
  if (is_too_late (h, r, kind, delay)) {
    if (ask_original (r))
      return NEXT_AGAIN;
    fail (h, r, EIO, kind, why);
    return NEXT_GIVE_UP;
  }
  /* What may have sent us to a broken place is asked again, too. */
  url_free (&r->hop);
  r->hops = 0;
  r->due = monotonic_ms () + delay;
  snprintf (r->why, sizeof r->why, "%s", why);
  error_debug (h->hooks, r->object->url.name, "%s; next try in %" PRIu64 " ms",
               why, delay);
  return NEXT_AGAIN;
}

static enum next
refused (struct http *h, struct request *r, long status)
{
  char text[FAILURE_MAX];

  if (ask_original (r))
    return NEXT_AGAIN;
  request_describe_status (h, r, status, text);
  if (status == 416)
    strncat (text, ": is it empty?", sizeof text - strlen (text) - 1);
  return fail (h, r,
               status == 404 || status == 410   ? ENOENT
               : status == 401 || status == 403 ? EACCES
                                                : EIO,
               (unsigned) status, text);
}

/* May we go there?  Else the reason. */
static int
check_hop (const struct http *h, const struct request *r,
           const struct url *next, struct problem *problem)
{
  const struct http_settings *s = &h->settings;

  if (!s->followlocation)
    return problem_set (problem, "followlocation=false was given");
  if (r->hops >= MAX_REDIRECTS)
    return problem_set (problem, "there were %d redirects before",
                        MAX_REDIRECTS);
  if (url_is_https (request_url (r)) && !url_is_https (next))
    return problem_set (problem, "https is never left for http");
  if (url_is_https (next) ? !s->allow_https : !s->allow_http)
    return problem_set (problem, "protocols= does not allow it");
  return 0;
}

/* (What s3:// means is between the user and us.)  As url_parse. */
static int
take_location (const char *location, struct url *next, struct problem *problem)
{
  const struct url_s3 none = { NULL, "" };

  if (strncasecmp (location, "http", 4) == 0)
    return url_parse (location, &none, next, problem);
  errno = EINVAL;
  return problem_set (problem, "only http and https are");
}

static enum next
follow (struct http *h, struct request *r, long status)
{
  char *location = NULL, text[2048], shown[REDACTED_MAX];
  struct url_room room;
  struct problem problem;
  struct url next = { .name = NULL };
  bool taken;

  curl_easy_getinfo (r->easy, CURLINFO_REDIRECT_URL, &location);
  if (location == NULL) {
    char said[FAILURE_MAX];

    request_describe_status (h, r, status, said);
    snprintf (text, sizeof text, "%s, and not where to%s", said,
              r->object->url.s3 ? " (is the region right?)" : "");
    return fail (h, r, EIO, (unsigned) status, text);
  }
  taken = take_location (location, &next, &problem) == 0;
  if (!taken && errno == ENOMEM) {
    url_free (&next);
    return fail (h, r, ENOMEM, (unsigned) status, problem.text);
  }
  if (!taken || check_hop (h, r, &next, &problem) == -1) {
    request_show (h, r, shown,
                  error_name (h->hooks, next.name
                                          ? next.name
                                          : url_hide (location, &room)));
    snprintf (text, sizeof text,
              "the web server redirects to %s, which is not followed: %.500s",
              shown, problem.text);
    url_free (&next);
    return fail (h, r, EIO, (unsigned) status, text);
  }
  url_free (&r->hop);
  r->hop = next;
  r->hops++;
  r->due = 0;
  return NEXT_AGAIN;
}

/* The redirect led to something: go there at once the next time. */
static void
remember_target (struct request *r)
{
  struct http_object *o = r->object;

  if (r->hop.text == NULL)
    return;
  url_free (&o->target);
  o->target = r->hop;
  r->hop = (struct url){ .name = NULL };
  o->generation++;
}

/* The transfer itself failed: no connection, a reset, too slow … */
static bool
may_pass (CURLcode code, bool known)
{
  switch (code) {
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_RESOLVE_PROXY:
    return known;
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
    return false;
  default:
    return true;
  }
}

static enum next
transfer_failed (struct http *h, struct request *r, CURLcode code)
{
  char text[FAILURE_MAX];

  if (code == CURLE_OUT_OF_MEMORY)
    return fail (h, r, ENOMEM, (unsigned) code, "out of memory");
  request_describe_failure (h, r, code, text);
  if (!may_pass (code, r->object->known))
    return ask_original (r) ? NEXT_AGAIN
                            : fail (h, r, EIO, (unsigned) code, text);
  return again_later (h, r, (unsigned) code, text);
}

/* From when the request was sent to when the answer began. */
static void
note_latency (const struct request *r)
{
  struct http_object *o = r->object;
  curl_off_t sent = 0, answered = 0;
  uint64_t latency;

  curl_easy_getinfo (r->easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
  curl_easy_getinfo (r->easy, CURLINFO_STARTTRANSFER_TIME_T, &answered);
  if (answered <= sent)
    return;
  latency = (uint64_t) (answered - sent);
  if (latency < o->latency)
    __atomic_store_n (&o->latency, latency, __ATOMIC_RELAXED);
}

/* Good as far as it goes: was that all? */
static enum next
took_bytes (struct http *h, struct request *r, CURLcode code)
{
  if (r->filled == r->length) {
    note_latency (r);
    remember_target (r);
    return NEXT_DONE;
  }
  if (r->filled < r->expected)
    return transfer_failed (h, r, code);
  /* Less than was asked for is a good answer, if it is something. */
  if (r->filled < r->filled_before + PROGRESS_BYTES)
    return again_later (h, r, 206, "the web server sends next to nothing");
  r->due = 0;
  return NEXT_AGAIN;
}

static void
debug_try (const struct http *h, const struct request *r, CURLcode code)
{
  long status = 0;
  char name[REDACTED_MAX];

  if (!h->debug)
    return;
  curl_easy_getinfo (r->easy, CURLINFO_RESPONSE_CODE, &status);
  if (request_is_redirected (r))
    request_show (h, r, name, request_url (r)->name);
  error_debug (
    h->hooks, request_is_redirected (r) ? name : r->object->url.name,
    "GET bytes=%" PRIu64 "-%" PRIu64 ": status %ld, %" PRIu64
    " bytes, %" PRIu64 " ms%s%s",
    r->fetch->offset + r->filled_before, r->fetch->offset + r->length - 1,
    status, r->filled - r->filled_before, monotonic_ms () - r->began,
    code == CURLE_OK ? "" : ": ",
    code == CURLE_OK ? "" : curl_easy_strerror (code));
}

enum next
request_next (struct http *h, struct request *r, CURLcode code)
{
  long status = 0;
  char text[FAILURE_MAX];

  curl_easy_getinfo (r->easy, CURLINFO_RESPONSE_CODE, &status);
  if (!r->judged && code == CURLE_OK)
    judge (r); /* an answer without a body */
  debug_try (h, r, code);
  if (!r->judged)
    return transfer_failed (h, r, code);

  switch (r->verdict) {
  case VERDICT_GOOD:
    return took_bytes (h, r, code);
  case VERDICT_EMPTY:
    return NEXT_DONE;
  case VERDICT_REDIRECT:
    return follow (h, r, status);
  case VERDICT_LATER:
    request_describe_status (h, r, status, text);
    return again_later (h, r, (unsigned) status, text);
  case VERDICT_REFUSED:
    return refused (h, r, status);
  case VERDICT_CHANGED:
    return ask_original (r) ? NEXT_AGAIN : fail_changed (h, r);
  case VERDICT_NO_RANGES:
    if (ask_original (r))
      return NEXT_AGAIN;
    return fail (h, r, EIO, 1000,
                 "the web server does not support ranges (it sends the whole "
                 "file when it is asked for a part), so images can't be "
                 "served from it");
  case VERDICT_NONSENSE:
    break;
  }
  return ask_original (r) ? NEXT_AGAIN
                          : fail (h, r, EIO, 1001, r->problem.text);
}
