/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The renewal of keys.  See renewal.h.
 *
 * The lifetime of keys is in the server's wall-clock time, so it is compared
 * with time ().  Delays are monotonic.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/backoff.h"
#include "base/minmax.h"
#include "base/monotonic.h"
#include "base/secret.h"
#include "http/easy.h"
#include "http/renewal.h"
#include "http/response.h"

/* Renew keys this many seconds before they expire, or when half of their
 * lifetime is over, if that is later.
 */
#define LEAD_SECONDS 300

/* The next renewal begins at least this long after the last one. */
#define PAUSE_MS 1000

/* The whole transfer of a few kilobytes. */
#define TIMEOUT_SECONDS 30L

/* The same if the server is this machine, or its host.  Not to be able to
 * connect to it means that it does not exist.
 */
#define LOCAL_TIMEOUT_SECONDS 10L
#define LOCAL_CONNECT_SECONDS 2L

/* A command can ask other servers. */
#define COMMAND_TIMEOUT_MS 60000

/* A longer response fails. */
#define MAX_BODY (64U << 10)

/* --- Keys --- */

static bool
is_temporary (const struct renewal *r)
{
  return r->settings->credentials.kind > CREDENTIALS_FIXED;
}

static bool
is_valid (const struct renewal *r)
{
  return r->generation > 0 && time (NULL) < r->keys.expires;
}

static int
copy (const char *text, char **to)
{
  *to = text ? strdup (text) : NULL;
  return text && *to == NULL ? -1 : 0;
}

/* Let messages hide the keys, and those of the last generation. */
static void
hide_keys (struct renewal *r)
{
  struct secrets *s = &r->secrets[r->generation % 2];
  const struct secrets *more = s->more;

  secrets_free (s);
  secrets_add (s, r->keys.access_key);
  secrets_add (s, r->keys.secret_key);
  secrets_add (s, r->keys.session_token);
  s->more = more;
}

int
renewal_init (struct renewal *r, struct http_settings *settings)
{
  const struct qcow_s3_options *s3 = &settings->s3;

  r->settings = settings;
  r->seed = (unsigned) monotonic_ms ();
  settings->secrets.more = &r->secrets[0];
  r->secrets[0].more = &r->secrets[1];
  if (is_temporary (r) || s3->access_key == NULL)
    return 0;
  r->keys.expires = r->renew_at = INT64_MAX;
  r->generation = 1;
  if (copy (s3->access_key, &r->keys.access_key) == 0
      && copy (s3->secret_key, &r->keys.secret_key) == 0
      && copy (s3->session_token, &r->keys.session_token) == 0)
    return 0;
  errno = ENOMEM;
  return -1;
}

void
renewal_free (struct renewal *r)
{
  renewal_cancel (r);
  credentials_steps_reset (&r->steps);
  credentials_free (&r->keys);
  secrets_free (&r->secrets[0]);
  secrets_free (&r->secrets[1]);
}

enum renewal_state
renewal_state (struct renewal *r, unsigned generation)
{
  r->wanted = true;
  if (is_valid (r) && r->generation >= generation
      && r->generation >= r->needed)
    return RENEWAL_READY;
  return r->given_up ? RENEWAL_FAILED : RENEWAL_WAITING;
}

void
renewal_failure (const struct renewal *r, char *out, size_t max)
{
  snprintf (out, max, "%s: %s",
            r->generation == 0
              ? "there are no keys to sign with"
              : "the keys have expired, and could not be renewed",
            r->why);
}

bool
renewal_reject (struct renewal *r, unsigned generation)
{
  if (!is_temporary (r))
    return false;
  if (generation == r->generation)
    r->needed = generation + 1;
  return true;
}

/* --- What follows a response --- */

/* New keys: from now on they sign requests.  Takes over *keys. */
static void
take_keys (struct renewal *r, struct credentials *keys)
{
  const int64_t now = time (NULL), lifetime = keys->expires - now;

  credentials_free (&r->keys);
  r->keys = *keys;
  r->generation++;
  hide_keys (r);
  r->renew_at
    = keys->expires == INT64_MAX
        ? INT64_MAX
        : keys->expires
            - (lifetime / 2 < LEAD_SECONDS ? lifetime / 2 : LEAD_SECONDS);
  r->due = monotonic_ms () + PAUSE_MS;
  r->failures = 0;
  r->given_up = false;
  if (keys->expires == INT64_MAX)
    error_debug (r->settings->hooks, "s3", "new keys, which do not expire");
  else
    error_debug (r->settings->hooks, "s3",
                 "new keys, to be renewed in %" PRId64 " s",
                 r->renew_at - now);
}

/* A renewal failed.  'permanent': the next one probably fails, too. */
static void
failed (struct renewal *r, bool permanent, const char *why)
{
  const uint64_t now = monotonic_ms ();
  uint64_t delay;

  credentials_steps_reset (&r->steps);
  if (r->failures++ == 0)
    r->first_failure = now;
  delay = backoff_delay (r->failures, (uint64_t) rand_r (&r->seed));
  r->due = now + delay;
  if (permanent
      || (r->serving ? now + delay - r->first_failure > BACKOFF_GIVE_UP_MS
                     : r->failures > BACKOFF_RETRIES_AT_START))
    r->given_up = true;
  snprintf (r->why, sizeof r->why, "%s", why);
  if (r->failures == 1 && is_valid (r) && r->generation >= r->needed)
    error_warn (r->settings->hooks, "s3",
                "the keys expire in %" PRId64 " s, and could not be renewed "
                "yet: %s",
                r->keys.expires - (int64_t) time (NULL), why);
  else
    error_debug (r->settings->hooks, "s3",
                 "can't get keys: %s; next try in %" PRIu64 " ms", why, delay);
}

/* Take the keys of a response.  'result' is that of parsing it: 0, or -1 and
 * the reason.
 */
static void
take_result (struct renewal *r, const char *server, int result,
             struct credentials *keys, const struct problem *problem)
{
  char why[256];

  if (result == 0 && keys->expires > time (NULL)) {
    credentials_steps_reset (&r->steps);
    take_keys (r, keys);
    return;
  }
  if (result == -1)
    snprintf (why, sizeof why, "%s: %.200s", server, problem->text);
  else
    snprintf (why, sizeof why, "%s sends keys that have expired", server);
  credentials_free (keys);
  failed (r, false, why);
}

static void
take_body (struct renewal *r)
{
  struct credentials keys = { .access_key = NULL };
  struct problem problem;
  int result;

  r->body[r->length] = '\0';
  result = credentials_steps_take (&r->settings->credentials, &r->steps,
                                   r->body, &keys, &problem);
  if (result != 1)
    take_result (r, r->request.server, result, &keys, &problem);
}

static void
take_status (struct renewal *r, long status)
{
  char code[64], why[256];

  r->body[r->length] = '\0';
  credentials_error_code (r->body, code, sizeof code);
  snprintf (why, sizeof why, "%s responded with %ld %s%s%s%s",
            r->request.server, status, response_status_text (status),
            code[0] ? " (" : "", code, code[0] ? ")" : "");
  failed (r, status < 500 && status != 408 && status != 429, why);
}

/* libcurl's text can have the URL of a proxy with a password. */
static void
take_failure (struct renewal *r, CURLcode code)
{
  const char *text = r->error;
  char why[CURL_ERROR_SIZE + 64];

  if (text[0] == '\0' || strchr (text, '@') || strstr (text, "://"))
    text = libcurl.easy_strerror (code);
  if (r->length == MAX_BODY)
    text = "the response is too long";
  snprintf (why, sizeof why, "%s: %s", r->request.server, text);
  failed (r, false, why);
}

/* --- The transfer --- */

static void
free_transfer (struct renewal *r)
{
  libcurl.easy_cleanup (r->easy);
  r->easy = NULL;
  credentials_request_free (&r->request);
  secret_free_buffer (r->body, MAX_BODY + 1);
  r->body = NULL;
}

static size_t
on_body (char *bytes, size_t size, size_t n, void *opaque)
{
  struct renewal *r = opaque;
  const size_t length = size * n;
  const size_t now
    = length < MAX_BODY - r->length ? length : MAX_BODY - r->length;

  memcpy (r->body + r->length, bytes, now);
  r->length += now;
  return r->length < MAX_BODY ? length : 0;
}

static CURLcode
set_up (struct renewal *r)
{
  const struct credentials_request *request = &r->request;
  CURLcode code = easy_set_parameters (r->easy, r->settings);

  if (code != CURLE_OK)
    return code;
  SET (r->easy, CURLOPT_URL, request->url);
  SET (r->easy, CURLOPT_UNIX_SOCKET_PATH, NULL);
  SET (r->easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  SET (r->easy, CURLOPT_TIMEOUT, TIMEOUT_SECONDS);
  if (request->is_local) {
    SET (r->easy, CURLOPT_NOPROXY, "*");
    SET (r->easy, CURLOPT_CONNECTTIMEOUT, LOCAL_CONNECT_SECONDS);
    SET (r->easy, CURLOPT_TIMEOUT, LOCAL_TIMEOUT_SECONDS);
  }
  if (request->body)
    SET (r->easy, CURLOPT_POSTFIELDS, request->body);
  SET (r->easy, CURLOPT_CUSTOMREQUEST, request->method);
  SET (r->easy, CURLOPT_HTTPHEADER, request->headers);
  SET (r->easy, CURLOPT_WRITEFUNCTION, on_body);
  SET (r->easy, CURLOPT_WRITEDATA, r);
  SET (r->easy, CURLOPT_ERRORBUFFER, r->error);
  return CURLE_OK;
}

static CURL *
begin_transfer (struct renewal *r)
{
  struct problem problem;
  CURLcode code = CURLE_OUT_OF_MEMORY;

  if (credentials_steps_request (&r->settings->credentials, &r->steps,
                                 r->settings->hooks, &r->request, &problem)
      == -1) {
    credentials_request_free (&r->request);
    failed (r, false, problem.text);
    return NULL;
  }
  r->length = 0;
  r->error[0] = '\0';
  r->body = malloc (MAX_BODY + 1);
  r->easy = libcurl.easy_init ();
  if (r->body && r->easy)
    code = set_up (r);
  if (code == CURLE_OK)
    return r->easy;
  failed (r, false, libcurl.easy_strerror (code));
  free_transfer (r);
  return NULL;
}

/* --- A command --- */

static const char process[] = "credential_process";

static void
start_command (struct renewal *r)
{
  static const char *const environment[] = { NULL }; /* nothing more */
  struct problem problem;
  char why[256];

  r->command = command_start (r->settings->credentials.process, environment,
                              COMMAND_TIMEOUT_MS, &problem);
  if (r->command)
    return;
  snprintf (why, sizeof why, "%s: %.200s", process, problem.text);
  failed (r, false, why);
}

static void
take_output (struct renewal *r)
{
  struct credentials keys = { .access_key = NULL };
  struct problem problem;
  size_t length;
  const char *output = command_output (r->command, &length);
  const int result = credentials_from_json (output, true, &keys, &problem);

  take_result (r, process, result, &keys, &problem);
}

/* Its messages can repeat keys. */
static void
take_failed_command (struct renewal *r)
{
  char shown[REDACTED_MAX], why[REDACTED_MAX + 32];

  redact (shown, command_failure (r->command), &r->settings->secrets, NULL);
  snprintf (why, sizeof why, "%s: %s", process, shown);
  failed (r, false, why);
}

void
renewal_step (struct renewal *r)
{
  enum command_state state;

  if (r->command == NULL)
    return;
  state = command_step (r->command);
  if (state == COMMAND_RUNNING)
    return;
  if (state == COMMAND_DONE)
    take_output (r);
  else
    take_failed_command (r);
  command_free (r->command);
  r->command = NULL;
}

unsigned
renewal_fds (const struct renewal *r, struct curl_waitfd fds[RENEWAL_NR_FDS])
{
  int numbers[COMMAND_NR_FDS];
  size_t n = r->command ? command_fds (r->command, numbers) : 0, i;

  for (i = 0; i < n; ++i)
    fds[i] = (struct curl_waitfd){ numbers[i], CURL_WAIT_POLLIN, 0 };
  return (unsigned) n;
}

/* --- Both --- */

static bool
is_active (const struct renewal *r)
{
  return r->easy || r->command;
}

/* True if a renewal is due, and none is active. */
static bool
is_due (const struct renewal *r, uint64_t now)
{
  return is_temporary (r) && r->wanted && !is_active (r) && r->due <= now
         && (r->generation == 0 || r->generation < r->needed
             || time (NULL) >= r->renew_at);
}

CURL *
renewal_begin (struct renewal *r, uint64_t now)
{
  if (!is_due (r, now))
    return NULL;
  if (r->settings->credentials.kind != CREDENTIALS_PROCESS)
    return begin_transfer (r);
  start_command (r);
  return NULL;
}

void
renewal_end (struct renewal *r, CURLcode code)
{
  long status = 0;

  libcurl.easy_getinfo (r->easy, CURLINFO_RESPONSE_CODE, &status);
  if (code != CURLE_OK)
    take_failure (r, code);
  else if (status == 200)
    take_body (r);
  else
    take_status (r, status);
  free_transfer (r);
}

void
renewal_cancel (struct renewal *r)
{
  if (r->easy)
    free_transfer (r);
  command_free (r->command);
  r->command = NULL;
}

uint64_t
renewal_wait_ms (const struct renewal *r, uint64_t now, uint64_t max)
{
  if (r->command)
    return min64 (max, (uint64_t) command_wait_ms (r->command));
  if (!is_temporary (r) || !r->wanted || r->easy
      || (is_valid (r) && r->generation >= r->needed))
    return max;
  return r->due > now ? min64 (r->due - now, max) : 0;
}
