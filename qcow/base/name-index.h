/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A sorted index of names, to find a name's number by binary search.  Names
 * may hold any bytes and may repeat.
 *
 * Constant once it is sorted, so it needs no lock.
 */

#ifndef QCOW_BASE_NAME_INDEX_H
#define QCOW_BASE_NAME_INDEX_H

#include <stddef.h>

struct name_index;

/* Room for the names 0 to count - 1.  NULL: out of memory. */
struct name_index *name_index_new (unsigned count);
void name_index_free (struct name_index *index);

/* Set each name once.  The bytes are not copied, and must outlive the index.
 */
void name_index_set (struct name_index *index, unsigned number,
                     const char *name, size_t length);

/* Sort the names, when all are set. */
void name_index_sort (struct name_index *index);

/* The lowest number that has this name, or -1. */
int name_index_find (const struct name_index *index, const char *name,
                     size_t length);

#endif /* QCOW_BASE_NAME_INDEX_H */
