/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The part that all kinds of sources share: the end of the file.  See
 * source.h.
 */

#include <string.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "source/source.h"

/* Clip a range at the end of the source, and zero the buffer past it. */
static void
clip_range (const struct source *s, struct source_range *range)
{
  size_t inside = range->length;

  if (range->offset >= s->size)
    inside = 0;
  else if (range->length > s->size - range->offset)
    inside = (size_t) (s->size - range->offset);
  if (inside < range->length)
    memset ((char *) range->buf + inside, 0, range->length - inside);
  range->length = inside;
}

int
source_read_data (struct source *s, struct source_range *ranges, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i)
    clip_range (s, &ranges[i]);
  return s->ops->readv (s, ranges, n, SOURCE_DATA);
}

int
source_read_table (struct source *s, void *buf, size_t length, uint64_t offset)
{
  struct source_range range = { offset, length, buf };

  clip_range (s, &range);
  return s->ops->readv (s, &range, 1, SOURCE_TABLE);
}

bool
source_extent (struct source *s, uint64_t offset, bool cached_only, bool *hole,
               uint64_t *end)
{
  if (offset < s->size && s->ops->extent)
    return s->ops->extent (s, offset, cached_only, hole, end);
  *hole = offset >= s->size;
  *end = *hole ? UINT64_MAX : s->size;
  return true;
}

bool
source_is_solid (struct source *s)
{
  bool hole;
  uint64_t end;

  return source_extent (s, 0, true, &hole, &end) && !hole && end == s->size;
}

void
source_prefetch (struct source *s, struct source_range *ranges, size_t n)
{
  size_t i, inside = 0;

  for (i = 0; i < n; ++i)
    if (ranges[i].offset < s->size) {
      ranges[inside] = ranges[i];
      ranges[inside].length
        = (size_t) min64 (ranges[i].length, s->size - ranges[i].offset);
      inside++;
    }
  if (inside > 0)
    s->ops->prefetch (s, ranges, inside);
}

int
source_pin (struct source *s, uint64_t offset, size_t length, bool cached_only,
            struct source_pin *pin)
{
  if (s->ops->pin == NULL || offset >= s->size || length > s->size - offset)
    return 0;
  return s->ops->pin (s, offset, length, cached_only, pin);
}

bool
source_same (const struct source *a, const struct source *b)
{
  if (a->remote || b->remote)
    return a->remote && b->remote && strcmp (a->identity, b->identity) == 0;
  return a->device == b->device && a->inode == b->inode;
}

void
source_close (struct source *s)
{
  KEEP_ERRNO;

  if (s)
    s->ops->close (s);
}
