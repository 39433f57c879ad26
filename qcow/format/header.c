/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bytes -> struct header.  See header.h.
 *
 * Every refusal says the field, its value and the rule, with the field
 * names of qemu's docs/interop/qcow2.rst.  The checks come in the order
 * in which one needs the other's result.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
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
  OFF_AUTOCLEAR_FEATURES = 88,
  OFF_REFCOUNT_ORDER = 96,
  OFF_HEADER_LENGTH = 100,
  OFF_COMPRESSION_TYPE = 104,
};

/* Version 1, where they differ (qemu). */
enum {
  V1_OFF_SIZE = 24,
  V1_OFF_CLUSTER_BITS = 32,
  V1_OFF_L2_BITS = 33,
  V1_OFF_CRYPT_METHOD = 36,
  V1_OFF_L1_TABLE_OFFSET = 40,
};

static uint64_t
cluster_size (const struct header *h)
{
  return UINT64_C (1) << h->cluster_bits;
}

/* A table of 'bytes' bytes at 'offset': cluster aligned, and its end a
 * number that a file offset can hold.
 */
static int
check_table (const struct header *h, const char *field, uint64_t offset,
             uint64_t bytes, struct problem *problem)
{
  if (offset & (cluster_size (h) - 1))
    return problem_set (problem,
                        "%s is 0x%" PRIx64 ": must be a multiple of the "
                        "cluster size, %" PRIu64,
                        field, offset, cluster_size (h));
  if (bytes > INT64_MAX || offset > INT64_MAX - bytes)
    return problem_set (problem,
                        "%s is 0x%" PRIx64 ": with %" PRIu64 " bytes it "
                        "would end beyond 2^63 - 1",
                        field, offset, bytes);
  return 0;
}

static int
fixed_magic (const uint8_t *p, struct header *h, struct problem *problem)
{
  if (get_be32 (p + OFF_MAGIC) != QCOW_MAGIC)
    return problem_set (problem,
                        "not a QCOW image: it starts with "
                        "%02x %02x %02x %02x instead of 51 46 49 fb "
                        "(nbdkit's file plugin serves raw images)",
                        p[0], p[1], p[2], p[3]);

  h->version = get_be32 (p + OFF_VERSION);
  if (h->version < 1 || h->version > 3)
    return problem_set (problem,
                        "header: version is %" PRIu32 ": only versions 1, 2 "
                        "and 3 are known",
                        h->version);
  return 0;
}

/* All of a version 1 header. */
static int
fixed_version_1 (const uint8_t *p, struct header *h, struct problem *problem)
{
  unsigned shift;
  uint64_t l1_size;

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

  h->crypt_method = get_be32 (p + V1_OFF_CRYPT_METHOD);
  if (h->crypt_method > QCOW_CRYPT_AES)
    return problem_set (problem,
                        "header: crypt_method is %" PRIu32 ": must be 0 "
                        "(none) or 1 (AES) in version 1",
                        h->crypt_method);

  shift = header_l1_shift (h);
  l1_size = (h->size >> shift) + ((h->size & ((1ULL << shift) - 1)) != 0);
  if (l1_size > QCOW_V1_MAX_L1_BYTES / sizeof (uint64_t))
    return problem_set (problem,
                        "header: size is %" PRIu64 ": the L1 table for it "
                        "would have %" PRIu64 " entries, at most %zu are "
                        "possible",
                        h->size, l1_size,
                        QCOW_V1_MAX_L1_BYTES / sizeof (uint64_t));
  h->l1_size = (uint32_t) l1_size;
  h->l1_table_offset = get_be64 (p + V1_OFF_L1_TABLE_OFFSET);
  if (h->l1_table_offset > INT64_MAX - l1_size * sizeof (uint64_t))
    return problem_set (problem,
                        "header: l1_table_offset is 0x%" PRIx64 ": the table "
                        "would end beyond 2^63 - 1",
                        h->l1_table_offset);

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
fixed_geometry (const uint8_t *p, struct header *h, struct problem *problem)
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
                        "header: size is %" PRIu64 ": the largest virtual "
                        "disk has 2^63 - 1 bytes",
                        h->size);

  h->crypt_method = get_be32 (p + OFF_CRYPT_METHOD);
  if (h->crypt_method > QCOW_CRYPT_LUKS)
    return problem_set (problem,
                        "header: crypt_method is %" PRIu32 ": must be 0 "
                        "(none), 1 (AES) or 2 (LUKS)",
                        h->crypt_method);
  return 0;
}

/* The fields that version 3 added; version 2 implies values for them,
 * whatever its bytes say.
 */
static int
fixed_version_3 (const uint8_t *p, struct header *h, struct problem *problem)
{
  uint32_t order;

  if (h->version == 2) {
    h->incompatible = 0;
    h->autoclear = 0;
    h->header_length = QCOW_V2_HEADER_LENGTH;
    h->compression = QCOW_COMPRESSION_DEFLATE;
    return 0;
  }

  h->incompatible = get_be64 (p + OFF_INCOMPATIBLE_FEATURES);
  h->autoclear = get_be64 (p + OFF_AUTOCLEAR_FEATURES);

  order = get_be32 (p + OFF_REFCOUNT_ORDER);
  if (order > QCOW_MAX_REFCOUNT_ORDER)
    return problem_set (problem,
                        "header: refcount_order is %" PRIu32 ": must be 0 "
                        "to %d",
                        order, QCOW_MAX_REFCOUNT_ORDER);

  h->header_length = get_be32 (p + OFF_HEADER_LENGTH);
  if (h->header_length < QCOW_V3_HEADER_LENGTH
      || h->header_length > cluster_size (h))
    return problem_set (problem,
                        "header: header_length is %" PRIu32 ": must be %d "
                        "to the cluster size, %" PRIu64,
                        h->header_length, QCOW_V3_HEADER_LENGTH,
                        cluster_size (h));

  h->compression = QCOW_COMPRESSION_DEFLATE;
  if (h->header_length > OFF_COMPRESSION_TYPE)
    h->compression = p[OFF_COMPRESSION_TYPE];
  return 0;
}

/* An L2 table is one cluster of entries. */
static void
set_l2_bits (struct header *h)
{
  const bool extended = h->incompatible & QCOW_INCOMPAT_EXTENDED_L2;

  h->l2_bits = h->cluster_bits - (extended ? 4 : 3);
}

static int
fixed_tables (const uint8_t *p, struct header *h, struct problem *problem)
{
  const uint64_t refcount_offset = get_be64 (p + OFF_REFCOUNT_TABLE_OFFSET);
  const uint64_t refcount_bytes
    = (uint64_t) get_be32 (p + OFF_REFCOUNT_TABLE_CLUSTERS) << h->cluster_bits;

  h->l1_size = get_be32 (p + OFF_L1_SIZE);
  if (h->l1_size > QCOW_MAX_L1_BYTES / sizeof (uint64_t))
    return problem_set (problem,
                        "header: l1_size is %" PRIu32 ": the largest L1 "
                        "table has %zu entries",
                        h->l1_size, QCOW_MAX_L1_BYTES / sizeof (uint64_t));
  h->l1_table_offset = get_be64 (p + OFF_L1_TABLE_OFFSET);
  if (check_table (h, "header: l1_table_offset", h->l1_table_offset,
                   h->l1_size * sizeof (uint64_t), problem)
      == -1)
    return -1;

  /* A reader has no use for refcounts and snapshots of no interest, but a
   * header that is wrong here is not to be trusted elsewhere; qemu refuses
   * it too.
   */
  if (refcount_bytes == 0 || refcount_bytes > QCOW_MAX_REFCOUNT_TABLE_BYTES)
    return problem_set (problem,
                        "header: refcount_table_clusters is %" PRIu32 ": "
                        "must be 1 to %u (8 MiB)",
                        get_be32 (p + OFF_REFCOUNT_TABLE_CLUSTERS),
                        QCOW_MAX_REFCOUNT_TABLE_BYTES >> h->cluster_bits);
  if (check_table (h, "header: refcount_table_offset", refcount_offset,
                   refcount_bytes, problem)
      == -1)
    return -1;

  h->nb_snapshots = get_be32 (p + OFF_NB_SNAPSHOTS);
  if (h->nb_snapshots > QCOW_MAX_SNAPSHOTS)
    return problem_set (problem,
                        "header: nb_snapshots is %" PRIu32 ": must be at "
                        "most %d",
                        h->nb_snapshots, QCOW_MAX_SNAPSHOTS);
  h->snapshots_offset = get_be64 (p + OFF_SNAPSHOTS_OFFSET);
  /* 40 bytes is the least that a table entry can have. */
  return check_table (h, "header: snapshots_offset", h->snapshots_offset,
                      h->nb_snapshots * UINT64_C (40), problem);
}

int
header_fixed (const uint8_t bytes[HEADER_FIXED_BYTES], struct header *header,
              struct problem *problem)
{
  memset (header, 0, sizeof *header);
  if (fixed_magic (bytes, header, problem) == -1)
    return -1;
  if (header->version == 1)
    return fixed_version_1 (bytes, header, problem);
  if (fixed_geometry (bytes, header, problem) == -1
      || fixed_version_3 (bytes, header, problem) == -1
      || fixed_tables (bytes, header, problem) == -1)
    return -1;
  set_l2_bits (header);
  return 0;
}

/* What the extensions tell, as places in the first cluster. */
struct extensions {
  const uint8_t *features;
  size_t features_length;
  bool luks;
};

/* Copy a string of 'length' bytes, cut at its first NUL, into a buffer of
 * max + 1 bytes.
 */
static int
copy_name (char *out, size_t max, const uint8_t *in, size_t length,
           const char *what, struct problem *problem)
{
  if (length > max)
    return problem_set (problem,
                        "header: the %s has %zu bytes: must be at most %zu",
                        what, length, max);
  memcpy (out, in, length);
  out[length] = '\0';
  return 0;
}

/* Bitmaps are of no use for reading the disk, so what is wrong with them
 * is no reason to refuse the image.
 */
static void
bitmaps_extension (const uint8_t *data, size_t length, struct header *h)
{
  h->nb_bitmaps = 0;
  h->bitmaps_broken
    = length != 24 || get_be32 (data) == 0 || get_be32 (data + 4) != 0;
  if (h->bitmaps_broken)
    return;
  h->nb_bitmaps = get_be32 (data);
  h->bitmap_directory_size = get_be64 (data + 8);
  h->bitmap_directory_offset = get_be64 (data + 16);
}

static int
one_extension (uint32_t type, const uint8_t *data, size_t length,
               struct header *h, struct extensions *ext,
               struct problem *problem)
{
  switch (type) {
  case QCOW_EXT_BACKING_FORMAT:
    return copy_name (h->backing_format, QCOW_MAX_BACKING_FORMAT, data, length,
                      "backing format", problem);

  case QCOW_EXT_DATA_FILE:
    return copy_name (h->data_file, QCOW_MAX_DATA_FILE_NAME, data, length,
                      "data file's name", problem);

  case QCOW_EXT_FEATURE_TABLE:
    ext->features = data;
    ext->features_length = length;
    return 0;

  case QCOW_EXT_BITMAPS:
    bitmaps_extension (data, length, h);
    return 0;

  case QCOW_EXT_LUKS:
    if (h->crypt_method != QCOW_CRYPT_LUKS)
      return problem_set (problem,
                          "header: there is a LUKS header although "
                          "crypt_method is %" PRIu32,
                          h->crypt_method);
    if (length != 16)
      return problem_set (problem,
                          "header: the LUKS extension has %zu bytes: must "
                          "be 16",
                          length);
    ext->luks = true;
    h->luks_offset = get_be64 (data);
    h->luks_length = get_be64 (data + 8);
    return check_table (h, "header: the offset of the LUKS header",
                        h->luks_offset, h->luks_length, problem);

  default: /* unknown: to be skipped (spec) */
    return 0;
  }
}

/* Walk the extensions in cluster[start..end). */
static int
walk_extensions (const uint8_t *cluster, size_t start, size_t end,
                 struct header *h, struct extensions *ext,
                 struct problem *problem)
{
  size_t pos = start;

  while (pos < end) {
    uint32_t type, length;

    if (end - pos < 8)
      return problem_set (problem,
                          "header: extension at 0x%zx: no room for its type "
                          "and length before the end of the area at 0x%zx",
                          pos, end);
    type = get_be32 (cluster + pos);
    length = get_be32 (cluster + pos + 4);
    pos += 8;
    if (length > end - pos)
      return problem_set (problem,
                          "header: extension 0x%08" PRIx32 " at 0x%zx: its "
                          "length is %" PRIu32 ": the area ends at 0x%zx",
                          type, pos - 8, length, end);
    if (type == QCOW_EXT_END)
      break;
    if (one_extension (type, cluster + pos, length, h, ext, problem) == -1)
      return -1;
    pos += ((size_t) length + 7) & ~(size_t) 7;
  }
  return 0;
}

void
header_backing_name (const uint8_t *name, struct header *header)
{
  memcpy (header->backing_file, name, header->backing_size);
  header->backing_file[header->backing_size] = '\0';
}

static int
parse_backing_file (const uint8_t *cluster, struct header *h, size_t *area_end,
                    struct problem *problem)
{
  const uint64_t offset = get_be64 (cluster + OFF_BACKING_FILE_OFFSET);
  const uint32_t size = get_be32 (cluster + OFF_BACKING_FILE_SIZE);

  *area_end = (size_t) cluster_size (h);
  if (offset == 0)
    return 0;
  h->backing_offset = offset;
  h->backing_size = size;
  if (offset > cluster_size (h))
    return problem_set (problem,
                        "header: backing_file_offset is 0x%" PRIx64 ": must "
                        "lie in the first cluster, %" PRIu64 " bytes",
                        offset, cluster_size (h));
  if (size > QCOW_MAX_BACKING_NAME || size > cluster_size (h) - offset)
    return problem_set (problem,
                        "header: backing_file_size is %" PRIu32 ": must be "
                        "at most %d, and the name must end in the first "
                        "cluster",
                        size, QCOW_MAX_BACKING_NAME);
  *area_end = (size_t) offset;
  header_backing_name (cluster + offset, h);
  return 0;
}

/* The name that the image itself gives to an incompatible feature, or
 * NULL.  Writes it into 'name'.
 */
static const char *
feature_name (const struct extensions *ext, unsigned bit,
              char name[QCOW_FEATURE_NAME_BYTES + 1])
{
  size_t i;

  for (i = 0; i + QCOW_FEATURE_ENTRY_BYTES <= ext->features_length;
       i += QCOW_FEATURE_ENTRY_BYTES) {
    const uint8_t *entry = ext->features + i;

    if (entry[0] == QCOW_FEATURE_KIND_INCOMPAT && entry[1] == bit) {
      memcpy (name, entry + 2, QCOW_FEATURE_NAME_BYTES);
      name[QCOW_FEATURE_NAME_BYTES] = '\0';
      if (name[0] != '\0')
        return name;
    }
  }
  return NULL;
}

static int
check_features (const struct header *h, const struct extensions *ext,
                struct problem *problem)
{
  const uint64_t unknown = h->incompatible & ~QCOW_INCOMPAT_KNOWN;
  char name[QCOW_FEATURE_NAME_BYTES + 1];
  struct problem list = { "" };
  size_t len = 0;
  unsigned bit;

  if (unknown == 0)
    return 0;
  for (bit = 0; bit < 64; ++bit) {
    const char *known_as;

    if (!(unknown & (UINT64_C (1) << bit)))
      continue;
    known_as = feature_name (ext, bit, name);
    /* 64 names of 46 bytes may not fit: the list is cut then. */
    if (len + sizeof name + 24 > sizeof list.text - 128)
      break;
    len += (size_t) snprintf (&list.text[len], sizeof list.text - len,
                              "%sbit %u (%s)", len ? ", " : "", bit,
                              known_as ? known_as : "without a name");
  }
  return problem_set (problem,
                      "header: incompatible_features has features that are "
                      "not known here: %.800s",
                      list.text);
}

/* l1_size must cover size; more is fine (it holds VM state, or a disk
 * that was shrunk).  Only after the features are known to be known: they
 * say how much an entry spans.
 */
static int
check_l1_covers_size (const struct header *h, struct problem *problem)
{
  const unsigned shift = header_l1_shift (h);
  const uint64_t need
    = (h->size >> shift) + ((h->size & ((UINT64_C (1) << shift) - 1)) != 0);

  if (h->l1_size < need)
    return problem_set (problem,
                        "header: l1_size is %" PRIu32 ": a virtual size of "
                        "%" PRIu64 " needs %" PRIu64 " L1 entries",
                        h->l1_size, h->size, need);
  return 0;
}

static int
check_compression (const struct header *h, struct problem *problem)
{
  const bool bit = h->incompatible & QCOW_INCOMPAT_COMPRESSION;

  if (h->compression > QCOW_COMPRESSION_ZSTD)
    return problem_set (problem,
                        "header: compression_type is %u: must be 0 "
                        "(deflate) or 1 (zstd)",
                        h->compression);
  if (bit != (h->compression != QCOW_COMPRESSION_DEFLATE))
    return problem_set (problem,
                        "header: compression_type is %u, but the "
                        "incompatible feature bit 3 is %d: it must be set "
                        "if the type is not 0, and only then",
                        h->compression, bit);
  return 0;
}

static int
check_cross_rules (const struct header *h, const struct extensions *ext,
                   struct problem *problem)
{
  if ((h->incompatible & QCOW_INCOMPAT_EXTENDED_L2)
      && cluster_size (h) / QCOW_SUBCLUSTERS < QCOW_MIN_SUBCLUSTER_BYTES)
    return problem_set (problem,
                        "header: cluster_bits is %u: with extended L2 "
                        "entries at least 14, so that a subcluster has %d "
                        "bytes or more",
                        h->cluster_bits, QCOW_MIN_SUBCLUSTER_BYTES);
  if ((h->autoclear & QCOW_AUTOCLEAR_DATA_FILE_RAW)
      && !(h->incompatible & QCOW_INCOMPAT_DATA_FILE))
    return problem_set (problem,
                        "header: autoclear_features has bit 1 (raw external "
                        "data) although there is no external data file");
  if (h->crypt_method == QCOW_CRYPT_LUKS && !ext->luks)
    return problem_set (problem,
                        "header: crypt_method is 2 (LUKS), but there is no "
                        "LUKS header extension");
  return 0;
}

int
header_extensions (const uint8_t *cluster, struct header *header,
                   struct problem *problem)
{
  struct extensions ext = { NULL, 0, false };
  size_t area_end;

  if (parse_backing_file (cluster, header, &area_end, problem) == -1
      || walk_extensions (cluster, header->header_length, area_end, header,
                          &ext, problem)
           == -1
      || check_features (header, &ext, problem) == -1
      || check_l1_covers_size (header, problem) == -1
      || check_compression (header, problem) == -1
      || check_cross_rules (header, &ext, problem) == -1)
    return -1;
  return 0;
}
