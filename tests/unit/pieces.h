/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory for the pieces of fetches, for tests of transports, with a margin on
 * both sides that nothing may touch; and what their servers share.
 */

#ifndef UNIT_PIECES_H
#define UNIT_PIECES_H

#include <sys/socket.h>

#include "base/transport.h"
#include "tests/unit/unit.h"

#define MAX_PIECES 8
#define MARGIN 16
#define UNTOUCHED 0xa5

static inline void
pieces_new (struct fetch_piece pieces[MAX_PIECES], uint8_t *memory[MAX_PIECES],
            const size_t *lengths, size_t n)
{
  size_t i;

  assert_true (n <= MAX_PIECES);
  for (i = 0; i < n; ++i) {
    memory[i] = malloc (lengths[i] + 2 * MARGIN);
    assert_non_null (memory[i]);
    memset (memory[i], UNTOUCHED, lengths[i] + 2 * MARGIN);
    pieces[i] = (struct fetch_piece){ memory[i] + MARGIN, lengths[i] };
  }
}

static inline void
pieces_free (uint8_t *memory[MAX_PIECES], size_t n)
{
  while (n > 0)
    free (memory[--n]);
}

/* True if nothing was written beside the pieces. */
static inline bool
margins_are_untouched (const struct fetch_piece pieces[MAX_PIECES], size_t n)
{
  size_t i, j;

  for (i = 0; i < n; ++i)
    for (j = 0; j < MARGIN; ++j)
      if (*(pieces[i].buf - 1 - j) != UNTOUCHED
          || pieces[i].buf[pieces[i].length + j] != UNTOUCHED)
        return false;
  return true;
}

static inline bool
send_all (int fd, const void *data, size_t n)
{
  const char *p = data;

  while (n > 0) {
    const ssize_t r = send (fd, p, n, MSG_NOSIGNAL);

    if (r <= 0)
      return false;
    p += r;
    n -= (size_t) r;
  }
  return true;
}

#endif /* UNIT_PIECES_H */
