/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connections.  See internal.h.
 *
 * libnbd's calls for asynchronous I/O do not wait, except that connecting to
 * the name of a host resolves it.
 */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/minmax.h"
#include "base/monotonic.h"
#include "nbd/internal.h"

/* A larger command would take longer to cancel, and others would wait longer
 * for the connection.  Some servers refuse more than 32 MiB.
 */
#define MAX_COMMAND (1U << 20)

/* The largest minimum that the protocol allows. */
#define MAX_MINIMUM (64U << 10)

#define CALLBACK(function, data)                                              \
  (nbd_completion_callback) { .callback = (function), .user_data = (data) }

/* --- Failures --- */

/* Note the reason without secrets.  libnbd's texts begin with the name of a
 * function.  -1 with errno 'err'; 0: unknown.
 */
static int
failed (struct connection *c, int err, const char *text)
{
  struct nbd_object *o = c->object;
  const char *p = text;

  while (*p == '_' || isalnum ((unsigned char) *p))
    ++p;
  if (strncmp (text, "nbd_", 4) == 0 && strncmp (p, ": ", 2) == 0)
    text = p + 2;
  redact (o->why, text, &o->secrets, NULL);
  errno = err != 0 ? err : EIO;
  return -1;
}

/* For the last error of libnbd in this thread. */
static int
libnbd_failed (struct connection *c)
{
  const char *text = libnbd.get_error ();

  return failed (c, libnbd.get_errno (), text ? text : "libnbd fails");
}

/* --- Exports --- */

/* 0, or -1 with the reason and errno; then nothing is to be freed. */
static int
read_export (struct connection *c, struct nbd_export *e)
{
  struct nbd_handle *h = c->handle;
  const int64_t size = libnbd.get_size (h);
  const int64_t minimum = libnbd.get_block_size (h, LIBNBD_SIZE_MINIMUM);
  const int64_t maximum = libnbd.get_block_size (h, LIBNBD_SIZE_MAXIMUM);

  if (size < 0)
    return failed (c, EOVERFLOW, "the export is larger than 2^63 - 1 bytes");
  if (minimum < 0 || maximum < 0)
    return libnbd_failed (c);
  if (minimum > MAX_MINIMUM || (minimum & (minimum - 1)) != 0)
    return failed (c, EIO, "the server's block sizes are not valid");
  *e = (struct nbd_export){ .size = (uint64_t) size,
                            .minimum = minimum > 0 ? (uint32_t) minimum : 1,
                            .maximum = MAX_COMMAND,
                            .multi_conn = libnbd.can_multi_conn (h) == 1,
                            .allocation = libnbd.can_meta_context (
                                            h, LIBNBD_CONTEXT_BASE_ALLOCATION)
                                          == 1 };
  if (maximum > 0 && maximum < MAX_COMMAND)
    e->maximum = (uint32_t) maximum & ~(e->minimum - 1);
  if (e->maximum == 0)
    return failed (c, EIO, "the server's block sizes are not valid");
  e->description = libnbd.get_export_description (h);
  if (e->description == NULL && libnbd.get_errno () == ENOMEM)
    return libnbd_failed (c);
  return 0;
}

static bool
equal (const char *a, const char *b)
{
  return a && b ? strcmp (a, b) == 0 : a == b;
}

/* How the export differs from the one that was seen first.  NULL: not. */
static const char *
difference (const struct nbd_export *a, const struct nbd_export *b)
{
  return a->size != b->size ? "it has another size"
         : !equal (a->description, b->description)
           ? "it has another description"
           : NULL;
}

/* Take over what does not change the content.  Other connections rely on it,
 * so an additional one must agree with them.
 */
static int
adopt (struct connection *c, const struct nbd_export *new)
{
  struct nbd_object *o = c->object;
  struct nbd_export *e = &o->export;

  e->multi_conn = new->multi_conn;
  e->allocation = new->allocation;
  if (object_has_connection (o)) {
    if (!new->multi_conn)
      return failed (c, EIO,
                     "the NBD server does not support several connections "
                     "any more");
    if (new->minimum != e->minimum || new->maximum != e->maximum)
      return failed (c, EIO, "the NBD server has other block sizes now");
  }
  e->minimum = new->minimum;
  e->maximum = new->maximum;
  return 0;
}

static int
check_export (struct connection *c)
{
  struct nbd_object *o = c->object;
  struct nbd_export e = { .size = 0 };
  const char *what;

  if (read_export (c, &e) == -1)
    return -1;
  /* libnbd does not check that the parts of a structured reply fill the
   * buffer, so it has to fill it first.
   */
  libnbd.set_pread_initialize (
    c->handle, libnbd.get_structured_replies_negotiated (c->handle) != 0);
  if (!o->known) {
    o->export = e;
    o->known = true;
    return 0;
  }
  what = difference (&e, &o->export);
  free (e.description);
  if (what == NULL)
    return adopt (c, &e);
  if (!o->changed)
    error_report (o->nbd->hooks, EIO, o->transport.name,
                  "the export was changed while it was being served: %s; "
                  "it is not read any more until the server is restarted",
                  what);
  o->changed = true;
  return failed (c, EIO, what);
}

/* --- Connecting --- */

static int
set_up (struct nbd_handle *h, bool local_files)
{
  const uint32_t transports = LIBNBD_ALLOW_TRANSPORT_TCP
                              | LIBNBD_ALLOW_TRANSPORT_UNIX
                              | LIBNBD_ALLOW_TRANSPORT_VSOCK;

  /* The last bytes of an export need not be a whole block.  Then the server
   * decides whether it reads them.
   */
  return libnbd.set_strict_mode (h, libnbd.get_strict_mode (h)
                                      & ~LIBNBD_STRICT_ALIGN)
               == -1
             || libnbd.set_uri_allow_transports (h, transports) == -1
             || libnbd.set_uri_allow_local_file (h, local_files) == -1
             || libnbd.add_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION)
                  == -1
             || libnbd.set_full_info (h, true) == -1
             || libnbd.set_opt_mode (h, true) == -1
           ? -1
           : 0;
}

void
connection_close (struct connection *c)
{
  struct command *cmd;

  if (c->handle == NULL)
    return;
  if (c->ready && c->nr_sent == 0)
    libnbd.aio_disconnect (c->handle, 0);
  /* nbdkit --run has forked, and the other process has the socket, too. */
  shutdown (libnbd.aio_get_fd (c->handle), SHUT_RDWR);
  libnbd.close (c->handle);
  c->handle = NULL;
  c->ready = false;
  for (; (cmd = c->sent) != NULL; c->sent = cmd->next) {
    cmd->sent = false;
    cmd->request->nr_sent--;
    cmd->request->hit = true;
  }
  c->sent_end = &c->sent;
  c->nr_sent = 0;
}

static int
on_go (void *opaque, int *err)
{
  struct connection *c = opaque;

  c->go_done = true;
  c->go_err = *err;
  if (*err != 0)
    libnbd_failed (c);
  return 1;
}

/* Look what has become of the connection; results as connection_open. */
static int
check (struct connection *c)
{
  struct nbd_handle *h = c->handle;

  if (libnbd.aio_is_dead (h))
    return libnbd_failed (c);
  if (libnbd.aio_is_closed (h))
    return failed (c, ENOTCONN, "the NBD server has ended the connection");
  if (c->ready)
    return 0;
  if (libnbd.aio_is_ready (h)) {
    c->ready = check_export (c) == 0;
    return c->ready ? 0 : -1;
  }
  if (c->go_done) {
    errno = c->go_err;
    return c->go_err == 0 ? 0 : -1;
  }
  if (!libnbd.aio_is_negotiating (h))
    return 0;
  if (libnbd.aio_opt_go (h, CALLBACK (on_go, c)) == -1)
    return libnbd_failed (c);
  /* A quick server may have replied already. */
  return check (c);
}

static int
connect_failed (struct connection *c)
{
  struct nbd_object *o = c->object;
  size_t n;
  int err;

  libnbd_failed (c);
  err = errno;
  n = strlen (o->why);
  /* (Before it connects, libnbd can refuse the URI with the same errno.) */
  if (object_is_denied (o, err) && libnbd.aio_is_dead (c->handle))
    snprintf (o->why + n, sizeof o->why - n,
              " (this process must be allowed to write to the socket, and to "
              "enter its directories)");
  errno = err;
  return -1;
}

int
connection_open (struct connection *c)
{
  struct nbd_object *o = c->object;
  struct nbd_handle *h = libnbd.create ();

  *c = (struct connection){
    .object = o, .handle = h, .sent_end = &c->sent, .progress = monotonic_ms ()
  };
  if (h == NULL || set_up (h, o->local_files) == -1)
    return libnbd_failed (c);
  if (libnbd.aio_connect_uri (h, o->uri) == -1)
    return connect_failed (c);
  /* A quick server may have sent all that it sends before NBD_OPT_GO. */
  return check (c);
}

/* --- Events --- */

short
connection_events (const struct connection *c)
{
  const unsigned direction = libnbd.aio_get_direction (c->handle);

  return (short) ((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0)
                  | (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

/* If both are possible, only read: a reply can end the need to write. */
int
connection_handle (struct connection *c, short revents)
{
  const unsigned direction = libnbd.aio_get_direction (c->handle);

  /* The handshake as a whole has a limit. */
  if (c->ready)
    c->progress = monotonic_ms ();
  if ((direction & LIBNBD_AIO_DIRECTION_READ) && (revents & ~POLLOUT))
    libnbd.aio_notify_read (c->handle);
  else if (direction & LIBNBD_AIO_DIRECTION_WRITE)
    libnbd.aio_notify_write (c->handle);
  return check (c);
}

/* --- Commands --- */

/* libnbd keeps the command, until connection_take_over looks at its result: it
 * checks there that a structured reply had data, and at least 1.14 uses the
 * command once more after this if it could not be sent.
 */
static int
on_reply (void *opaque, int *err)
{
  struct command *cmd = opaque;

  cmd->over = true;
  cmd->err = *err;
  return 0;
}

/* A server can report more than a gigabyte in fragments of a sector. */
#define MAX_FOUND 32768

/* Add a fragment to those that a query has found.  0, or ENOMEM. */
static int
add_fragment (struct fetch_holes *found, uint64_t start, uint64_t end,
              bool hole)
{
  void *list;

  if (found->n > 0 && found->list[found->n - 1].hole == hole) {
    found->list[found->n - 1].end = end;
    return 0;
  }
  /* Powers of 2 are where the list is full. */
  if ((found->n & (found->n - 1)) == 0) {
    list = realloc (found->list,
                    (found->n > 0 ? 2 * found->n : 1) * sizeof found->list[0]);
    if (list == NULL)
      return ENOMEM;
    found->list = list;
  }
  found->list[found->n++]
    = (struct fragment){ .start = start, .end = end, .hole = hole };
  return 0;
}

/* A part of the reply to a query.  'entries' are pairs of a length and flags.
 * (A hole without the flag for zeros can have any content.)
 */
static int
on_extents (void *opaque, const char *context, uint64_t offset,
            uint32_t *entries, size_t n, int *err)
{
  struct command *cmd = opaque;
  const uint64_t size = cmd->request->object->export.size;
  size_t i;

  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
    return 0;
  for (i = 0; i + 1 < n && cmd->found.n < MAX_FOUND && offset < size; i += 2) {
    const uint64_t end = min64 (offset + entries[i], size);

    if (end > offset
        && add_fragment (&cmd->found, offset, end,
                         (entries[i + 1] & LIBNBD_STATE_ZERO) != 0)
             != 0) {
      *err = ENOMEM;
      return -1;
    }
    offset = end;
  }
  return 0;
}

/* Reads do not set NBD_CMD_FLAG_DF: with it, servers send the zeros of holes
 * instead of a chunk that says how many they are.
 */
static int64_t
submit (struct connection *c, struct command *cmd)
{
  const nbd_extent_callback extents
    = { .callback = on_extents, .user_data = cmd };
  uint64_t offset;
  size_t length;

  command_range (cmd, &offset, &length);
  if (!cmd->request->fetch->holes)
    return libnbd.aio_pread (c->handle, cmd->bounce ? cmd->bounce : cmd->buf,
                             length, offset, CALLBACK (on_reply, cmd), 0);
  cmd->found.n = 0;
  return libnbd.aio_block_status (c->handle, length, offset, extents,
                                  CALLBACK (on_reply, cmd), 0);
}

int
connection_send (struct connection *c, struct command *cmd)
{
  cmd->next = NULL;
  *c->sent_end = cmd;
  c->sent_end = &cmd->next;
  cmd->sent = true;
  cmd->over = false;
  cmd->began = monotonic_us ();
  cmd->alone = c->nr_sent == 0;
  if (c->nr_sent++ == 0)
    c->progress = cmd->began / 1000;
  cmd->request->nr_sent++;
  cmd->cookie = submit (c, cmd);
  if (cmd->cookie == -1) {
    cmd->over = true;
    libnbd_failed (c);
    cmd->err = errno;
  }
  return check (c);
}

struct command *
connection_take_over (struct connection *c)
{
  struct command **link, *cmd;

  for (link = &c->sent; (cmd = *link) != NULL; link = &cmd->next)
    if (cmd->over) {
      *link = cmd->next;
      if (*link == NULL)
        c->sent_end = link;
      c->nr_sent--;
      cmd->request->nr_sent--;
      if (cmd->cookie != -1
          && libnbd.aio_command_completed (c->handle, (uint64_t) cmd->cookie)
               != 1
          && cmd->err == 0)
        cmd->err = EPROTO;
      return cmd;
    }
  return NULL;
}
