/* SPDX-License-Identifier: BSD-3-Clause
 *
 * On-disk constants and limits of the QCOW formats, each with its source:
 * "spec" is docs/interop/qcow2.rst in qemu; "qemu" is what qemu 7.2 accepts,
 * by experiment.  The spec does not describe version 1.
 *
 * All numbers on disk are big-endian.  Offsets are in bytes from the start of
 * the file.
 */

#ifndef QCOW_FORMAT_FORMAT_H
#define QCOW_FORMAT_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define QCOW_MAGIC 0x514649fbU /* "QFI\xfb" (spec) */

/* Lengths of the fixed part of the header (spec; version 1: qemu). */
#define QCOW_V1_HEADER_LENGTH 48
#define QCOW_V2_HEADER_LENGTH 72
#define QCOW_V3_HEADER_LENGTH 104

/* Clusters of 512 bytes to 2 MiB (qemu; the spec sets only the lower bound).
 */
#define QCOW_MIN_CLUSTER_BITS 9
#define QCOW_MAX_CLUSTER_BITS 21

/* Version 1: clusters of 512 bytes to 64 KiB, L2 tables of 512 bytes to
 * 64 KiB, whatever the cluster size (qemu).
 */
#define QCOW_V1_MAX_CLUSTER_BITS 16
#define QCOW_V1_MIN_L2_BITS 6
#define QCOW_V1_MAX_L2_BITS 13
#define QCOW_V1_MAX_L1_BYTES INT32_MAX

/* Limits of qemu.  The spec has none. */
#define QCOW_MAX_L1_BYTES (32U << 20)
#define QCOW_MAX_REFCOUNT_TABLE_BYTES (8U << 20)
#define QCOW_MAX_SNAPSHOTS 65536
#define QCOW_MAX_SNAPSHOT_EXTRA 1024
#define QCOW_MAX_SNAPSHOT_TABLE_BYTES (64U << 20)
#define QCOW_MAX_REFCOUNT_ORDER 6
#define QCOW_V2_REFCOUNT_ORDER 4 /* always (spec) */
#define QCOW_MAX_BACKING_NAME 1023
#define QCOW_MAX_BACKING_FORMAT 15

/* The longest path that Linux opens.  The format sets no limit. */
#define QCOW_MAX_DATA_FILE_NAME 4095

/* Incompatible feature bits (spec). */
#define QCOW_INCOMPAT_DIRTY (UINT64_C (1) << 0)
#define QCOW_INCOMPAT_CORRUPT (UINT64_C (1) << 1)
#define QCOW_INCOMPAT_DATA_FILE (UINT64_C (1) << 2)
#define QCOW_INCOMPAT_COMPRESSION (UINT64_C (1) << 3)
#define QCOW_INCOMPAT_EXTENDED_L2 (UINT64_C (1) << 4)
#define QCOW_INCOMPAT_KNOWN                                                   \
  (QCOW_INCOMPAT_DIRTY | QCOW_INCOMPAT_CORRUPT | QCOW_INCOMPAT_DATA_FILE      \
   | QCOW_INCOMPAT_COMPRESSION | QCOW_INCOMPAT_EXTENDED_L2)

/* Compatible feature bits (spec). */
#define QCOW_COMPAT_LAZY_REFCOUNTS (UINT64_C (1) << 0)

/* Autoclear feature bits (spec). */
#define QCOW_AUTOCLEAR_BITMAPS (UINT64_C (1) << 0)
#define QCOW_AUTOCLEAR_DATA_FILE_RAW (UINT64_C (1) << 1)

/* crypt_method (spec). */
#define QCOW_CRYPT_NONE 0
#define QCOW_CRYPT_AES 1
#define QCOW_CRYPT_LUKS 2

/* compression_type (spec). */
#define QCOW_COMPRESSION_DEFLATE 0
#define QCOW_COMPRESSION_ZSTD 1

/* Header extensions (spec). */
#define QCOW_EXT_END 0x00000000U
#define QCOW_EXT_BACKING_FORMAT 0xe2792acaU
#define QCOW_EXT_FEATURE_TABLE 0x6803f857U
#define QCOW_EXT_BITMAPS 0x23852875U
#define QCOW_EXT_LUKS 0x0537be77U
#define QCOW_EXT_DATA_FILE 0x44415441U

/* Dirty bitmaps: limits (qemu); type and flags of a directory entry (spec); in
 * a table entry without an offset, the bit that stands for a cluster of ones
 * (spec).
 */
#define QCOW_MAX_BITMAPS 65535
#define QCOW_MAX_BITMAP_DIRECTORY_BYTES (64U << 20)
#define QCOW_MAX_BITMAP_BYTES (512U << 20)
#define QCOW_MIN_GRANULARITY_BITS 9
#define QCOW_MAX_GRANULARITY_BITS 31
#define QCOW_BITMAP_TYPE_DIRTY 1
#define QCOW_BITMAP_IN_USE (1U << 0)
#define QCOW_BITMAP_AUTO (1U << 1)
#define QCOW_BITMAP_EXTRA_COMPATIBLE (1U << 2)
#define QCOW_BITMAP_ALL_ONES UINT64_C (1)

/* One entry of the feature name table: kind, bit, name (spec). */
#define QCOW_FEATURE_ENTRY_BYTES 48
#define QCOW_FEATURE_NAME_BYTES 46
#define QCOW_FEATURE_KIND_INCOMPAT 0

/* L1 and L2 entries (spec).  Reserved bits are ignored (qemu). */
#define QCOW_ENTRY_OFFSET_MASK UINT64_C (0x00fffffffffffe00)
#define QCOW_ENTRY_COMPRESSED (UINT64_C (1) << 62)
#define QCOW_ENTRY_ZERO (UINT64_C (1) << 0)

/* The cluster's refcount is 1, which a reader does not need.  With an external
 * data file the bit also says that a cluster at host offset 0 is allocated
 * (spec).
 */
#define QCOW_ENTRY_COPIED (UINT64_C (1) << 63)

/* Version 1: bit 63 of an L2 entry.  The other bits are the offset, and with
 * this bit also the length of the stream (qemu).
 */
#define QCOW_V1_ENTRY_COMPRESSED (UINT64_C (1) << 63)

/* Extended L2: the subclusters of a cluster, and their smallest size (spec).
 */
#define QCOW_SUBCLUSTERS 32
#define QCOW_SUBCLUSTER_BITS 5
#define QCOW_MIN_SUBCLUSTER_BYTES 512

/* The length of a compressed cluster is in sectors of this size (spec). */
#define QCOW_SECTOR_BYTES 512

/* Big-endian numbers at any alignment. */
static inline uint16_t
get_be16 (const uint8_t *p)
{
  uint16_t v;

  memcpy (&v, p, sizeof v);
  return be16toh (v);
}

static inline uint32_t
get_be32 (const uint8_t *p)
{
  uint32_t v;

  memcpy (&v, p, sizeof v);
  return be32toh (v);
}

static inline uint64_t
get_be64 (const uint8_t *p)
{
  uint64_t v;

  memcpy (&v, p, sizeof v);
  return be64toh (v);
}

#endif /* QCOW_FORMAT_FORMAT_H */
