/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is known of the holes of a file or remote object: a sorted list of
 * fragments that do not overlap.
 *
 * Any number of threads may call these functions at once, except init and
 * destroy.  No lock is held between calls.
 */

#ifndef QCOW_BASE_FRAGMENTS_H
#define QCOW_BASE_FRAGMENTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes [start, end), not empty: all of them a hole, or none of them. */
struct fragment {
  uint64_t start, end;
  bool hole;
};

struct fragments {
  pthread_mutex_t lock;
  size_t max; /* constant */

  /* Under the lock. */
  size_t n, room;
  struct fragment *list;
};

/* At most 'max' > 1 fragments (24 bytes each) are kept.  When there are more,
 * all are forgotten, except one at offset 0: it is asked for most often.
 */
void fragments_init (struct fragments *f, size_t max);
void fragments_destroy (struct fragments *f);

/* Look up the fragment of 'offset'.  If it is not known, return false and set
 * *after to the end of the last known fragment before it.
 */
bool fragments_find (struct fragments *f, uint64_t offset,
                     struct fragment *found, uint64_t *after);

/* Remember n consecutive fragments.  What is known already is not changed.
 * Without memory nothing is remembered.
 */
void fragments_add (struct fragments *f, const struct fragment *added,
                    size_t n);

#endif /* QCOW_BASE_FRAGMENTS_H */
