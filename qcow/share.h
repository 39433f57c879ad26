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

#ifndef QCOW_SHARE_H
#define QCOW_SHARE_H

#include <stdbool.h>

struct share {
  unsigned places, used;
  unsigned parties, busy; /* busy: they have places */
};

/* One that is not counted as a party, but may use places, begins with 1, as
 * if it had some.
 */
struct party {
  unsigned used;
};

/* May it have one more? */
static inline bool
share_may_take (const struct share *s, const struct party *p)
{
  const unsigned without = s->parties - s->busy, most = s->places / 4;
  const unsigned kept = p->used == 0 ? 0 : without < most ? without : most;

  return s->used + kept < s->places;
}

static inline void
share_take (struct share *s, struct party *p)
{
  s->used++;
  if (p->used++ == 0)
    s->busy++;
}

static inline void
share_give (struct share *s, struct party *p)
{
  s->used--;
  if (--p->used == 0)
    s->busy--;
}

#endif /* QCOW_SHARE_H */
