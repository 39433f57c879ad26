/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The fixed fields of the header.  See header.h.
 *
 * Each error message has the field, its value and the requirement, with the
 * field names of qemu's docs/interop/qcow2.rst.  A check follows those that it
 * relies on.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "format/header.h"

/* Offsets of the fields (spec). */
enum {
  OFF_MAGIC = 0,
  OFF_VERSION = 4,
  OFF_BACKING_FILE_OFFSET = 8,
  OFF_BACKING_FILE_SIZE = 16,
  OFF_CLUSTER_BITS = 20,
  OFF_SIZE = 24,
  OFF_CRYPT_METHOD = 32,
  OFF_L1_SIZE = 36,
  OFF_L1_TABLE_OFFSET = 40,
  OFF_REFCOUNT_TABLE_OFFSET = 48,
  OFF_REFCOUNT_TABLE_CLUSTERS = 56,
  OFF_NB_SNAPSHOTS = 60,
  OFF_SNAPSHOTS_OFFSET = 64,
  OFF_INCOMPATIBLE_FEATURES = 72,
  OFF_COMPATIBLE_FEATURES = 80,
  OFF_AUTOCLEAR_FEATURES = 88,
  OFF_REFCOUNT_ORDER = 96,
  OFF_HEADER_LENGTH = 100,
  OFF_COMPRESSION_TYPE = 104,
};

/* The same in version 1, where they differ (qemu). */
enum {
  V1_OFF_SIZE = 24,
  V1_OFF_CLUSTER_BITS = 32,
  V1_OFF_L2_BITS = 33,
  V1_OFF_CRYPT_METHOD = 36,
  V1_OFF_L1_TABLE_OFFSET = 40,
};

int
header_check_table (const struct header *h, const char *field, uint64_t offset,
                    uint64_t bytes, struct problem *problem)
{
  if (offset & (header_cluster_size (h) - 1))
    return problem_set (problem,
                        "%s is 0x%" PRIx64 ": must be a multiple of the "
                        "cluster size, %" PRIu64,
                        field, offset, header_cluster_size (h));
  if (bytes > INT64_MAX || offset > INT64_MAX - bytes)
    return problem_set (problem,
                        "%s is 0x%" PRIx64 ": %" PRIu64 " bytes at this "
                        "offset end beyond 2^63 - 1",
                        field, offset, bytes);
  return 0;
}

static int
check_magic (const uint8_t *p, struct header *h, struct problem *problem)
{
  if (get_be32 (p + OFF_MAGIC) != QCOW_MAGIC)
    return problem_set (problem,
                        "not a QCOW image: it starts with "
                        "%02x %02x %02x %02x instead of 51 46 49 fb",
                        p[0], p[1], p[2], p[3]);

  h->version = get_be32 (p + OFF_VERSION);
  if (h->version < 1 || h->version > 3)
    return problem_set (problem,
                        "header: version is %" PRIu32 ": only versions 1, 2 "
                        "and 3 are supported",
                        h->version);
  return 0;
}

/* --- Version 1 --- */

static int
v1_geometry (const uint8_t *p, struct header *h, struct problem *problem)
{
  h->size = get_be64 (p + V1_OFF_SIZE);
  if (h->size < 2 || h->size > INT64_MAX)
    return problem_set (problem,
                        "header: size is %" PRIu64 ": must be 2 to 2^63 - 1 "
                        "in version 1",
                        h->size);

  h->cluster_bits = p[V1_OFF_CLUSTER_BITS];
  if (h->cluster_bits < QCOW_MIN_CLUSTER_BITS
      || h->cluster_bits > QCOW_V1_MAX_CLUSTER_BITS)
    return problem_set (problem,
                        "header: cluster_bits is %u: must be %d to %d in "
                        "version 1 (clusters of 512 bytes to 64 KiB)",
                        h->cluster_bits, QCOW_MIN_CLUSTER_BITS,
                        QCOW_V1_MAX_CLUSTER_BITS);
  h->l2_bits = p[V1_OFF_L2_BITS];
  if (h->l2_bits < QCOW_V1_MIN_L2_BITS || h->l2_bits > QCOW_V1_MAX_L2_BITS)
    return problem_set (problem,
                        "header: l2_bits is %u: must be %d to %d (L2 tables "
                        "of 512 bytes to 64 KiB)",
                        h->l2_bits, QCOW_V1_MIN_L2_BITS, QCOW_V1_MAX_L2_BITS);
  return 0;
}

static int
v1_l1_table (const uint8_t *p, struct header *h, struct problem *problem)
{
  const uint64_t l1_size = header_l1_entries (h);

  if (l1_size > QCOW_V1_MAX_L1_BYTES / sizeof (uint64_t))
    return problem_set (problem,
                        "header: size is %" PRIu64 ": needs %" PRIu64
                        " L1 entries, but at most %zu are supported",
                        h->size, l1_size,
                        QCOW_V1_MAX_L1_BYTES / sizeof (uint64_t));
  h->l1_size = (uint32_t) l1_size;
  h->l1_table_offset = get_be64 (p + V1_OFF_L1_TABLE_OFFSET);
  if (h->l1_table_offset > INT64_MAX - l1_size * sizeof (uint64_t))
    return problem_set (problem,
                        "header: l1_table_offset is 0x%" PRIx64 ": the table "
                        "would end beyond 2^63 - 1",
                        h->l1_table_offset);
  return 0;
}

static int
v1_backing_file (const uint8_t *p, struct header *h, struct problem *problem)
{
  h->backing_offset = get_be64 (p + OFF_BACKING_FILE_OFFSET);
  h->backing_size = get_be32 (p + OFF_BACKING_FILE_SIZE);
  if (h->backing_offset == 0)
    h->backing_size = 0;
  if (h->backing_size > QCOW_MAX_BACKING_NAME)
    return problem_set (problem,
                        "header: backing_file_size is %" PRIu32 ": must be "
                        "at most %d",
                        h->backing_size, QCOW_MAX_BACKING_NAME);
  if (h->backing_offset > (uint64_t) INT64_MAX - h->backing_size)
    return problem_set (problem,
                        "header: backing_file_offset is 0x%" PRIx64
                        ": the name would end beyond 2^63 - 1",
                        h->backing_offset);
  return 0;
}

static int
v1_fixed (const uint8_t *p, struct header *h, struct problem *problem)
{
  if (v1_geometry (p, h, problem) == -1)
    return -1;
  h->crypt_method = get_be32 (p + V1_OFF_CRYPT_METHOD);
  if (h->crypt_method > QCOW_CRYPT_AES)
    return problem_set (problem,
                        "header: crypt_method is %" PRIu32 ": must be 0 "
                        "(none) or 1 (AES) in version 1",
                        h->crypt_method);
  if (v1_l1_table (p, h, problem) == -1)
    return -1;
  return v1_backing_file (p, h, problem);
}

/* --- Versions 2 and 3 --- */

static int
v2_geometry (const uint8_t *p, struct header *h, struct problem *problem)
{
  const uint32_t bits = get_be32 (p + OFF_CLUSTER_BITS);

  if (bits < QCOW_MIN_CLUSTER_BITS || bits > QCOW_MAX_CLUSTER_BITS)
    return problem_set (problem,
                        "header: cluster_bits is %" PRIu32 ": must be %d to "
                        "%d (clusters of 512 bytes to 2 MiB)",
                        bits, QCOW_MIN_CLUSTER_BITS, QCOW_MAX_CLUSTER_BITS);
  h->cluster_bits = bits;

  h->size = get_be64 (p + OFF_SIZE);
  if (h->size > INT64_MAX)
    return problem_set (problem,
                        "header: size is %" PRIu64 ": must be at most "
                        "2^63 - 1",
                        h->size);

  h->crypt_method = get_be32 (p + OFF_CRYPT_METHOD);
  if (h->crypt_method > QCOW_CRYPT_LUKS)
    return problem_set (problem,
                        "header: crypt_method is %" PRIu32 ": must be 0 "
                        "(none), 1 (AES) or 2 (LUKS)",
                        h->crypt_method);
  return 0;
}

/* The fields that version 3 added.  For version 2, they have fixed values
 * whatever the bytes are.
 */
static int
v3_fields (const uint8_t *p, struct header *h, struct problem *problem)
{
  uint32_t order;

  if (h->version == 2) {
    h->incompatible = 0;
    h->compatible = 0;
    h->autoclear = 0;
    h->refcount_order = QCOW_V2_REFCOUNT_ORDER;
    h->header_length = QCOW_V2_HEADER_LENGTH;
    h->compression = QCOW_COMPRESSION_DEFLATE;
    return 0;
  }

  h->incompatible = get_be64 (p + OFF_INCOMPATIBLE_FEATURES);
  h->compatible = get_be64 (p + OFF_COMPATIBLE_FEATURES);
  h->autoclear = get_be64 (p + OFF_AUTOCLEAR_FEATURES);

  order = get_be32 (p + OFF_REFCOUNT_ORDER);
  if (order > QCOW_MAX_REFCOUNT_ORDER)
    return problem_set (problem,
                        "header: refcount_order is %" PRIu32 ": must be 0 "
                        "to %d",
                        order, QCOW_MAX_REFCOUNT_ORDER);
  h->refcount_order = order;

  h->header_length = get_be32 (p + OFF_HEADER_LENGTH);
  if (h->header_length < QCOW_V3_HEADER_LENGTH
      || h->header_length > header_cluster_size (h))
    return problem_set (problem,
                        "header: header_length is %" PRIu32 ": must be %d "
                        "to %" PRIu64 " (the cluster size)",
                        h->header_length, QCOW_V3_HEADER_LENGTH,
                        header_cluster_size (h));

  h->compression = QCOW_COMPRESSION_DEFLATE;
  if (h->header_length > OFF_COMPRESSION_TYPE)
    h->compression = p[OFF_COMPRESSION_TYPE];
  return 0;
}

/* An L2 table is one cluster of entries, of 8 or 16 bytes. */
static void
set_l2_bits (struct header *h)
{
  const bool extended = h->incompatible & QCOW_INCOMPAT_EXTENDED_L2;

  h->l2_bits = h->cluster_bits - (extended ? 4 : 3);
}

static int
v2_l1_table (const uint8_t *p, struct header *h, struct problem *problem)
{
  h->l1_size = get_be32 (p + OFF_L1_SIZE);
  if (h->l1_size > QCOW_MAX_L1_BYTES / sizeof (uint64_t))
    return problem_set (problem,
                        "header: l1_size is %" PRIu32 ": must be at most %zu",
                        h->l1_size, QCOW_MAX_L1_BYTES / sizeof (uint64_t));
  h->l1_table_offset = get_be64 (p + OFF_L1_TABLE_OFFSET);
  return header_check_table (h, "header: l1_table_offset", h->l1_table_offset,
                             h->l1_size * sizeof (uint64_t), problem);
}

/* A reader does not need refcounts.  But a header with an invalid refcount
 * table is damaged, and qemu also refuses it.
 */
static int
v2_refcount_table (const uint8_t *p, const struct header *h,
                   struct problem *problem)
{
  const uint64_t offset = get_be64 (p + OFF_REFCOUNT_TABLE_OFFSET);
  const uint32_t clusters = get_be32 (p + OFF_REFCOUNT_TABLE_CLUSTERS);
  const uint64_t bytes = (uint64_t) clusters << h->cluster_bits;

  if (bytes == 0 || bytes > QCOW_MAX_REFCOUNT_TABLE_BYTES)
    return problem_set (problem,
                        "header: refcount_table_clusters is %" PRIu32 ": "
                        "must be 1 to %u (8 MiB)",
                        clusters,
                        QCOW_MAX_REFCOUNT_TABLE_BYTES >> h->cluster_bits);
  return header_check_table (h, "header: refcount_table_offset", offset, bytes,
                             problem);
}

static int
v2_snapshot_table (const uint8_t *p, struct header *h, struct problem *problem)
{
  h->nb_snapshots = get_be32 (p + OFF_NB_SNAPSHOTS);
  if (h->nb_snapshots > QCOW_MAX_SNAPSHOTS)
    return problem_set (problem,
                        "header: nb_snapshots is %" PRIu32 ": must be at "
                        "most %d",
                        h->nb_snapshots, QCOW_MAX_SNAPSHOTS);
  h->snapshots_offset = get_be64 (p + OFF_SNAPSHOTS_OFFSET);
  /* A table entry has at least 40 bytes. */
  return header_check_table (h, "header: snapshots_offset",
                             h->snapshots_offset,
                             h->nb_snapshots * UINT64_C (40), problem);
}

static int
v2_backing_file (const uint8_t *p, struct header *h, struct problem *problem)
{
  const uint64_t offset = get_be64 (p + OFF_BACKING_FILE_OFFSET);
  const uint32_t size = get_be32 (p + OFF_BACKING_FILE_SIZE);

  if (offset == 0)
    return 0;
  if (offset > header_cluster_size (h))
    return problem_set (problem,
                        "header: backing_file_offset is 0x%" PRIx64 ": must "
                        "be within the first cluster (%" PRIu64 " bytes)",
                        offset, header_cluster_size (h));
  if (size > QCOW_MAX_BACKING_NAME || size > header_cluster_size (h) - offset)
    return problem_set (problem,
                        "header: backing_file_size is %" PRIu32 ": must be "
                        "at most %d, and the name must end within the first "
                        "cluster",
                        size, QCOW_MAX_BACKING_NAME);
  h->backing_offset = offset;
  h->backing_size = size;
  return 0;
}

int
header_fixed (const uint8_t bytes[HEADER_FIXED_BYTES], struct header *header,
              struct problem *problem)
{
  memset (header, 0, sizeof *header);
  if (check_magic (bytes, header, problem) == -1)
    return -1;
  if (header->version == 1)
    return v1_fixed (bytes, header, problem);
  if (v2_geometry (bytes, header, problem) == -1
      || v3_fields (bytes, header, problem) == -1
      || v2_l1_table (bytes, header, problem) == -1
      || v2_refcount_table (bytes, header, problem) == -1
      || v2_snapshot_table (bytes, header, problem) == -1
      || v2_backing_file (bytes, header, problem) == -1)
    return -1;
  set_l2_bits (header);
  return 0;
}

void
header_backing_name (const uint8_t *name, struct header *header)
{
  memcpy (header->backing_file, name, header->backing_size);
  header->backing_file[header->backing_size] = '\0';
}
