/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One L1 or L2 entry -> what it says.  Pure, and the only place that
 * knows the bits.
 *
 * Inline, since mapping a large image is little more than this for each
 * of millions of entries.
 *
 * Source: qemu's docs/interop/qcow2.rst; the order of the decisions and
 * the indifference to reserved bits are qemu's.
 */

#ifndef QCOW_ENTRY_H
#define QCOW_ENTRY_H

#include <stdint.h>

#include "format.h"

enum entry_kind {
  ENTRY_UNALLOCATED, /* L1: no L2 table */
  ENTRY_ZERO,        /* reads as zeros, with or without a host cluster */
  ENTRY_NORMAL,      /* host: offset of the cluster; L1: of the L2 table */
  ENTRY_COMPRESSED,  /* host: offset of the stream; bound */
  ENTRY_BAD,         /* fault; the entry can't be right */
};

enum entry_fault {
  FAULT_NONE,
  FAULT_L1_UNALIGNED, /* L2 table not cluster aligned */
  FAULT_L1_PAST_END,  /* L2 table starts at or after the file's end */
  FAULT_UNALIGNED,    /* cluster not cluster aligned */
  FAULT_PAST_END,     /* cluster starts at or after the file's end */
  FAULT_ZERO_IN_V2,   /* zero flag in a version 2 image */
};

struct entry {
  enum entry_kind kind;
  enum entry_fault fault; /* if BAD */
  uint32_t bound;         /* if COMPRESSED: the stream ends within so many
                             bytes, 1 to twice the cluster size */
  uint64_t host;          /* bytes from the start of the file */
};

/* What the meaning of an entry depends on.  file_size is the length of
 * the file that the offsets point into: what starts beyond it is damage,
 * what ends beyond it reads as zeros there.
 */
struct entry_rules {
  uint32_t version;
  unsigned cluster_bits;
  uint64_t file_size;
};

static inline struct entry
entry_bad (enum entry_fault fault, uint64_t host)
{
  return (struct entry){ ENTRY_BAD, fault, 0, host };
}

/* An offset of something that is one cluster long. */
static inline struct entry
entry_cluster_at (const struct entry_rules *rules, uint64_t host,
                  enum entry_fault unaligned, enum entry_fault past_end)
{
  if (host & ((UINT64_C (1) << rules->cluster_bits) - 1))
    return entry_bad (unaligned, host);
  if (host >= rules->file_size)
    return entry_bad (past_end, host);
  return (struct entry){ ENTRY_NORMAL, FAULT_NONE, 0, host };
}

static inline struct entry
entry_l1 (const struct entry_rules *rules, uint64_t raw)
{
  const uint64_t host = raw & QCOW_ENTRY_OFFSET_MASK;

  if (host == 0)
    return (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  return entry_cluster_at (rules, host, FAULT_L1_UNALIGNED, FAULT_L1_PAST_END);
}

static inline struct entry
entry_l2_compressed (const struct entry_rules *rules, uint64_t raw)
{
  const unsigned offset_bits = 62 - (rules->cluster_bits - 8);
  const uint64_t host = raw & ((UINT64_C (1) << offset_bits) - 1);
  const uint64_t sectors
    = ((raw >> offset_bits)
       & ((UINT64_C (1) << (rules->cluster_bits - 8)) - 1))
      + 1;
  const uint64_t bound
    = sectors * QCOW_SECTOR_BYTES - (host & (QCOW_SECTOR_BYTES - 1));

  if (host >= rules->file_size)
    return entry_bad (FAULT_PAST_END, host);
  return (struct entry){ ENTRY_COMPRESSED, FAULT_NONE, (uint32_t) bound,
                         host };
}

static inline struct entry
entry_l2 (const struct entry_rules *rules, uint64_t raw)
{
  const uint64_t host = raw & QCOW_ENTRY_OFFSET_MASK;

  /* First of all: in a compressed entry the other bits mean something
   * else.
   */
  if (raw & QCOW_ENTRY_COMPRESSED)
    return entry_l2_compressed (rules, raw);

  if (raw & QCOW_ENTRY_ZERO) {
    if (rules->version < 3)
      return entry_bad (FAULT_ZERO_IN_V2, host);
    /* A preallocated zero cluster is never read, yet an unaligned one is
     * damage (qemu).  That it may lie past the end of the file harms
     * nobody.
     */
    if (host & ((UINT64_C (1) << rules->cluster_bits) - 1))
      return entry_bad (FAULT_UNALIGNED, host);
    return (struct entry){ ENTRY_ZERO, FAULT_NONE, 0, host };
  }

  if (host == 0)
    return (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  return entry_cluster_at (rules, host, FAULT_UNALIGNED, FAULT_PAST_END);
}

/* What a fault is, for a message: "…: host offset 0x2a00: TEXT". */
const char *entry_fault_text (enum entry_fault fault);

#endif /* QCOW_ENTRY_H */
