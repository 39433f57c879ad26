/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A sorted index of names.  See name-index.h.
 */

#include <stdlib.h>
#include <string.h>

#include "base/minmax.h"
#include "base/name-index.h"

struct key {
  const char *name;
  size_t length;
  unsigned number;
};

struct name_index {
  unsigned count;
  struct key keys[];
};

struct name_index *
name_index_new (unsigned count)
{
  struct name_index *index
    = calloc (1, sizeof *index + count * sizeof index->keys[0]);

  if (index)
    index->count = count;
  return index;
}

void
name_index_free (struct name_index *index)
{
  free (index);
}

void
name_index_set (struct name_index *index, unsigned number, const char *name,
                size_t length)
{
  index->keys[number] = (struct key){ name, length, number };
}

static int
compare_names (const struct key *a, const struct key *b)
{
  const int r
    = memcmp (a->name, b->name, (size_t) min64 (a->length, b->length));

  if (r != 0)
    return r;
  return a->length < b->length ? -1 : a->length > b->length;
}

/* For qsort.  Equal names are sorted by number. */
static int
compare_keys (const void *a, const void *b)
{
  const struct key *k = a, *l = b;
  const int r = compare_names (k, l);

  return r != 0 ? r : k->number < l->number ? -1 : 1;
}

void
name_index_sort (struct name_index *index)
{
  qsort (index->keys, index->count, sizeof index->keys[0], compare_keys);
}

int
name_index_find (const struct name_index *index, const char *name,
                 size_t length)
{
  const struct key wanted = { name, length, 0 };
  unsigned low = 0, high = index->count;

  while (low < high) {
    const unsigned mid = low + (high - low) / 2;

    if (compare_names (&index->keys[mid], &wanted) < 0)
      low = mid + 1;
    else
      high = mid;
  }
  if (low == index->count || compare_names (&index->keys[low], &wanted) != 0)
    return -1;
  return (int) index->keys[low].number;
}
