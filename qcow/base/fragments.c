/* SPDX-License-Identifier: BSD-3-Clause
 *
 * See fragments.h.
 */

#include <stdlib.h>
#include <string.h>

#include "base/fragments.h"
#include "base/minmax.h"

void
fragments_init (struct fragments *f, size_t max)
{
  *f = (struct fragments){ .max = max };
  pthread_mutex_init (&f->lock, NULL);
}

void
fragments_destroy (struct fragments *f)
{
  pthread_mutex_destroy (&f->lock);
  free (f->list);
}

/* The index of the first fragment that ends after 'offset'. */
static size_t
index_of (const struct fragments *f, uint64_t offset)
{
  size_t low = 0, high = f->n;

  while (low < high) {
    const size_t mid = low + (high - low) / 2;

    if (f->list[mid].end <= offset)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

bool
fragments_find (struct fragments *f, uint64_t offset, struct fragment *found,
                uint64_t *after)
{
  size_t i;
  bool known;

  pthread_mutex_lock (&f->lock);
  i = index_of (f, offset);
  known = i < f->n && f->list[i].start <= offset;
  if (known)
    *found = f->list[i];
  *after = i > 0 ? f->list[i - 1].end : 0;
  pthread_mutex_unlock (&f->lock);
  return known;
}

/* Make room for n <= max - 1 more. */
static bool
make_room (struct fragments *f, size_t n)
{
  size_t room = f->room > 0 ? f->room : 8;
  struct fragment *list;

  if (f->n + n > f->max)
    f->n = f->n > 0 && f->list[0].start == 0 ? 1 : 0;
  if (f->n + n <= f->room)
    return true;
  while (room < f->n + n)
    room *= 2;
  list = realloc (f->list, room * sizeof list[0]);
  if (list == NULL)
    return false;
  f->list = list;
  f->room = room;
  return true;
}

/* Join list[i] and list[i + 1], if they exist and are the same. */
static void
join (struct fragments *f, size_t i)
{
  struct fragment *a = &f->list[i];

  if (i + 1 >= f->n || a[0].end != a[1].start || a[0].hole != a[1].hole)
    return;
  a[0].end = a[1].end;
  f->n--;
  memmove (&a[1], &a[2], (f->n - i - 1) * sizeof a[0]);
}

/* Add fragments of which nothing is known. */
static void
insert (struct fragments *f, const struct fragment *added, size_t n)
{
  size_t i;

  if (!make_room (f, n))
    return;
  i = index_of (f, added[0].start);
  memmove (&f->list[i + n], &f->list[i], (f->n - i) * sizeof f->list[0]);
  memcpy (&f->list[i], added, n * sizeof added[0]);
  f->n += n;
  join (f, i + n - 1);
  if (i > 0)
    join (f, i - 1);
}

/* Add the part of a fragment that is not known.  (Only threads that look up
 * the same at once get here with something that is known.)
 */
static void
insert_part (struct fragments *f, struct fragment part)
{
  size_t i = index_of (f, part.start);

  if (i < f->n && f->list[i].start <= part.start)
    part.start = f->list[i++].end;
  if (i < f->n)
    part.end = min64 (part.end, f->list[i].start);
  if (part.start < part.end)
    insert (f, &part, 1);
}

void
fragments_add (struct fragments *f, const struct fragment *added, size_t n)
{
  size_t i;

  n = n < f->max ? n : f->max - 1;
  if (n == 0)
    return;
  pthread_mutex_lock (&f->lock);
  i = index_of (f, added[0].start);
  if (i == f->n || f->list[i].start >= added[n - 1].end)
    insert (f, added, n);
  else
    for (i = 0; i < n; ++i)
      insert_part (f, added[i]);
  pthread_mutex_unlock (&f->lock);
}
