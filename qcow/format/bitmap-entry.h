/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bytes -> one entry of the directory of persistent dirty bitmaps.  Pure:
 * no I/O, no allocation.
 *
 * Source: qemu's docs/interop/qcow2.rst, and for the limits what qemu 7.2
 * refuses.
 */

#ifndef QCOW_FORMAT_BITMAP_ENTRY_H
#define QCOW_FORMAT_BITMAP_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/format.h"

/* What an entry says.  Nothing of it is checked: a bitmap that can't be
 * used harms no other.  The name points into the directory's bytes, and
 * has no end mark.
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

/* Parse the entry at directory[*pos..length), and move *pos behind it.
 * 'number' counts from 1, for the problem's text.  0, or -1 and the
 * reason.
 */
int bitmap_entry_parse (const uint8_t *directory, size_t length, size_t *pos,
                        unsigned number, struct bitmap_entry *b,
                        struct problem *problem);

/* Can it be relied upon, for a disk of that many bytes and clusters of
 * 1 << cluster_bits?  0, or -1 and the reason.
 */
int bitmap_entry_check (const struct bitmap_entry *b, uint64_t size,
                        unsigned cluster_bits, struct problem *problem);

#endif /* QCOW_FORMAT_BITMAP_ENTRY_H */
