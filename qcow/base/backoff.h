/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How long, and how often, a server that does not respond is tried again.
 */

#ifndef QCOW_BASE_BACKOFF_H
#define QCOW_BASE_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

/* While serving, retry for this long: the restart of a gateway takes half a
 * minute, and guests would not wait much longer than a minute.
 */
#define BACKOFF_GIVE_UP_MS 45000

/* While the image is opened a user waits at a terminal, and the name of the
 * server can be wrong.
 */
#define BACKOFF_RETRIES_AT_START 2

/* How long a failure counts for new requests, in ms. */
#define BACKOFF_RECENT_MS 1000

/* The delay doubles with each failure, in ms. */
#define BACKOFF_FIRST_DELAY_MS 250
#define BACKOFF_MAX_DELAY_MS 8000

/* The delay after so many failures in a row, from half of it to all of it, so
 * that clients do not return together.
 */
static inline uint64_t
backoff_delay (unsigned failures, uint64_t random)
{
  uint64_t ms = BACKOFF_FIRST_DELAY_MS;
  unsigned i;

  for (i = 1; i < failures && ms < BACKOFF_MAX_DELAY_MS; ++i)
    ms *= 2;
  return ms / 2 + random % (ms / 2 + 1);
}

/* True if 'when' was recently.  Correct even if it is later than 'now'; 0:
 * never.
 */
static inline bool
backoff_is_recent (uint64_t when, uint64_t now)
{
  return when != 0 && now < when + BACKOFF_RECENT_MS;
}

#endif /* QCOW_BASE_BACKOFF_H */
