/* SPDX-License-Identifier: BSD-3-Clause
 *
 * digest.c against published vectors or, where there are none, Python's
 * hashlib.  http/sigv4.c tests HMAC.
 */

#include <errno.h>

#include "tests/unit/unit.h"

#include "codec/digest.h"

static void
names (void **state)
{
  enum digest digest = DIGEST_MD5;

  (void) state;
  assert_true (digest_find ("ripemd160", &digest));
  assert_int_equal (digest, DIGEST_RIPEMD160);
  assert_string_equal (digest_name (digest), "ripemd160");
  assert_int_equal (digest_bytes (digest), 20);
  assert_false (digest_find ("sha3", &digest));
  assert_false (digest_find ("", &digest));
}

/* RFC 6070; RFC 7914, section 11; by Python: each hash with an empty secret
 * and a key longer than the hash.
 */
static void
pbkdf2 (void **state)
{
  static const struct {
    enum digest hash;
    const char *secret, *salt;
    size_t secret_length;
    uint32_t iterations;
    const char *key;
  } rows[] = {
    { DIGEST_SHA1, "password", "salt", 8, 1,
      "0c60c80f961f0e71f3a9b524af6012062fe037a6" },
    { DIGEST_SHA1, "password", "salt", 8, 2,
      "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957" },
    { DIGEST_SHA1, "password", "salt", 8, 4096,
      "4b007901b765489abead49d926f721d065a429c1" },
    { DIGEST_SHA1, "passwordPASSWORDpassword",
      "saltSALTsaltSALTsaltSALTsaltSALTsalt", 24, 4096,
      "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038" },
    { DIGEST_SHA256, "passwd", "salt", 6, 1,
      "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
      "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783" },
    { DIGEST_SHA256, "Password", "NaCl", 8, 80000,
      "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
      "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d" },
    { DIGEST_MD5, "", "salt", 0, 3,
      "5de5f0cfe4c83116c2b557170fed8ca6431777640b1b838ff98fe1305e300e59"
      "556cfd7f653071d2bab5c69ece3c18936d207d87a0c1d9813ee979f79b680894"
      "6c0c0d31f256" },
    { DIGEST_SHA1, "", "salt", 0, 3,
      "0cebfb1825d38ce91db4a69a0b9e776b2a2323eb4fcbcfdce402926cfc260d48"
      "48301644901249dc7d5ae796a5d435eeb75dcde104cd4a6cb50ef5727a72e185"
      "7bd196dcb98d" },
    { DIGEST_SHA224, "", "salt", 0, 3,
      "f1b505d4ab9ab0a558170c9e5384ca52cf337b1af42e6c82a8fd622a83dde3f8"
      "b4b53f1c391ee4ec99027fe5f40f32d1b8e9a58d60cff720e0168de78e16a0ee"
      "6396fbb3eb09" },
    { DIGEST_SHA256, "", "salt", 0, 3,
      "5ddf839afa2d5fb4be56e1a0f48917617559bef61ec122bfca1c7f75ac8f401d"
      "060b470b704034975a53c7c7eb727409dd53a038c71e2271bcf1b0cc3427533c"
      "e660c1f9b058" },
    { DIGEST_SHA384, "", "salt", 0, 3,
      "e6d0cf8b47c689cdbd07dd4b8bff90ec12a45093dbbd75fc757f0ded3138cbff"
      "aa94db103ced88f89efc9b824e121b02f9fedc9019389684da0e0caa1477ee4a"
      "b730fa6f7bde" },
    { DIGEST_SHA512, "", "salt", 0, 3,
      "35728858479af699c1690e989eba0d104c6c9d7ff67373a48e4f87e90cb55af7"
      "71ac93458ee4ba4ac24f1e927bc4aba5bfed6aa82a752ad40403fbfd9575a46c"
      "ac3cb73c1f1e" },
    { DIGEST_RIPEMD160, "", "salt", 0, 3,
      "1d3e9738c447d01e771c36e229ebf7fa9cb93cfba6cf20f57f1b8a0252ce7229"
      "6d7593ad6cec83e60c20fbbf046e7605de05383ed43d2b6c4744cf0d03ea3b10"
      "0946aa66321b" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    uint8_t key[128];

    assert_int_equal (
      digest_pbkdf2 (rows[i].hash, rows[i].secret, rows[i].secret_length,
                     (const uint8_t *) rows[i].salt, strlen (rows[i].salt),
                     rows[i].iterations, key, strlen (rows[i].key) / 2,
                     &unit_hooks),
      0);
    assert_hex (key, rows[i].key);
  }
}

/* A client that leaves does not wait for minutes. */
static void
stopped (void **state)
{
  static const struct qcow_hooks hooks = { .sleep = unit_leave_at_fourth };
  static const uint8_t salt[] = "salt";
  uint8_t key[64];

  (void) state;
  errno = 0;
  assert_int_equal (digest_pbkdf2 (DIGEST_SHA512, "secret", 6, salt, 4,
                                   UINT32_MAX, key, sizeof key, &hooks),
                    -1);
  assert_int_equal (errno, ESHUTDOWN);
  assert_int_equal (unit_sleeps, 4);
}

/* For example: 64 bytes with SHA-256 take two hashes in each iteration. */
static void
work (void **state)
{
  (void) state;
  assert_int_equal (digest_pbkdf2_work (DIGEST_SHA256, 10, 32), 10);
  assert_int_equal (digest_pbkdf2_work (DIGEST_SHA256, 10, 33), 20);
  assert_int_equal (digest_pbkdf2_work (DIGEST_SHA1, 10, 64), 40);
  assert_int_equal (digest_pbkdf2_work (DIGEST_SHA512, 10, 64), 30);
  assert_int_equal (digest_pbkdf2_work (DIGEST_MD5, UINT32_MAX, 64),
                    UINT32_MAX * UINT64_C (8));
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (names),
  cmocka_unit_test (pbkdf2),
  cmocka_unit_test (stopped),
  cmocka_unit_test (work),
};

UNIT_MAIN (tests)
