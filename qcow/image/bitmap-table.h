/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The persistent dirty bitmaps of an image: load the directory, find a bitmap,
 * and look up which parts of the disk are dirty.
 *
 * The directory is constant once it is loaded, so it needs no lock.  The table
 * of an open bitmap is in memory, like an L1 table (l1.h).  Slices of its bits
 * are in the cache.
 */

#ifndef QCOW_IMAGE_BITMAP_TABLE_H
#define QCOW_IMAGE_BITMAP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/name-index.h"
#include "format/bitmap-entry.h"
#include "image/image.h"

struct bitmap_table {
  unsigned count;
  struct bitmap_entry *list; /* in the order of the directory */
  /* The rest is private to bitmap-table.c. */
  uint8_t *directory;         /* names point into it */
  struct name_index *by_name; /* NULL: there are no bitmaps */
  struct l1_tables *limit;
  uint64_t reserved; /* of the limit, in bytes */
};

/* Read the directory of the image.  Its memory counts to the limit of L1
 * tables.  If the directory is damaged, or takes too much memory, warn and
 * return a table without bitmaps, since the disk can be read without them.
 * The caller frees the table.  NULL if out of memory, with the error reported.
 */
struct bitmap_table *bitmap_table_load (const struct image *image);
void bitmap_table_free (struct bitmap_table *all);

/* The first bitmap of that name, or NULL. */
const struct bitmap_entry *bitmap_table_find (const struct bitmap_table *all,
                                              const char *name, size_t length);

/* True if nothing in the bitmap's directory entry prevents its use. */
bool bitmap_is_usable (const struct image *image,
                       const struct bitmap_entry *b);

/* A bitmap that a view uses. */
struct open_bitmap {
  struct image *image;
  struct l1_table *table;
  unsigned granularity_bits;
};

/* Check the bitmap and load its table.  NULL with the error reported, and
 * errno EINVAL, EIO, ENOMEM or ESHUTDOWN.
 */
struct open_bitmap *bitmap_open (struct image *image,
                                 const struct bitmap_entry *b);
void bitmap_close (struct open_bitmap *b);

/* Find whether the guest offset is dirty.  [offset, *same_end), which ends at
 * 'end' at the latest, has the same state.  0, or -1 with the error reported
 * and errno EIO, ENOMEM or ESHUTDOWN.
 */
int bitmap_look (const struct open_bitmap *b, uint64_t offset, uint64_t end,
                 bool *dirty, uint64_t *same_end);

#endif /* QCOW_IMAGE_BITMAP_TABLE_H */
