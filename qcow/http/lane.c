/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Transfers in the thread that wants the bytes: lanes.
 *
 * From a server that is near, the way to the driver's thread and back would
 * take a good part of the time that a request takes.  So a reader may take a
 * lane, which is a connection of its own, for a while.  This is only the
 * road for fair weather: of a try that is anything but complete and good the
 * driver is given the rest, and it begins with a try of its own; and then
 * there are no lanes to that object for a while.
 *
 * A lane belongs to who has taken it.  Under the lock are the idle ones, and
 * their number.
 */

#include <stdlib.h>

#include "base/monotonic.h"
#include "base/wait.h"
#include "http/internal.h"

/* Each lane is a connection that the driver has not.  More of them than
 * processors gain little.
 */
#define MAX_LANES 4U

/* Who finds them all taken waits for so long: then the driver is quicker. */
#define WAIT_MS 20

/* A near server that keeps a lane waiting for so long may have no place for
 * one more connection.
 */
#define PATIENCE_MS 500

/* After that, or if anything else was wrong. */
#define BAD_WEATHER_MS 10000

struct lane {
  struct lane *next;
  CURLM *multi;
  CURL *easy;
};

void
lane_free (struct lane *l)
{
  if (l == NULL)
    return;
  curl_easy_cleanup (l->easy);
  if (l->multi)
    curl_multi_cleanup (l->multi);
  free (l);
}

static struct lane *
new_lane (const struct http *h)
{
  struct lane *l = calloc (1, sizeof *l);

  if (l == NULL)
    return NULL;
  l->multi = curl_multi_init ();
  l->easy = curl_easy_init ();
  if (l->multi && l->easy
      && curl_multi_setopt (l->multi, CURLMOPT_MAXCONNECTS, 1L) == CURLM_OK
      && request_prepare_handle (h, l->easy) == CURLE_OK)
    return l;
  lane_free (l);
  return NULL;
}

/* May there be one more?  Under the lock. */
static bool
may_make (const struct http *h)
{
  return h->nr_lanes < MAX_LANES && h->nr_lanes < h->settings.connections / 2
         && quota_may_take (&h->connections, &h->lane_client);
}

/* Under the lock. */
static void
count_lane (struct http *h)
{
  h->nr_lanes++;
  quota_take (&h->connections, &h->lane_client);
}

/* Under the lock. */
static void
discount_lane (struct http *h)
{
  h->nr_lanes--;
  quota_give (&h->connections, &h->lane_client);
}

static struct lane *
make_lane (struct http *h)
{
  struct lane *l = new_lane (h);

  if (l == NULL) {
    pthread_mutex_lock (&h->lock);
    discount_lane (h);
    pthread_mutex_unlock (&h->lock);
  }
  return l;
}

/* An idle one, or NULL.  Under the lock. */
static struct lane *
pop_lane (struct http *h)
{
  struct lane *l = h->lanes;

  if (l)
    h->lanes = l->next;
  return l;
}

static struct lane *
take_lane (struct http *h)
{
  const struct timespec t = monotonic_deadline (WAIT_MS);
  struct lane *l;
  bool make;

  pthread_mutex_lock (&h->lock);
  for (;;) {
    l = h->stop ? NULL : pop_lane (h);
    make = l == NULL && !h->stop && may_make (h);
    if (l || make || h->nr_lanes == 0 || h->stop
        || pthread_cond_timedwait (&h->lane_free, &h->lock, &t) != 0)
      break;
  }
  if (make)
    count_lane (h);
  pthread_mutex_unlock (&h->lock);
  return make ? make_lane (h) : l;
}

static void
leave_lane (struct http *h, struct lane *l)
{
  bool wanted;

  pthread_mutex_lock (&h->lock);
  l->next = h->lanes;
  h->lanes = l;
  wanted = h->starving;
  pthread_cond_signal (&h->lane_free);
  pthread_mutex_unlock (&h->lock);
  /* The driver may have its connection. */
  if (wanted)
    curl_multi_wakeup (h->multi);
}

struct lane *
lane_give_up (struct http *h)
{
  struct lane *l = pop_lane (h);

  if (l)
    discount_lane (h);
  return l;
}

void
lanes_free (struct http *h)
{
  struct lane *l;

  while ((l = lane_give_up (h)) != NULL)
    lane_free (l);
}

/* Until the transfer is over, or there is no sense in waiting any more. */
static enum lane_end
drive (struct http *h, struct request *r, CURLM *multi, uint64_t look_up)
{
  const uint64_t patience = monotonic_ms () + PATIENCE_MS;
  int running, left;
  CURLMsg *msg;
  uint64_t now;

  for (;;) {
    if (curl_multi_perform (multi, &running) != CURLM_OK)
      return LANE_LEFT;
    msg = curl_multi_info_read (multi, &left);
    if (msg && msg->msg == CURLMSG_DONE)
      return request_is_complete (h, r, msg->data.result) ? LANE_DONE
                                                          : LANE_LEFT;
    now = monotonic_ms ();
    if (now >= look_up) {
      if (http_stopping (h) || hooks_sleep (h->hooks, 0) == -1)
        return LANE_CANCELLED;
      look_up = now + HOOKS_POLL_MS;
    }
    if (!r->judged && now >= patience)
      return LANE_LEFT;
    curl_multi_poll (multi, NULL, 0, (int) (look_up - now), NULL);
  }
}

static enum lane_end
use_lane (struct http *h, struct request *r, const struct lane *l,
          uint64_t look_up)
{
  enum lane_end end = LANE_LEFT;

  r->easy = l->easy;
  if (request_set_up (h, r) == CURLE_OK
      && curl_multi_add_handle (l->multi, l->easy) == CURLM_OK) {
    end = drive (h, r, l->multi, look_up);
    curl_multi_remove_handle (l->multi, l->easy);
  }
  request_let_go (l->easy);
  r->easy = NULL;
  return end;
}

enum lane_end
lane_fetch (struct http *h, struct request *r)
{
  const uint64_t look_up = monotonic_ms () + HOOKS_POLL_MS;
  struct lane *l = take_lane (h);
  enum lane_end end;

  if (l == NULL)
    return LANE_LEFT;
  r->original = true;
  end = use_lane (h, r, l, look_up);
  r->original = false;
  r->began = 0;
  leave_lane (h, l);
  if (end == LANE_LEFT)
    __atomic_store_n (&r->object->no_lane_before,
                      monotonic_ms () + BAD_WEATHER_MS, __ATOMIC_RELAXED);
  return end;
}
