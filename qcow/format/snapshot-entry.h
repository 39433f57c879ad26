/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bytes -> one entry of the snapshot table.  Pure: no I/O, no allocation.
 *
 * Source: qemu's docs/interop/qcow2.rst, and for the limits what qemu 7.2
 * refuses.
 */

#ifndef QCOW_FORMAT_SNAPSHOT_ENTRY_H
#define QCOW_FORMAT_SNAPSHOT_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/format.h"

/* What an entry says.  Nothing of it is checked but what is said here: a
 * snapshot that can't be used harms no other.  id and name point into the
 * table's bytes; they may hold any byte and have no end mark.
 */
struct snapshot_entry {
  uint64_t l1_table_offset;
  uint32_t l1_size; /* entries */
  uint16_t id_length, name_length;
  const char *id, *name;
  uint32_t date_seconds;  /* since 1970, UTC */
  uint64_t vm_state_size; /* bytes */
  bool has_disk_size;     /* else the image's current size counts */
  uint64_t disk_size;     /* bytes */
};

/* Parse the entry at table[*pos..length), and move *pos behind it, where
 * the next one starts.  'number' counts from 1, for the problem's text.
 * 1: done; 0: the entry does not end before 'length'; -1 and the reason.
 */
int snapshot_entry_parse (const uint8_t *table, size_t length, size_t *pos,
                          unsigned number, struct snapshot_entry *s,
                          struct problem *problem);

#endif /* QCOW_FORMAT_SNAPSHOT_ENTRY_H */
