/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The algorithms in LUKS headers; and unlocking, with keys and digests
 * computed by Python's hashlib and its package 'cryptography'.
 */

#include <errno.h>

#include "tests/unit/luks.h"

#include "image/luks.h"
#include "source/file.h"

static struct luks luks;

static const char *
parse (uint64_t length)
{
  static struct problem problem;

  problem.text[0] = '\0';
  if (luks_parse (bytes, length, &luks, &problem) == 0)
    return "";
  assert_string_not_equal (problem.text, "");
  return problem.text;
}

static void
good_algorithms (void **state)
{
  (void) state;
  good_header ();
  assert_string_equal (parse (LENGTH), "");
  assert_int_equal (luks.method.algorithm, CIPHER_AES);
  assert_int_equal (luks.method.mode, CIPHER_XTS);
  assert_int_equal (luks.method.iv, CIPHER_IV_PLAIN64);
  assert_int_equal (luks.method.key_bytes, 64);
  assert_int_equal (luks.hash, DIGEST_SHA256);
}

static void
algorithms (void **state)
{
  static const struct mutation rows[] = {
    { 0, "4d", "magic" },
    { 8, "00", "cipher_name is ''" },
    { 8, "41", "cipher_name is 'Aes'" },
    { 8, "64657300", "cipher_name is 'des'" },
    { 8, "636173743500", "xts requires 16-byte" },
    { 40, "00", "cipher_mode begins with ''" },
    { 40, "78747300", "cipher_mode begins with 'xts'" },
    { 40, "6c72772d706c61696e00", "cipher_mode begins with 'lrw'" },
    { 40, "7874732d00", "IV generator ''" },
    { 40, "7874732d6e756c6c00", "IV generator 'null'" },
    { 40, "7874732d706c61696e3634626500", "IV generator 'plain64be'" },
    { 40, "7874732d657373697600", "essiv hash in cipher_mode is ''" },
    { 40, "7874732d65737369763a00", "essiv hash in cipher_mode is ''" },
    { 40, "7874732d65737369763a736861313600",
      "essiv hash in cipher_mode is 'sha16'" },
    { 40, "7874732d65737369763a7368613100", "essiv with sha1" },
    { 40, "7874732d65737369763a73686132353600", "" },
    /* The hash after plain64 does not matter. */
    { 40, "7874732d706c61696e36343a666f6f00", "" },
    { 72, "00", "hash_spec is ''" },
    { 72, "77686972", "hash_spec is 'whir56'" },
    { 108, "00000010", "16-byte key" },
    { 108, "00000020", "" },
    { 108, "00000028", "40-byte key" },
    { 108, "00000040", "" },
  };

  (void) state;
  try_mutations (rows, sizeof rows / sizeof rows[0], LENGTH, parse);
}

/* --- Unlocking --- */

static struct source *source;
static struct unit_file file;

/* Slot 3 has key material computed from offsets: any bytes are the material of
 * some key.
 */
static void
make_source (const char *mode, uint32_t key_bytes, const char *digest)
{
  const uint32_t room = (key_bytes * 4000 + 4095) / 4096 * 4096;
  const size_t n = (key_bytes * 4000 + 511) / 512 * 512;
  uint8_t *material = malloc (n);
  uint64_t i;

  good_header ();
  put_name (40, mode);
  put_be32 (bytes + 108, key_bytes);
  from_hex (digest, bytes + 112, 20);
  for (i = 0; i < 32; ++i)
    bytes[132 + i] = (uint8_t) (100 + i);
  put_be32 (bytes + 164, 5);
  for (i = 0; i < 8; ++i)
    put_be32 (bytes + 208 + i * 48 + 40,
              (uint32_t) ((FIRST + i * room) / 512));
  put_be32 (bytes + 208 + 3 * 48, 0x00ac71f3);
  put_be32 (bytes + 208 + 3 * 48 + 4, 7);
  for (i = 0; i < 32; ++i)
    bytes[208 + 3 * 48 + 8 + i] = (uint8_t) i;

  assert_non_null (material);
  for (i = 0; i < n; ++i)
    material[i] = (uint8_t) (i * i * 7 + i / 251 + 3);
  file = unit_file_new ();
  unit_write (&file, material, n, 1000 * 512 + FIRST + 3 * room);
  free (material);
  source = source_file_open (file.name, SOURCE_FILE_FORCE_SHARE, &unit_hooks);
  assert_non_null (source);
}

static void
close_source (void)
{
  source_close (source);
  close (file.fd);
}

static struct luks_result
unlock_with (const char *const *passphrases, size_t n,
             struct luks_limits *limits)
{
  struct luks_result result;

  assert_string_equal (parse (LENGTH), "");
  assert_int_equal (
    luks_unlock (&luks, source, 1000 * 512, passphrases, n, limits, &result),
    0);
  return result;
}

static struct luks_result
unlock (const char *passphrase, uint64_t max_work)
{
  struct luks_limits limits = { max_work, max_work };

  return unlock_with (&passphrase, 1, &limits);
}

/* Check that the key is right: it decrypts sector 9 as Python does. */
static void
check_key (struct luks_result result, const char *plain)
{
  uint8_t sector[512];
  int i;

  assert_non_null (result.cipher);
  assert_int_equal (result.slot, 3);
  for (i = 0; i < 512; ++i)
    sector[i] = (uint8_t) i;
  assert_int_equal (cipher_decrypt (result.cipher, sector, 512, 9), 0);
  assert_hex (sector, plain);
  cipher_free (result.cipher);
}

/* With keys of 24 bytes the key material ends within a sector. */
static void
unlocking (void **state)
{
  static const struct {
    const char *mode;
    uint32_t key_bytes;
    const char *digest, *plain;
  } rows[] = {
    { "cbc-plain64", 16, "d257f50f812ca461ddf500570e22d8acaadaface",
      "296ad04b6f6152ee7a28bf489ba67ea843092a4fce448f50a821d560969c7059" },
    { "xts-plain64", 64, "f1b0de25600b4793291b554fc175ee270b1ed5c8",
      "3527434b5c95266e743952637b5ad9e2f314bd6477775ce7869fb5ef49ff1401" },
    { "cbc-essiv:sha256", 24, "24d69239187341e22f6f0da8c864300147765349",
      "9329d5103e661efdf614fac566c75d01ef64b09a3fb53e508ea68a515b24dd0b" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    make_source (rows[i].mode, rows[i].key_bytes, rows[i].digest);
    check_key (unlock ("tiger", QCOW_DEFAULT_LUKS_ITERATIONS), rows[i].plain);
    assert_null (unlock ("tiger2", QCOW_DEFAULT_LUKS_ITERATIONS).cipher);
    assert_null (unlock ("", QCOW_DEFAULT_LUKS_ITERATIONS).cipher);
    close_source ();
  }
}

/* Slots that would take too long are skipped; the cheapest slot comes first.
 */
static void
too_much_work (void **state)
{
  struct luks_result result;

  (void) state;
  make_source ("cbc-plain64", 16, "d257f50f812ca461ddf500570e22d8acaadaface");
  /* Slot 0 needs 5678 + 5, slot 3 needs 7 + 5. */
  assert_string_equal (parse (LENGTH), "");
  assert_int_equal (luks_work (&luks), 5683 + 12);
  result = unlock ("tiger", 12);
  assert_int_equal (result.skipped, 0);
  assert_int_equal (result.slot, 3);
  cipher_free (result.cipher);
  assert_int_equal (unlock ("tiger", 11).skipped, 2);
  assert_int_equal (unlock ("lion", 5683 + 12).skipped, 0);
  assert_int_equal (unlock ("lion", 5683 + 11).skipped, 1);
  /* Now slot 3 needs more work. */
  put_be32 (bytes + 208 + 4, 6);
  result = unlock ("tiger", 11 + 12);
  cipher_free (result.cipher);
  assert_int_equal (result.slot, 3);
  assert_null (unlock ("tiger", 11 + 11).cipher);
  assert_int_equal (unlock ("tiger", 11 + 11).skipped, 1);
  /* This would take hours. */
  put_be32 (bytes + 208 + 4, UINT32_MAX);
  put_be32 (bytes + 208 + 3 * 48 + 4, UINT32_MAX);
  result = unlock ("tiger", QCOW_DEFAULT_LUKS_ITERATIONS);
  assert_null (result.cipher);
  assert_int_equal (result.skipped, 2);
  put_be32 (bytes + 208 + 3 * 48 + 4, 7);
  put_be32 (bytes + 164, UINT32_MAX);
  assert_int_equal (unlock ("tiger", QCOW_DEFAULT_LUKS_ITERATIONS).skipped, 2);
  close_source ();
}

/* Each slot is tried with all passphrases until the total is used up. */
static void
several_passphrases (void **state)
{
  const char *const list[] = { "lion", "", "tiger", "bear" };
  struct luks_limits limits = { 12, 1000 };
  struct luks_result result;

  (void) state;
  make_source ("cbc-plain64", 16, "d257f50f812ca461ddf500570e22d8acaadaface");
  put_be32 (bytes + 208, 0x0000dead);
  result = unlock_with (list, 4, &limits);
  assert_non_null (result.cipher);
  assert_int_equal (result.passphrase, 2);
  assert_int_equal (limits.total, 1000 - 3 * 12);
  cipher_free (result.cipher);
  limits.total = 3 * 12;
  result = unlock_with (list, 4, &limits);
  assert_int_equal (result.passphrase, 2);
  assert_int_equal (limits.total, 0);
  cipher_free (result.cipher);
  limits.total = 3 * 12 - 1;
  result = unlock_with (list, 4, &limits);
  assert_null (result.cipher);
  assert_int_equal (result.skipped, 0);
  assert_true (result.gave_up);
  assert_int_equal (limits.total, 11);
  close_source ();
}

/* A slot whose key material is missing in the file opens with no passphrase.
 */
static void
beyond_the_end (void **state)
{
  (void) state;
  make_source ("cbc-plain64", 16, "d257f50f812ca461ddf500570e22d8acaadaface");
  source_close (source);
  assert_int_equal (ftruncate (file.fd, 1000 * 512 + FIRST), 0);
  source = source_file_open (file.name, SOURCE_FILE_FORCE_SHARE, &unit_hooks);
  assert_non_null (source);
  assert_null (unlock ("tiger", QCOW_DEFAULT_LUKS_ITERATIONS).cipher);
  close_source ();
}

/* The client leaves while a passphrase is tried. */
static void
client_leaves (void **state)
{
  static const char *const list[] = { "tiger" };
  struct luks_limits limits = { UINT64_MAX, UINT64_MAX };
  struct luks_result result;
  struct qcow_hooks leaving = unit_hooks;

  (void) state;
  make_source ("cbc-plain64", 16, "d257f50f812ca461ddf500570e22d8acaadaface");
  put_be32 (bytes + 208 + 4, UINT32_MAX);
  put_be32 (bytes + 208 + 3 * 48 + 4, UINT32_MAX);
  assert_string_equal (parse (LENGTH), "");
  leaving.sleep = unit_leave_at_fourth;
  source->hooks = &leaving;
  unit_forget ();
  assert_int_equal (
    luks_unlock (&luks, source, 1000 * 512, list, 1, &limits, &result), -1);
  assert_int_equal (errno, ESHUTDOWN);
  assert_int_equal (unit_errors, 0);
  source->hooks = &unit_hooks;
  close_source ();
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (good_algorithms),     cmocka_unit_test (algorithms),
  cmocka_unit_test (unlocking),           cmocka_unit_test (too_much_work),
  cmocka_unit_test (several_passphrases), cmocka_unit_test (beyond_the_end),
  cmocka_unit_test (client_leaves),
};

UNIT_MAIN (tests)
