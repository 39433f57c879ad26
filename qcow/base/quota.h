/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A fixed number of slots for which several clients compete.  The clients are
 * not NBD clients: web servers compete for connections, and layers for
 * workspaces.  A web server that does not respond can hold either for a long
 * time.
 *
 * So that a slow client slows down only itself, one slot is kept free for each
 * client that has used slots before but has none now, and one for the clients
 * that never had one (they may never need one): up to a quarter of all slots.
 *
 * No locking: the owner of the quota serializes the calls.
 */

#ifndef QCOW_BASE_QUOTA_H
#define QCOW_BASE_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/minmax.h"

struct quota {
  unsigned slots, used;
  unsigned clients; /* all */
  unsigned known;   /* those that have had a slot */
  unsigned busy;    /* those that have one */
};

/* Starts as zeros. */
struct quota_client {
  unsigned used;
  bool joined, known;
};

static inline void
quota_join (struct quota *q, struct quota_client *c)
{
  c->joined = true;
  q->clients++;
}

/* The client has no slot.  Nothing happens if it has not joined. */
static inline void
quota_leave (struct quota *q, struct quota_client *c)
{
  if (c->joined)
    q->clients--;
  if (c->known)
    q->known--;
  *c = (struct quota_client){ .used = 0 };
}

/* True if the client may take one more slot. */
static inline bool
quota_may_take (const struct quota *q, const struct quota_client *c)
{
  const unsigned without
    = q->known - q->busy + (q->known < q->clients ? 1 : 0);
  const uint64_t kept = c->used == 0 ? 0 : min64 (without, q->slots / 4);

  return q->used + kept < q->slots;
}

static inline void
quota_take (struct quota *q, struct quota_client *c)
{
  q->used++;
  if (c->used++ == 0)
    q->busy++;
  if (!c->known)
    q->known++;
  c->known = true;
}

static inline void
quota_give (struct quota *q, struct quota_client *c)
{
  q->used--;
  if (--c->used == 0)
    q->busy--;
}

#endif /* QCOW_BASE_QUOTA_H */
