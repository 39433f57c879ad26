/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decode an L1 or L2 entry.  Pure.  Other files only mask the offset in an
 * entry.
 *
 * The functions are inline, because mapping a large image spends most of its
 * time in them.
 *
 * Source: qemu's docs/interop/qcow2.rst.  The order of the checks, the ignored
 * reserved bits and version 1 follow qemu.
 */

#ifndef QCOW_FORMAT_ENTRY_H
#define QCOW_FORMAT_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/minmax.h"
#include "format/format.h"

enum entry_kind {
  ENTRY_UNALLOCATED, /* L1: no L2 table */
  ENTRY_ZERO,        /* reads as zeros, with or without a host cluster */
  ENTRY_NORMAL,      /* host: offset of the cluster; L1: of the L2 table */
  ENTRY_COMPRESSED,  /* host: offset of the stream; bound */
  ENTRY_BAD,         /* the entry is damaged: fault */
};

enum entry_fault {
  FAULT_NONE,
  FAULT_L1_UNALIGNED,  /* L2 table not cluster aligned */
  FAULT_L1_PAST_END,   /* L2 table starts at or after the file's end */
  FAULT_UNALIGNED,     /* cluster not cluster aligned */
  FAULT_PAST_END,      /* cluster starts at or after the file's end */
  FAULT_ZERO_IN_V2,    /* zero flag in a version 2 image */
  FAULT_NO_STREAM,     /* compressed cluster of 0 bytes */
  FAULT_SUBCLUSTERS,   /* a subcluster's bits contradict each other */
  FAULT_NOT_IN_PLACE,  /* in a data file, but not at its guest offset */
  FAULT_NOT_DATA_FILE, /* compressed, but the image has a data file */
};

struct entry {
  enum entry_kind kind;
  enum entry_fault fault; /* if BAD */
  uint32_t bound;         /* if COMPRESSED: the stream ends within this many
                             bytes, 1 to twice the cluster size */
  uint64_t host;          /* bytes from the start of the file */
};

/* The properties of an image that determine the meaning of its entries.  A
 * cluster of the image file that starts at or after file_size is damage; one
 * that ends after it reads as zeros there.  A data file can be too short: it
 * reads as zeros past its end.
 */
struct entry_geometry {
  uint32_t version;
  unsigned cluster_bits;
  unsigned l2_bits;   /* log2 of the entries of an L2 table */
  bool extended;      /* entries of 16 bytes, with subclusters */
  bool data_file;     /* clusters lie in another file */
  uint64_t file_size; /* of the image file, bytes */
};

static inline uint64_t
entry_cluster_size (const struct entry_geometry *geometry)
{
  return UINT64_C (1) << geometry->cluster_bits;
}

/* Return log2 of the bytes of an L2 table. */
static inline unsigned
entry_l2_table_shift (const struct entry_geometry *geometry)
{
  return geometry->l2_bits + (geometry->extended ? 4 : 3);
}

static inline struct entry
entry_bad (enum entry_fault fault, uint64_t host)
{
  return (struct entry){ ENTRY_BAD, fault, 0, host };
}

/* In version 1, an L2 table can be at any offset. */
static inline struct entry
entry_l1_v1 (const struct entry_geometry *geometry, uint64_t raw)
{
  const uint64_t bytes = UINT64_C (1) << entry_l2_table_shift (geometry);

  if (raw == 0)
    return (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  /* At the end of the file, less than a cluster of the table can be missing.
   */
  if (raw >= geometry->file_size
      || bytes - min64 (bytes, geometry->file_size - raw)
           >= entry_cluster_size (geometry))
    return entry_bad (FAULT_L1_PAST_END, raw);
  return (struct entry){ ENTRY_NORMAL, FAULT_NONE, 0, raw };
}

static inline struct entry
entry_l1 (const struct entry_geometry *geometry, uint64_t raw)
{
  const uint64_t host = raw & QCOW_ENTRY_OFFSET_MASK;

  if (geometry->version == 1)
    return entry_l1_v1 (geometry, raw);
  if (host == 0)
    return (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  if (host & (entry_cluster_size (geometry) - 1))
    return entry_bad (FAULT_L1_UNALIGNED, host);
  if (host >= geometry->file_size)
    return entry_bad (FAULT_L1_PAST_END, host);
  return (struct entry){ ENTRY_NORMAL, FAULT_NONE, 0, host };
}

/* Version 1 has no zero clusters, does not align clusters, and stores the
 * exact length of a compressed cluster.
 */
static inline struct entry
entry_l2_v1 (const struct entry_geometry *geometry, uint64_t raw)
{
  const unsigned offset_bits = 63 - geometry->cluster_bits;
  uint64_t host = raw;
  uint32_t bound = 0;

  if (raw == 0)
    return (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  if (raw & QCOW_V1_ENTRY_COMPRESSED) {
    host = raw & ((UINT64_C (1) << offset_bits) - 1);
    bound
      = (uint32_t) (raw >> offset_bits & (entry_cluster_size (geometry) - 1));
    if (bound == 0)
      return entry_bad (FAULT_NO_STREAM, host);
  }
  else if (host & (QCOW_SECTOR_BYTES - 1))
    return entry_bad (FAULT_UNALIGNED, host);
  if (host >= geometry->file_size)
    return entry_bad (FAULT_PAST_END, host);
  return (struct entry){ bound ? ENTRY_COMPRESSED : ENTRY_NORMAL, FAULT_NONE,
                         bound, host };
}

static inline struct entry
entry_l2_compressed (const struct entry_geometry *geometry, uint64_t raw)
{
  const unsigned offset_bits = 62 - (geometry->cluster_bits - 8);
  const uint64_t host = raw & ((UINT64_C (1) << offset_bits) - 1);
  const uint64_t sectors
    = ((raw >> offset_bits)
       & ((UINT64_C (1) << (geometry->cluster_bits - 8)) - 1))
      + 1;
  const uint64_t bound
    = sectors * QCOW_SECTOR_BYTES - (host & (QCOW_SECTOR_BYTES - 1));

  if (geometry->data_file)
    return entry_bad (FAULT_NOT_DATA_FILE, host);
  if (host >= geometry->file_size)
    return entry_bad (FAULT_PAST_END, host);
  return (struct entry){ ENTRY_COMPRESSED, FAULT_NONE, (uint32_t) bound,
                         host };
}

/* Check the host offset of an entry, even if nothing is read there (qemu). */
static inline enum entry_fault
entry_place_fault (const struct entry_geometry *geometry, uint64_t host,
                   uint64_t guest)
{
  if (host & (entry_cluster_size (geometry) - 1))
    return FAULT_UNALIGNED;
  if (geometry->data_file && host != guest)
    return FAULT_NOT_IN_PLACE;
  return FAULT_NONE;
}

/* True if the entry has a host cluster.  In a data file, offset 0 is valid. */
static inline bool
entry_has_place (const struct entry_geometry *geometry, uint64_t raw)
{
  return (raw & QCOW_ENTRY_OFFSET_MASK) != 0
         || (geometry->data_file && (raw & QCOW_ENTRY_COPIED));
}

/* Decode an entry of 8 bytes for the cluster at guest offset 'guest'. */
static inline struct entry
entry_l2 (const struct entry_geometry *geometry, uint64_t raw, uint64_t guest)
{
  const uint64_t host = raw & QCOW_ENTRY_OFFSET_MASK;
  enum entry_fault fault;

  if (geometry->version == 1)
    return entry_l2_v1 (geometry, raw);

  /* First, because it changes the meaning of all other bits. */
  if (raw & QCOW_ENTRY_COMPRESSED)
    return entry_l2_compressed (geometry, raw);

  if (raw & QCOW_ENTRY_ZERO) {
    if (geometry->version < 3)
      return entry_bad (FAULT_ZERO_IN_V2, host);
    /* A preallocated zero cluster is never read.  Its offset must be valid,
     * but can lie past the end of the file.
     */
    fault = host ? entry_place_fault (geometry, host, guest) : FAULT_NONE;
    if (fault)
      return entry_bad (fault, host);
    return (struct entry){ ENTRY_ZERO, FAULT_NONE, 0, host };
  }

  if (!entry_has_place (geometry, raw))
    return (struct entry){ ENTRY_UNALLOCATED, FAULT_NONE, 0, 0 };
  fault = entry_place_fault (geometry, host, guest);
  if (fault)
    return entry_bad (fault, host);
  if (!geometry->data_file && host >= geometry->file_size)
    return entry_bad (FAULT_PAST_END, host);
  return (struct entry){ ENTRY_NORMAL, FAULT_NONE, 0, host };
}

/* Decode subcluster 'sub' of an extended entry.  *end is the next subcluster
 * of another kind, or 32.  If NORMAL, 'host' is the offset of the cluster, not
 * of the subcluster.  If COMPRESSED, the whole cluster is compressed.
 */
static inline struct entry
entry_l2_extended (const struct entry_geometry *geometry, uint64_t raw,
                   uint64_t bitmap, uint64_t guest, unsigned sub,
                   unsigned *end)
{
  const uint64_t host = raw & QCOW_ENTRY_OFFSET_MASK;
  const uint32_t allocated = (uint32_t) bitmap;
  const uint32_t zero = (uint32_t) (bitmap >> 32);
  const bool has_place = entry_has_place (geometry, raw);
  enum entry_fault fault = FAULT_NONE;
  enum entry_kind kind;
  uint32_t same;

  *end = QCOW_SUBCLUSTERS;
  if (raw & QCOW_ENTRY_COMPRESSED)
    return entry_l2_compressed (geometry, raw);
  if (has_place)
    fault = entry_place_fault (geometry, host, guest);
  if (fault)
    return entry_bad (fault, host);
  if (has_place ? (allocated & zero) != 0 : allocated != 0)
    return entry_bad (FAULT_SUBCLUSTERS, host);

  if (zero >> sub & 1) {
    kind = ENTRY_ZERO;
    same = zero;
  }
  else if (allocated >> sub & 1) {
    kind = ENTRY_NORMAL;
    same = allocated;
  }
  else {
    kind = ENTRY_UNALLOCATED;
    same = ~(allocated | zero);
  }
  /* The first bit from 'sub' on that is not set. */
  same = ~(same >> sub);
  if (same != 0 && sub + (unsigned) __builtin_ctz (same) < QCOW_SUBCLUSTERS)
    *end = sub + (unsigned) __builtin_ctz (same);
  if (kind == ENTRY_NORMAL && !geometry->data_file
      && host >= geometry->file_size)
    return entry_bad (FAULT_PAST_END, host);
  return (struct entry){ kind, FAULT_NONE, 0, host };
}

/* Return the text of a fault for messages: "...: host offset 0x2a00: TEXT". */
const char *entry_fault_text (enum entry_fault fault);

#endif /* QCOW_FORMAT_ENTRY_H */
