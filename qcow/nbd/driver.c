/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Driving transfers.  See nbd.h.
 *
 * Other threads submit requests to the inbox, and wake the driver through an
 * eventfd.  The driver hands them to their objects, and waits for events on
 * all connections.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/monotonic.h"
#include "base/worker.h"
#include "nbd/internal.h"

/* The driver checks for submitted requests at least this often. */
#define MAX_WAIT_MS 1000

/* A connection without any event for so long counts as lost. */
#define STALL_MS 15000

/* At the end, commands in flight may take so long: nbdkit 1.32 can crash if a
 * connection with commands is closed.
 */
#define DRAIN_MS 50
#define DRAIN_POLL_MS 5

/* If poll fails, pause. */
#define POLL_PAUSE_MS 10

/* --- Driving --- */

/* Hand submitted requests to their objects.  False: nbd_stop was called. */
static bool
take_submitted (struct nbd *n)
{
  struct inbox_item *item, *next;
  const bool open = inbox_take (&n->inbox, &item);

  for (; item; item = next) {
    struct request *r = (struct request *) item;

    next = item->next;
    object_add (r->object, r); /* this can finish it */
  }
  return open;
}

/* Fill n->polls.  Returns how many it has. */
static nfds_t
prepare_poll (struct nbd *n)
{
  const struct nbd_object *o;
  nfds_t nr = 0;
  unsigned i;

  n->polls[nr++] = (struct pollfd){ .fd = n->wakeup, .events = POLLIN };
  for (o = n->objects; o; o = o->next)
    for (i = 0; i < n->connections; ++i) {
      const struct connection *c = &o->connections[i];

      if (c->handle)
        n->polls[nr++] = (struct pollfd){ .fd = libnbd.aio_get_fd (c->handle),
                                          .events = connection_events (c) };
    }
  return nr;
}

/* Handle the events in n->polls.  This closes connections only after their
 * turn, and opens none.
 */
static void
handle_events (struct nbd *n)
{
  const struct pollfd *p = n->polls;
  struct nbd_object *o;
  uint64_t count;
  unsigned i;

  if (p++->revents != 0 && read (n->wakeup, &count, sizeof count) == -1)
    error_debug (n->hooks, "nbd", "read from an eventfd: %m");
  for (o = n->objects; o; o = o->next)
    for (i = 0; i < n->connections; ++i) {
      struct connection *c = &o->connections[i];

      if (c->handle == NULL)
        continue;
      if (p->revents != 0)
        object_after_events (o, c, connection_handle (c, p->revents));
      ++p;
    }
}

static void
step (struct nbd *n, int max_ms)
{
  const struct timespec pause = { .tv_nsec = POLL_PAUSE_MS * 1000000L };
  uint64_t wait = (uint64_t) max_ms;
  struct nbd_object *o;

  for (o = n->objects; o; o = o->next)
    object_run (o);
  for (o = n->objects; o; o = o->next)
    wait = min64 (wait, object_wait (o));
  if (poll (n->polls, prepare_poll (n), n->ended ? 0 : (int) wait) >= 0)
    handle_events (n);
  else if (errno != EINTR)
    nanosleep (&pause, NULL);
  n->ended = false;
}

static void *
work (void *opaque)
{
  struct nbd *n = opaque;

  while (take_submitted (n))
    step (n, MAX_WAIT_MS);
  return NULL;
}

void
nbd_step (struct nbd *n, int max_ms)
{
  take_submitted (n);
  step (n, max_ms);
}

/* --- For other threads --- */

static void
wake (struct nbd *n)
{
  const uint64_t one = 1;

  /* It can only fail if the counter is at its maximum: then it wakes, too. */
  if (write (n->wakeup, &one, sizeof one) == -1)
    return;
}

void
nbd_wake (struct transport *t)
{
  wake (((struct nbd_object *) t)->nbd);
}

void
nbd_submit (struct transport *t, struct fetch *f)
{
  struct nbd_object *o = (struct nbd_object *) t;
  struct request *r = nbd_request_new (o, f);
  struct nbd *n = o->nbd;
  bool first;

  f->cancel = false;
  if (r == NULL) {
    error_no_memory (n->hooks, t->name);
    f->done (f, ENOMEM);
    return;
  }
  if (!inbox_add (&n->inbox, &r->item, &first))
    nbd_request_finish (r, ESHUTDOWN);
  else if (first)
    wake (n);
}

/* --- Life --- */

/* Make room for the connections of so many objects. */
static int
make_room (struct nbd *n, size_t objects)
{
  const size_t room = 1 + objects * n->connections;
  struct pollfd *polls = realloc (n->polls, room * sizeof polls[0]);

  if (polls == NULL)
    return -1;
  n->polls = polls;
  return 0;
}

int
nbd_add (struct nbd *n, struct nbd_object *o)
{
  if (make_room (n, n->nr_objects + 1) == -1)
    return -1;
  n->nr_objects++;
  o->next = n->objects;
  n->objects = o;
  return 0;
}

void
nbd_remove (struct nbd *n, struct nbd_object *o)
{
  struct nbd_object **link;

  for (link = &n->objects; *link; link = &(*link)->next)
    if (*link == o) {
      *link = o->next;
      n->nr_objects--;
      return;
    }
}

struct nbd *
nbd_new (unsigned connections, const struct qcow_hooks *hooks)
{
  struct nbd *n = calloc (1, sizeof *n);
  struct problem problem;

  if (n == NULL) {
    error_no_memory (hooks, "nbd");
    return NULL;
  }
  n->hooks = hooks;
  n->connections = connections;
  n->give_up_ms = BACKOFF_GIVE_UP_MS;
  n->stall_ms = STALL_MS;
  n->seed = (unsigned) monotonic_ms ();
  inbox_init (&n->inbox);
  n->wakeup = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (make_room (n, 0) == -1)
    error_no_memory (hooks, "nbd");
  else if (n->wakeup == -1)
    error_report (hooks, errno, "nbd", "can't create an eventfd: %m");
  else if (libnbd_load (&problem) == -1)
    error_report (hooks, EIO, "nbd", "%s", problem.text);
  else
    return n;
  nbd_free (n);
  return NULL;
}

void
nbd_hang_up (struct nbd *n)
{
  struct nbd_object *o;

  if (n == NULL)
    return;
  for (o = n->objects; o; o = o->next)
    object_hang_up (o);
}

int
nbd_start (struct nbd *n)
{
  if (n == NULL)
    return 0;
  n->serving = true;
  if (worker_start (&n->worker, work, n) == 0)
    return 0;
  n->serving = false;
  return error_report (n->hooks, errno, "nbd", "can't start a thread: %m");
}

static bool
is_idle (const struct nbd *n)
{
  const struct nbd_object *o;

  for (o = n->objects; o; o = o->next)
    if (o->requests)
      return false;
  return true;
}

void
nbd_stop (struct nbd *n)
{
  const uint64_t end = monotonic_ms () + DRAIN_MS;
  struct nbd_object *o;

  if (n == NULL)
    return;
  inbox_close (&n->inbox);
  if (n->serving) {
    wake (n);
    pthread_join (n->worker, NULL);
  }
  take_submitted (n);
  for (o = n->objects; o; o = o->next)
    object_end (o, ESHUTDOWN);
  while (!is_idle (n) && monotonic_ms () < end)
    step (n, DRAIN_POLL_MS);
  nbd_hang_up (n);
}

void
nbd_free (struct nbd *n)
{
  KEEP_ERRNO;

  if (n == NULL)
    return;
  if (n->wakeup != -1)
    close (n->wakeup);
  free (n->polls);
  inbox_destroy (&n->inbox);
  free (n);
}
