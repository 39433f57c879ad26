/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which slice of which L2 table has the entry for a guest offset.  L2 tables
 * are read and cached in slices, so that a random read in a large image does
 * not fetch a whole table.  Pure.
 */

#ifndef QCOW_DISK_SLICE_H
#define QCOW_DISK_SLICE_H

#include <stdint.h>

#include "base/minmax.h"
#include "disk/layer.h"

/* log2 of a slice's size in bytes, which is at most the table's size. */
static inline unsigned
slice_bits (const struct image *image)
{
  return (unsigned) min64 (entry_l2_table_shift (&image->geometry),
                           SLICE_BITS);
}

/* log2 of the guest bytes that a slice maps. */
static inline unsigned
slice_shift (const struct image *image)
{
  const unsigned entry_shift = image->geometry.extended ? 4 : 3;

  return image->geometry.cluster_bits + slice_bits (image) - entry_shift;
}

/* The offset, within its L2 table, of the slice for a guest offset. */
static inline uint64_t
slice_in_table (const struct image *image, uint64_t offset)
{
  const unsigned l1_shift = header_l1_shift (&image->header);

  return (offset & ((UINT64_C (1) << l1_shift) - 1))
         >> slice_shift (image) << slice_bits (image);
}

/* The cache key of the slice at 'host' of the image's file. */
static inline struct cache_key
slice_key (const struct image *image, uint64_t host)
{
  return (struct cache_key){ host, image->id, 0 };
}

/* Decode an L1 entry.  Entries past the end of the table are unallocated. */
static inline struct entry
layer_l1_entry (const struct layer *layer, uint64_t l1_index)
{
  if (l1_index >= layer->l1->size)
    return (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  return entry_l1 (&layer->image->geometry, layer->l1->entries[l1_index]);
}

#endif /* QCOW_DISK_SLICE_H */
