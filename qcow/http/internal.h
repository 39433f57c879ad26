/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of the transport share.  http.h is the interface for others.
 *
 * Threads submit fetches; each becomes a request.  One thread, the driver,
 * does all transfers.  Everything here belongs to it, except what is marked as
 * atomic or in the inbox.  An object's version does not change after
 * http_open, nor do settings after http_new.
 *
 *   setup.c     begins and ends all of it; decides which URLs are accepted
 *   object.c    opens an object; waits for fetches (base/fetch-wait.h)
 *   driver.c    starts the requests that are due, and collects their transfers
 *   request.c   begins a try of a request, and ends it
 *   renewal.c   gets keys for S3, and renews them (renewal.h)
 *   handle.c    sets a libcurl handle up for a try; target.c: where it goes
 *   response.c  judges the response (pure)
 *   script.c    runs a script that prints headers; scripts.c: both of them
 *   cookies.c   keeps the cookies that servers set
 *   failure.c   describes a failure, without secrets (redact.c)
 *   retry.c     decides what follows a failure (pure)
 */

#ifndef QCOW_HTTP_INTERNAL_H
#define QCOW_HTTP_INTERNAL_H

#include <pthread.h>

#include "base/error.h"
#include "base/inbox.h"
#include "base/quota.h"
#include "http/http.h"
#include "http/renewal.h"
#include "http/response.h"
#include "http/retry.h"
#include "http/script.h"
#include "http/settings.h"
#include "url/redact.h"
#include "url/reference.h"
#include "url/url.h"

/* Room for the description of a failure, with the NUL. */
#define FAILURE_MAX 512

enum { COOKIE_SCRIPT, HEADER_SCRIPT, NR_SCRIPTS };

struct http {
  const struct qcow_hooks *hooks;
  struct http_settings settings;
  struct renewal renewal; /* belongs to the driver */
  bool debug;
  bool serving;  /* the worker thread drives; set before others run */
  unsigned seed; /* of rand_r */

  CURLM *multi; /* any thread may call curl_multi_wakeup */

  struct inbox inbox; /* submitted requests; has a lock of its own */
  pthread_t worker;

  /* The rest belongs to the driver. */
  struct request *requests; /* the oldest first */
  struct origin *origins;
  struct quota connections; /* of active requests */
  unsigned failures;        /* of libcurl itself, in a row */
  struct script scripts[NR_SCRIPTS];
  struct secrets secrets; /* of the settings and the scripts */
  CURLSH *cookies;        /* NULL: there is no use for them */
};

/* Where requests go: the URL of an object or of a redirect, with the secrets
 * that messages must not show.  A target does not change.
 * The object and its requests share it.
 */
struct target {
  unsigned references;
  struct url url;
  struct secrets secrets; /* of the URL, and of all that led here */
};

/* The server of objects' own URLs.  Redirected requests count for it, too. */
struct origin {
  struct origin *next;
  struct quota_client client; /* of the connections */
  char name[];
};

struct http_object {
  struct transport transport;
  struct http *http;
  struct origin *origin;
  const struct reference *ref; /* only while it is being opened */
  bool known;                  /* version is set */
  struct version version;
  bool changed; /* the server has another version now */

  struct target *own;        /* the object's URL */
  struct target *remembered; /* where redirects led; NULL: none did */

  struct retry_history history;
  struct error_filter errors; /* of one minute */
};

struct request {
  struct inbox_item item; /* until the driver takes it */
  struct request *next;
  struct http_object *object;
  struct fetch *fetch;
  uint64_t length; /* bytes of all pieces; of an object's first request: less
                      if the object is shorter */
  uint64_t filled; /* bytes that have arrived */
  size_t piece, in_piece; /* where the next byte goes */

  /* This try. */
  CURL *easy; /* NULL: there is none */
  struct curl_slist *headers;
  struct target *target; /* where it goes */
  enum verdict verdict;
  struct problem problem;
  uint64_t filled_before;              /* 'filled' when it began */
  uint64_t expected;                   /* 'filled' after it, at most */
  uint64_t began;                      /* ms; 0: there was no try yet */
  unsigned script_outputs[NR_SCRIPTS]; /* generations of what it sends */
  unsigned generation; /* of the keys that signed it; 0: it is not signed */
  char error[CURL_ERROR_SIZE];
  char body[1024];    /* the beginning of an error's body … */
  size_t body_length; /* … and its length so far */

  /* All tries. */
  struct retry retry;
  uint64_t due;          /* ms: the next try does not begin earlier */
  bool needs_keys;       /* it waits for keys */
  bool needs_script;     /* it waits for a script's output */
  unsigned refusals;     /* of scripts' output, after which it was retried */
  unsigned keys_needed;  /* their generation, at least */
  unsigned rejections;   /* of keys that have expired */
  unsigned hops;         /* redirects that were followed in a row */
  char why[FAILURE_MAX]; /* the last failure; "": there was none */
};

/* --- target.c --- */

/* A target with one reference, which takes over *url's strings.  'previous' is
 * the target that redirects to it, whose secrets this one knows, too; NULL:
 * none does.  Returns NULL if out of memory: then the strings stay the
 * caller's.
 */
struct target *target_new (struct url *url, const struct target *previous);

/* One more reference to it. */
struct target *target_share (struct target *t);

/* Give up a reference.  NULL is ignored. */
void target_release (struct target *t);

/* --- request.c --- */

/* A request for a fetch.  NULL: out of memory. */
struct request *request_new (struct http_object *o, struct fetch *f);
void request_free (struct request *r);

/* True if the next try goes to the origin of the user's own URL, so that it
 * carries what scripts print.
 */
bool request_is_for_own (const struct request *r);

/* Begin a try: set r->easy up.  Call request_free_try also after a failure. */
CURLcode request_begin_try (struct request *r);

/* Free what belongs to a try. */
void request_free_try (struct request *r);

/* True if the request must fail with EIO without a message: a request for such
 * bytes has just failed, or the object has changed.
 */
bool request_is_hopeless (const struct request *r, uint64_t now);

enum request_next {
  REQUEST_DONE,  /* complete */
  REQUEST_AGAIN, /* retry when it is due */
  REQUEST_FAIL,  /* reported; errno is set */
};

/* Decide what follows the try, whose transfer is over.  r->easy still has its
 * data.
 */
enum request_next request_end_try (struct request *r, CURLcode code);

/* Report that the request fails because libcurl fails, and set errno to ENOMEM
 * or EIO.
 */
void request_fail_in_libcurl (const struct request *r, bool no_memory,
                              const char *why);

/* Report that the request fails because there are no keys, and set errno. */
void request_fail_without_keys (const struct request *r);

/* --- handle.c --- */

/* True if the URL has the origin of the user's own URL: only such requests
 * carry the user's secrets.
 */
bool handle_is_own (const struct http *h, const struct url *url);
/* True if requests to the object's own URL are signed. */
bool handle_needs_keys (const struct http_object *o);

/* Set r->easy up for a try to r->target; fills r->headers, also on failure. */
CURLcode handle_set_up (struct request *r, curl_write_callback on_body);

/* --- scripts.c --- */

/* Of all scripts. */
#define SCRIPTS_NR_FDS (NR_SCRIPTS * COMMAND_NR_FDS)

void scripts_begin (struct http *h);
void scripts_hang_up (struct http *h); /* before a fork */
void scripts_start (struct http *h);   /* after it */
void scripts_end (struct http *h);

/* As the functions of script.h, for both scripts.  scripts_want: READY if both
 * are, FAILED if one has failed.
 */
enum script_state scripts_want (struct http *h);
void scripts_step (struct http *h);
unsigned scripts_fds (const struct http *h,
                      struct curl_waitfd fds[SCRIPTS_NR_FDS]);
int scripts_wait_ms (const struct http *h);

/* What a request waits for that needs_script. */
const char *scripts_waited_for (const struct http *h);

/* Note which outputs a request uses.  After it was refused: should it be
 * retried?
 */
void scripts_note_use (const struct http *h, unsigned generations[NR_SCRIPTS]);
bool scripts_refused (struct http *h, const unsigned generations[NR_SCRIPTS]);

/* What to send to the user's own origin: from the options or from scripts. */
const char *http_cookie (const struct http *h);
const char *const *http_headers (const struct http *h, size_t *n);

/* --- cookies.c --- */

/* Load the files of cookiefile= and cookiejar=, if they are given: only then
 * cookies are kept.  0, or -1 with the error reported and errno.
 */
int cookies_begin (struct http *h);

/* Write the jar, with a warning if that fails.  All transfers must be over. */
void cookies_end (struct http *h);

/* --- failure.c --- */

/* Write what messages may show of a text that the server has sent. */
void request_redact (const struct request *r, char out[REDACTED_MAX],
                     const char *text);

/* Describe a status that is no success: "403 Forbidden (AccessDenied)". */
void failure_of_status (const struct request *r, long status,
                        char out[FAILURE_MAX]);

/* Describe why there was no response, or not all of it.  CURLE_OK: the server
 * ended it.
 */
void failure_of_transfer (const struct request *r, CURLcode code,
                          char out[FAILURE_MAX]);

/* --- setup.c --- */

/* The origin of that name.  NULL: out of memory.  Only before http_start. */
struct origin *http_origin (struct http *h, const char *name);

/* --- driver.c --- */

/* Start the worker thread.  0, or -1 with the error reported and errno. */
int driver_start (struct http *h);

/* End the worker thread, if there is one, and fail all fetches that are not
 * done with ESHUTDOWN.
 */
void driver_stop (struct http *h);

/* Drive the transfers once.  If none is over, wait up to 'max_ms'.  Only
 * before http_start.
 */
void driver_step (struct http *h, int max_ms);

/* Submit a fetch (transport_ops.submit). */
void driver_submit (struct transport *t, struct fetch *f);

/* Make the driver look soon which fetches are cancelled. */
void driver_wake (struct transport *t);

#endif /* QCOW_HTTP_INTERNAL_H */
