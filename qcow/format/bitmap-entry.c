/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parse and check an entry of the bitmap directory.  See bitmap-entry.h.
 */

#include <inttypes.h>

#include "base/minmax.h"
#include "format/bitmap-entry.h"

/* Offsets of the fields (spec). */
enum {
  OFF_TABLE_OFFSET = 0,
  OFF_TABLE_SIZE = 8,
  OFF_FLAGS = 12,
  OFF_TYPE = 16,
  OFF_GRANULARITY_BITS = 17,
  OFF_NAME_LENGTH = 18,
  OFF_EXTRA_LENGTH = 20,
  OFF_EXTRA = 24,
};

int
bitmap_entry_parse (const uint8_t *directory, size_t length, size_t *pos,
                    unsigned number, struct bitmap_entry *b,
                    struct problem *problem)
{
  const uint8_t *p = directory + *pos;
  const size_t left = length - *pos;
  uint64_t bytes;

  if (left < OFF_EXTRA)
    return problem_set (problem,
                        "bitmap directory: entry %u extends beyond the end of "
                        "the directory",
                        number);
  b->table_offset = get_be64 (p + OFF_TABLE_OFFSET);
  b->table_size = get_be32 (p + OFF_TABLE_SIZE);
  b->flags = get_be32 (p + OFF_FLAGS);
  b->type = p[OFF_TYPE];
  b->granularity_bits = p[OFF_GRANULARITY_BITS];
  b->name_length = get_be16 (p + OFF_NAME_LENGTH);
  b->extra_length = get_be32 (p + OFF_EXTRA_LENGTH);

  bytes = OFF_EXTRA + (uint64_t) b->extra_length + b->name_length;
  if (bytes > left)
    return problem_set (problem,
                        "bitmap directory: entry %u (%" PRIu64 " bytes) "
                        "extends beyond the end of the directory",
                        number, bytes);
  b->name = (const char *) p + OFF_EXTRA + b->extra_length;
  /* Each entry starts at a multiple of 8. */
  *pos += (size_t) min64 (round_up64 (bytes, 8), left);
  return 0;
}

/* Return the number of table entries for a bitmap of the whole disk. */
static uint64_t
entries_needed (const struct bitmap_entry *b, uint64_t size,
                unsigned cluster_bits)
{
  const unsigned shift = b->granularity_bits + 3 + cluster_bits;

  return (size >> shift) + ((size & ((UINT64_C (1) << shift) - 1)) != 0);
}

int
bitmap_entry_check (const struct bitmap_entry *b, uint64_t size,
                    unsigned cluster_bits, struct problem *problem)
{
  const uint32_t known
    = QCOW_BITMAP_IN_USE | QCOW_BITMAP_AUTO | QCOW_BITMAP_EXTRA_COMPATIBLE;

  if (b->type != QCOW_BITMAP_TYPE_DIRTY)
    return problem_set (problem, "its type is %u: only 1 (dirty) is supported",
                        b->type);
  if (b->flags & QCOW_BITMAP_IN_USE)
    return problem_set (problem,
                        "it is marked as in use: it was not saved properly or "
                        "is being written, so changes may be missing");
  if (b->flags & ~known)
    return problem_set (
      problem, "its flags are 0x%" PRIx32 ": some are unknown", b->flags);
  if (b->extra_length > 0 && !(b->flags & QCOW_BITMAP_EXTRA_COMPATIBLE))
    return problem_set (problem,
                        "it has %" PRIu32 " bytes of unknown extra data",
                        b->extra_length);
  if (b->granularity_bits < QCOW_MIN_GRANULARITY_BITS
      || b->granularity_bits > QCOW_MAX_GRANULARITY_BITS)
    return problem_set (problem,
                        "granularity_bits is %u: must be %d to %d (512 bytes "
                        "to 2 GiB)",
                        b->granularity_bits, QCOW_MIN_GRANULARITY_BITS,
                        QCOW_MAX_GRANULARITY_BITS);
  if (b->table_offset == 0
      || (b->table_offset & ((UINT64_C (1) << cluster_bits) - 1)) != 0)
    return problem_set (problem,
                        "its table offset is 0x%" PRIx64 ": must be a nonzero "
                        "multiple of the cluster size",
                        b->table_offset);
  if ((uint64_t) b->table_size << cluster_bits > QCOW_MAX_BITMAP_BYTES)
    return problem_set (problem,
                        "its table has %" PRIu32 " entries: the bitmap would "
                        "exceed 512 MiB",
                        b->table_size);
  if (b->table_size != entries_needed (b, size, cluster_bits))
    return problem_set (problem,
                        "its table has %" PRIu32 " entries: a disk of "
                        "%" PRIu64 " bytes needs %" PRIu64,
                        b->table_size, size,
                        entries_needed (b, size, cluster_bits));
  return 0;
}
