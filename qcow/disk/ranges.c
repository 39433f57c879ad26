/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading ranges of several sources.  See ranges.h.
 */

#include "disk/ranges.h"

/* Move all ranges of the first range's source from the list to 'now'.  Returns
 * their number.
 */
static size_t
take_first_source (struct ranges *r, struct source_range now[RANGES_MAX])
{
  struct source *source = r->sources[0];
  size_t nr_now = 0, nr_left = 0, i;

  for (i = 0; i < r->n; ++i)
    if (r->sources[i] == source)
      now[nr_now++] = r->list[i];
    else {
      r->sources[nr_left] = r->sources[i];
      r->list[nr_left++] = r->list[i];
    }
  r->n = nr_left;
  return nr_now;
}

int
ranges_read (struct ranges *r)
{
  while (r->n > 0) {
    struct source *source = r->sources[0];
    struct source_range now[RANGES_MAX];
    const size_t n = take_first_source (r, now);

    if (source_read_data (source, now, n) == -1)
      return -1;
  }
  return 0;
}
