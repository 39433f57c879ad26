/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A fixed number of slots for which several clients compete.  The clients are
 * not NBD clients: web servers compete for connections, and layers for
 * workspaces.  A web server that does not respond can hold either for a long
 * time.
 *
 * One slot is kept free for each client that has none, up to a quarter of all
 * slots, so a slow client slows down only itself.
 *
 * No locking: the owner of the quota serializes the calls.
 */

#ifndef QCOW_BASE_QUOTA_H
#define QCOW_BASE_QUOTA_H

#include <stdbool.h>

struct quota {
  unsigned slots, used;
  unsigned clients, busy; /* busy clients have a slot */
};

struct quota_client {
  unsigned used;
};

/* True if the client may take one more slot. */
static inline bool
quota_may_take (const struct quota *q, const struct quota_client *c)
{
  const unsigned without = q->clients - q->busy, most = q->slots / 4;
  const unsigned kept = c->used == 0 ? 0 : without < most ? without : most;

  return q->used + kept < q->slots;
}

static inline void
quota_take (struct quota *q, struct quota_client *c)
{
  q->used++;
  if (c->used++ == 0)
    q->busy++;
}

static inline void
quota_give (struct quota *q, struct quota_client *c)
{
  q->used--;
  if (--c->used == 0)
    q->busy--;
}

#endif /* QCOW_BASE_QUOTA_H */
