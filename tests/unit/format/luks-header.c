/* SPDX-License-Identifier: BSD-3-Clause
 *
 * luks-header.c: tables of single-field changes of a good header, with the
 * reason for refusing each.
 */

#include "tests/unit/luks.h"

static struct luks_header h;

static const char *
parse (uint64_t length)
{
  static struct problem problem;

  problem.text[0] = '\0';
  if (luks_header_parse (bytes, length, &h, &problem) == 0)
    return "";
  assert_string_not_equal (problem.text, "");
  return problem.text;
}

static void
good (void **state)
{
  (void) state;
  good_header ();
  assert_string_equal (parse (LENGTH), "");
  assert_string_equal (h.cipher_name, "aes");
  assert_string_equal (h.cipher_mode, "xts-plain64");
  assert_string_equal (h.hash_spec, "sha256");
  assert_int_equal (h.key_bytes, 64);
  assert_int_equal (luks_header_material_bytes (&h), 64 * 4000);
  assert_int_equal (h.digest[19], 0xd1);
  assert_int_equal (h.digest_salt[31], 0x5a);
  assert_int_equal (h.digest_iterations, 1234);
  assert_true (h.slots[0].active);
  assert_int_equal (h.slots[0].iterations, 5678);
  assert_int_equal (h.slots[0].material, FIRST);
  assert_false (h.slots[7].active);
  assert_int_equal (h.slots[7].salt[0], 7);
  assert_int_equal (h.slots[7].material, FIRST + 7 * MATERIAL);
  assert_int_equal (luks_header_active_slots (&h), 1);
}

#define NAME_32                                                               \
  "6161616161616161616161616161616161616161616161616161616161616161"

static void
mutations (void **state)
{
  static const struct mutation rows[] = {
    { 0, "4c", "" },
    { 0, "4d", "magic" },
    { 5, "bf", "magic" },
    { 6, "0000", "version is 0" },
    { 6, "0002", "version is 2" },
    { 6, "ffff", "version is 65535" },
    /* The parser accepts any name. */
    { 8, NAME_32, "cipher_name is not NUL" },
    { 40, NAME_32, "cipher_mode is not NUL" },
    { 72, NAME_32, "hash_spec is not NUL" },
    { 8, "00", "" },
    { 40, "6c72772d00", "" },
    { 72, "77686972", "" },
    { 108, "00000000", "key_bytes is 0" },
    { 108, "00000001", "" },
    { 108, "00000040", "" },
    { 108, "00000041", "key_bytes is 65" },
    { 108, "ffffffff", "key_bytes is 4294967295" },
    { 164, "00000000", "mk_digest_iterations is 0" },
    { 164, "ffffffff", "" },
    /* The payload bounds the key material. */
    { 104, "00000000", "payload_offset is 0" },
    { 104, "00000007", "payload_offset is 7" },
    { 104, "00000008", "key slot 0: its key material" },
    { 104, "00000fc0", "key slot 7: its key material" },
    { 104, "ffffffff", "" },
  };

  (void) state;
  try_mutations (rows, sizeof rows / sizeof rows[0], LENGTH, parse);
}

enum { SLOT0 = 208, SLOT1 = 208 + 48, SLOT7 = 208 + 7 * 48 };

static void
slot_mutations (void **state)
{
  static const struct mutation rows[] = {
    { SLOT0, "00000000", "key slot 0: its state is 0x00000000" },
    { SLOT7, "ffffffff", "key slot 7: its state is 0xffffffff" },
    { SLOT0, "0000dead", "" },
    { SLOT0 + 4, "00000000", "key slot 0: iterations is 0" },
    { SLOT0 + 4, "ffffffff", "" },
    { SLOT1, "00ac71f3", "key slot 1: iterations is 0" },
    { SLOT1, "00ac71f300000001", "" },
    { SLOT0 + 44, "00000000", "key slot 0: stripes is 0" },
    { SLOT0 + 44, "00000f9f", "key slot 0: stripes is 3999" },
    { SLOT7 + 44, "ffffffff", "key slot 7: stripes is 4294967295" },
    { SLOT0 + 40, "00000000", "key slot 0: its key material" },
    { SLOT0 + 40, "00000007", "key slot 0: its key material" },
    { SLOT7 + 40, "ffffffff", "key slot 7: its key material" },
    /* One sector later, so that its end is outside of the area. */
    { SLOT7 + 40, "00000dd1", "key slot 7: its key material" },
    { SLOT1 + 40, "00000008", "key slots 0 and 1 overlaps" },
    { SLOT1 + 40, "000001ff", "key slots 0 and 1 overlaps" },
    { SLOT1 + 40, "00000201", "key slots 1 and 2 overlaps" },
    { SLOT7 + 40, "00000008", "key slots 0 and 7 overlaps" },
  };

  (void) state;
  assert_int_equal ((FIRST + 7 * MATERIAL) / 512, 0xdd0);
  try_mutations (rows, sizeof rows / sizeof rows[0], LENGTH, parse);
}

/* The area of the header in the image also bounds the key material. */
static void
lengths (void **state)
{
  static const struct mutation last[]
    = { { 0, "4c", "key slot 7: its key material" } };
  static const struct mutation first[]
    = { { 0, "4c", "key slot 0: its key material" } };
  static const struct mutation fine[] = { { 0, "4c", "" } };

  (void) state;
  try_mutations (fine, 1, INT64_MAX, parse);
  try_mutations (last, 1, LENGTH - 1, parse);
  try_mutations (first, 1, FIRST + MATERIAL - 1, parse);
  try_mutations (first, 1, ALL, parse);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (good),
  cmocka_unit_test (mutations),
  cmocka_unit_test (slot_mutations),
  cmocka_unit_test (lengths),
};

UNIT_MAIN (tests)
