/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests and their commands.  See internal.h.
 *
 * A request starts with one command for each piece.  The driver splits these
 * before it sends them, by the block sizes of the server that it is connected
 * to.  After a server was restarted, these can be others.
 *
 * A command reads directly to the memory of its fetch, unless a thread waits
 * for that: if the thread leaves, the command goes on, since closing the
 * connection would disturb others (and crashes nbdkit 1.32 at times).  Nor if
 * the fetch has a part of a block, and the server reads only whole ones.
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

/* Split a command into those that the server accepts, and store them in
 * out[].  NULL: only count them.
 */
static size_t
split (const struct command *cmd, struct command *out)
{
  const struct nbd_object *o = cmd->request->object;
  const uint64_t end = cmd->offset + cmd->length;
  uint64_t offset = cmd->offset, next;
  size_t n = 0;

  for (; offset < end; offset = next, ++n) {
    next = min64 (end, round_down (o, offset) + o->export.maximum);
    if (out)
      out[n] = (struct command){ .request = cmd->request,
                                 .offset = offset,
                                 .length = (size_t) (next - offset),
                                 .piece = cmd->piece,
                                 .buf = cmd->buf + (offset - cmd->offset) };
  }
  return n;
}

/* The only command of a fetch of holes. */
static struct command
query (struct request *r)
{
  return (struct command){ .request = r,
                           .offset = r->fetch->offset,
                           .length = (size_t) r->length };
}

/* Split all commands that are not complete.  Returns how many result.  (A
 * query can be larger than the server's maximum.)
 */
static size_t
split_all (struct request *r, struct command *out)
{
  size_t i, n = 0;

  if (r->fetch->holes) {
    if (out)
      out[0] = query (r);
    return 1;
  }
  for (i = 0; i < r->nr_commands; ++i)
    if (!r->commands[i].sent)
      n += split (&r->commands[i], out ? &out[n] : NULL);
  return n;
}

static void
free_commands (struct request *r)
{
  size_t i;

  for (i = 0; i < r->nr_commands; ++i) {
    free (r->commands[i].bounce);
    free (r->commands[i].found.list);
  }
  free (r->commands);
}

/* 0, or -1: out of memory. */
static int
add_bounce_buffers (struct request *r)
{
  size_t i, length;
  uint64_t offset;

  if (r->fetch->holes)
    return 0;
  for (i = 0; i < r->nr_commands; ++i) {
    struct command *cmd = &r->commands[i];

    command_range (cmd, &offset, &length);
    if (offset == cmd->offset && length == cmd->length
        && r->fetch->waiter == NULL)
      continue;
    cmd->bounce = malloc (length);
    if (cmd->bounce == NULL)
      return -1;
  }
  return 0;
}

int
request_split (struct request *r)
{
  const struct nbd_export *e = &r->object->export;
  const size_t n = r->minimum == e->minimum && r->maximum == e->maximum
                     ? 0
                     : split_all (r, NULL);
  struct command *commands;
  size_t i;

  if (n == 0)
    return 0;
  commands = calloc (n, sizeof commands[0]);
  if (commands == NULL)
    return -1;
  split_all (r, commands);
  free_commands (r);
  r->commands = commands;
  r->nr_commands = r->left = n;
  memset (r->left_of, 0, r->fetch->nr_pieces * sizeof r->left_of[0]);
  for (i = 0; i < n; ++i)
    r->left_of[commands[i].piece]++;
  r->minimum = e->minimum;
  r->maximum = e->maximum;
  return add_bounce_buffers (r);
}

static void
request_free (struct request *r)
{
  free_commands (r);
  free (r);
}

struct request *
nbd_request_new (struct nbd_object *o, struct fetch *f)
{
  const size_t n = f->nr_pieces;
  struct request *r = calloc (1, sizeof *r + (n + 1) * sizeof r->left_of[0]);
  size_t i;

  if (r == NULL)
    return NULL;
  r->commands = calloc (n + 1, sizeof r->commands[0]);
  if (r->commands == NULL) {
    free (r);
    return NULL;
  }
  r->object = o;
  r->fetch = f;
  r->left = r->nr_commands = n;
  for (i = 0; i < n; ++i) {
    r->commands[i] = (struct command){ .request = r,
                                       .offset = f->offset + r->length,
                                       .length = f->pieces[i].length,
                                       .piece = i,
                                       .buf = f->pieces[i].buf };
    r->length += f->pieces[i].length;
  }
  if (f->holes) {
    r->length = f->holes->length;
    r->left = r->nr_commands = 1;
    r->commands[0] = query (r);
  }
  return r;
}

void
nbd_request_finish (struct request *r, int err)
{
  struct fetch *f = r->fetch;

  request_free (r);
  if (f)
    f->done (f, err);
}

/* What a reply takes if the server has nothing else to do.  A single quick one
 * from its cache does not make a server near for ever, nor does a slow one
 * among others make it remote: so the time falls at once, and rises slowly.
 */
static void
note_latency (struct nbd_object *o, const struct command *cmd)
{
  const uint64_t old = o->transport.latency;
  const uint64_t us = monotonic_us () - cmd->began;

  if (!cmd->alone)
    return;
  __atomic_store_n (&o->transport.latency,
                    us <= old ? us : old + (us - old) / 4, __ATOMIC_RELAXED);
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
  r->failures = o->failures = 0;
  o->given_up = 0;
  r->left--;
  if (f->holes) {
    f->holes->list = cmd->found.list;
    f->holes->n = cmd->found.n;
    cmd->found.list = NULL;
    return;
  }
  note_latency (o, cmd);
  if (--r->left_of[cmd->piece] == 0 && f->piece_done)
    f->piece_done (f, cmd->piece);
}
