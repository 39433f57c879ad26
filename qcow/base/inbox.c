/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What threads submit.  See inbox.h.
 */

#include <stddef.h>

#include "base/inbox.h"

void
inbox_init (struct inbox *b)
{
  *b = (struct inbox){ .end = &b->first };
  pthread_mutex_init (&b->lock, NULL);
}

void
inbox_destroy (struct inbox *b)
{
  pthread_mutex_destroy (&b->lock);
}

bool
inbox_add (struct inbox *b, struct inbox_item *item, bool *first)
{
  bool open;

  item->next = NULL;
  pthread_mutex_lock (&b->lock);
  open = !b->closed;
  *first = b->first == NULL;
  if (open) {
    *b->end = item;
    b->end = &item->next;
  }
  pthread_mutex_unlock (&b->lock);
  return open;
}

bool
inbox_take (struct inbox *b, struct inbox_item **items)
{
  bool open;

  pthread_mutex_lock (&b->lock);
  *items = b->first;
  b->first = NULL;
  b->end = &b->first;
  open = !b->closed;
  pthread_mutex_unlock (&b->lock);
  return open;
}

void
inbox_close (struct inbox *b)
{
  pthread_mutex_lock (&b->lock);
  b->closed = true;
  pthread_mutex_unlock (&b->lock);
}
