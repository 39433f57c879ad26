/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parse an entry of the snapshot table.  See snapshot-entry.h.
 */

#include <inttypes.h>

#include "base/minmax.h"
#include "format/snapshot-entry.h"

/* Offsets of the fields (spec). */
enum {
  OFF_L1_TABLE_OFFSET = 0,
  OFF_L1_SIZE = 8,
  OFF_ID_LENGTH = 12,
  OFF_NAME_LENGTH = 14,
  OFF_DATE_SECONDS = 16,
  OFF_DATE_NS = 20,
  OFF_VM_CLOCK_NS = 24,
  OFF_VM_STATE_SIZE = 32,
  OFF_EXTRA_LENGTH = 36,
  OFF_EXTRA = 40,

  /* In the extra data, if it is long enough. */
  EXTRA_VM_STATE_SIZE = 0,
  EXTRA_DISK_SIZE = 8,
  EXTRA_ICOUNT = 16,
};

/* The instructions were not counted (spec). */
#define NO_ICOUNT UINT64_MAX

int
snapshot_entry_parse (const uint8_t *table, size_t length, size_t *pos,
                      unsigned number, struct snapshot_entry *s,
                      struct problem *problem)
{
  const uint8_t *p = table + *pos;
  const size_t left = length - *pos;
  uint32_t extra;
  size_t bytes;

  if (left < OFF_EXTRA)
    return 0;
  s->l1_table_offset = get_be64 (p + OFF_L1_TABLE_OFFSET);
  s->l1_size = get_be32 (p + OFF_L1_SIZE);
  s->id_length = get_be16 (p + OFF_ID_LENGTH);
  s->name_length = get_be16 (p + OFF_NAME_LENGTH);
  s->date_seconds = get_be32 (p + OFF_DATE_SECONDS);
  s->date_ns = get_be32 (p + OFF_DATE_NS);
  s->vm_clock_ns = get_be64 (p + OFF_VM_CLOCK_NS);
  s->vm_state_size = get_be32 (p + OFF_VM_STATE_SIZE);
  s->has_disk_size = false;
  s->disk_size = 0;
  s->icount = NO_ICOUNT;

  extra = get_be32 (p + OFF_EXTRA_LENGTH);
  if (extra > QCOW_MAX_SNAPSHOT_EXTRA)
    return problem_set (problem,
                        "snapshot table: entry %u has %" PRIu32 " bytes of "
                        "extra data: must be at most %d",
                        number, extra, QCOW_MAX_SNAPSHOT_EXTRA);
  bytes = OFF_EXTRA + (size_t) extra + s->id_length + s->name_length;
  if (left < bytes)
    return 0;

  p += OFF_EXTRA;
  if (extra >= EXTRA_VM_STATE_SIZE + 8)
    s->vm_state_size = get_be64 (p + EXTRA_VM_STATE_SIZE);
  if (extra >= EXTRA_DISK_SIZE + 8) {
    s->has_disk_size = true;
    s->disk_size = get_be64 (p + EXTRA_DISK_SIZE);
  }
  if (extra >= EXTRA_ICOUNT + 8)
    s->icount = get_be64 (p + EXTRA_ICOUNT);
  s->has_icount = s->icount != NO_ICOUNT;
  s->id = (const char *) p + extra;
  s->name = s->id + s->id_length;

  /* Each entry starts at a multiple of 8.  The last one can lack its padding.
   */
  *pos += (size_t) min64 (round_up64 (bytes, 8), left);
  return 1;
}
