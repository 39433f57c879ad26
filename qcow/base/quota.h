/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Places that several parties use, of which some may hang on to theirs:
 * connections, of which a web server keeps those that it does not answer on,
 * and the working memory of requests that wait for it.
 *
 * A party that has places gets no more of them while just enough are free
 * for those that have none, one for each of these, but at most a quarter of
 * all.  So whoever is slow is slow alone.
 *
 * Under a lock of the user's.
 */

#ifndef QCOW_BASE_QUOTA_H
#define QCOW_BASE_QUOTA_H

#include <stdbool.h>

struct quota {
  unsigned places, used;
  unsigned clients, busy; /* busy: they have places */
};

/* One that is not counted as a party, but may use places, begins with 1, as
 * if it had some.
 */
struct quota_client {
  unsigned used;
};

/* May it have one more? */
static inline bool
quota_may_take (const struct quota *s, const struct quota_client *p)
{
  const unsigned without = s->clients - s->busy, most = s->places / 4;
  const unsigned kept = p->used == 0 ? 0 : without < most ? without : most;

  return s->used + kept < s->places;
}

static inline void
quota_take (struct quota *s, struct quota_client *p)
{
  s->used++;
  if (p->used++ == 0)
    s->busy++;
}

static inline void
quota_give (struct quota *s, struct quota_client *p)
{
  s->used--;
  if (--p->used == 0)
    s->busy--;
}

#endif /* QCOW_BASE_QUOTA_H */
