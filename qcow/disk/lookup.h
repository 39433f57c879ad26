/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The limits of a lookup: its deadline, what it may read, and how much detail
 * its caller needs.
 *
 * The function that handles a request fills in one struct lookup.  diff, map
 * and walk get a pointer to it and keep no copies.  It belongs to one thread.
 */

#ifndef QCOW_DISK_LOOKUP_H
#define QCOW_DISK_LOOKUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/monotonic.h"

struct lookup {
  uint64_t deadline; /* monotonic_ms; UINT64_MAX: none.  Once it has passed,
                        runs may end early. */
  bool expired;      /* the deadline has passed; set by lookup_expired */

  bool cached_only;     /* use only cached tables, else fail with EAGAIN */
  unsigned slices_left; /* slices of L2 tables that may still be entered, then
                           fail with ERANGE; UINT_MAX: no limit */

  /* Join runs that differ only in where they are stored.  Then 'source',
   * 'host' and 'bound' of a run are undefined.
   */
  bool kinds_only;
};

/* No limits.  The caller may change any field before the first use. */
#define LOOKUP_INIT                                                           \
  {                                                                           \
    .deadline = UINT64_MAX, .slices_left = UINT_MAX                           \
  }

/* True if the deadline has passed.  Does not read the clock if there is no
 * deadline, or if it is known to have passed.
 */
static inline bool
lookup_expired (struct lookup *lookup)
{
  if (!lookup->expired && lookup->deadline != UINT64_MAX)
    lookup->expired = monotonic_ms () >= lookup->deadline;
  return lookup->expired;
}

#endif /* QCOW_DISK_LOOKUP_H */
