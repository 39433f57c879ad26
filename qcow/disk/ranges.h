/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A list of ranges of one or more sources, which are read together.  It
 * belongs to one thread.
 */

#ifndef QCOW_DISK_RANGES_H
#define QCOW_DISK_RANGES_H

#include "source/source.h"

#define RANGES_MAX 64

struct ranges {
  size_t n; /* 0: empty.  The rest needs no initialization. */
  struct source_range list[RANGES_MAX];
  struct source *sources[RANGES_MAX]; /* of list[i] */
};

/* The list must have room.  'buf' is NULL if the range is to be prefetched. */
static inline void
ranges_add (struct ranges *r, struct source *source, uint64_t offset,
            size_t length, void *buf)
{
  r->sources[r->n] = source;
  r->list[r->n++] = (struct source_range){ offset, length, buf };
}

/* Read all ranges into their buffers, those of one source in one call, and
 * empty the list.  0, or -1 with the error reported (as source_read_data);
 * then the content of the list and of the buffers is undefined.
 */
int ranges_read (struct ranges *r);

#endif /* QCOW_DISK_RANGES_H */
