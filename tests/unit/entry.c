/* SPDX-License-Identifier: BSD-3-Clause
 *
 * entry.h: a table of L1 and L2 entries with what they say, by the
 * spec's bit tables and what qemu was seen to do.
 */

#include "unit.h"

#include "qcow/entry.h"

#define COPIED (UINT64_C (1) << 63)
#define COMPRESSED (UINT64_C (1) << 62)
/* Bits 1..8 and 56..61: to be ignored. */
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

static void
check (const struct row *row, struct entry got)
{
  if (got.kind != row->want.kind || got.fault != row->want.fault
      || got.bound != row->want.bound || got.host != row->want.host)
    fail_msg ("%s: kind %d fault %d bound %" PRIu32 " host %" PRIx64
              ", wanted %d %d %" PRIu32 " %" PRIx64,
              row->name, got.kind, got.fault, got.bound, got.host,
              row->want.kind, row->want.fault, row->want.bound,
              row->want.host);
  if (got.kind == ENTRY_BAD)
    assert_non_null (entry_fault_text (got.fault));
}

static void
l2_table (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof l2_rows / sizeof l2_rows[0]; ++i) {
    const struct row *r = &l2_rows[i];
    const struct entry_rules rules
      = { r->version, r->cluster_bits, r->file_size };

    check (r, entry_l2 (&rules, r->raw));
  }
}

static void
l1_table (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof l1_rows / sizeof l1_rows[0]; ++i) {
    const struct row *r = &l1_rows[i];
    const struct entry_rules rules
      = { r->version, r->cluster_bits, r->file_size };

    check (r, entry_l1 (&rules, r->raw));
  }
}

/* Whatever the bits, what is said stays within its bounds. */
static void
any_bits (void **state)
{
  uint64_t raw = 88172645463325252;
  unsigned bits, i;

  (void) state;
  for (bits = 9; bits <= 21; ++bits)
    for (i = 0; i < 20000; ++i) {
      const struct entry_rules rules = { 2 + (i & 1), bits, raw >> (i % 64) };
      struct entry e;

      raw ^= raw << 13; /* xorshift64 */
      raw ^= raw >> 7;
      raw ^= raw << 17;
      e = entry_l2 (&rules, raw);
      if (e.kind == ENTRY_NORMAL || e.kind == ENTRY_COMPRESSED)
        assert_true (e.host < rules.file_size);
      if (e.kind == ENTRY_COMPRESSED)
        assert_in_range (e.bound, 1, UINT64_C (2) << bits);
      if (e.kind == ENTRY_NORMAL)
        assert_int_equal (e.host & ((UINT64_C (1) << bits) - 1), 0);
    }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (l2_table),
  cmocka_unit_test (l1_table),
  cmocka_unit_test (any_bits),
};

UNIT_MAIN (tests)
