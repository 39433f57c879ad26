/* SPDX-License-Identifier: BSD-3-Clause
 *
 * entry.h: tables of L1 and L2 entries and their meaning, by the bit tables of
 * the spec and experiments with qemu; extended entries also against a slow
 * reader that examines one bit after the other.
 */

#include "tests/unit/unit.h"

#include "format/entry.h"

#define COPIED (UINT64_C (1) << 63)
#define COMPRESSED (UINT64_C (1) << 62)
/* Bits 1..8 and 56..61 are ignored. */
#define RESERVED UINT64_C (0x3f000000000001fe)

struct row {
  const char *name;
  uint32_t version;
  unsigned cluster_bits;
  uint64_t file_size;
  uint64_t raw;
  struct entry want;
};

/* clang-format off */
static const struct row l2_rows[] = {
  { "nothing", 3, 16, 0x100000, 0, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "only COPIED", 3, 16, 0x100000, COPIED, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "only reserved bits", 3, 16, 0x100000, RESERVED,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "normal", 3, 16, 0x100000, 0x50000, { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "normal, COPIED", 3, 16, 0x100000, COPIED | 0x50000,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "normal, reserved bits", 2, 16, 0x100000, COPIED | RESERVED | 0x50000,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "normal, highest offset", 3, 16, INT64_MAX, 0x00ffffffffff0000,
    { ENTRY_NORMAL, 0, 0, 0x00ffffffffff0000 } },
  { "normal, partly in the file", 3, 16, 0x50001, 0x50000,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "normal, at the end of the file", 3, 16, 0x50000, 0x50000,
    { ENTRY_BAD, FAULT_PAST_END, 0, 0x50000 } },
  { "normal, unaligned", 3, 16, 0x100000, 0x52a00,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a00 } },
  { "normal, 512 byte clusters", 3, 9, 0x100000, 0x52a00,
    { ENTRY_NORMAL, 0, 0, 0x52a00 } },
  { "zero", 3, 16, 0x100000, 1, { ENTRY_ZERO, 0, 0, 0 } },
  { "zero, COPIED, reserved bits", 3, 16, 0x100000, COPIED | RESERVED | 1,
    { ENTRY_ZERO, 0, 0, 0 } },
  { "zero, preallocated", 3, 16, 0x100000, COPIED | 0x50001,
    { ENTRY_ZERO, 0, 0, 0x50000 } },
  { "zero, preallocated beyond the file", 3, 16, 0x100000, 0x900001,
    { ENTRY_ZERO, 0, 0, 0x900000 } },
  { "zero, preallocated, unaligned", 3, 16, 0x100000, 0x52a01,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a00 } },
  { "zero in version 2", 2, 16, 0x100000, 1,
    { ENTRY_BAD, FAULT_ZERO_IN_V2, 0, 0 } },
  { "zero, preallocated, in version 2", 2, 16, 0x100000, 0x50001,
    { ENTRY_BAD, FAULT_ZERO_IN_V2, 0, 0x50000 } },

  /* Bits 0..53 offset, 54..61 sectors - 1. */
  { "compressed", 3, 16, 0x100000, COMPRESSED | 0x50000,
    { ENTRY_COMPRESSED, 0, 512, 0x50000 } },
  { "compressed, two sectors", 3, 16, 0x100000,
    COMPRESSED | UINT64_C (1) << 54 | 0x50000,
    { ENTRY_COMPRESSED, 0, 1024, 0x50000 } },
  { "compressed, at the last byte of a sector", 3, 16, 0x100000,
    COMPRESSED | UINT64_C (1) << 54 | 0x501ff,
    { ENTRY_COMPRESSED, 0, 513, 0x501ff } },
  { "compressed, one byte", 3, 16, 0x100000, COMPRESSED | 0x501ff,
    { ENTRY_COMPRESSED, 0, 1, 0x501ff } },
  { "compressed, most sectors", 3, 16, 0x100000,
    COMPRESSED | UINT64_C (0xff) << 54 | 0x50000,
    { ENTRY_COMPRESSED, 0, 131072, 0x50000 } },
  { "compressed, COPIED and bit 0", 3, 16, 0x100000,
    COPIED | COMPRESSED | 0x50001, { ENTRY_COMPRESSED, 0, 511, 0x50001 } },
  { "compressed, in version 2", 2, 16, 0x100000, COMPRESSED | 0x50001,
    { ENTRY_COMPRESSED, 0, 511, 0x50001 } },
  { "compressed, at 0", 3, 16, 0x100000, COMPRESSED,
    { ENTRY_COMPRESSED, 0, 512, 0 } },
  { "compressed, runs past the end", 3, 16, 0x50001,
    COMPRESSED | UINT64_C (0xff) << 54 | 0x50000,
    { ENTRY_COMPRESSED, 0, 131072, 0x50000 } },
  { "compressed, starts at the end", 3, 16, 0x50000, COMPRESSED | 0x50000,
    { ENTRY_BAD, FAULT_PAST_END, 0, 0x50000 } },
  /* 512 bytes: bits 0..60 offset, bit 61 sectors - 1. */
  { "compressed, 512 byte clusters", 3, 9, INT64_MAX,
    COMPRESSED | UINT64_C (1) << 61 | 0x12345678,
    { ENTRY_COMPRESSED, 0, 1024 - 0x78, 0x12345678 } },
  /* 4 KiB: bits 0..57, 58..61. */
  { "compressed, 4 KiB clusters", 3, 12, INT64_MAX,
    COMPRESSED | UINT64_C (0xf) << 58 | UINT64_C (0x3ffffffffffffff),
    { ENTRY_COMPRESSED, 0, 8192 - 511, 0x3ffffffffffffff } },
  /* 2 MiB: bits 0..48, 49..61. */
  { "compressed, 2 MiB clusters", 3, 21, INT64_MAX,
    COMPRESSED | UINT64_C (0x1fff) << 49 | UINT64_C (0x1000000000000),
    { ENTRY_COMPRESSED, 0, 4194304, 0x1000000000000 } },
};
/* clang-format on */

/* clang-format off */
static const struct row l1_rows[] = {
  { "nothing", 3, 16, 0x100000, 0, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "flags without an offset", 3, 16, 0x100000, COPIED | RESERVED | 1,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "table", 3, 16, 0x100000, COPIED | 0x40000,
    { ENTRY_NORMAL, 0, 0, 0x40000 } },
  { "reserved bits", 2, 16, 0x100000, COPIED | COMPRESSED | RESERVED | 0x40001,
    { ENTRY_NORMAL, 0, 0, 0x40000 } },
  { "unaligned", 3, 16, 0x100000, UINT64_C (0x8000000000042a00),
    { ENTRY_BAD, FAULT_L1_UNALIGNED, 0, 0x42a00 } },
  { "at the end of the file", 3, 16, 0x40000, 0x40000,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, 0x40000 } },
  { "partly in the file", 3, 16, 0x40008, 0x40000,
    { ENTRY_NORMAL, 0, 0, 0x40000 } },
};
/* clang-format on */

/* clang-format off */
static const struct row v1_l2_rows[] = {
  { "nothing", 1, 16, 0x100000, 0, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "normal", 1, 16, 0x100000, 0x50000, { ENTRY_NORMAL, 0, 0, 0x50000 } },
  /* Aligned to sectors, not to clusters. */
  { "at a sector", 1, 16, 0x100000, 0x200, { ENTRY_NORMAL, 0, 0, 0x200 } },
  { "at another sector", 1, 12, 0x100000, 0x52a00,
    { ENTRY_NORMAL, 0, 0, 0x52a00 } },
  { "unaligned", 1, 16, 0x100000, 0x52b00,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52b00 } },
  { "unaligned, 512 byte clusters", 1, 9, 0x100000, 0x52a80,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a80 } },
  /* Flags of later versions are bits of the offset. */
  { "no zero flag", 1, 16, 0x100000, 1, { ENTRY_BAD, FAULT_UNALIGNED, 0, 1 } },
  { "no zero flag beside an offset", 1, 16, 0x100000, 0x50001,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x50001 } },
  { "bit 62", 1, 16, INT64_MAX, COMPRESSED | 0x200,
    { ENTRY_NORMAL, 0, 0, COMPRESSED | 0x200 } },
  { "bit 62, small file", 1, 16, 0x100000, COMPRESSED | 0x200,
    { ENTRY_BAD, FAULT_PAST_END, 0, COMPRESSED | 0x200 } },
  { "bits 56 to 61", 1, 16, INT64_MAX, UINT64_C (0x3f00000000000200),
    { ENTRY_NORMAL, 0, 0, UINT64_C (0x3f00000000000200) } },
  { "bits 56 to 61, small file", 1, 16, 0x100000,
    UINT64_C (0x3f00000000000200),
    { ENTRY_BAD, FAULT_PAST_END, 0, UINT64_C (0x3f00000000000200) } },
  { "partly in the file", 1, 16, 0x50001, 0x50000,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "at the end of the file", 1, 16, 0x50000, 0x50000,
    { ENTRY_BAD, FAULT_PAST_END, 0, 0x50000 } },

  /* 64 KiB: bits 0..46 offset, 47..62 bytes. */
  { "compressed", 1, 16, 0x100000, COPIED | UINT64_C (1234) << 47 | 0x50001,
    { ENTRY_COMPRESSED, 0, 1234, 0x50001 } },
  { "compressed, all bits", 1, 16, INT64_MAX, UINT64_MAX,
    { ENTRY_COMPRESSED, 0, 65535, UINT64_C (0x7fffffffffff) } },
  { "compressed, at 0", 1, 16, 0x100000, COPIED | UINT64_C (1) << 47,
    { ENTRY_COMPRESSED, 0, 1, 0 } },
  { "compressed, no bytes", 1, 16, 0x100000, COPIED | 0x50000,
    { ENTRY_BAD, FAULT_NO_STREAM, 0, 0x50000 } },
  { "compressed, no bytes at 0", 1, 16, 0x100000, COPIED,
    { ENTRY_BAD, FAULT_NO_STREAM, 0, 0 } },
  { "compressed, runs past the end", 1, 16, 0x50001,
    COPIED | UINT64_C (1234) << 47 | 0x50000,
    { ENTRY_COMPRESSED, 0, 1234, 0x50000 } },
  { "compressed, starts at the end", 1, 16, 0x50000,
    COPIED | UINT64_C (1234) << 47 | 0x50000,
    { ENTRY_BAD, FAULT_PAST_END, 0, 0x50000 } },
  /* 4 KiB: bits 0..50, 51..62. */
  { "compressed, 4 KiB clusters", 1, 12, INT64_MAX,
    COPIED | UINT64_C (0xfff) << 51 | UINT64_C (0x7ffffffffffff),
    { ENTRY_COMPRESSED, 0, 4095, UINT64_C (0x7ffffffffffff) } },
  /* 512 bytes: bits 0..53, 54..62. */
  { "compressed, 512 byte clusters", 1, 9, INT64_MAX,
    COPIED | UINT64_C (0x100) << 54 | UINT64_C (0x20000000000001),
    { ENTRY_COMPRESSED, 0, 256, UINT64_C (0x20000000000001) } },
};
/* clang-format on */

struct v1_l1_row {
  const char *name;
  unsigned cluster_bits, l2_bits;
  uint64_t file_size;
  uint64_t raw;
  struct entry want;
};

/* clang-format off */
static const struct v1_l1_row v1_l1_rows[] = {
  { "nothing", 12, 9, 0x100000, 0, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "aligned", 12, 9, 0x100000, 0x4000, { ENTRY_NORMAL, 0, 0, 0x4000 } },
  { "at 1", 12, 9, 0x100000, 1, { ENTRY_NORMAL, 0, 0, 1 } },
  { "odd", 12, 9, 0x100000, 0x42a35, { ENTRY_NORMAL, 0, 0, 0x42a35 } },
  { "bit 62", 12, 9, INT64_MAX, COMPRESSED | 0x4000,
    { ENTRY_NORMAL, 0, 0, COMPRESSED | 0x4000 } },
  { "bit 62, small file", 12, 9, 0x100000, COMPRESSED | 0x4000,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, COMPRESSED | 0x4000 } },
  { "bit 63", 12, 9, 0x100000, COPIED | 0x4000,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, COPIED | 0x4000 } },
  { "all bits", 12, 9, INT64_MAX, UINT64_MAX,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, UINT64_MAX } },

  /* Tables of 4 KiB, clusters of 512 bytes. */
  { "up to the end of the file", 9, 9, 0x5123, 0x4123,
    { ENTRY_NORMAL, 0, 0, 0x4123 } },
  { "511 bytes are missing", 9, 9, 0x4f24, 0x4123,
    { ENTRY_NORMAL, 0, 0, 0x4123 } },
  { "a cluster is missing", 9, 9, 0x4f23, 0x4123,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, 0x4123 } },
  { "more is missing", 9, 9, 0x4f22, 0x4123,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, 0x4123 } },
  { "all but a byte is missing", 9, 9, 0x4124, 0x4123,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, 0x4123 } },
  /* Tables smaller than a cluster, of which only the first byte must exist. */
  { "first byte only", 16, 6, 0x4124, 0x4123,
    { ENTRY_NORMAL, 0, 0, 0x4123 } },
  { "at the end of the file", 16, 6, 0x4123, 0x4123,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, 0x4123 } },
  /* The table would end beyond 2^63. */
  { "highest", 16, 13, INT64_MAX, INT64_MAX - 1,
    { ENTRY_NORMAL, 0, 0, INT64_MAX - 1 } },
  { "highest, small clusters", 9, 13, INT64_MAX, INT64_MAX - 1,
    { ENTRY_BAD, FAULT_L1_PAST_END, 0, INT64_MAX - 1 } },
};
/* clang-format on */

struct data_row {
  const char *name;
  uint64_t guest;
  uint64_t raw;
  struct entry want;
};

/* clang-format off */
static const struct data_row data_rows[] = { /* 64 KiB clusters */
  { "nothing", 0x50000, 0, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "only reserved bits", 0x50000, RESERVED, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "nothing at 0", 0, 0, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "in place", 0x50000, COPIED | RESERVED | 0x50000,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "in place, not COPIED", 0x50000, 0x50000,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "in place, at 0", 0, COPIED, { ENTRY_NORMAL, 0, 0, 0 } },
  { "at 0, elsewhere in the guest", 0x50000, COPIED,
    { ENTRY_BAD, FAULT_NOT_IN_PLACE, 0, 0 } },
  { "not in place", 0x50000, COPIED | 0x60000,
    { ENTRY_BAD, FAULT_NOT_IN_PLACE, 0, 0x60000 } },
  { "not in place, in the file", 0, COPIED | 0x50000,
    { ENTRY_BAD, FAULT_NOT_IN_PLACE, 0, 0x50000 } },
  { "unaligned", 0x50000, COPIED | 0x52a00,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a00 } },
  /* The length of the image does not limit the data file. */
  { "beyond the image", 0x900000, COPIED | 0x900000,
    { ENTRY_NORMAL, 0, 0, 0x900000 } },
  { "highest offset", 0x00ffffffffff0000, 0x00ffffffffff0000,
    { ENTRY_NORMAL, 0, 0, 0x00ffffffffff0000 } },
  { "zero", 0x50000, 1, { ENTRY_ZERO, 0, 0, 0 } },
  /* Offset 0 means that there is no cluster (qemu). */
  { "zero, COPIED", 0x50000, COPIED | 1, { ENTRY_ZERO, 0, 0, 0 } },
  { "zero, COPIED, at 0", 0, COPIED | 1, { ENTRY_ZERO, 0, 0, 0 } },
  { "zero, preallocated", 0x50000, COPIED | 0x50001,
    { ENTRY_ZERO, 0, 0, 0x50000 } },
  { "zero, preallocated beyond the image", 0x900000, COPIED | 0x900001,
    { ENTRY_ZERO, 0, 0, 0x900000 } },
  { "zero, preallocated, not in place", 0x50000, COPIED | 0x60001,
    { ENTRY_BAD, FAULT_NOT_IN_PLACE, 0, 0x60000 } },
  { "zero, preallocated, unaligned", 0x50000, COPIED | 0x52a01,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a00 } },
  { "compressed", 0x50000, COMPRESSED | 0x50000,
    { ENTRY_BAD, FAULT_NOT_DATA_FILE, 0, 0x50000 } },
  { "compressed, beyond the image", 0x50000, COMPRESSED | 0x900000,
    { ENTRY_BAD, FAULT_NOT_DATA_FILE, 0, 0x900000 } },
};
/* clang-format on */

struct extended_row {
  const char *name;
  bool data_file;
  uint64_t guest;
  uint64_t raw;
  uint32_t zero, allocated; /* the halves of the second word */
  unsigned sub, end;
  struct entry want; /* host only if something would be read there */
};

#define ALL UINT32_MAX

/* clang-format off */
static const struct extended_row extended_rows[] = {
  /* 64 KiB clusters; the file has 0x100000 bytes. */
  { "nothing", 0, 0, 0, 0, 0, 0, 32, { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "flags without an offset", 0, 0, COPIED | RESERVED | 1, 0, 0, 7, 32,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "a cluster of which nothing is used", 0, 0, COPIED | 0x50000, 0, 0, 7, 32,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "all allocated", 0, 0, COPIED | 0x50000, 0, ALL, 0, 32,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  /* The offset is that of the cluster for every subcluster. */
  { "all allocated, the last one", 0, 0, 0x50000, 0, ALL, 31, 32,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "all zero", 0, 0, 0, ALL, 0, 0, 32, { ENTRY_ZERO, 0, 0, 0 } },
  { "all zero, the last one", 0, 0, 0, ALL, 0, 31, 32,
    { ENTRY_ZERO, 0, 0, 0 } },
  { "all zero, preallocated", 0, 0, 0x50000, ALL, 0, 0, 32,
    { ENTRY_ZERO, 0, 0, 0 } },
  /* Bit 0 of the first word is not a zero flag. */
  { "bit 0, allocated", 0, 0, 0x50001, 0, ALL, 0, 32,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "bit 0, unallocated", 0, 0, 0x50001, 0, 0, 0, 32,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "reserved bits", 0, 0, COPIED | RESERVED | 0x50000, 0, ALL, 0, 32,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },

  { "before the only one", 0, 0, 0x50000, 0, 0x20, 0, 5,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "right before the only one", 0, 0, 0x50000, 0, 0x20, 4, 5,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "the only one", 0, 0, 0x50000, 0, 0x20, 5, 6,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "after the only one", 0, 0, 0x50000, 0, 0x20, 6, 32,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "the only zero", 0, 0, 0, 0x20, 0, 5, 6, { ENTRY_ZERO, 0, 0, 0 } },
  { "before the last", 0, 0, 0x50000, 0, 0x80000000, 30, 31,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "the last", 0, 0, 0x50000, 0, 0x80000000, 31, 32,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "zero to allocated", 0, 0, 0x50000, 0xffff, 0xffff0000, 3, 16,
    { ENTRY_ZERO, 0, 0, 0 } },
  { "allocated to zero", 0, 0, 0x50000, 0xffff0000, 0xffff, 3, 16,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "zero to unallocated", 0, 0, 0x50000, 0xffff, 0, 15, 16,
    { ENTRY_ZERO, 0, 0, 0 } },
  { "unallocated to zero", 0, 0, 0x50000, 0xffff0000, 0, 0, 16,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },

  /* The whole entry is bad, whichever subcluster is read. */
  { "both, read there", 0, 0, 0x50000, 0x80, 0x80, 7, 32,
    { ENTRY_BAD, FAULT_SUBCLUSTERS, 0, 0x50000 } },
  { "both, read before", 0, 0, 0x50000, 0x80, 0x80, 0, 32,
    { ENTRY_BAD, FAULT_SUBCLUSTERS, 0, 0x50000 } },
  { "both in the last, a zero read", 0, 0, 0x50000, 0x80000001, 0x80000000, 0,
    32, { ENTRY_BAD, FAULT_SUBCLUSTERS, 0, 0x50000 } },
  { "allocated without a cluster", 0, 0, 0, 0, 1, 0, 32,
    { ENTRY_BAD, FAULT_SUBCLUSTERS, 0, 0 } },
  { "allocated without a cluster, a zero read", 0, 0, COPIED, 1, 0x80000000, 0,
    32, { ENTRY_BAD, FAULT_SUBCLUSTERS, 0, 0 } },
  { "both without a cluster", 0, 0, 0, 1, 1, 5, 32,
    { ENTRY_BAD, FAULT_SUBCLUSTERS, 0, 0 } },
  { "unaligned", 0, 0, 0x52a00, 0, ALL, 3, 32,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a00 } },
  { "unaligned, a zero read", 0, 0, 0x52a00, 8, 0, 3, 32,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a00 } },
  { "unaligned, nothing read", 0, 0, 0x52a00, 0, 0, 3, 32,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a00 } },

  /* Past the end of the file, only subclusters that would be read there are
   * bad.
   */
  { "past the end", 0, 0, 0x100000, 0, ALL, 0, 32,
    { ENTRY_BAD, FAULT_PAST_END, 0, 0x100000 } },
  { "past the end, a zero read", 0, 0, 0x100000, 1, 0xfe, 0, 1,
    { ENTRY_ZERO, 0, 0, 0 } },
  { "past the end, nothing read", 0, 0, 0x100000, 0, 0xfe, 0, 1,
    { ENTRY_UNALLOCATED, 0, 0, 0 } },
  { "the last cluster of the file", 0, 0, 0xf0000, 0, ALL, 31, 32,
    { ENTRY_NORMAL, 0, 0, 0xf0000 } },

  /* Compressed: there are no subclusters. */
  { "compressed", 0, 0, COMPRESSED | 0x50001, 0, 0, 9, 32,
    { ENTRY_COMPRESSED, 0, 511, 0x50001 } },
  { "compressed, all bits set", 0, 0,
    COPIED | COMPRESSED | UINT64_C (0xff) << 54 | 0x50000, ALL, ALL, 31, 32,
    { ENTRY_COMPRESSED, 0, 131072, 0x50000 } },
  { "compressed, zero bits", 0, 0, COMPRESSED | 0x50000, ALL, 0, 0, 32,
    { ENTRY_COMPRESSED, 0, 512, 0x50000 } },
  { "compressed, past the end", 0, 0, COMPRESSED | 0x100000, 0, 0, 9, 32,
    { ENTRY_BAD, FAULT_PAST_END, 0, 0x100000 } },

  /* In a data file. */
  { "in place", 1, 0x50000, COPIED | 0x50000, 0xf0, 0xf, 0, 4,
    { ENTRY_NORMAL, 0, 0, 0x50000 } },
  { "in place beyond the image", 1, 0x900000, COPIED | 0x900000, 0, ALL, 0, 32,
    { ENTRY_NORMAL, 0, 0, 0x900000 } },
  { "not in place", 1, 0x50000, COPIED | 0x60000, 0, ALL, 0, 32,
    { ENTRY_BAD, FAULT_NOT_IN_PLACE, 0, 0x60000 } },
  { "not in place, a zero read", 1, 0x50000, COPIED | 0x60000, 1, 0xfe, 0, 32,
    { ENTRY_BAD, FAULT_NOT_IN_PLACE, 0, 0x60000 } },
  { "not in place, nothing read", 1, 0x50000, 0x60000, 0, 0, 0, 32,
    { ENTRY_BAD, FAULT_NOT_IN_PLACE, 0, 0x60000 } },
  { "at 0", 1, 0, COPIED, 0, 0xff, 0, 8, { ENTRY_NORMAL, 0, 0, 0 } },
  { "at 0, both", 1, 0, COPIED, 1, 1, 9, 32,
    { ENTRY_BAD, FAULT_SUBCLUSTERS, 0, 0 } },
  { "at 0, a zero read", 1, 0, COPIED, 0xff00, 0xff, 8, 16,
    { ENTRY_ZERO, 0, 0, 0 } },
  { "at 0, elsewhere in the guest", 1, 0x50000, COPIED, 0, 0, 0, 32,
    { ENTRY_BAD, FAULT_NOT_IN_PLACE, 0, 0 } },
  { "no cluster, allocated", 1, 0, 0, 0, 1, 0, 32,
    { ENTRY_BAD, FAULT_SUBCLUSTERS, 0, 0 } },
  { "no cluster, zero", 1, 0x50000, 0, 0xf, 0, 0, 4,
    { ENTRY_ZERO, 0, 0, 0 } },
  { "unaligned in a data file", 1, 0x50000, 0x52a00, 0, 0, 0, 32,
    { ENTRY_BAD, FAULT_UNALIGNED, 0, 0x52a00 } },
  { "compressed in a data file", 1, 0x50000, COMPRESSED | 0x50000, 0, 0, 3, 32,
    { ENTRY_BAD, FAULT_NOT_DATA_FILE, 0, 0x50000 } },
};
/* clang-format on */

static struct entry_geometry
geometry_of (uint32_t version, unsigned cluster_bits, uint64_t file_size)
{
  return (struct entry_geometry){ .version = version,
                                  .cluster_bits = cluster_bits,
                                  .l2_bits
                                  = version == 1 ? 9 : cluster_bits - 3,
                                  .file_size = file_size };
}

/* 64 KiB clusters. */
static struct entry_geometry
extended_geometry (bool data_file, uint64_t file_size)
{
  return (struct entry_geometry){ .version = 3,
                                  .cluster_bits = 16,
                                  .l2_bits = 12,
                                  .extended = true,
                                  .data_file = data_file,
                                  .file_size = file_size };
}

static bool
has_host (enum entry_kind kind)
{
  return kind == ENTRY_NORMAL || kind == ENTRY_COMPRESSED || kind == ENTRY_BAD;
}

static void
check (const char *name, struct entry want, struct entry got)
{
  if (got.kind != want.kind || got.fault != want.fault
      || got.bound != want.bound
      || (has_host (want.kind) && got.host != want.host))
    fail_msg ("%s: kind %d fault %d bound %" PRIu32 " host %" PRIx64
              ", wanted %d %d %" PRIu32 " %" PRIx64,
              name, got.kind, got.fault, got.bound, got.host, want.kind,
              want.fault, want.bound, want.host);
}

static void
check_l2_rows (const struct row *rows, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i) {
    const struct row *r = &rows[i];
    const struct entry_geometry geometry
      = geometry_of (r->version, r->cluster_bits, r->file_size);

    /* The guest offset does not matter. */
    check (r->name, r->want, entry_l2 (&geometry, r->raw, 0));
    check (r->name, r->want, entry_l2 (&geometry, r->raw, UINT64_C (7) << 21));
  }
}

static void
l2_table (void **state)
{
  (void) state;
  check_l2_rows (l2_rows, sizeof l2_rows / sizeof l2_rows[0]);
}

static void
l1_table (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof l1_rows / sizeof l1_rows[0]; ++i) {
    const struct row *r = &l1_rows[i];
    struct entry_geometry geometry
      = geometry_of (r->version, r->cluster_bits, r->file_size);

    check (r->name, r->want, entry_l1 (&geometry, r->raw));
    /* A data file and extended L2 entries do not change L1 entries. */
    geometry.data_file = true;
    check (r->name, r->want, entry_l1 (&geometry, r->raw));
    geometry.extended = true;
    geometry.l2_bits--;
    check (r->name, r->want, entry_l1 (&geometry, r->raw));
  }
}

static void
v1_l2_table (void **state)
{
  unsigned bits;

  (void) state;
  check_l2_rows (v1_l2_rows, sizeof v1_l2_rows / sizeof v1_l2_rows[0]);

  for (bits = 9; bits <= 16; ++bits) {
    const struct entry_geometry geometry = geometry_of (1, bits, INT64_MAX);
    const uint64_t host = (UINT64_C (1) << (63 - bits)) - 1;
    uint32_t bytes;

    /* The exact length, up to one byte less than a cluster. */
    for (bytes = 1; bytes < UINT32_C (1) << bits; ++bytes)
      check ("compressed bytes",
             (struct entry){ ENTRY_COMPRESSED, FAULT_NONE, bytes, host },
             entry_l2 (&geometry,
                       COPIED | (uint64_t) bytes << (63 - bits) | host, 0));
    check ("compressed, no bytes",
           (struct entry){ ENTRY_BAD, FAULT_NO_STREAM, 0, host },
           entry_l2 (&geometry, COPIED | host, 0));
  }
}

static void
v1_l1_table (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof v1_l1_rows / sizeof v1_l1_rows[0]; ++i) {
    const struct v1_l1_row *r = &v1_l1_rows[i];
    struct entry_geometry geometry
      = geometry_of (1, r->cluster_bits, r->file_size);

    geometry.l2_bits = r->l2_bits;
    check (r->name, r->want, entry_l1 (&geometry, r->raw));
  }
}

/* How much of the end of a table can be missing, for all sizes of tables and
 * clusters.
 */
static void
v1_table_at_the_end (void **state)
{
  const uint64_t host = 12345;
  unsigned cluster_bits, l2_bits;

  (void) state;
  for (cluster_bits = 9; cluster_bits <= 16; ++cluster_bits)
    for (l2_bits = 6; l2_bits <= 13; ++l2_bits) {
      const uint64_t cluster = UINT64_C (1) << cluster_bits;
      const uint64_t table = UINT64_C (8) << l2_bits;
      uint64_t there;

      for (there = 0; there <= table + 1; ++there) {
        struct entry_geometry geometry
          = geometry_of (1, cluster_bits, host + there);
        const bool good = there > 0 && there + cluster > table;

        geometry.l2_bits = l2_bits;
        assert_int_equal (entry_l1 (&geometry, host).kind,
                          good ? ENTRY_NORMAL : ENTRY_BAD);
      }
    }
}

static void
data_file_table (void **state)
{
  struct entry_geometry geometry = geometry_of (3, 16, 0x100000);
  size_t i;

  (void) state;
  geometry.data_file = true;
  for (i = 0; i < sizeof data_rows / sizeof data_rows[0]; ++i) {
    const struct data_row *r = &data_rows[i];

    check (r->name, r->want, entry_l2 (&geometry, r->raw, r->guest));
  }
}

static void
extended_table (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof extended_rows / sizeof extended_rows[0]; ++i) {
    const struct extended_row *r = &extended_rows[i];
    const struct entry_geometry geometry
      = extended_geometry (r->data_file, 0x100000);
    unsigned end = 99;

    check (r->name, r->want,
           entry_l2_extended (&geometry, r->raw,
                              (uint64_t) r->zero << 32 | r->allocated,
                              r->guest, r->sub, &end));
    if (end != r->end)
      fail_msg ("%s: ends at %u, wanted %u", r->name, end, r->end);
  }
}

/* The slow reader: the kind of one subcluster. */
static enum entry_kind
slow_kind (const struct entry_geometry *geometry, uint64_t raw,
           uint64_t bitmap, uint64_t guest, unsigned sub)
{
  bool allocated[32], zero[32], has_cluster;
  uint64_t host = 0;
  unsigned i;

  if (raw >> 62 & 1)
    return geometry->data_file
               || (raw & 0x3fffffffffffff) >= geometry->file_size
             ? ENTRY_BAD
             : ENTRY_COMPRESSED;
  for (i = 9; i <= 55; ++i)
    if (raw >> i & 1)
      host += UINT64_C (1) << i;
  has_cluster = host != 0 || (geometry->data_file && raw >> 63 == 1);
  if (host % 65536 != 0)
    return ENTRY_BAD;
  if (has_cluster && geometry->data_file && host != guest)
    return ENTRY_BAD;
  for (i = 0; i < 32; ++i) {
    allocated[i] = bitmap >> i & 1;
    zero[i] = bitmap >> (32 + i) & 1;
    if (allocated[i] && (zero[i] || !has_cluster))
      return ENTRY_BAD;
  }
  if (zero[sub])
    return ENTRY_ZERO;
  if (!allocated[sub])
    return ENTRY_UNALLOCATED;
  return host < geometry->file_size || geometry->data_file ? ENTRY_NORMAL
                                                           : ENTRY_BAD;
}

static void
compare_with_slow (const struct entry_geometry *geometry, uint64_t raw,
                   uint64_t bitmap, uint64_t guest)
{
  enum entry_kind kinds[32];
  unsigned sub, end, want_end;
  struct entry e;

  for (sub = 0; sub < 32; ++sub)
    kinds[sub] = slow_kind (geometry, raw, bitmap, guest, sub);
  for (sub = 0; sub < 32; ++sub) {
    for (want_end = sub + 1; want_end < 32; ++want_end)
      if (kinds[want_end] != kinds[sub])
        break;
    end = 99;
    e = entry_l2_extended (geometry, raw, bitmap, guest, sub, &end);
    if (e.kind != kinds[sub] || end != want_end)
      fail_msg ("%" PRIx64 " %016" PRIx64 " at %" PRIx64 ", subcluster %u: "
                "kind %d to %u, wanted %d to %u",
                raw, bitmap, guest, sub, e.kind, end, kinds[sub], want_end);
    if (e.kind == ENTRY_NORMAL)
      assert_int_equal (e.host, raw & 0x00ffffffffff0000);
    assert_int_equal (e.fault != FAULT_NONE, e.kind == ENTRY_BAD);
  }
}

static uint64_t
xorshift (uint64_t *x)
{
  *x ^= *x << 13;
  *x ^= *x >> 7;
  *x ^= *x << 17;
  return *x;
}

/* Random bits in runs, so that runs end at every bit. */
static uint32_t
random_runs (uint64_t *x)
{
  uint32_t bits = 0;
  unsigned i = 0;

  while (i < 32) {
    const uint64_t r = xorshift (x);
    unsigned n = 1 + (unsigned) (r >> 8) % 12;

    for (; n > 0 && i < 32; --n, ++i)
      if (r & 1)
        bits |= UINT32_C (1) << i;
  }
  return bits;
}

static void
extended_random (void **state)
{
  static const uint64_t hosts[] = { 0,
                                    COPIED,
                                    0x50000,
                                    COPIED | 0x50000,
                                    0x50001,
                                    COPIED | 0x60000,
                                    0x100000,
                                    COPIED | 0xf0000,
                                    0x5fe00,
                                    0x50200,
                                    RESERVED,
                                    COMPRESSED | 0x50123,
                                    RESERVED | 0x50000 };
  uint64_t x = 88172645463325252;
  unsigned i, h, data_file;

  (void) state;
  for (data_file = 0; data_file <= 1; ++data_file) {
    const struct entry_geometry geometry
      = extended_geometry (data_file, 0x100000);

    for (h = 0; h < sizeof hosts / sizeof hosts[0]; ++h)
      for (i = 0; i < 2000; ++i) {
        const uint32_t zero = random_runs (&x);
        uint32_t allocated = random_runs (&x);
        const uint64_t guest = xorshift (&x) & 1 ? 0x50000 : 0;

        /* Mostly bits that do not contradict each other. */
        if (i % 8 != 0)
          allocated &= ~zero;
        if (i % 8 == 1)
          allocated = 0;
        compare_with_slow (&geometry, hosts[h],
                           (uint64_t) zero << 32 | allocated, guest);
      }
  }
}

/* Invariants of every decoded entry. */
static void
check_bounds (const struct entry_geometry *geometry, struct entry e,
              uint64_t guest)
{
  const uint64_t cluster = UINT64_C (1) << geometry->cluster_bits;

  if (e.kind == ENTRY_COMPRESSED
      || (e.kind == ENTRY_NORMAL && !geometry->data_file))
    assert_true (e.host < geometry->file_size);
  if (e.kind == ENTRY_COMPRESSED) {
    assert_between (e.bound, 1,
                    geometry->version == 1 ? cluster - 1 : 2 * cluster);
    assert_false (geometry->data_file);
  }
  else
    assert_int_equal (e.bound, 0);
  if (e.kind == ENTRY_NORMAL)
    assert_int_equal (e.host % (geometry->version == 1 ? 512 : cluster), 0);
  if (e.kind == ENTRY_NORMAL && geometry->data_file)
    assert_int_equal (e.host, guest);
  if (e.kind == ENTRY_ZERO)
    assert_int_equal (geometry->version, 3);
  if (e.kind == ENTRY_BAD)
    assert_non_null (entry_fault_text (e.fault));
  else
    assert_int_equal (e.fault, FAULT_NONE);
}

static void
check_l1_bounds (const struct entry_geometry *geometry, struct entry e)
{
  if (e.kind == ENTRY_NORMAL) {
    assert_true (e.host < geometry->file_size);
    if (geometry->version > 1)
      assert_int_equal (e.host % (UINT64_C (1) << geometry->cluster_bits), 0);
  }
  else
    assert_true (e.kind == ENTRY_UNALLOCATED || e.kind == ENTRY_BAD);
  assert_int_equal (e.bound, 0);
}

/* Random bits: every result satisfies the invariants. */
static void
any_bits (void **state)
{
  uint64_t x = 88172645463325252;
  unsigned bits, i;

  (void) state;
  for (bits = 9; bits <= 21; ++bits)
    for (i = 0; i < 20000; ++i) {
      const uint32_t version = bits <= 16 ? 1 + i % 3 : 2 + i % 2;
      const uint64_t raw = xorshift (&x);
      struct entry_geometry geometry
        = geometry_of (version, bits, raw >> (1 + i % 63));
      /* In half of the rounds, the guest offset equals the offset in the
       * entry.
       */
      const uint64_t guest = raw & 0x00fffffffffffe00 & -(UINT64_C (1) << bits)
                             & -(uint64_t) (i / 6 % 2);

      geometry.data_file = version == 3 && i / 12 % 2;
      geometry.extended = version == 3 && bits >= 14 && i / 24 % 2;
      check_l1_bounds (&geometry, entry_l1 (&geometry, raw));
      check_l1_bounds (&geometry,
                       entry_l1 (&geometry, raw & -UINT64_C (0x10000)));
      if (geometry.extended) {
        const unsigned sub = (unsigned) (xorshift (&x) % 32);
        const uint64_t bitmap = (uint64_t) random_runs (&x) << 32;
        unsigned end = 0;

        geometry.l2_bits--;
        check_bounds (
          &geometry,
          entry_l2_extended (&geometry, raw, bitmap, guest, sub, &end), guest);
        assert_between (end, sub + 1, 32);
        check_bounds (
          &geometry,
          entry_l2_extended (&geometry, raw & -(UINT64_C (1) << bits),
                             ~bitmap << 32 >> 32, guest, sub, &end),
          guest);
        assert_between (end, sub + 1, 32);
      }
      else {
        check_bounds (&geometry, entry_l2 (&geometry, raw, guest), guest);
        check_bounds (
          &geometry,
          entry_l2 (&geometry, raw & -(UINT64_C (1) << bits), guest), guest);
      }
    }
}

/* Each fault has its own text. */
static void
fault_texts (void **state)
{
  unsigned i, j;

  (void) state;
  assert_null (entry_fault_text (FAULT_NONE));
  for (i = FAULT_NONE + 1; i <= FAULT_NOT_DATA_FILE; ++i)
    for (j = FAULT_NONE + 1; j < i; ++j)
      assert_string_not_equal (entry_fault_text ((enum entry_fault) i),
                               entry_fault_text ((enum entry_fault) j));
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (l2_table),
  cmocka_unit_test (l1_table),
  cmocka_unit_test (v1_l2_table),
  cmocka_unit_test (v1_l1_table),
  cmocka_unit_test (v1_table_at_the_end),
  cmocka_unit_test (data_file_table),
  cmocka_unit_test (extended_table),
  cmocka_unit_test (extended_random),
  cmocka_unit_test (any_bits),
  cmocka_unit_test (fault_texts),
};

UNIT_MAIN (tests)
