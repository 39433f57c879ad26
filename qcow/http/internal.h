/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What driver.c (which drives), request.c (which decides) and failure.c
 * (which finds the words) share.
 *
 * All of it belongs to the thread that drives, but for what is said to be
 * under the lock, or atomic: the driver writes it, others look.  The version
 * of an object does not change any more when there are others.
 */

#ifndef QCOW_HTTP_INTERNAL_H
#define QCOW_HTTP_INTERNAL_H

#include <pthread.h>
#include <time.h>

#include "base/monotonic.h"
#include "base/quota.h"
#include "http/http.h"
#include "http/libcurl.h"
#include "http/redact.h"
#include "http/response.h"

/* The user's wishes: copies.  NULL: none. */
struct http_settings {
  char *own_origin; /* the only one that gets what is secret */
  char *user, *password, *cookie;
  struct curl_slist *headers, *resolve;
  char *proxy, *proxy_user, *proxy_password;
  char *cainfo, *capath;
  char *unix_socket_path, *user_agent;
  bool allow_http, allow_https;
  bool sslverify, followlocation, tcp_keepalive;
  long http_version; /* CURL_HTTP_VERSION_* */
  long timeout;      /* seconds; 0: none */
  unsigned connections;

  char *access_key, *secret_key, *session_token;
  char *endpoint_url, *region;

  struct secrets secrets; /* all of the above that are */
};

/* 0, or -1 with the error reported and errno. */
int http_settings_take (struct http_settings *s,
                        const struct qcow_options *options,
                        const struct qcow_hooks *hooks);

/* The same for what only s3:// URLs need. */
int http_settings_check_s3 (const struct http_settings *s,
                            const struct qcow_hooks *hooks);
void http_settings_free (struct http_settings *s);

/* Free a list of headers, among which there may be secrets. */
void http_free_headers (struct curl_slist *list);

/* Are requests to the user's own S3 signed?  Without keys they are not, nor if
 * the user gives an Authorization header.
 */
bool sign_is_wanted (const struct http_settings *s);

/* Is this a header of the user's that a signed request has by itself? */
bool sign_replaces (const struct http_settings *s, const char *header);

/* Sign a request for the URL with all headers in the list, which gets some
 * more.  0, or -1 with errno ENOMEM, or EIO: see libgcrypt_reason.
 */
int sign_request (const struct http_settings *s, const struct url *url,
                  time_t now, struct curl_slist **list);

/* Of the URLs of some objects, wherever these redirect to. */
struct origin {
  struct origin *next;
  struct quota_client client; /* of the connections */
  char name[];
};

/* Bytes that could not be had. */
struct failure {
  uint64_t at; /* monotonic_ms; 0: never */
  uint64_t from, to;
  bool gave_up; /* as NEXT_GIVE_UP */
};

struct http_object {
  struct http *http;
  struct origin *origin;
  struct url url;
  const struct reference *ref; /* while it is opened; else NULL */
  bool known;                  /* version is set */
  struct version version;
  bool changed; /* it is not that version any more */
  bool slow;    /* the warning at start-up was given */

  /* Where redirects led; target.text is NULL if they did not.  Each change
   * of it is a new generation.
   */
  struct url target;
  unsigned generation; /* 0: there was none yet */

  /* The least time in which the server began to respond, in us; atomic.  (On
   * i386 a uint64_t in a structure is aligned to 4 bytes only.  Across two
   * cache lines it would not be atomic, and clang calls libatomic for it:
   * hence _Alignas.)
   */
  _Alignas(8) uint64_t latency;

  /* When all tries of a request have failed: ms; 0: never, or something was
   * good since then.
   */
  uint64_t failed_at;
  struct failure failures[32]; /* the last ones */
  unsigned nr_failures;        /* of all */
  struct error_filter errors;
};

/* Room for what is said of a try that failed. */
#define FAILURE_MAX 512

/* A fetch on its way. */
struct request {
  struct request *next;
  struct http_object *object;
  struct fetch *fetch;
  uint64_t length; /* bytes of all pieces; of the first fetch of an object:
                      less if it is shorter */
  uint64_t filled; /* bytes that are there */
  size_t piece, in_piece; /* where the next byte goes */

  /* This try. */
  CURL *easy; /* NULL: not under way */
  struct curl_slist *headers;
  bool judged;
  enum verdict verdict;
  struct problem problem;
  uint64_t filled_before; /* when it began */
  uint64_t expected;      /* how much can be filled by it */
  uint64_t began;         /* ms */
  char error[CURL_ERROR_SIZE];
  char body[1024]; /* the beginning of an answer that is no data */
  size_t body_length;

  /* All tries. */
  bool once;             /* this is the only one, unless it gets on */
  unsigned failures;     /* in a row, without progress */
  char why[FAILURE_MAX]; /* the last one's reason; "": there was none */
  uint64_t first_failure;
  uint64_t due;   /* ms: not before */
  struct url hop; /* where a redirect led; hop.text NULL: not redirected */
  unsigned hops;
  struct url target;   /* a copy of the object's, if this try began there; else
                          target.text is NULL */
  unsigned generation; /* … of that generation */
  bool asked_original; /* … and failed, so the URL is asked once more */
};

struct http {
  const struct qcow_hooks *hooks;
  struct http_settings settings;
  bool debug;
  CURLM *multi;

  pthread_mutex_t lock;
  struct request *submitted; /* under the lock, the last first */
  bool stop;                 /* under the lock */
  struct origin *origins;

  bool threaded; /* set before the worker starts */
  pthread_t worker;

  struct request *waiting; /* to be started, in their order */
  struct request *active;
  struct quota connections; /* for active requests */
  CURL *idle[256];          /* handles to be used again */
  unsigned nr_idle;
  uint64_t random;
};

/* The most that connections= may say. */
#define HTTP_MAX_CONNECTIONS 256

/* Where this try goes. */
const struct url *request_url (const struct request *r);

/* Is that where a server has redirected to, which may be anything? */
bool request_is_redirected (const struct request *r);

/* Write what may be shown of a text that a server has sent, or libcurl has
 * made of one: the server knows all that is secret, and may repeat it.
 */
void request_show (const struct http *h, const struct request *r,
                   char out[REDACTED_MAX], const char *text);

/* What a status that is no success says: "403 Forbidden (AccessDenied)". */
void request_describe_status (const struct http *h, const struct request *r,
                              long status, char out[FAILURE_MAX]);

/* Why a try brought no answer, or not all of it; CURLE_OK: the server ended
 * it.  r->easy still has what is to be known of it.
 */
void request_describe_failure (const struct http *h, const struct request *r,
                               CURLcode code, char out[FAILURE_MAX]);

/* Options of a handle that never change. */
CURLcode request_prepare_handle (const struct http *h, CURL *easy);

/* Make a handle forget the request that it was set up for. */
void request_let_go (CURL *easy);

/* Set r->easy up for the next try. */
CURLcode request_set_up (struct http *h, struct request *r);

/* Free what a request has besides itself. */
void request_clear (struct request *r);

enum next {
  NEXT_DONE,    /* complete */
  NEXT_AGAIN,   /* try again when it is due */
  NEXT_FAIL,    /* reported; errno says why */
  NEXT_GIVE_UP, /* the same: the server did not do it, however often */
};

/* The try is over; r->easy still has what is to be known of it. */
enum next request_next (struct http *h, struct request *r, CURLcode code);

#endif /* QCOW_HTTP_INTERNAL_H */
