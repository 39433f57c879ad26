/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What threads submit to a driver thread: a list of items, the first one
 * first.  All functions but inbox_init and inbox_destroy may be called by any
 * number of threads at once.
 */

#ifndef QCOW_BASE_INBOX_H
#define QCOW_BASE_INBOX_H

#include <pthread.h>
#include <stdbool.h>

/* The first member of what is submitted. */
struct inbox_item {
  struct inbox_item *next;
};

struct inbox {
  pthread_mutex_t lock;
  struct inbox_item *first; /* under the lock */
  struct inbox_item **end;  /* likewise; the last 'next' */
  bool closed;              /* likewise */
};

void inbox_init (struct inbox *b);
void inbox_destroy (struct inbox *b);

/* Add an item.  Sets *first if there was none: the driver takes all at once,
 * so only then it has to be woken.  False: the inbox is closed, and the item
 * is the caller's.
 */
bool inbox_add (struct inbox *b, struct inbox_item *item, bool *first);

/* Take all items.  False: the inbox is closed (there can be items, once). */
bool inbox_take (struct inbox *b, struct inbox_item **items);

/* Take no more items from now on. */
void inbox_close (struct inbox *b);

#endif /* QCOW_BASE_INBOX_H */
