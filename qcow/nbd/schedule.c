/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an object does next.  See internal.h.
 *
 * Commands wait until a connection has room for them; those of a lost
 * connection wait again.  A request with an error ends as soon as none of its
 * commands is in flight.  Requests leave the object's list only in reap, so
 * loops over them are simple.
 */

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/minmax.h"
#include "base/monotonic.h"
#include "nbd/host.h"
#include "nbd/internal.h"
#include "url/url-name.h"

/* Commands in flight on one connection. */
#define MAX_SENT 64

/* If all connections have this many, open one more: qemu-nbd works on 16
 * commands of a connection at once, and nbdkit has 16 threads for it.
 */
#define BUSY 16

/* Copies are only faster if it is known where holes are. */
#define QUERY_GIVE_UP_MS 5000

/* If nbdkit has changed its user since it opened the socket, no wait helps.
 * But a server that was started again can set the socket's permissions a
 * moment later.
 */
#define DENIED_GIVE_UP_MS 2000

/* How often to ask whether the name of the host is resolved. */
#define LOOKUP_POLL_MS 10

/* A server that refuses one more connection can have a limit. */
#define MORE_MS 10000

/* --- Requests --- */

bool
object_has_connection (const struct nbd_object *o)
{
  unsigned i;

  for (i = 0; i < o->nbd->connections; ++i)
    if (o->connections[i].ready)
      return true;
  return false;
}

static void
finish (struct request *r, int err)
{
  r->object->nbd->ended = true;
  nbd_request_finish (r, err);
}

/* Split the request for the server's block sizes.  False: it must not be sent.
 */
static bool
prepare (struct request *r)
{
  const struct nbd_object *o = r->object;

  if (r->fetch->holes && !o->export.allocation) {
    r->left = 0; /* nothing was found */
    return false;
  }
  if (request_split (r) == 0)
    return true;
  error_no_memory (o->nbd->hooks, o->transport.name);
  r->err = ENOMEM;
  return false;
}

/* Find the command to send next, on a connection that is ready.  NULL: there
 * is none.
 */
static struct command *
first_unsent (const struct nbd_object *o)
{
  struct request *r;
  size_t i = 0;

  for (r = o->requests; r; r = r->next) {
    if (r->err != 0 || r->nr_sent == r->left)
      continue;
    if (prepare (r))
      break;
  }
  if (r == NULL)
    return NULL;
  while (r->commands[i].sent)
    ++i;
  return &r->commands[i];
}

void
object_add (struct nbd_object *o, struct request *r)
{
  struct request **end = &o->requests;

  if (o->changed) {
    finish (r, EIO);
    return;
  }
  r->once = backoff_is_recent (o->given_up, monotonic_ms ());
  if (o->requests == NULL)
    o->due = 0;
  while (*end)
    end = &(*end)->next;
  r->next = NULL;
  *end = r;
}

/* Of several errors of one object in a minute that have the same errno value
 * and are of the same kind, only the first is reported.
 */
static void
fail_request (struct request *r, int err, bool of_server, const char *why)
{
  struct nbd_object *o = r->object;
  const struct qcow_hooks *hooks = o->nbd->hooks;
  const struct reference *ref = o->ref;
  const uint64_t place = (of_server ? 0x8000U : 0) | (unsigned) err;
  char tries[64] = "", what[96] = "can't open it";
  struct hint_room room;

  if (r->failures > 1)
    snprintf (tries, sizeof tries, ", after %u tries", r->failures);
  if (r->nr_commands > 0)
    snprintf (what, sizeof what, "can't %s %" PRIu64 " bytes at 0x%" PRIx64,
              r->fetch->holes ? "find the holes in" : "read", r->length,
              r->fetch->offset);
  error_filter_each_minute (&o->errors, monotonic_ms ());
  if (ref && ref->image)
    error_report_once (&o->errors, place, hooks, err, ref->image,
                       "can't open the %s " NAMED ": %s%s%s", ref->what,
                       NAMED_ARGS (ref->name, o->transport.name), why, tries,
                       err == ENOENT ? error_hint_with (hooks, ref->hint,
                                                        ref->hint_value, &room)
                                     : "");
  else
    error_report_once (&o->errors, place, hooks, err, o->transport.name,
                       "%s: %s%s", what, why, tries);
  r->err = of_server ? EIO : err;
}

/* Finish the requests that are over. */
static void
reap (struct nbd_object *o)
{
  struct request **link = &o->requests, *r;

  while ((r = *link) != NULL)
    if (r->err != 0 ? r->nr_sent == 0 : r->left == 0 && o->known) {
      *link = r->next;
      finish (r, r->err);
    }
    else
      link = &r->next;
}

void
object_end (struct nbd_object *o, int err)
{
  struct request *r;

  for (r = o->requests; r; r = r->next)
    if (r->err == 0)
      r->err = err;
  reap (o);
}

/* --- Lost connections --- */

static int
errno_of (const struct nbd_object *o, int err)
{
  if (err == ENOMEM)
    return err;
  if (o->known)
    return EIO;
  switch (err) {
  case EACCES:
  case EPERM:
    return EACCES;
  case EINVAL:
  case ENOENT:
    return err;
  default:
    return EIO;
  }
}

bool
object_is_denied (const struct nbd_object *o, int err)
{
  return (err == EACCES || err == EPERM) && url_is_local (o->transport.name);
}

/* True if the next try would fail alike.  While serving a server may be
 * restarted, and then for example lacks its socket for a while.  Before that,
 * a user has waited long enough for a server that does not respond.
 */
static bool
is_permanent (const struct nbd_object *o, int err)
{
  return err == ENOMEM || (err == ETIMEDOUT && !o->nbd->serving)
         || (!o->known
             && (errno_of (o, err) != EIO || err == ENOTSUP
                 || err == ENAMETOOLONG || err == EOVERFLOW));
}

/* How long to retry a request, from its first failure on. */
static uint64_t
give_up_after (const struct request *r, int err)
{
  const struct nbd_object *o = r->object;

  if (r->fetch->holes)
    return err == ETIMEDOUT ? 0 : QUERY_GIVE_UP_MS;
  return object_is_denied (o, err) ? DENIED_GIVE_UP_MS : o->nbd->give_up_ms;
}

/* A request could not go on.  The next try would be after 'delay' ms. */
static void
retry_request (struct request *r, int err, uint64_t now, uint64_t delay)
{
  struct nbd_object *o = r->object;

  if (r->failures++ == 0)
    r->first_failure = now;
  if (!r->once && !is_permanent (o, err)
      && (o->nbd->serving || r->failures <= BACKOFF_RETRIES_AT_START)
      && now + delay - r->first_failure <= give_up_after (r, err))
    return;
  if (!r->fetch->holes)
    o->given_up = now;
  fail_request (r, errno_of (o, err), false, o->why);
}

void
object_hang_up (struct nbd_object *o)
{
  unsigned i;

  host_lookup_abandon (&o->lookup);
  for (i = 0; i < o->nbd->connections; ++i)
    connection_close (&o->connections[i]);
  reap (o);
}

/* The reason is in o->why.  A command can be why a server ends connections, so
 * the requests that were hit go behind the others.
 */
static void
lost (struct connection *c, int err)
{
  struct nbd_object *o = c->object;
  const bool was_ready = c->ready;
  const uint64_t now = monotonic_ms ();
  struct request **link = &o->requests, *r, *hit = NULL, **hit_end = &hit;
  uint64_t delay;
  bool others;

  connection_close (c);
  if (o->changed)
    return;
  others = object_has_connection (o);
  if (others && !was_ready) {
    o->more_due = now + MORE_MS;
    return;
  }
  delay = backoff_delay (++o->failures, (uint64_t) rand_r (&o->nbd->seed));
  o->due = now + delay;
  error_debug (o->nbd->hooks, o->transport.name,
               "%s; next try in %" PRIu64 " ms", o->why, delay);
  while ((r = *link) != NULL) {
    if (r->err == 0 && (r->hit || !others))
      retry_request (r, err, now, delay);
    if (r->hit) {
      *link = r->next;
      *hit_end = r;
      hit_end = &r->next;
      r->hit = false;
    }
    else
      link = &r->next;
  }
  *hit_end = NULL;
  *link = hit;
}

/* Handle the replies that have arrived.  r and errno are the result of a
 * function of the connection.
 */
static void
settle (struct connection *c, int r)
{
  const bool idle = c->ready && c->nr_sent == 0;
  int err = errno;
  struct command *cmd;

  while ((cmd = connection_take_over (c)) != NULL) {
    if (cmd->request->err != 0)
      continue;
    if (cmd->err == 0)
      command_complete (cmd);
    else if (r == 0 && cmd->err != ESHUTDOWN) {
      char why[128];

      c->object->failures = 0; /* of connections */
      c->object->given_up = 0;
      errno = cmd->err;
      snprintf (why, sizeof why, "the NBD server reports: %m");
      fail_request (cmd->request, cmd->err, true,
                    cmd->cookie == -1 ? c->object->why : why);
    }
    else {
      if (r == 0) {
        r = -1;
        err = ESHUTDOWN;
        snprintf (c->object->why, sizeof c->object->why,
                  "the NBD server is shutting down");
      }
      cmd->sent = false;
      cmd->request->hit = true;
    }
  }
  if (r == -1 && idle)
    connection_close (c); /* the next command opens one */
  else if (r == -1)
    lost (c, err);
}

void
object_after_events (struct nbd_object *o, struct connection *c, int r)
{
  settle (c, r);
  reap (o);
}

/* --- What is due --- */

/* Commands in flight end later, in memory of their own. */
static void
cancel_requests (struct nbd_object *o)
{
  struct request *r;

  for (r = o->requests; r; r = r->next) {
    struct fetch *f = r->fetch;

    if (f == NULL || !__atomic_load_n (&f->cancel, __ATOMIC_ACQUIRE))
      continue;
    r->err = ESHUTDOWN;
    r->fetch = NULL;
    o->nbd->ended = true;
    f->done (f, ESHUTDOWN);
  }
}

/* The time in ms at which a connection counts as lost if nothing happens: when
 * nothing came for stall_ms, or one command was not replied to for three times
 * as long, since other replies do not help its client.
 */
static uint64_t
stalls_at (const struct connection *c)
{
  const uint64_t stall_ms = c->object->nbd->stall_ms;
  const uint64_t idle = c->progress + stall_ms;

  return c->sent ? min64 (idle, c->sent->began / 1000 + 3 * stall_ms) : idle;
}

static void
end_stalled (struct nbd_object *o, uint64_t now)
{
  unsigned i;

  for (i = 0; i < o->nbd->connections; ++i) {
    struct connection *c = &o->connections[i];

    if (c->handle && (!c->ready || c->nr_sent > 0) && now >= stalls_at (c)) {
      snprintf (o->why, sizeof o->why, "the NBD server does not respond");
      lost (c, ETIMEDOUT);
    }
  }
}

static bool
has_running (const struct nbd_object *o)
{
  const struct request *r;

  for (r = o->requests; r; r = r->next)
    if (r->err == 0)
      return true;
  return false;
}

/* The connection to open now, or NULL. */
static struct connection *
connection_due (struct nbd_object *o, uint64_t now)
{
  struct connection *c = NULL;
  unsigned open = 0, busy = 0, i;

  for (i = 0; i < o->nbd->connections; ++i) {
    if (o->connections[i].handle == NULL)
      c = &o->connections[i];
    else
      open++;
    busy += o->connections[i].nr_sent >= BUSY;
  }
  if (now < o->due)
    return NULL;
  if (open == 0)
    return has_running (o) ? c : NULL;
  return o->export.multi_conn && busy == open && now >= o->more_due ? c : NULL;
}

/* True if the host's name is known, so that libnbd can resolve it quickly.  If
 * it can't be resolved, that counts as a failure of the connection.
 */
static bool
is_resolved (struct connection *c, uint64_t now)
{
  struct nbd_object *o = c->object;
  int err;

  if (o->host[0] == '\0' || !o->nbd->serving)
    return true;
  if (o->lookup == NULL)
    o->lookup_began = now;
  err = host_lookup_step (&o->lookup, o->host);
  if (err == EAI_INPROGRESS && now < o->lookup_began + o->nbd->stall_ms)
    return false;
  host_lookup_abandon (&o->lookup);
  if (err == 0)
    return true;
  snprintf (o->why, sizeof o->why,
            "the name of the host can't be resolved: %s", gai_strerror (err));
  lost (c, EIO);
  return false;
}

/* After a failure, try with one command. */
static struct connection *
least_busy (struct nbd_object *o)
{
  const unsigned limit = o->failures > 0 ? 1 : MAX_SENT;
  struct connection *best = NULL;
  unsigned i;

  for (i = 0; i < o->nbd->connections; ++i) {
    struct connection *c = &o->connections[i];

    if (c->ready && c->nr_sent < limit
        && (best == NULL || c->nr_sent < best->nr_sent))
      best = c;
  }
  return best;
}

static void
send_commands (struct nbd_object *o)
{
  struct connection *c;
  struct command *cmd;

  while ((c = least_busy (o)) != NULL && (cmd = first_unsent (o)) != NULL)
    settle (c, connection_send (c, cmd));
}

void
object_run (struct nbd_object *o)
{
  const uint64_t now = monotonic_ms ();
  struct connection *c;

  if (o->changed)
    object_end (o, EIO);
  cancel_requests (o);
  if (!has_running (o))
    host_lookup_abandon (&o->lookup);
  end_stalled (o, now);
  send_commands (o);
  c = connection_due (o, now);
  if (c && is_resolved (c, now)) {
    if (connection_open (c) == -1)
      lost (c, errno);
    send_commands (o); /* it may be ready already */
  }
  reap (o);
}

uint64_t
object_wait (const struct nbd_object *o)
{
  const uint64_t now = monotonic_ms ();
  uint64_t next = UINT64_MAX;
  bool open = false;
  unsigned i;

  for (i = 0; i < o->nbd->connections; ++i) {
    const struct connection *c = &o->connections[i];

    open = open || c->handle;
    if (c->handle && (!c->ready || c->nr_sent > 0))
      next = min64 (next, stalls_at (c));
  }
  if (o->lookup)
    next = now + LOOKUP_POLL_MS;
  if (!open && o->lookup == NULL && has_running (o))
    next = min64 (next, o->due);
  return next > now ? next - now : 0;
}
