/* SPDX-License-Identifier: BSD-3-Clause
 *
 * codec/afsplit.c against QEMU's vector and against Python's hashlib.
 */

#include "tests/unit/unit.h"

#include "codec/afsplit.h"

/* The bytes of the stripes depend on their position.  The key is from Python.
 */
static void
computed (void **state)
{
  static const struct {
    enum digest hash;
    size_t key_bytes;
    unsigned stripes;
    const char *key;
  } rows[] = {
    { DIGEST_SHA1, 16, 1, "030a1f4273b2ff5ac33abf52f3a25f2a" },
    { DIGEST_SHA1, 16, 2, "5306dc6a301b5cb97163bc00408c9dbb" },
    { DIGEST_MD5, 64, 3,
      "827c44f4761f705f197e0e97926d551795335dfadbe84340c9c45df6e8c26f34"
      "5a8d7ae53f3ef892029b658337602e87ef22e90edd61bc48de788c575768869e" },
    { DIGEST_SHA1, 64, 4000,
      "30cdf4d1399f1884eb1f87a15ab70ea5f9f1bc4d8a4adb680c26454b2b724d74"
      "5a4ea68d0777748681c29a35788c2f24d3e962b7a4ccb1fdcb451548a1c0b1bd" },
    { DIGEST_SHA224, 32, 4000,
      "6cbfa4b1166ed4aa6eb250e17623b8ce7cb9d158d12e37f94f47711d3ba52b67" },
    { DIGEST_SHA256, 64, 4000,
      "ad50b9e57002fe8a17fc66f7d0b7d8a40052fb6b4b2b3f95e973d1d38f4402e2"
      "1e6ba1f70e260050452257ab47cdee852544852119027fc0d05de5efb6f0f91e" },
    { DIGEST_SHA256, 16, 4000, "9a32e53b822fc2f82d453c30d1b026ea" },
    { DIGEST_SHA384, 24, 4000,
      "d85d8a5eb37b64511249596357c34bf2d9e3cf8f9fd5d80b" },
    { DIGEST_SHA512, 64, 4000,
      "1432149f8284177bd246dc353ae0514f45d3612a9968e705aea2df1e31c8fabe"
      "31703caecdd0f0f189c151e8876360c83cf015907e1dd6c772aabb6946d89fe9" },
    { DIGEST_RIPEMD160, 32, 4000,
      "c8a50d041770ae0fab96c86d408679aa255cdfe770e7ebff8656936cfd23d3e2" },
  };
  static uint8_t stripes[64 * 4000];
  uint8_t key[64];
  uint64_t i;

  (void) state;
  for (i = 0; i < sizeof stripes; ++i)
    stripes[i] = (uint8_t) (i * i * 7 + i / 251 + 3);
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    assert_int_equal (afsplit_merge (rows[i].hash, stripes, rows[i].key_bytes,
                                     rows[i].stripes, key),
                      0);
    assert_hex (key, rows[i].key);
  }
}

/* A vector of a stable implementation, QEMU: tests/unit/test-crypto-afsplit.c,
 * /crypto/afsplit/sha256/5.
 */
static void
published (void **state)
{
  uint8_t stripes[5 * 32], key[32];

  (void) state;
  from_hex ("fdd273b17d99933470defa07c5ac58d230672f1a3543607d7702db623ccb2c33"
            "4808b6f17ca320a0ad2d4cf3cd186f53f9e8e759273ca9546187b3aff6f77e64"
            "86aa897f1f9fdb86f4a216ffa34f8ca159c4233428c4777183d4cd8e891bc7c5"
            "ae4da9cdc972857013685283fcb81172ba3dc64a28fae2867b27ab58e1a4caf6"
            "9ebcfe0c9279b3ec1c5f793b0d1eaa1a770f70194bc880ee277c6e4a91965cf4",
            stripes, sizeof stripes);
  assert_int_equal (afsplit_merge (DIGEST_SHA256, stripes, 32, 5, key), 0);
  assert_hex (
    key, "000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (computed),
  cmocka_unit_test (published),
};

UNIT_MAIN (tests)
