/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Driving transfers.  See http.h.
 *
 * Under the lock are only the hand-over of new fetches, and what those who
 * wait look at.  A waiter looks up at least every 100 ms to see whether the
 * server is ending or its client is gone; then its fetches are cancelled,
 * and it waits until they are, which takes the driver no time worth
 * mentioning: nobody writes into the memory of somebody who has left.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/minmax.h"
#include "base/monotonic.h"
#include "base/wait.h"
#include "http/internal.h"
#include "http/url-show.h"

/* After a fetch has failed for good, those who waited for the same bytes would
 * each try for as long, one after the other: for a while, they fail at once.
 * And if all tries were of no use, who wants others has one, until something
 * succeeds.
 */
#define FAIL_FAST_MS 1000

/* At start-up, warn what the server is waiting for after this time. */
#define SLOW_MS 2000

/* What is asked for at once if nothing else is wanted, or less. */
#define FEW_BYTES (64U << 10)

/* A server that once responded this quickly is near. */
#define NEAR_US 1000

/* --- One try after the other --- */

static void
free_request (struct request *r)
{
  request_clear (r);
  free (r);
}

static void
finish (struct request *r, int err)
{
  struct fetch *f = r->fetch;

  free_request (r);
  f->done (f, err);
}

static CURLcode
get_handle (struct http *h, CURL **easy)
{
  CURLcode code;

  if (h->nr_idle > 0) {
    *easy = h->idle[--h->nr_idle];
    return CURLE_OK;
  }
  *easy = curl_easy_init ();
  if (*easy == NULL)
    return CURLE_OUT_OF_MEMORY;
  code = request_prepare_handle (h, *easy);
  if (code != CURLE_OK) {
    curl_easy_cleanup (*easy);
    *easy = NULL;
  }
  return code;
}

static void
put_handle (struct http *h, CURL *easy)
{
  request_let_go (easy);
  if (h->nr_idle < sizeof h->idle / sizeof h->idle[0])
    h->idle[h->nr_idle++] = easy;
  else
    curl_easy_cleanup (easy);
}

static void
unlink_request (struct request **list, struct request *r)
{
  while (*list != r)
    list = &(*list)->next;
  *list = r->next;
}

static void
append_request (struct request **list, struct request *r)
{
  while (*list)
    list = &(*list)->next;
  r->next = NULL;
  *list = r;
}

/* Take a connection for the request.  False: none is left for its server. */
static bool
take_connection (struct http *h, const struct request *r)
{
  struct quota_client *client = &r->object->origin->client;

  if (!quota_may_take (&h->connections, client))
    return false;
  quota_take (&h->connections, client);
  return true;
}

static void
give_connection (struct http *h, const struct request *r)
{
  quota_give (&h->connections, &r->object->origin->client);
}

/* Out of 'active', with its handle free. */
static void
take_back (struct http *h, struct request *r)
{
  curl_multi_remove_handle (h->multi, r->easy);
  put_handle (h, r->easy);
  r->easy = NULL;
  unlink_request (&h->active, r);
  give_connection (h, r);
}

/* r is in no list, and has a connection. */
static void
begin_try (struct http *h, struct request *r)
{
  CURLcode code = get_handle (h, &r->easy);

  if (code == CURLE_OK)
    code = request_set_up (h, r);
  if (code == CURLE_OK
      && curl_multi_add_handle (h->multi, r->easy) != CURLM_OK)
    code = CURLE_OUT_OF_MEMORY;
  if (code != CURLE_OK) {
    const int err = code == CURLE_OUT_OF_MEMORY ? ENOMEM : EIO;

    if (r->easy)
      put_handle (h, r->easy);
    give_connection (h, r);
    error_report (h->hooks, err, r->object->url.name,
                  "libcurl can't do what is asked of it: %s",
                  curl_easy_strerror (code));
    finish (r, err);
    return;
  }
  append_request (&h->active, r);
}

/* What of the request was not there. */
static void
note_failure (const struct request *r, bool gave_up, uint64_t now)
{
  struct http_object *o = r->object;
  const size_t i
    = o->nr_failures++ % (sizeof o->failures / sizeof o->failures[0]);

  o->failures[i] = (struct failure){ .at = now,
                                     .from = r->fetch->offset + r->filled,
                                     .to = r->fetch->offset + r->length,
                                     .gave_up = gave_up };
}

static void
end_try (struct http *h, struct request *r, CURLcode code)
{
  const enum next next = request_next (h, r, code);
  const int err = errno;

  take_back (h, r);
  switch (next) {
  case NEXT_DONE:
    r->object->failed_at = 0;
    finish (r, 0);
    break;
  case NEXT_AGAIN:
    append_request (&h->waiting, r);
    break;
  case NEXT_FAIL:
  case NEXT_GIVE_UP:
    if (next == NEXT_GIVE_UP)
      r->object->failed_at = monotonic_ms ();
    if (err != ENOMEM)
      note_failure (r, next == NEXT_GIVE_UP, monotonic_ms ());
    finish (r, err);
    break;
  }
}

/* --- Driving --- */

/* To those that wait; those that were submitted first come first. */
static void
take_submitted (struct http *h)
{
  struct request *list = NULL, **end = &h->waiting, *r;

  pthread_mutex_lock (&h->lock);
  while ((r = h->submitted) != NULL) {
    h->submitted = r->next;
    r->next = list;
    list = r;
  }
  pthread_mutex_unlock (&h->lock);
  while (*end)
    end = &(*end)->next;
  *end = list;
}

/* What is cancelled, wherever it is.  Few requests exist, so looking at all
 * of them is cheap.
 */
static void
drop_cancelled (struct http *h, bool all)
{
  struct request *r, *next;

  for (r = h->active; r; r = next) {
    next = r->next;
    if (all || __atomic_load_n (&r->fetch->cancel, __ATOMIC_ACQUIRE)) {
      take_back (h, r);
      finish (r, ESHUTDOWN);
    }
  }
  for (r = h->waiting; r; r = next) {
    next = r->next;
    if (all || __atomic_load_n (&r->fetch->cancel, __ATOMIC_ACQUIRE)) {
      unlink_request (&h->waiting, r);
      finish (r, ESHUTDOWN);
    }
  }
}

static bool
is_recent (uint64_t when, uint64_t now)
{
  return when != 0 && now - when < FAIL_FAST_MS;
}

/* Does it want what has just failed?  Any of it, if the server did not do that
 * at all, or it was little; but much that was refused as a whole may be good
 * in parts.
 */
static bool
is_hopeless (const struct request *r, uint64_t now)
{
  const struct http_object *o = r->object;
  const uint64_t from = r->fetch->offset + r->filled;
  const uint64_t to = r->fetch->offset + r->length;
  size_t i;

  for (i = 0; i < sizeof o->failures / sizeof o->failures[0]; ++i) {
    const struct failure *f = &o->failures[i];

    if (is_recent (f->at, now) && f->from < to && from < f->to
        && (f->gave_up || f->to - f->from <= FEW_BYTES
            || (from <= f->from && f->to <= to)))
      return true;
  }
  return false;
}

/* Start what is due, as long as there are connections. */
static void
start_due (struct http *h)
{
  const uint64_t now = monotonic_ms ();
  struct request *r, *next;

  for (r = h->waiting; r; r = next) {
    next = r->next;
    /* (One that waits to be tried again has a right to that.) */
    if (r->object->changed || (r->began == 0 && is_hopeless (r, now))) {
      unlink_request (&h->waiting, r);
      finish (r, EIO);
    }
    else if (r->due <= now && take_connection (h, r)) {
      if (r->began == 0)
        r->once = is_recent (r->object->failed_at, now);
      unlink_request (&h->waiting, r);
      begin_try (h, r);
    }
  }
}

/* The time until a waiting request can be started. */
static int
time_to_wait (const struct http *h)
{
  const uint64_t now = monotonic_ms ();
  uint64_t wait = 1000;
  const struct request *r;

  for (r = h->waiting; r; r = r->next)
    if (quota_may_take (&h->connections, &r->object->origin->client))
      wait = min64 (wait, r->due > now ? r->due - now : 0);
  return (int) wait;
}

/* End the requests whose transfer is over: was there one? */
static bool
collect (struct http *h)
{
  bool any = false;
  CURLMsg *msg;
  int left;

  while ((msg = curl_multi_info_read (h->multi, &left)) != NULL) {
    const CURLcode code = msg->data.result;
    struct request *r;

    if (msg->msg != CURLMSG_DONE)
      continue;
    curl_easy_getinfo (msg->easy_handle, CURLINFO_PRIVATE, &r);
    end_try (h, r, code);
    any = true;
  }
  return any;
}

/* Do what there is to do, or if that is nothing, wait for more, at most that
 * long.
 */
static void
step (struct http *h, int max_ms)
{
  int running, wait;

  take_submitted (h);
  drop_cancelled (h, false);
  start_due (h);
  curl_multi_perform (h->multi, &running);
  if (collect (h))
    return; /* perhaps it was what our caller waits for */
  wait = time_to_wait (h);
  curl_multi_poll (h->multi, NULL, 0, wait < max_ms ? wait : max_ms, NULL);
}

static bool
is_stopping (struct http *h)
{
  bool stop;

  pthread_mutex_lock (&h->lock);
  stop = h->stop;
  pthread_mutex_unlock (&h->lock);
  return stop;
}

static void *
work (void *opaque)
{
  struct http *h = opaque;

  while (!is_stopping (h))
    step (h, 1000);
  return NULL;
}

/* --- Fetching --- */

static struct request *
new_request (struct http_object *o, struct fetch *f)
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

/* Hand over what may be NULL: then it has failed.  The driver takes all that
 * it finds, so whoever hands over the first wakes it.
 */
static void
hand_over (struct http *h, struct request *r, struct fetch *f)
{
  bool stop, first;

  if (r == NULL) {
    error_no_memory (h->hooks, "http");
    f->done (f, ENOMEM);
    return;
  }
  pthread_mutex_lock (&h->lock);
  stop = h->stop;
  first = h->submitted == NULL;
  if (!stop) {
    r->next = h->submitted;
    h->submitted = r;
  }
  pthread_mutex_unlock (&h->lock);
  if (stop)
    finish (r, ESHUTDOWN);
  else if (first)
    curl_multi_wakeup (h->multi);
}

void
http_submit (struct http_object *o, struct fetch *f)
{
  f->cancel = false;
  hand_over (o->http, new_request (o, f), f);
}

/* Somebody who waits for fetches; under the lock. */
struct waiter {
  struct http *http;
  pthread_cond_t done;
  size_t left;
  int err;
};

static void
waiter_done (struct fetch *f, int err)
{
  struct waiter *w = f->waiter;
  struct http *h = w->http;

  pthread_mutex_lock (&h->lock);
  w->left--;
  if (err != 0 && w->err == 0)
    w->err = err;
  if (w->left == 0)
    pthread_cond_signal (&w->done);
  pthread_mutex_unlock (&h->lock);
}

static void
cancel_all (struct http *h, struct fetch *fetches, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i)
    __atomic_store_n (&fetches[i].cancel, true, __ATOMIC_RELEASE);
  curl_multi_wakeup (h->multi);
}

/* Wait until the fetches are done, at most until it is time to look up.
 * False: they are.
 */
static bool
wait_a_while (struct http *h, struct waiter *w)
{
  const struct timespec t = monotonic_deadline (HOOKS_POLL_MS);
  bool left;

  pthread_mutex_lock (&h->lock);
  if (h->threaded)
    while (w->left > 0 && pthread_cond_timedwait (&w->done, &h->lock, &t) == 0)
      ;
  left = w->left > 0;
  pthread_mutex_unlock (&h->lock);
  /* We drive ourselves. */
  if (left && !h->threaded)
    step (h, HOOKS_POLL_MS);
  return left;
}

/* A server that is slow at the start: warn once, with the reason.  Later the
 * lists of requests belong to the driver thread.
 */
static void
warn_if_slow (struct http_object *o, uint64_t began)
{
  const struct http *h = o->http;
  const struct request *r;

  if (h->threaded || o->slow || monotonic_ms () - began < SLOW_MS)
    return;
  r = h->active ? h->active : h->waiting;
  if (r == NULL)
    return;
  o->slow = true;
  error_warn (h->hooks, o->url.name, "still waiting for the web server: %s",
              r->why[0] ? r->why : "it does not answer");
}

/* The last of them may be done while we wait, and its driver still hold the
 * lock: w is gone only after that.
 */
int
http_fetch_all (struct http_object *o, struct fetch *fetches, size_t n)
{
  struct http *h = o->http;
  struct waiter w = { .http = h, .left = n };
  const uint64_t began = monotonic_ms ();
  bool cancelled = false;
  size_t i;

  monotonic_cond_init (&w.done);
  for (i = 0; i < n; ++i) {
    fetches[i].waiter = &w;
    fetches[i].done = waiter_done;
    http_submit (o, &fetches[i]);
  }
  while (wait_a_while (h, &w)) {
    warn_if_slow (o, began);
    if (!cancelled && hooks_sleep (h->hooks, 0) == -1) {
      cancel_all (h, fetches, n);
      cancelled = true;
    }
  }
  pthread_cond_destroy (&w.done);
  if (cancelled)
    w.err = ESHUTDOWN;
  if (w.err == 0)
    return 0;
  errno = w.err;
  return -1;
}

/* --- Objects --- */

/* The origin of that name.  NULL: out of memory. */
static struct origin *
get_origin (struct http *h, const char *name)
{
  const size_t size = strlen (name) + 1;
  struct origin *o;

  for (o = h->origins; o; o = o->next)
    if (strcmp (o->name, name) == 0)
      return o;
  o = calloc (1, sizeof *o + size);
  if (o == NULL)
    return NULL;
  memcpy (o->name, name, size);
  o->next = h->origins;
  h->origins = o;
  h->connections.clients++;
  return o;
}

struct http_object *
http_open (struct http *h, struct url *url, const struct reference *ref,
           uint8_t head[HTTP_PREFIX_BYTES])
{
  struct http_object *o = calloc (1, sizeof *o);
  struct fetch_piece piece = { head, HTTP_PREFIX_BYTES };
  struct fetch f = { .offset = 0, .pieces = &piece, .nr_pieces = 1 };
  int err;

  if (o)
    o->origin = get_origin (h, url->origin);
  if (o == NULL || o->origin == NULL) {
    free (o);
    error_no_memory (h->hooks, url->name);
    url_free (url);
    errno = ENOMEM;
    return NULL;
  }
  o->http = h;
  o->url = *url;
  o->latency = UINT64_MAX;
  *url = (struct url){ .name = NULL };
  o->ref = ref;
  error_filter_init (&o->errors);
  if (http_fetch_all (o, &f, 1) == 0) {
    o->ref = NULL;
    return o;
  }
  err = errno;
  http_close (o);
  errno = err;
  return NULL;
}

void
http_close (struct http_object *o)
{
  if (o == NULL)
    return;
  url_free (&o->url);
  url_free (&o->target);
  error_filter_destroy (&o->errors);
  free (o);
}

const char *
http_object_name (const struct http_object *o)
{
  return o->url.name;
}

uint64_t
http_object_size (const struct http_object *o)
{
  return o->version.size;
}

bool
http_object_is_near (const struct http_object *o)
{
  return __atomic_load_n (&o->latency, __ATOMIC_RELAXED) < NEAR_US;
}

/* -1 with errno as it was. */
static int
refuse_url (const struct http *h, const char *text, const char *holder,
            int err, const struct problem *problem)
{
  struct url_room room;
  const char *shown = url_hide (text, &room);

  if (holder[0] == '\0')
    return error_report (h->hooks, err, shown, "%s", problem->text);
  return error_report (h->hooks, err, holder,
                       "can't use the URL '%s' that is named in it: %s", shown,
                       problem->text);
}

int
http_parse_url (const struct http *h, const char *text, const char *holder,
                struct url *url)
{
  const struct url_s3 s3 = { h->settings.endpoint_url, h->settings.region };
  struct problem problem;
  bool https;

  if (strncasecmp (text, "s3:", 3) == 0
      && http_settings_check_s3 (&h->settings, h->hooks) == -1) {
    *url = (struct url){ .name = NULL };
    return -1;
  }
  if (url_parse (text, &s3, url, &problem) == -1) {
    const int err = errno;

    url_free (url);
    return refuse_url (h, text, holder, err, &problem);
  }
  if (url->s3 && url->name[strlen (url->name) - 1] == '/') {
    error_report (h->hooks, EINVAL, url->name,
                  "the key %s: must be s3://BUCKET/KEY of an object",
                  strchr (url->name + strlen ("s3://"), '/')
                      == url->name + strlen (url->name) - 1
                    ? "is missing"
                    : "ends in '/', so it names a folder");
    url_free (url);
    errno = EINVAL;
    return -1;
  }
  https = strncmp (url->text, "https:", 6) == 0;
  if (https ? h->settings.allow_https : h->settings.allow_http)
    return 0;
  error_report (h->hooks, EINVAL, url->name,
                "%s is not one of the protocols that protocols= allows",
                https ? "https" : "http");
  url_free (url);
  errno = EINVAL;
  return -1;
}

/* --- Life --- */

static int
new_multi (struct http *h)
{
  h->multi = curl_multi_init ();
  if (h->multi == NULL)
    return error_no_memory (h->hooks, "http");
  curl_multi_setopt (h->multi, CURLMOPT_MAXCONNECTS,
                     (long) h->settings.connections);
  return 0;
}

struct http *
http_new (const struct qcow_options *options, const struct qcow_hooks *hooks)
{
  struct http *h = calloc (1, sizeof *h);
  struct problem problem;
  int err;

  if (libcurl_load (&problem) == -1) {
    free (h);
    error_report (hooks, EIO, "http", "%s", problem.text);
    return NULL;
  }
  if (h == NULL) {
    error_no_memory (hooks, "http");
    return NULL;
  }
  h->hooks = hooks;
  h->debug = options->debug_http;
  h->random = monotonic_ms ();
  pthread_mutex_init (&h->lock, NULL);
  if (http_settings_take (&h->settings, options, hooks) == 0
      && new_multi (h) == 0) {
    h->connections.slots = h->settings.connections;
    return h;
  }
  err = errno;
  http_free (h);
  errno = err;
  return NULL;
}

/* Handles must not outlive the multi handle that has their connections. */
static void
free_handles (struct http *h)
{
  while (h->nr_idle > 0)
    curl_easy_cleanup (h->idle[--h->nr_idle]);
  if (h->multi)
    curl_multi_cleanup (h->multi);
  h->multi = NULL;
}

void
http_hang_up (struct http *h)
{
  if (h)
    free_handles (h);
}

int
http_start (struct http *h)
{
  sigset_t all, old;
  int err;

  if (h == NULL)
    return 0;
  if (h->multi == NULL && new_multi (h) == -1)
    return -1;
  h->threaded = true;
  /* Signals are for nbdkit's own threads. */
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  err = pthread_create (&h->worker, NULL, work, h);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  if (err == 0)
    return 0;
  h->threaded = false;
  errno = err;
  return error_report (h->hooks, err, "http", "can't start a thread: %m");
}

void
http_stop (struct http *h)
{
  if (h == NULL)
    return;
  pthread_mutex_lock (&h->lock);
  h->stop = true;
  pthread_mutex_unlock (&h->lock);
  if (h->threaded) {
    curl_multi_wakeup (h->multi);
    pthread_join (h->worker, NULL); /* who still waits does not drive */
  }
  take_submitted (h);
  drop_cancelled (h, true);
}

void
http_free (struct http *h)
{
  struct origin *o;

  if (h == NULL)
    return;
  free_handles (h);
  while ((o = h->origins) != NULL) {
    h->origins = o->next;
    free (o);
  }
  http_settings_free (&h->settings);
  pthread_mutex_destroy (&h->lock);
  free (h);
}
