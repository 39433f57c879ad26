/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The limits of a lookup: how long it may take, what it may read, and how
 * much detail its caller needs.
 *
 * The function that handles a request fills in one struct lookup.  diff, map
 * and walk get a pointer to it and keep no copy.  It belongs to one thread.
 */

#ifndef QCOW_DISK_LOOKUP_H
#define QCOW_DISK_LOOKUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/monotonic.h"

struct lookup {
  uint64_t deadline; /* monotonic_ms; UINT64_MAX: none.  Once it has passed,
                        runs may be shorter than they could be. */
  bool expired;      /* lookup_expired has found that the deadline passed */

  bool cached_only;     /* use only what is in the cache: EAGAIN otherwise */
  unsigned slices_left; /* slices of L2 tables that may still be entered:
                           ERANGE after that; UINT_MAX: any number */

  /* Join runs that differ only in their place.  Their 'source', 'host' and
   * 'bound' are undefined.
   */
  bool kinds_only;
};

/* Without limits.  The caller may change any field before the first use. */
#define LOOKUP_INIT                                                           \
  {                                                                           \
    .deadline = UINT64_MAX, .slices_left = UINT_MAX                           \
  }

/* True if the deadline has passed.  Reads the clock if there is a deadline
 * that was not yet seen to have passed.
 */
static inline bool
lookup_expired (struct lookup *lookup)
{
  if (!lookup->expired && lookup->deadline != UINT64_MAX)
    lookup->expired = monotonic_ms () >= lookup->deadline;
  return lookup->expired;
}

#endif /* QCOW_DISK_LOOKUP_H */
