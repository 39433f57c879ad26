/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests and their commands.  See internal.h.
 *
 * A command reads directly to the memory of its fetch, unless a thread waits
 * for that and the server is not near: if the thread leaves, the command goes
 * on, since closing the connection would disturb others (and crashes nbdkit
 * 1.32 at times).  With a near server the thread waits for the reply instead,
 * and the connection is closed only if that takes long (schedule.c).  Copying
 * the bytes would be a large part of the work there.
 *
 * Nor does it read directly if the fetch has a part of a block, and the server
 * reads only whole ones.
 */

#include <stdlib.h>
#include <string.h>

#include "base/minmax.h"
#include "base/monotonic.h"
#include "nbd/internal.h"

/* Bytes of blocks of the server's, 'minimum'. */
static uint64_t
round_down (const struct nbd_object *o, uint64_t offset)
{
  return offset & ~(uint64_t) (o->export.minimum - 1);
}

/* The end of the object need not be the end of a block. */
static uint64_t
round_up (const struct nbd_object *o, uint64_t offset)
{
  return min64 (round_down (o, offset + o->export.minimum - 1),
                o->export.size);
}

void
command_range (const struct command *cmd, uint64_t *offset, size_t *length)
{
  const struct nbd_object *o = cmd->request->object;

  *offset = round_down (o, cmd->offset);
  *length = (size_t) (round_up (o, cmd->offset + cmd->length) - *offset);
}

/* Split a fetch into commands, and store them in the request.  NULL: only
 * count them.
 */
static size_t
split (const struct nbd_object *o, const struct fetch *f, struct request *r)
{
  uint64_t offset = f->offset;
  size_t i, n = 0;

  if (f->holes) {
    if (r)
      r->commands[0] = (struct command){ .request = r,
                                         .offset = offset,
                                         .length = (size_t) f->holes->length };
    if (r)
      r->length = f->holes->length;
    return 1;
  }
  for (i = 0; i < f->nr_pieces; ++i) {
    const uint64_t begin = offset, end = offset + f->pieces[i].length;

    while (offset < end) {
      const uint64_t next
        = min64 (end, round_down (o, offset) + o->export.maximum);

      if (r) {
        r->commands[n]
          = (struct command){ .request = r,
                              .offset = offset,
                              .length = (size_t) (next - offset),
                              .piece = i,
                              .buf = f->pieces[i].buf + (offset - begin) };
        r->left_of[i]++;
      }
      ++n;
      offset = next;
    }
  }
  if (r)
    r->length = offset - f->offset;
  return n;
}

/* 0, or -1: out of memory. */
static int
add_bounce_buffers (struct request *r)
{
  const bool waits = r->fetch->waiter != NULL;
  const bool near = transport_is_near (&r->object->transport);
  size_t i, length;
  uint64_t offset;

  if (r->fetch->holes)
    return 0;
  for (i = 0; i < r->nr_commands; ++i) {
    struct command *cmd = &r->commands[i];

    command_range (cmd, &offset, &length);
    if (offset == cmd->offset && length == cmd->length && (!waits || near)) {
      r->direct = true;
      continue;
    }
    cmd->bounce = malloc (length);
    if (cmd->bounce == NULL)
      return -1;
  }
  return 0;
}

static void
request_free (struct request *r)
{
  size_t i;

  for (i = 0; i < r->nr_commands; ++i) {
    free (r->commands[i].bounce);
    free (r->commands[i].found.list);
  }
  free (r);
}

struct request *
nbd_request_new (struct nbd_object *o, struct fetch *f)
{
  const size_t n = split (o, f, NULL);
  struct request *r = calloc (1, sizeof *r + n * sizeof r->commands[0]
                                   + f->nr_pieces * sizeof r->left_of[0]);

  if (r == NULL)
    return NULL;
  r->object = o;
  r->fetch = f;
  r->left = r->nr_commands = n;
  r->left_of = (unsigned *) &r->commands[n];
  split (o, f, r);
  if (add_bounce_buffers (r) == 0)
    return r;
  request_free (r);
  return NULL;
}

void
nbd_request_finish (struct request *r, int err)
{
  struct fetch *f = r->fetch;

  request_free (r);
  if (f)
    f->done (f, err);
}

void
command_complete (struct command *cmd)
{
  struct request *r = cmd->request;
  struct nbd_object *o = r->object;
  struct fetch *f = r->fetch;

  if (cmd->bounce)
    memcpy (cmd->buf,
            cmd->bounce + (cmd->offset - round_down (o, cmd->offset)),
            cmd->length);
  transport_note_latency (&o->transport, monotonic_us () - cmd->began);
  r->failures = o->failures = 0;
  o->given_up = 0;
  r->left--;
  if (f->holes) {
    f->holes->list = cmd->found.list;
    f->holes->n = cmd->found.n;
    cmd->found.list = NULL;
  }
  else if (--r->left_of[cmd->piece] == 0 && f->piece_done)
    f->piece_done (f, cmd->piece);
}
