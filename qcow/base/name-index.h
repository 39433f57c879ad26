/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A sorted index that finds a name's number by binary search.  Names may hold
 * any bytes and may repeat.
 *
 * The index is constant once it is sorted, so it needs no lock.
 */

#ifndef QCOW_BASE_NAME_INDEX_H
#define QCOW_BASE_NAME_INDEX_H

#include <stddef.h>

struct name_index;

/* Allocate an index of 'count' names, numbered from 0.  Returns NULL if out of
 * memory.
 */
struct name_index *name_index_new (unsigned count);
void name_index_free (struct name_index *index);

/* Set each name once.  The bytes are not copied: they must outlive the index.
 */
void name_index_set (struct name_index *index, unsigned number,
                     const char *name, size_t length);

/* Call this when all names are set. */
void name_index_sort (struct name_index *index);

/* Return the lowest number that has this name, or -1. */
int name_index_find (const struct name_index *index, const char *name,
                     size_t length);

#endif /* QCOW_BASE_NAME_INDEX_H */
