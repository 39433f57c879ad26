/* SPDX-License-Identifier: BSD-3-Clause
 *
 * header.c: tables of single-field changes of good headers, with the reason
 * for refusing each.  qemu has the same requirements.
 */

#include "tests/unit/header.h"

static void
good (void **state)
{
  struct header h;

  (void) state;
  good_header (3);
  assert_string_equal (parse (&h), "");
  assert_int_equal (h.version, 3);
  assert_int_equal (h.cluster_bits, 16);
  assert_int_equal (h.size, UINT64_C (1) << 30);
  assert_int_equal (h.l1_size, 2);
  assert_int_equal (h.l1_table_offset, 0x30000);
  assert_int_equal (h.header_length, 112);
  assert_int_equal (h.compression, QCOW_COMPRESSION_DEFLATE);

  good_header (2);
  assert_string_equal (parse (&h), "");
  assert_int_equal (h.version, 2);
  assert_int_equal (h.header_length, 72);
}

static void
good_v1 (void **state)
{
  struct header h;

  (void) state;
  good_v1_header ();
  memset (&h, 0xee, sizeof h);
  assert_string_equal (parse (&h), "");
  assert_int_equal (h.version, 1);
  assert_int_equal (h.cluster_bits, 12);
  assert_int_equal (h.l2_bits, 9);
  assert_int_equal (header_l1_shift (&h), 21);
  assert_int_equal (h.size, UINT64_C (1) << 30);
  assert_int_equal (h.crypt_method, QCOW_CRYPT_NONE);
  assert_int_equal (h.l1_size, 512);
  assert_int_equal (h.l1_table_offset, 48);
  assert_int_equal (h.backing_offset, 0);
  assert_int_equal (h.backing_size, 0);
  /* Fields that version 1 lacks. */
  assert_int_equal (h.nb_snapshots, 0);
  assert_int_equal (h.incompatible, 0);
  assert_int_equal (h.autoclear, 0);
  assert_int_equal (h.compression, QCOW_COMPRESSION_DEFLATE);
  assert_string_equal (h.backing_file, "");
  assert_string_equal (h.backing_format, "");
  assert_string_equal (h.data_file, "");
}

/* Version 1 has no l1_size: it follows from the size. */
static void
v1_l1_size (void **state)
{
  static const struct {
    uint64_t size;
    uint8_t cluster_bits, l2_bits;
    uint32_t l1_size; /* 0: too many */
  } rows[] = {
    { 2, 12, 9, 1 },
    { 1 << 21, 12, 9, 1 },
    { (1 << 21) + 1, 12, 9, 2 },
    { (1 << 22) - 1, 12, 9, 2 },
    { 1 << 15, 9, 6, 1 },
    { (1 << 15) + 1, 9, 6, 2 },
    { 1 << 29, 16, 13, 1 },
    { (1 << 29) + 1, 16, 13, 2 },
    /* The table has at most INT_MAX bytes. */
    { UINT64_C (0xfffffff) << 21, 12, 9, 0xfffffff },
    { (UINT64_C (0xfffffff) << 21) + 1, 12, 9, 0 },
    { UINT64_C (0xfffffff) << 29, 16, 13, 0xfffffff },
    { (UINT64_C (0xfffffff) << 29) + 1, 16, 13, 0 },
    { INT64_MAX, 16, 13, 0 },
    { INT64_MAX, 9, 6, 0 },
  };
  struct header h;
  size_t i;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    good_v1_header ();
    put_be64 (cluster + 24, rows[i].size);
    cluster[32] = rows[i].cluster_bits;
    cluster[33] = rows[i].l2_bits;
    if (rows[i].l1_size == 0) {
      assert_non_null (strstr (parse (&h), "L1 entries"));
      continue;
    }
    assert_string_equal (parse (&h), "");
    assert_int_equal (h.l1_size, rows[i].l1_size);
  }
}

/* The entries of an L2 table: in version 1 a field of the header, else as many
 * as fit into a cluster.
 */
static void
l2_bits (void **state)
{
  struct header h;
  unsigned bits, l2, version;

  (void) state;
  for (bits = 9; bits <= 16; ++bits)
    for (l2 = 6; l2 <= 13; ++l2) {
      good_v1_header ();
      cluster[32] = (uint8_t) bits;
      cluster[33] = (uint8_t) l2;
      assert_string_equal (parse (&h), "");
      assert_int_equal (h.l2_bits, l2);
      assert_int_equal (header_l1_shift (&h), bits + l2);
    }

  for (version = 2; version <= 3; ++version)
    for (bits = 9; bits <= 21; ++bits) {
      memset (cluster, 0, sizeof cluster);
      unit_header (cluster, version, bits, 1, 1, UINT64_C (2) << bits);
      assert_string_equal (parse (&h), "");
      assert_int_equal (h.l2_bits, bits - 3);
      assert_int_equal (header_l1_shift (&h), 2 * bits - 3);
      if (version == 2 || bits < 14)
        continue;
      put_be64 (cluster + 72, 16);
      assert_string_equal (parse (&h), "");
      assert_int_equal (h.l2_bits, bits - 4);
      assert_int_equal (header_l1_shift (&h), 2 * bits - 4);
    }
}

/* One change: 'width' bytes at 'offset' become 'value'.  The reason must
 * contain 'said'.  NULL: accepted.
 */
struct change {
  const char *name;
  unsigned offset, width;
  uint64_t value;
  const char *said;
};

/* clang-format off */
static const struct change v3_changes[] = {
  { "magic", 0, 4, 0x514649fa, "not a QCOW image" },
  { "version 0", 4, 4, 0, "version is 0" },
  /* Version 1 has other fields at these offsets. */
  { "version 1", 4, 4, 1, "cluster_bits is 0: must be 9 to 16" },
  { "version 4", 4, 4, 4, "version is 4" },
  { "cluster_bits 8", 20, 4, 8, "cluster_bits is 8" },
  { "cluster_bits 22", 20, 4, 22, "cluster_bits is 22" },
  { "cluster_bits huge", 20, 4, 0xffffffff, "cluster_bits is 4294967295" },
  { "size 0", 24, 8, 0, NULL },
  { "size 1", 24, 8, 1, NULL },
  { "size not in sectors", 24, 8, 1000, NULL },
  { "size to the end of L1", 24, 8, UINT64_C (1) << 30, NULL },
  { "size one beyond L1", 24, 8, (UINT64_C (1) << 30) + 1,
    "l1_size is 2: a virtual size of 1073741825 needs 3 L1 entries" },
  { "size 1 EiB", 24, 8, UINT64_C (1) << 60, "l1_size is 2" },
  { "size 2^63", 24, 8, UINT64_C (1) << 63, "size is 9223372036854775808" },
  { "size 2^64 - 1", 24, 8, UINT64_MAX, "size is 18446744073709551615" },
  { "crypt_method 3", 32, 4, 3, "crypt_method is 3" },
  { "crypt_method 2 without header", 32, 4, 2, "no LUKS header extension" },
  { "crypt_method 1", 32, 4, 1, NULL },
  { "l1_size 1", 36, 4, 1, "l1_size is 1" },
  { "l1_size more than needed", 36, 4, 100, NULL },
  { "l1_size at the limit", 36, 4, 4194304, NULL },
  { "l1_size over the limit", 36, 4, 4194305, "l1_size is 4194305" },
  { "l1_size huge", 36, 4, 0xffffffff, "l1_size is 4294967295" },
  { "l1_table_offset unaligned", 40, 8, 0x30200,
    "l1_table_offset is 0x30200" },
  { "l1_table_offset 2^63 - 64K", 40, 8, 0x7fffffffffff0000, NULL },
  { "l1_table_offset 2^63", 40, 8, UINT64_C (1) << 63,
    "l1_table_offset is 0x8000000000000000" },
  { "refcount_table_offset unaligned", 48, 8, 0x10001,
    "refcount_table_offset is 0x10001" },
  { "refcount_table_offset beyond", 48, 8, 0x7fffffffffff0000,
    "refcount_table_offset is 0x7fffffffffff0000" },
  { "refcount_table_clusters 0", 56, 4, 0, "refcount_table_clusters is 0" },
  { "refcount_table_clusters at the limit", 56, 4, 128, NULL },
  { "refcount_table_clusters over it", 56, 4, 129,
    "refcount_table_clusters is 129: must be 1 to 128" },
  { "refcount_table_clusters huge", 56, 4, 0xffffffff,
    "refcount_table_clusters is 4294967295" },
  { "nb_snapshots at the limit", 60, 4, 65536, NULL },
  { "nb_snapshots over it", 60, 4, 65537, "nb_snapshots is 65537" },
  { "snapshots_offset unaligned without snapshots", 64, 8, 0x200,
    "snapshots_offset is 0x200" },
  { "snapshots_offset beyond", 64, 8, 0xffffffffffff0000,
    "snapshots_offset is 0xffffffffffff0000" },
  { "dirty", 72, 8, 1, NULL },
  { "corrupt", 72, 8, 2, NULL },
  { "data file", 72, 8, 4, NULL },
  { "compression bit without a type", 72, 8, 8, "compression_type is 0" },
  { "extended L2, L1 too short for it", 72, 8, 16, "needs 4 L1 entries" },
  { "unknown bit", 72, 8, 32, "bit 5 (unnamed)" },
  { "all bits", 72, 8, UINT64_MAX, "bit 5 (unnamed), bit 6" },
  { "compatible bits", 80, 8, UINT64_MAX, NULL },
  { "autoclear bits but 1", 88, 8, UINT64_MAX - 2, NULL },
  { "raw data without a data file", 88, 8, 2, "autoclear_features" },
  { "refcount_order 6", 96, 4, 6, NULL },
  { "refcount_order 7", 96, 4, 7, "refcount_order is 7" },
  { "header_length 103", 100, 4, 103, "header_length is 103" },
  { "header_length 104", 100, 4, 104, NULL },
  { "header_length odd", 100, 4, 105, NULL },
  { "header_length the cluster", 100, 4, CLUSTER, NULL },
  { "header_length beyond", 100, 4, CLUSTER + 1, "header_length is 65537" },
  { "compression_type without the bit", 104, 1, 1, "compression_type is 1" },
  { "compression_type 2", 104, 1, 2, "compression_type is 2" },
  { "padding after it", 105, 1, 0xff, NULL },
  { "backing_file_offset beyond", 8, 8, CLUSTER + 1,
    "backing_file_offset is 0x10001" },
  { "backing_file_offset without a name", 8, 8, 1024, NULL },
  { "backing_file_size without an offset", 16, 4, 5000, NULL },
  { "end mark of some bytes", 116, 4, CLUSTER - 120, NULL },
  { "end mark of too many", 116, 4, CLUSTER - 119,
    "extension 0x00000000 at 0x70: its length is 65417" },
};
/* clang-format on */

/* clang-format off */
static const struct change v2_changes[] = {
  { "version 3's feature bits", 72, 8, UINT64_C (0xff) << 56, NULL },
  { "extension where version 3 has features", 72, 8,
    UINT64_C (0x1234567800000008), NULL },
  { "extension that is too long", 72, 8, UINT64_C (0x12345678ffffffff),
    "extension 0x12345678 at 0x48: its length is 4294967295" },
};
/* clang-format on */

/* Many values are those of qemu's iotest 092. */
/* clang-format off */
static const struct change v1_changes[] = {
  { "magic", 0, 4, 0x514649fa, "not a QCOW image" },
  { "version 0", 4, 4, 0, "version is 0" },
  { "mtime", 20, 4, 0xffffffff, NULL },
  { "size 0", 24, 8, 0, "size is 0: must be 2" },
  { "size 1", 24, 8, 1, "size is 1: must be 2" },
  { "size 2", 24, 8, 2, NULL },
  { "size not in sectors", 24, 8, 1000, NULL },
  { "size 0xeeee...", 24, 8, UINT64_C (0xeeeeeeeeeeeeeeee),
    "size is 17216961135462248174" },
  { "size 0x7fff...", 24, 8, INT64_MAX, "size is 9223372036854775807" },
  { "size 2^63", 24, 8, UINT64_C (1) << 63, "size is 9223372036854775808" },
  { "size 2^64 - 1", 24, 8, UINT64_MAX, "size is 18446744073709551615" },
  /* Rounding this up by adding a span would wrap around to 0. */
  { "size 2^64 - a span + 1", 24, 8, -(UINT64_C (1) << 21) + 1, "size is" },
  { "cluster_bits 0", 32, 1, 0, "cluster_bits is 0" },
  { "cluster_bits 0x08", 32, 1, 0x08, "cluster_bits is 8" },
  { "cluster_bits 9", 32, 1, 9, NULL },
  { "cluster_bits 16", 32, 1, 16, NULL },
  { "cluster_bits 0x11", 32, 1, 0x11, "cluster_bits is 17" },
  { "cluster_bits 0x1f", 32, 1, 0x1f, "cluster_bits is 31" },
  { "cluster_bits 0xff", 32, 1, 0xff, "cluster_bits is 255" },
  { "l2_bits 0", 33, 1, 0, "l2_bits is 0" },
  { "l2_bits 0x05", 33, 1, 0x05, "l2_bits is 5" },
  { "l2_bits 6", 33, 1, 6, NULL },
  { "l2_bits 13", 33, 1, 13, NULL },
  { "l2_bits 0x0e", 33, 1, 0x0e, "l2_bits is 14" },
  { "l2_bits 0x1b", 33, 1, 0x1b, "l2_bits is 27" },
  { "l2_bits 0xff", 33, 1, 0xff, "l2_bits is 255" },
  { "padding", 34, 2, 0xffff, NULL },
  { "crypt_method 1", 36, 4, 1, NULL },
  { "crypt_method 2", 36, 4, 2, "crypt_method is 2: must be 0 (none) or 1" },
  { "crypt_method huge", 36, 4, 0xffffffff, "crypt_method is 4294967295" },
  { "l1_table_offset odd", 40, 8, 0x12345, NULL },
  { "l1_table_offset up to 2^63 - 1", 40, 8, INT64_MAX - 4096, NULL },
  { "l1_table_offset beyond", 40, 8, INT64_MAX - 4095,
    "l1_table_offset is 0x7ffffffffffff000" },
  { "l1_table_offset 2^64 - 1", 40, 8, UINT64_MAX,
    "l1_table_offset is 0xffffffffffffffff" },
  { "backing_file_offset without a name", 8, 8, 1 << 20, NULL },
  { "backing_file_offset 2^63", 8, 8, UINT64_C (1) << 63,
    "backing_file_offset is 0x8000000000000000" },
  { "backing_file_offset 2^64 - 1", 8, 8, UINT64_MAX,
    "backing_file_offset is 0xffffffffffffffff" },
  { "backing_file_size without an offset", 16, 4, 5000, NULL },
  /* Fields of later versions are not read. */
  { "version 2's cluster_bits", 20, 4, 99, NULL },
  { "version 3's features", 72, 8, UINT64_MAX, NULL },
  { "version 3's header_length", 100, 4, 1, NULL },
  { "version 3's compression_type", 104, 1, 1, NULL },
};
/* clang-format on */

static void
apply (const struct change *c)
{
  unsigned i;

  for (i = 0; i < c->width; ++i)
    cluster[c->offset + i] = (uint8_t) (c->value >> 8 * (c->width - 1 - i));
}

static void
single_changes (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < sizeof v3_changes / sizeof v3_changes[0]; ++i) {
    good_header (3);
    apply (&v3_changes[i]);
    expect (v3_changes[i].name, parse_only (), v3_changes[i].said);
  }
  for (i = 0; i < sizeof v2_changes / sizeof v2_changes[0]; ++i) {
    good_header (2);
    apply (&v2_changes[i]);
    expect (v2_changes[i].name, parse_only (), v2_changes[i].said);
  }
  for (i = 0; i < sizeof v1_changes / sizeof v1_changes[0]; ++i) {
    good_v1_header ();
    apply (&v1_changes[i]);
    expect (v1_changes[i].name, parse_only (), v1_changes[i].said);
  }
}

/* Version 1: the name can be anywhere in the file, and the caller reads it. */
static void
v1_name (void **state)
{
  struct header h;
  uint8_t *name = malloc (1023);

  (void) state;
  assert_non_null (name);
  memset (name, 'x', 1023);

  good_v1_header ();
  put_be64 (cluster + 8, UINT64_C (0x123456789abcd));
  put_be32 (cluster + 16, 1023);
  assert_string_equal (parse (&h), "");
  assert_int_equal (h.backing_offset, UINT64_C (0x123456789abcd));
  assert_int_equal (h.backing_size, 1023);
  assert_string_equal (h.backing_file, "");
  header_backing_name (name, &h);
  assert_int_equal (strlen (h.backing_file), 1023);
  assert_int_equal (strspn (h.backing_file, "x"), 1023);

  put_be32 (cluster + 16, 1024);
  expect ("1024 bytes", parse (&h), "backing_file_size is 1024");
  put_be32 (cluster + 16, 0xffffffff);
  expect ("huge", parse (&h), "backing_file_size is 4294967295");

  /* The buffer's old content and the bytes after the name do not belong to the
   * name.
   */
  put_be32 (cluster + 16, 4);
  assert_string_equal (parse (&h), "");
  memset (h.backing_file, 'y', sizeof h.backing_file);
  memcpy (name, "base.raw", 8);
  header_backing_name (name, &h);
  assert_string_equal (h.backing_file, "base");

  /* The name ends at its first NUL, as in qemu. */
  put_be32 (cluster + 16, 8);
  assert_string_equal (parse (&h), "");
  memcpy (name, "a\0b", 3);
  header_backing_name (name, &h);
  assert_string_equal (h.backing_file, "a");

  put_be32 (cluster + 16, 0);
  assert_string_equal (parse (&h), "");
  header_backing_name (name, &h);
  assert_string_equal (h.backing_file, "");

  /* Offset 0 means no name, whatever the size is. */
  put_be64 (cluster + 8, 0);
  put_be32 (cluster + 16, 8);
  assert_string_equal (parse (&h), "");
  assert_int_equal (h.backing_size, 0);

  /* The end of the name must fit a file offset. */
  put_be64 (cluster + 8, INT64_MAX - 8);
  expect ("up to 2^63 - 1", parse (&h), NULL);
  put_be32 (cluster + 16, 9);
  expect ("beyond", parse (&h), "backing_file_offset is 0x7ffffffffffffff7");
  free (name);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (good),           cmocka_unit_test (good_v1),
  cmocka_unit_test (single_changes), cmocka_unit_test (v1_l1_size),
  cmocka_unit_test (l2_bits),        cmocka_unit_test (v1_name),
};

UNIT_MAIN (tests)
