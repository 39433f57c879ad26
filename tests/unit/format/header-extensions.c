/* SPDX-License-Identifier: BSD-3-Clause
 *
 * header-extensions.c: headers with extensions of all kinds, and the
 * dependencies between the parts of a header.  qemu has the same requirements.
 */

#include "tests/unit/header.h"

/* Write an extension at 'pos', and return the position of the next. */
static size_t
extension (size_t pos, uint32_t type, const void *data, uint32_t length)
{
  put_be32 (cluster + pos, type);
  put_be32 (cluster + pos + 4, length);
  memcpy (cluster + pos + 8, data, length);
  return pos + 8 + ((length + 7) & ~7U);
}

static void
backing_name (uint64_t offset, const char *name, uint32_t length)
{
  put_be64 (cluster + 8, offset);
  put_be32 (cluster + 16, length);
  memcpy (cluster + offset, name, length);
}

static void
names (void **state)
{
  struct header h;
  size_t pos;
  char name[1024];

  (void) state;
  good_header (3);
  pos = extension (112, 0xe2792aca, "qcow2", 5);
  pos = extension (pos, 0x12345678, "whatever", 8);
  pos = extension (pos, 0x44415441, "data\0junk", 9);
  backing_name (1024, "base.qcow2", 10);
  assert_string_equal (parse (&h), "");
  assert_string_equal (h.backing_file, "base.qcow2");
  assert_string_equal (h.backing_format, "qcow2");
  assert_string_equal (h.data_file, "data"); /* cut at the NUL, as in qemu */

  /* The longest names. */
  good_header (3);
  memset (name, 'x', sizeof name);
  backing_name (2048, name, 1023);
  assert_string_equal (parse (&h), "");
  assert_int_equal (strlen (h.backing_file), 1023);
  backing_name (2048, name, 1024);
  expect ("1024 bytes", parse (&h), "backing_file_size is 1024");
  good_header (3);
  backing_name (CLUSTER - 10, name, 10);
  expect ("up to the cluster's end", parse (&h), NULL);
  put_be32 (cluster + 16, 11);
  expect ("over the cluster's end", parse (&h), "backing_file_size is 11");
  good_header (3);
  extension (112, 0xe2792aca, name, 15);
  expect ("format of 15 bytes", parse (&h), NULL);
  extension (112, 0xe2792aca, name, 16);
  expect ("format of 16 bytes", parse (&h), "backing format is 16 bytes");
}

static void
extension_area (void **state)
{
  struct header h;

  (void) state;
  /* The area ends at the name of the backing file. */
  good_header (3);
  backing_name (128, "b", 1);
  put_be32 (cluster + 112, 0x12345678);
  put_be32 (cluster + 116, 8);
  expect ("fits", parse (&h), NULL);
  put_be32 (cluster + 116, 9);
  expect ("over the end", parse (&h),
          "its length is 9, but the area ends at 0x80");
  put_be32 (cluster + 116, 0xffffffff);
  expect ("huge", parse (&h), "its length is 4294967295");

  /* Too short for another type and length. */
  good_header (3);
  backing_name (116, "b", 1);
  put_be32 (cluster + 112, 0x12345678);
  expect ("4 bytes", parse (&h), "its type and length");

  /* The name lies inside the header, so there is no area. */
  good_header (3);
  backing_name (106, "bbbbbbbbbbbbbbbbbbbbb", 20);
  expect ("name inside", parse (&h), NULL);

  /* Bytes after the end mark are ignored. */
  good_header (3);
  memset (cluster + 120, 0xff, 100);
  expect ("after the end", parse (&h), NULL);

  /* A full area needs no end mark. */
  good_header (3);
  put_be32 (cluster + 112, 0x12345678);
  put_be32 (cluster + 116, CLUSTER - 120);
  expect ("to the cluster's end", parse (&h), NULL);
}

static void
luks_extension (void **state)
{
  struct header h;
  uint8_t data[16];

  (void) state;
  put_be64 (data, 0x40000);
  put_be64 (data + 8, 4096);
  good_header (3);
  extension (112, 0x0537be77, data, 16);
  expect ("without LUKS", parse (&h), "but crypt_method is 0");
  put_be32 (cluster + 32, 2);
  expect ("with LUKS", parse (&h), NULL);
  assert_int_equal (h.luks_offset, 0x40000);
  assert_int_equal (h.luks_length, 4096);
  extension (112, 0x0537be77, data, 15);
  expect ("short", parse (&h), "LUKS extension is 15 bytes");
  put_be64 (data, 0x40200);
  extension (112, 0x0537be77, data, 16);
  expect ("unaligned", parse (&h), "LUKS header is 0x40200");
  put_be64 (data, 0x40000);
  put_be64 (data + 8, UINT64_MAX);
  extension (112, 0x0537be77, data, 16);
  expect ("length", parse (&h), "end beyond 2^63");
}

static void
feature_names (void **state)
{
  struct header h;
  uint8_t table[3 * 48];

  (void) state;
  memset (table, 0, sizeof table);
  table[0] = 1; /* a compatible feature with the same bit */
  table[1] = 63;
  strcpy ((char *) table + 2, "wrong kind");
  table[48] = 0;
  table[49] = 63;
  strcpy ((char *) table + 50, "Test feature");
  table[96] = 0;
  table[97] = 62;
  memset (table + 98, 'n', 46); /* without a NUL */

  good_header (3);
  extension (112, 0x6803f857, table, sizeof table);
  put_be64 (cluster + 72, UINT64_C (1) << 63);
  expect ("named", parse (&h), "bit 63 (Test feature)");
  put_be64 (cluster + 72, UINT64_C (7) << 61);
  expect ("two", parse (&h),
          "bit 61 (unnamed), bit 62 "
          "(nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn), bit 63 (Test "
          "feature)");
  /* The list of 64 long names is cut. */
  put_be64 (cluster + 72, UINT64_MAX);
  expect ("all", parse (&h), "bit 5 (unnamed)");
}

static void
extended_l2 (void **state)
{
  struct header h;

  (void) state;
  /* 1 GiB now needs four L1 entries. */
  good_header (3);
  put_be32 (cluster + 36, 4);
  put_be64 (cluster + 72, 16);
  expect ("64 KiB clusters", parse (&h), NULL);

  good_header (3);
  unit_header (cluster, 3, 14, 1 << 20, 8, 0x30000);
  put_be64 (cluster + 72, 16);
  expect ("16 KiB clusters", parse (&h), NULL);
  unit_header (cluster, 3, 13, 1 << 20, 8, 0x30000);
  put_be64 (cluster + 72, 16);
  expect ("8 KiB clusters", parse (&h), "cluster_bits is 13");
}

static void
zstd (void **state)
{
  struct header h;

  (void) state;
  good_header (3);
  put_be64 (cluster + 72, 8);
  cluster[104] = 1;
  assert_string_equal (parse (&h), "");
  assert_int_equal (h.compression, QCOW_COMPRESSION_ZSTD);
  /* A header of 104 bytes does not have the field. */
  put_be32 (cluster + 100, 104);
  put_be64 (cluster + 104, 0);
  expect ("short header", parse (&h), "compression_type is 0");
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (names),          cmocka_unit_test (extension_area),
  cmocka_unit_test (luks_extension), cmocka_unit_test (feature_names),
  cmocka_unit_test (extended_l2),    cmocka_unit_test (zstd),
};

UNIT_MAIN (tests)
