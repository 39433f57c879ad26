/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parse an entry of the directory of persistent dirty bitmaps.  Pure: no I/O,
 * no allocation.
 *
 * Sources: qemu's docs/interop/qcow2.rst; for the limits, what qemu 7.2
 * refuses.
 */

#ifndef QCOW_FORMAT_BITMAP_ENTRY_H
#define QCOW_FORMAT_BITMAP_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/format.h"

/* Parsing checks only lengths, so most damaged bitmaps do not make the others
 * unusable.  The name points into the directory and does not end with a NUL.
 */
struct bitmap_entry {
  uint64_t table_offset;
  uint32_t table_size; /* entries */
  uint32_t flags;      /* QCOW_BITMAP_* and others */
  uint8_t type;        /* QCOW_BITMAP_TYPE_DIRTY or another */
  uint8_t granularity_bits;
  uint16_t name_length;
  uint32_t extra_length;
  const char *name;
};

/* Parse the entry in directory[*pos..length), and move *pos to the next one.
 * 'number' counts entries from 1, for messages.  Returns 0, or -1 and the
 * reason.
 */
int bitmap_entry_parse (const uint8_t *directory, size_t length, size_t *pos,
                        unsigned number, struct bitmap_entry *b,
                        struct problem *problem);

/* Check that the bitmap can be used for a disk of 'size' bytes with clusters
 * of 1 << cluster_bits bytes.  Returns 0, or -1 and the reason.
 */
int bitmap_entry_check (const struct bitmap_entry *b, uint64_t size,
                        unsigned cluster_bits, struct problem *problem);

#endif /* QCOW_FORMAT_BITMAP_ENTRY_H */
