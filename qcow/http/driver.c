/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Driving transfers.  See http.h.
 *
 * Other threads submit requests to the inbox.  The driver thread keeps them
 * in a list.  Those with a libcurl handle are active: they have a connection
 * and are in the multi handle.  The others wait until they are due, and for a
 * connection.
 *
 * libcurl could limit connections itself (CURLMOPT_MAX_TOTAL_CONNECTIONS and
 * CURLMOPT_MAX_HOST_CONNECTIONS).  But transfers that wait for a connection
 * inside libcurl use up their timeout=, and when a connection is free, libcurl
 * (7.88) tries the first of them only: if that one's server hangs, all others
 * wait.  So the driver counts connections by origin (quota.h).
 *
 * Scripts that print headers run beside the transfers: the driver polls their
 * pipes together with libcurl's sockets.  A request that needs their output
 * can have to wait for it.
 */

#include <errno.h>
#include <time.h>

#include "base/minmax.h"
#include "base/monotonic.h"
#include "base/worker.h"
#include "http/internal.h"

/* The driver checks for submitted requests at least this often. */
#define MAX_WAIT_MS 1000

/* If libcurl itself fails, pause; after this many failures in a row, fail the
 * active requests.
 */
#define LIBCURL_PAUSE_MS 10
#define MAX_LIBCURL_FAILURES 20

/* --- Requests --- */

static void
finish (struct request *r, int err)
{
  struct fetch *f = r->fetch;

  request_free (r);
  f->done (f, err);
}

/* Append the requests that were submitted.  False: http_stop was called. */
static bool
take_submitted (struct http *h)
{
  struct request **end = &h->requests;
  struct inbox_item *item;
  const bool open = inbox_take (&h->inbox, &item);

  while (*end)
    end = &(*end)->next;
  for (; item; item = item->next) {
    *end = (struct request *) item;
    end = &(*end)->next;
  }
  return open;
}

/* End an active request's transfer.  (If the handle can't be removed, freeing
 * it removes it.)
 */
static void
end_transfer (struct http *h, struct request *r)
{
  libcurl.multi_remove_handle (h->multi, r->easy);
  request_free_try (r);
  quota_give (&h->connections, &r->object->origin->client);
}

static void
end_request (struct http *h, struct request *r, int err)
{
  struct request **link = &h->requests;

  if (r->easy)
    end_transfer (h, r);
  while (*link != r)
    link = &(*link)->next;
  *link = r->next;
  finish (r, err);
}

/* Make a request active.  0, or -1 with the error reported and errno. */
static int
begin_transfer (struct http *h, struct request *r)
{
  const CURLcode code = request_begin_try (r);
  CURLMcode added = CURLM_OK;

  if (code == CURLE_OK)
    added = libcurl.multi_add_handle (h->multi, r->easy);
  if (code == CURLE_OK && added == CURLM_OK) {
    quota_take (&h->connections, &r->object->origin->client);
    return 0;
  }
  request_free_try (r);
  request_fail_in_libcurl (
    r, code == CURLE_OUT_OF_MEMORY || added == CURLM_OUT_OF_MEMORY,
    code != CURLE_OK ? libcurl.easy_strerror (code)
                     : libcurl.multi_strerror (added));
  return -1;
}

static enum renewal_state
state_of_keys (const struct request *r)
{
  return handle_needs_keys (r->object)
           ? renewal_state (&r->object->http->renewal, r->keys_needed)
           : RENEWAL_READY;
}

/* Begin a transfer that renews the keys, if one is due. */
static void
renew_keys (struct http *h)
{
  CURL *easy = renewal_begin (&h->renewal, monotonic_ms ());

  if (easy && libcurl.multi_add_handle (h->multi, easy) != CURLM_OK)
    renewal_end (&h->renewal, CURLE_FAILED_INIT);
}

static bool
must_wait (const struct request *r)
{
  return r->needs_keys || r->needs_script;
}

/* Start a request, unless it needs keys or the output of a script first. */
static void
start (struct http *h, struct request *r)
{
  const enum script_state script
    = request_is_for_own (r) ? scripts_want (h) : SCRIPT_READY;
  /* A script can print a header with which no keys are needed. */
  const enum renewal_state keys
    = script == SCRIPT_READY ? state_of_keys (r) : RENEWAL_READY;

  r->needs_keys = keys == RENEWAL_WAITING;
  r->needs_script = script == SCRIPT_WAIT;
  if (keys == RENEWAL_FAILED)
    request_fail_without_keys (r);
  if (keys == RENEWAL_FAILED || script == SCRIPT_FAILED)
    end_request (h, r, EIO);
  else if (!must_wait (r) && begin_transfer (h, r) == -1)
    end_request (h, r, errno);
}

/* Start the requests that are due, as far as connections are free. */
static void
start_due (struct http *h)
{
  const uint64_t now = monotonic_ms ();
  struct request *r, *next;

  for (r = h->requests; r; r = next) {
    next = r->next;
    if (r->easy)
      continue;
    r->needs_keys = r->needs_script = false;
    if (request_is_hopeless (r, now))
      end_request (h, r, EIO);
    else if (r->due <= now
             && quota_may_take (&h->connections, &r->object->origin->client))
      start (h, r);
  }
}

/* The time until a waiting request can be started, or a script must be looked
 * at.
 */
static int
time_to_wait (struct http *h)
{
  const uint64_t now = monotonic_ms ();
  uint64_t wait = min64 (MAX_WAIT_MS, (uint64_t) scripts_wait_ms (h));
  const struct request *r;

  wait = renewal_wait_ms (&h->renewal, now, wait);
  for (r = h->requests; r; r = r->next)
    if (r->easy == NULL && !must_wait (r)
        && quota_may_take (&h->connections, &r->object->origin->client))
      wait = min64 (wait, r->due > now ? r->due - now : 0);
  return (int) wait;
}

/* End the tries whose transfer is over.  True if there was one. */
static bool
collect (struct http *h)
{
  bool any = false;
  CURLMsg *msg;
  int left;

  while ((msg = libcurl.multi_info_read (h->multi, &left)) != NULL) {
    struct request *r;

    if (msg->msg != CURLMSG_DONE)
      continue;
    any = true;
    if (msg->easy_handle == h->renewal.easy) {
      const CURLcode code = msg->data.result;

      libcurl.multi_remove_handle (h->multi, h->renewal.easy);
      renewal_end (&h->renewal, code);
      continue;
    }
    libcurl.easy_getinfo (msg->easy_handle, CURLINFO_PRIVATE, &r);
    switch (request_end_try (r, msg->data.result)) {
    case REQUEST_DONE:
      end_request (h, r, 0);
      break;
    case REQUEST_AGAIN:
      end_transfer (h, r);
      break;
    case REQUEST_FAIL:
      end_request (h, r, errno);
      break;
    }
  }
  return any;
}

/* Drop cancelled requests, or all.  Few requests exist, so looking at each of
 * them is cheap.
 */
static void
drop_cancelled (struct http *h, bool all)
{
  struct request *r, *next;

  for (r = h->requests; r; r = next) {
    next = r->next;
    if (all || __atomic_load_n (&r->fetch->cancel, __ATOMIC_ACQUIRE))
      end_request (h, r, ESHUTDOWN);
  }
}

/* --- Driving --- */

/* libcurl could not perform or wait for transfers. */
static void
libcurl_failed (struct http *h, CURLMcode code)
{
  const struct timespec pause = { .tv_nsec = LIBCURL_PAUSE_MS * 1000000L };
  struct request *r, *next;

  nanosleep (&pause, NULL);
  if (++h->failures < MAX_LIBCURL_FAILURES)
    return;
  for (r = h->requests; r; r = next) {
    next = r->next;
    if (r->easy == NULL)
      continue;
    request_fail_in_libcurl (r, code == CURLM_OUT_OF_MEMORY,
                             libcurl.multi_strerror (code));
    end_request (h, r, errno);
  }
}

/* Drive the transfers once.  If none is over, wait up to 'max_ms'. */
static void
step (struct http *h, int max_ms)
{
  struct curl_waitfd fds[SCRIPTS_NR_FDS + RENEWAL_NR_FDS];
  unsigned nr_fds;
  CURLMcode code;
  bool ended;
  int running;

  drop_cancelled (h, false);
  scripts_step (h);
  renewal_step (&h->renewal);
  start_due (h);
  renew_keys (h);
  code = libcurl.multi_perform (h->multi, &running);
  ended = collect (h);
  nr_fds = scripts_fds (h, fds);
  nr_fds += renewal_fds (&h->renewal, &fds[nr_fds]);
  if (code == CURLM_OK && !ended)
    code = libcurl.multi_poll (
      h->multi, fds, nr_fds,
      (int) min64 ((uint64_t) max_ms, (uint64_t) time_to_wait (h)), NULL);
  if (code == CURLM_OK)
    h->failures = 0;
  else
    libcurl_failed (h, code);
}

static void *
run (void *opaque)
{
  struct http *h = opaque;

  while (take_submitted (h))
    step (h, MAX_WAIT_MS);
  return NULL;
}

void
driver_step (struct http *h, int max_ms)
{
  take_submitted (h);
  step (h, max_ms);
}

/* --- For other threads --- */

/* http_start checks that this works.  If it fails later, the driver takes new
 * requests after MAX_WAIT_MS.
 */
static void
wake (struct http *h)
{
  libcurl.multi_wakeup (h->multi);
}

void
driver_submit (struct transport *t, struct fetch *f)
{
  struct http_object *o = (struct http_object *) t;
  struct request *r = request_new (o, f);
  struct http *h = o->http;
  bool first;

  f->cancel = false;
  if (r == NULL) {
    error_no_memory (h->hooks, "http");
    f->done (f, ENOMEM);
    return;
  }
  if (!inbox_add (&h->inbox, &r->item, &first))
    finish (r, ESHUTDOWN);
  else if (first)
    wake (h);
}

void
driver_wake (struct transport *t)
{
  wake (((struct http_object *) t)->http);
}

/* --- Life --- */

int
driver_start (struct http *h)
{
  h->serving = h->renewal.serving = true;
  if (worker_start (&h->worker, run, h) == 0)
    return 0;
  h->serving = h->renewal.serving = false;
  return error_report (h->hooks, errno, "http", "can't start a thread: %m");
}

void
driver_stop (struct http *h)
{
  inbox_close (&h->inbox);
  if (h->serving) {
    wake (h);
    pthread_join (h->worker, NULL);
  }
  take_submitted (h);
  drop_cancelled (h, true);
}
