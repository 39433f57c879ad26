/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parse an entry of the snapshot table.  Pure: no I/O, no allocation.
 *
 * Sources: qemu's docs/interop/qcow2.rst; for the limits, what qemu 7.2
 * refuses.
 */

#ifndef QCOW_FORMAT_SNAPSHOT_ENTRY_H
#define QCOW_FORMAT_SNAPSHOT_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/format.h"

/* Parsing checks only lengths, so most damaged snapshots do not make the
 * others unusable.  id and name point into the table.  They can hold any bytes
 * and do not end with a NUL.
 */
struct snapshot_entry {
  uint64_t l1_table_offset;
  uint32_t l1_size; /* entries */
  uint16_t id_length, name_length;
  const char *id, *name;
  uint32_t date_seconds;  /* since 1970, UTC */
  uint32_t date_ns;       /* the fraction of that second; any */
  uint64_t vm_clock_ns;   /* how long the guest had run */
  uint64_t vm_state_size; /* bytes */
  bool has_icount;
  uint64_t icount;    /* instructions that the guest had executed */
  bool has_disk_size; /* else the snapshot has the image's size */
  uint64_t disk_size; /* bytes */
};

/* Parse the entry in table[*pos..length), and move *pos to the next one.
 * 'number' counts entries from 1, for messages.  Returns 1 on success, 0 if
 * the entry ends after 'length', or -1 and the reason.
 */
int snapshot_entry_parse (const uint8_t *table, size_t length, size_t *pos,
                          unsigned number, struct snapshot_entry *s,
                          struct problem *problem);

#endif /* QCOW_FORMAT_SNAPSHOT_ENTRY_H */
