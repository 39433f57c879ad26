/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cipher.c, secret.c and afsplit.c against published vectors, and
 * where there are none against what Python's hashlib and its package
 * 'cryptography' compute (OpenSSL); threads that share a key; memory for
 * keys.
 */

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/unit.h"

#include "base/secret.h"
#include "codec/afsplit.h"
#include "codec/cipher.h"

enum { SECTOR = CRYPTO_SECTOR_BYTES };

/* 00 01 … ff, twice. */
static void
counted (uint8_t sector[SECTOR])
{
  int i;

  for (i = 0; i < SECTOR; ++i)
    sector[i] = (uint8_t) i;
}

static struct crypto *
new_crypto (struct crypto_method method, const uint8_t *key)
{
  struct problem problem = { "" };
  struct crypto *c;

  assert_int_equal (crypto_check (&method, &problem), 0);
  c = crypto_new (&method, key);
  assert_non_null (c);
  return c;
}

/* Decrypt one sector. */
static void
decrypt_one (struct crypto_method method, const uint8_t *key, uint64_t number,
             uint8_t sector[SECTOR])
{
  struct crypto *c = new_crypto (method, key);

  assert_int_equal (crypto_decrypt (c, sector, SECTOR, number), 0);
  crypto_free (c);
}

/* IEEE 1619-2007, annex B: vectors 4, 10 and 14, those of 512 bytes with
 * each length of a key, and the largest number.
 */
static const struct {
  const char *key, *ciphertext;
  uint64_t number;
} xts_vectors[] = {
  { "2718281828459045235360287471352631415926535897932384626433832795",
    "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616"
    "e89cc78cf7f5e543445f8333d8fa7f56000005279fa5d8b5e4ad40e736dd"
    "b4d35412328063fd2aab53e5ea1e0a9f332500a5df9487d07a5c92cc512c"
    "8866c7e860ce93fdf166a24912b422976146ae20ce846bb7dc9ba94a767a"
    "aef20c0d61ad02655ea92dc4c4e41a8952c651d33174be51a10c421110e6"
    "d81588ede82103a252d8a750e8768defffed9122810aaeb99f9172af82b6"
    "04dc4b8e51bcb08235a6f4341332e4ca60482a4ba1a03b3e65008fc5da76"
    "b70bf1690db4eae29c5f1badd03c5ccf2a55d705ddcd86d449511ceb7ec3"
    "0bf12b1fa35b913f9f747a8afd1b130e94bff94effd01a91735ca1726acd"
    "0b197c4e5b03393697e126826fb6bbde8ecc1e08298516e2c9ed03ff3c1b"
    "7860f6de76d4cecd94c8119855ef5297ca67e9f3e7ff72b1e99785ca0a7e"
    "7720c5b36dc6d72cac9574c8cbbc2f801e23e56fd344b07f22154beba0f0"
    "8ce8891e643ed995c94d9a69c9f1b5f499027a78572aeebd74d20cc39881"
    "c213ee770b1010e4bea718846977ae119f7a023ab58cca0ad752afe656bb"
    "3c17256a9f6e9bf19fdd5a38fc82bbe872c5539edb609ef4f79c203ebb14"
    "0f2e583cb2ad15b4aa5b655016a8449277dbd477ef2c8d6c017db738b18d"
    "eb4a427d1923ce3ff262735779a418f20a282df920147beabe421ee5319d"
    "0568",
    0 },
  { "2718281828459045235360287471352662497757247093699959574966967627"
    "3141592653589793238462643383279502884197169399375105820974944592",
    "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3"
    "e63b5d31e276f8fe4a8d66b317f9ac683f44680a86ac35adfc3345befecb"
    "4bb188fd5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d84"
    "8b21d4a741b0c5cd4d5fff9dac89aeba122961d03a757123e9870f8acf10"
    "00020887891429ca2a3e7a7d7df7b10355165c8b9a6d0a7de8b062c4500d"
    "c4cd120c0f7418dae3d0b5781c34803fa75421c790dfe1de1834f280d766"
    "7b327f6c8cd7557e12ac3a0f93ec05c52e0493ef31a12d3d9260f79a289d"
    "6a379bc70c50841473d1a8cc81ec583e9645e07b8d9670655ba5bbcfecc6"
    "dc3966380ad8fecb17b6ba02469a020a84e18e8f84252070c13e9f1f289b"
    "e54fbc481457778f616015e1327a02b140f1505eb309326d68378f837459"
    "5c849d84f4c333ec4423885143cb47bd71c5edae9be69a2ffeceb1bec9de"
    "244fbe15992b11b77c040f12bd8f6a975a44a0f90c29a9abc3d4d8939272"
    "84c58754cce294529f8614dcd2aba991925fedc4ae74ffac6e333b93eb4a"
    "ff0479da9a410e4450e0dd7ae4c6e2910900575da401fc07059f645e8b7e"
    "9bfdef33943054ff84011493c27b3429eaedb4ed5376441a77ed43851ad7"
    "7f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa"
    "773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148"
    "c151",
    0xff },
  { "2718281828459045235360287471352662497757247093699959574966967627"
    "3141592653589793238462643383279502884197169399375105820974944592",
    "64497e5a831e4a932c09be3e5393376daa599548b816031d224bbf50a818"
    "ed2350eae7e96087c8a0db51ad290bd00c1ac1620857635bf246c176ab46"
    "3be30b808da548081ac847b158e1264be25bb0910bbc92647108089415d4"
    "5fab1b3d2604e8a8eff1ae4020cfa39936b66827b23f371b92200be90251"
    "e6d73c5f86de5fd4a950781933d79a28272b782a2ec313efdfcc0628f43d"
    "744c2dc2ff3dcb66999b50c7ca895b0c64791eeaa5f29499fb1c026f84ce"
    "5b5c72ba1083cddb5ce45434631665c333b60b11593fb253c5179a2c8db8"
    "13782a004856a1653011e93fb6d876c18366dd8683f53412c0c180f9c848"
    "592d593f8609ca736317d356e13e2bff3a9f59cd9aeb19cd482593d8c461"
    "28bb32423b37a9adfb482b99453fbe25a41bf6feb4aa0bef5ed24bf73c76"
    "2978025482c13115e4015aac992e5613a3b5c2f685b84795cb6e9b2656d8"
    "c88157e52c42f978d8634c43d06fea928f2822e465aa6576e9bf41938450"
    "6cc3ce3c54ac1a6f67dc66f3b30191e698380bc999b05abce19dc0c6dcc2"
    "dd001ec535ba18deb2df1a101023108318c75dc98611a09dc48a0acdec67"
    "6fabdf222f07e026f059b672b56e5cbc8e1d21bbd867dd927212054681d7"
    "0ea737134cdfce93b6f82ae22423274e58a0821cc5502e2d0ab4585e94de"
    "6975be5e0b4efce51cd3e70c25a1fbbbd609d273ad5b0d59631c531f6a0a"
    "57b9",
    UINT64_C (0xffffffffff) },
};

static void
xts (void **state)
{
  uint8_t key[64], sector[SECTOR], wanted[SECTOR];
  size_t i;

  (void) state;
  counted (wanted);
  for (i = 0; i < sizeof xts_vectors / sizeof xts_vectors[0]; ++i) {
    const size_t n = from_hex (xts_vectors[i].key, key, sizeof key);
    const struct crypto_method method = { .cipher = CRYPTO_AES,
                                          .mode = CRYPTO_XTS,
                                          .key_bytes = n,
                                          .iv = CRYPTO_PLAIN64 };

    assert_int_equal (
      from_hex (xts_vectors[i].ciphertext, sector, sizeof sector), SECTOR);
    decrypt_one (method, key, xts_vectors[i].number, sector);
    assert_memory_equal (sector, wanted, SECTOR);
  }
}

/* Single blocks, which are what ECB decrypts: FIPS 197, appendix C; the
 * Serpent vectors of Linux (crypto/testmgr.h); the Twofish paper, appendix B;
 * RFC 2144, appendix B.1.
 */
static void
blocks (void **state)
{
  static const struct {
    enum crypto_cipher cipher;
    const char *key, *plain, *encrypted;
  } rows[] = {
    { CRYPTO_AES, "000102030405060708090a0b0c0d0e0f",
      "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a" },
    { CRYPTO_AES, "000102030405060708090a0b0c0d0e0f1011121314151617",
      "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191" },
    { CRYPTO_AES,
      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089" },
    { CRYPTO_SERPENT, "000102030405060708090a0b0c0d0e0f",
      "000102030405060708090a0b0c0d0e0f", "4c7d8a328072a22c823e4a1f3acda16d" },
    { CRYPTO_SERPENT,
      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      "000102030405060708090a0b0c0d0e0f", "de269ff833e432b85b2e88d2701ce75c" },
    { CRYPTO_TWOFISH, "00000000000000000000000000000000",
      "00000000000000000000000000000000", "9f589f5cf6122c32b6bfec2f2ae8c35a" },
    { CRYPTO_TWOFISH,
      "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
      "00000000000000000000000000000000", "37527be0052334b89f0cfccae87cfa20" },
    { CRYPTO_CAST5, "0123456712345678234567893456789a", "0123456789abcdef",
      "238b4fe5847e44b2" },
  };
  uint8_t key[64], sector[SECTOR];
  size_t i, j;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    const struct crypto_method method
      = { .cipher = rows[i].cipher,
          .mode = CRYPTO_ECB,
          .key_bytes = from_hex (rows[i].key, key, sizeof key),
          .iv = CRYPTO_PLAIN64 };
    const size_t n = from_hex (rows[i].encrypted, sector, SECTOR);

    for (j = n; j < SECTOR; ++j)
      sector[j] = sector[j - n];
    decrypt_one (method, key, 12345, sector);
    for (j = 0; j < SECTOR; j += n)
      assert_hex (sector + j, rows[i].plain);
  }
}

/* What 00 01 … ff decrypts to as sector 0x123456789a with the key 01 02 …:
 * the first 32 bytes, by Python.
 */
static void
modes_and_ivs (void **state)
{
  static const struct {
    struct crypto_method method;
    const char *plain;
  } rows[] = {
    { { CRYPTO_AES, CRYPTO_CBC, 16, CRYPTO_PLAIN64, 0 },
      "57be9b3358efa8ae7c709d628f450f648661b499b07711469fc177f9e0a5f6bc" },
    { { CRYPTO_AES, CRYPTO_CBC, 24, CRYPTO_PLAIN64, 0 },
      "4a05db953a6b5aa8439003b0e5276a3fca2dfba44c7e018d7c6068d6cd25bbb3" },
    { { CRYPTO_AES, CRYPTO_CBC, 32, CRYPTO_PLAIN64, 0 },
      "cce9c3fdffc02d0630183c466653fc57212c0bce81d3df2aa537227630a04b2b" },
    { { CRYPTO_AES, CRYPTO_CBC, 32, CRYPTO_PLAIN, 0 },
      "cce9c3fdedc02d0630183c466653fc57212c0bce81d3df2aa537227630a04b2b" },
    { { CRYPTO_AES, CRYPTO_CBC, 32, CRYPTO_ESSIV, CRYPTO_SHA256 },
      "6c77df3b11c5eff898549d49f46447ac212c0bce81d3df2aa537227630a04b2b" },
    { { CRYPTO_AES, CRYPTO_CBC, 16, CRYPTO_ESSIV, CRYPTO_MD5 },
      "e412abb2bef6005da0dc45a1fdbbcf418661b499b07711469fc177f9e0a5f6bc" },
    { { CRYPTO_AES, CRYPTO_CBC, 16, CRYPTO_ESSIV, CRYPTO_SHA256 },
      "7e942e35a1274d29f3fb5cfdb0d0262f8661b499b07711469fc177f9e0a5f6bc" },
    { { CRYPTO_AES, CRYPTO_CTR, 16, CRYPTO_PLAIN64, 0 },
      "ce2ff5d8e83703d5fc856a875d3975b48c9021fe8b48f16dff785cfcc8d78966" },
    { { CRYPTO_AES, CRYPTO_CTR, 32, CRYPTO_ESSIV, CRYPTO_SHA256 },
      "958771ea0c6d890bcf98d2d584c18b213ef2dba965a483ad03a1e5a9a367cee4" },
    { { CRYPTO_AES, CRYPTO_ECB, 32, CRYPTO_PLAIN64, 0 },
      "569195c9edc02d0630183c466653fc57212d09cd85d6d92dad3e287d3cad4524" },
    { { CRYPTO_AES, CRYPTO_XTS, 32, CRYPTO_PLAIN, 0 },
      "780049b8e82216489099ba664b548929b9f6e5b6ad41cc5475fbdef240560038" },
    { { CRYPTO_AES, CRYPTO_XTS, 32, CRYPTO_PLAIN64, 0 },
      "86a3176e3846c9e6450728e650dc2e8c4996fe9a126664df8b7132fe060ad364" },
    { { CRYPTO_AES, CRYPTO_XTS, 32, CRYPTO_ESSIV, CRYPTO_SHA256 },
      "68002c58457b0ad0d9bed3f5b65e23cb6bf01da11b9905ee825c74e8b5c43ef8" },
  };
  uint8_t key[64], sector[SECTOR];
  size_t i;

  (void) state;
  for (i = 0; i < sizeof key; ++i)
    key[i] = (uint8_t) (i + 1);
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    counted (sector);
    decrypt_one (rows[i].method, key, UINT64_C (0x123456789a), sector);
    assert_hex (sector, rows[i].plain);
  }
}

/* Sectors do not depend on their neighbours. */
static void
many_sectors (void **state)
{
  static const enum crypto_mode modes[]
    = { CRYPTO_CBC, CRYPTO_XTS, CRYPTO_CTR, CRYPTO_ECB };
  enum { N = 37 };
  uint8_t key[64], together[N * SECTOR], alone[N * SECTOR];
  size_t i, j;

  (void) state;
  for (i = 0; i < sizeof key; ++i)
    key[i] = (uint8_t) (i * 3);
  for (i = 0; i < sizeof modes / sizeof modes[0]; ++i) {
    struct crypto *c
      = new_crypto ((struct crypto_method){ .cipher = CRYPTO_AES,
                                            .mode = modes[i],
                                            .key_bytes = 32,
                                            .iv = CRYPTO_PLAIN },
                    key);
    /* Beyond 2^32 'plain' begins again. */
    const uint64_t first = UINT32_MAX - 17;

    for (j = 0; j < sizeof together; ++j)
      together[j] = alone[j] = (uint8_t) (j / 7);
    assert_int_equal (crypto_decrypt (c, together, sizeof together, first), 0);
    for (j = 0; j < N; ++j)
      assert_int_equal (
        crypto_decrypt (c, alone + j * SECTOR, SECTOR, (uint32_t) (first + j)),
        0);
    assert_memory_equal (together, alone, sizeof together);
    assert_int_equal (crypto_decrypt (c, together, 0, 0), 0);
    crypto_free (c);
  }
}

static void
names (void **state)
{
  enum crypto_cipher cipher = CRYPTO_AES;
  enum crypto_mode mode = CRYPTO_CBC;
  enum crypto_hash hash = CRYPTO_MD5;

  (void) state;
  assert_true (crypto_find_cipher ("twofish", &cipher));
  assert_int_equal (cipher, CRYPTO_TWOFISH);
  assert_false (crypto_find_cipher ("AES", &cipher));
  assert_false (crypto_find_cipher ("", &cipher));
  assert_true (crypto_find_mode ("ctr", &mode));
  assert_int_equal (mode, CRYPTO_CTR);
  assert_false (crypto_find_mode ("xts-plain64", &mode));
  assert_true (crypto_find_hash ("ripemd160", &hash));
  assert_int_equal (hash, CRYPTO_RIPEMD160);
  assert_int_equal (crypto_hash_bytes (hash), 20);
  assert_false (crypto_find_hash ("sha3", &hash));
}

/* Which methods there are. */
static void
methods (void **state)
{
  static const struct {
    struct crypto_method method;
    const char *problem; /* NULL: none */
  } rows[] = {
    { { CRYPTO_AES, CRYPTO_XTS, 32, CRYPTO_PLAIN64, 0 }, NULL },
    { { CRYPTO_AES, CRYPTO_XTS, 48, CRYPTO_PLAIN64, 0 }, NULL },
    { { CRYPTO_AES, CRYPTO_XTS, 64, CRYPTO_PLAIN64, 0 }, NULL },
    { { CRYPTO_AES, CRYPTO_XTS, 16, CRYPTO_PLAIN64, 0 }, "key of 16 bytes" },
    { { CRYPTO_AES, CRYPTO_XTS, 33, CRYPTO_PLAIN64, 0 }, "key of 33 bytes" },
    { { CRYPTO_AES, CRYPTO_XTS, 0, CRYPTO_PLAIN64, 0 }, "key of 0 bytes" },
    { { CRYPTO_AES, CRYPTO_CBC, 0, CRYPTO_PLAIN64, 0 }, "key of 0 bytes" },
    { { CRYPTO_AES, CRYPTO_CBC, 15, CRYPTO_PLAIN64, 0 }, "key of 15 bytes" },
    { { CRYPTO_AES, CRYPTO_CBC, 64, CRYPTO_PLAIN64, 0 }, "key of 64 bytes" },
    { { CRYPTO_AES, CRYPTO_CBC, UINT32_MAX, CRYPTO_PLAIN64, 0 },
      "key of 4294967295 bytes" },
    { { CRYPTO_SERPENT, CRYPTO_CTR, 24, CRYPTO_PLAIN, 0 }, NULL },
    { { CRYPTO_TWOFISH, CRYPTO_CBC, 32, CRYPTO_PLAIN, 0 }, NULL },
    { { CRYPTO_TWOFISH, CRYPTO_CBC, 24, CRYPTO_PLAIN, 0 }, "key of 24 bytes" },
    { { CRYPTO_CAST5, CRYPTO_CBC, 16, CRYPTO_PLAIN64, 0 }, NULL },
    { { CRYPTO_CAST5, CRYPTO_CBC, 32, CRYPTO_PLAIN64, 0 }, "key of 32 bytes" },
    { { CRYPTO_CAST5, CRYPTO_XTS, 32, CRYPTO_PLAIN64, 0 }, "xts needs" },
    { { CRYPTO_CAST5, CRYPTO_CBC, 16, CRYPTO_ESSIV, CRYPTO_MD5 }, NULL },
    { { CRYPTO_CAST5, CRYPTO_CBC, 16, CRYPTO_ESSIV, CRYPTO_SHA256 }, "essiv" },
    { { CRYPTO_AES, CRYPTO_CBC, 32, CRYPTO_ESSIV, CRYPTO_SHA1 },
      "essiv with sha1" },
    { { CRYPTO_AES, CRYPTO_CBC, 32, CRYPTO_ESSIV, CRYPTO_SHA512 },
      "essiv with sha512" },
  };
  static const uint8_t key[64] = { 1 };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    struct problem problem = { "" };
    const int r = crypto_check (&rows[i].method, &problem);

    assert_int_equal (r, rows[i].problem ? -1 : 0);
    if (rows[i].problem && strstr (problem.text, rows[i].problem) == NULL)
      fail_msg ("row %zu: %s", i, problem.text);
    if (r == 0) {
      uint8_t sector[SECTOR] = { 0 };

      decrypt_one (rows[i].method, key, 0, sector);
    }
  }
}

/* RFC 6070; RFC 7914, section 11; and by Python the empty secret with each
 * hash, more than one of which is needed.
 */
static void
pbkdf2 (void **state)
{
  static const struct {
    enum crypto_hash hash;
    const char *secret, *salt;
    size_t secret_length;
    uint32_t iterations;
    const char *key;
  } rows[] = {
    { CRYPTO_SHA1, "password", "salt", 8, 1,
      "0c60c80f961f0e71f3a9b524af6012062fe037a6" },
    { CRYPTO_SHA1, "password", "salt", 8, 2,
      "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957" },
    { CRYPTO_SHA1, "password", "salt", 8, 4096,
      "4b007901b765489abead49d926f721d065a429c1" },
    { CRYPTO_SHA1, "passwordPASSWORDpassword",
      "saltSALTsaltSALTsaltSALTsaltSALTsalt", 24, 4096,
      "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038" },
    { CRYPTO_SHA256, "passwd", "salt", 6, 1,
      "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
      "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783" },
    { CRYPTO_SHA256, "Password", "NaCl", 8, 80000,
      "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
      "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d" },
    { CRYPTO_MD5, "", "salt", 0, 3,
      "5de5f0cfe4c83116c2b557170fed8ca6431777640b1b838ff98fe1305e300e59"
      "556cfd7f653071d2bab5c69ece3c18936d207d87a0c1d9813ee979f79b680894"
      "6c0c0d31f256" },
    { CRYPTO_SHA1, "", "salt", 0, 3,
      "0cebfb1825d38ce91db4a69a0b9e776b2a2323eb4fcbcfdce402926cfc260d48"
      "48301644901249dc7d5ae796a5d435eeb75dcde104cd4a6cb50ef5727a72e185"
      "7bd196dcb98d" },
    { CRYPTO_SHA224, "", "salt", 0, 3,
      "f1b505d4ab9ab0a558170c9e5384ca52cf337b1af42e6c82a8fd622a83dde3f8"
      "b4b53f1c391ee4ec99027fe5f40f32d1b8e9a58d60cff720e0168de78e16a0ee"
      "6396fbb3eb09" },
    { CRYPTO_SHA256, "", "salt", 0, 3,
      "5ddf839afa2d5fb4be56e1a0f48917617559bef61ec122bfca1c7f75ac8f401d"
      "060b470b704034975a53c7c7eb727409dd53a038c71e2271bcf1b0cc3427533c"
      "e660c1f9b058" },
    { CRYPTO_SHA384, "", "salt", 0, 3,
      "e6d0cf8b47c689cdbd07dd4b8bff90ec12a45093dbbd75fc757f0ded3138cbff"
      "aa94db103ced88f89efc9b824e121b02f9fedc9019389684da0e0caa1477ee4a"
      "b730fa6f7bde" },
    { CRYPTO_SHA512, "", "salt", 0, 3,
      "35728858479af699c1690e989eba0d104c6c9d7ff67373a48e4f87e90cb55af7"
      "71ac93458ee4ba4ac24f1e927bc4aba5bfed6aa82a752ad40403fbfd9575a46c"
      "ac3cb73c1f1e" },
    { CRYPTO_RIPEMD160, "", "salt", 0, 3,
      "1d3e9738c447d01e771c36e229ebf7fa9cb93cfba6cf20f57f1b8a0252ce7229"
      "6d7593ad6cec83e60c20fbbf046e7605de05383ed43d2b6c4744cf0d03ea3b10"
      "0946aa66321b" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    uint8_t key[128];

    assert_int_equal (
      crypto_pbkdf2 (rows[i].hash, rows[i].secret, rows[i].secret_length,
                     (const uint8_t *) rows[i].salt, strlen (rows[i].salt),
                     rows[i].iterations, key, strlen (rows[i].key) / 2),
      0);
    assert_hex (key, rows[i].key);
  }
}

/* Two iterations of two hashes for 64 bytes with SHA-256, and so on. */
static void
work (void **state)
{
  (void) state;
  assert_int_equal (crypto_pbkdf2_work (CRYPTO_SHA256, 10, 32), 10);
  assert_int_equal (crypto_pbkdf2_work (CRYPTO_SHA256, 10, 33), 20);
  assert_int_equal (crypto_pbkdf2_work (CRYPTO_SHA1, 10, 64), 40);
  assert_int_equal (crypto_pbkdf2_work (CRYPTO_SHA512, 10, 64), 30);
  assert_int_equal (crypto_pbkdf2_work (CRYPTO_MD5, UINT32_MAX, 64),
                    UINT32_MAX * UINT64_C (8));
}

/* Stripes of bytes that follow from their place; the key, by Python. */
static void
antiforensic (void **state)
{
  static const struct {
    enum crypto_hash hash;
    size_t key_bytes;
    unsigned stripes;
    const char *key;
  } rows[] = {
    { CRYPTO_SHA1, 16, 1, "030a1f4273b2ff5ac33abf52f3a25f2a" },
    { CRYPTO_SHA1, 16, 2, "5306dc6a301b5cb97163bc00408c9dbb" },
    { CRYPTO_MD5, 64, 3,
      "827c44f4761f705f197e0e97926d551795335dfadbe84340c9c45df6e8c26f34"
      "5a8d7ae53f3ef892029b658337602e87ef22e90edd61bc48de788c575768869e" },
    { CRYPTO_SHA1, 64, 4000,
      "30cdf4d1399f1884eb1f87a15ab70ea5f9f1bc4d8a4adb680c26454b2b724d74"
      "5a4ea68d0777748681c29a35788c2f24d3e962b7a4ccb1fdcb451548a1c0b1bd" },
    { CRYPTO_SHA224, 32, 4000,
      "6cbfa4b1166ed4aa6eb250e17623b8ce7cb9d158d12e37f94f47711d3ba52b67" },
    { CRYPTO_SHA256, 64, 4000,
      "ad50b9e57002fe8a17fc66f7d0b7d8a40052fb6b4b2b3f95e973d1d38f4402e2"
      "1e6ba1f70e260050452257ab47cdee852544852119027fc0d05de5efb6f0f91e" },
    { CRYPTO_SHA256, 16, 4000, "9a32e53b822fc2f82d453c30d1b026ea" },
    { CRYPTO_SHA384, 24, 4000,
      "d85d8a5eb37b64511249596357c34bf2d9e3cf8f9fd5d80b" },
    { CRYPTO_SHA512, 64, 4000,
      "1432149f8284177bd246dc353ae0514f45d3612a9968e705aea2df1e31c8fabe"
      "31703caecdd0f0f189c151e8876360c83cf015907e1dd6c772aabb6946d89fe9" },
    { CRYPTO_RIPEMD160, 32, 4000,
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

/* As a library for whose users it must stay the same splits it: QEMU's
 * tests/unit/test-crypto-afsplit.c, /crypto/afsplit/sha256/5.
 */
static void
antiforensic_published (void **state)
{
  uint8_t stripes[5 * 32], key[32];

  (void) state;
  from_hex ("fdd273b17d99933470defa07c5ac58d230672f1a3543607d7702db623ccb2c33"
            "4808b6f17ca320a0ad2d4cf3cd186f53f9e8e759273ca9546187b3aff6f77e64"
            "86aa897f1f9fdb86f4a216ffa34f8ca159c4233428c4777183d4cd8e891bc7c5"
            "ae4da9cdc972857013685283fcb81172ba3dc64a28fae2867b27ab58e1a4caf6"
            "9ebcfe0c9279b3ec1c5f793b0d1eaa1a770f70194bc880ee277c6e4a91965cf4",
            stripes, sizeof stripes);
  assert_int_equal (afsplit_merge (CRYPTO_SHA256, stripes, 32, 5, key), 0);
  assert_hex (
    key, "000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
}

/* --- Threads --- */

enum { THREADS = 40, ROUNDS = 60, LENGTH = 64 * SECTOR };

static struct crypto *context;
static uint8_t expected[LENGTH];

static void *
worker (void *arg)
{
  uint8_t *buf = malloc (LENGTH);
  int i;

  (void) arg;
  if (buf == NULL)
    abort ();
  for (i = 0; i < ROUNDS; ++i) {
    const size_t n = (size_t) (1 + i % 64) * SECTOR;

    memset (buf, 'x', n);
    if (crypto_decrypt (context, buf, n, 1000) == -1
        || memcmp (buf, expected, n) != 0)
      abort ();
  }
  free (buf);
  return NULL;
}

/* More of them than there are contexts. */
static void
threads (void **state)
{
  static const uint8_t key[32] = { 1, 2, 3 };
  pthread_t t[THREADS];
  int i;

  (void) state;
  context = new_crypto ((struct crypto_method){ CRYPTO_AES, CRYPTO_CBC, 32,
                                                CRYPTO_ESSIV, CRYPTO_SHA256 },
                        key);
  memset (expected, 'x', LENGTH);
  assert_int_equal (crypto_decrypt (context, expected, LENGTH, 1000), 0);
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (pthread_create (&t[i], NULL, worker, NULL), 0);
  for (i = 0; i < THREADS; ++i)
    pthread_join (t[i], NULL);
  crypto_free (context);
}

/* --- Memory --- */

/* Has the mapping at 'p' the flag, as /proc/self/smaps has it? */
static bool
has_flag (const void *p, const char *flag)
{
  FILE *f = fopen ("/proc/self/smaps", "r");
  char line[1024];
  bool here = false, found = false;

  assert_non_null (f);
  while (fgets (line, sizeof line, f)) {
    uintptr_t start, end;

    if (sscanf (line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
      here = (uintptr_t) p >= start && (uintptr_t) p < end;
    else if (here && strncmp (line, "VmFlags:", 8) == 0)
      found = strstr (line, flag) != NULL;
  }
  fclose (f);
  return found;
}

/* Emulators of other processors may keep advice from the kernel. */
static bool
advice_arrives (void)
{
  const size_t page = (size_t) sysconf (_SC_PAGESIZE);
  void *p = mmap (NULL, page, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  bool r;

  assert_true (p != MAP_FAILED);
  assert_int_equal (madvise (p, page, MADV_DONTDUMP), 0);
  r = has_flag (p, " dd");
  munmap (p, page);
  return r;
}

static int
run_in_child (int (*f) (const void *), const void *p)
{
  const pid_t pid = fork ();
  int status;

  assert_true (pid >= 0);
  if (pid == 0)
    _exit (f (p));
  assert_int_equal (waitpid (pid, &status, 0), pid);
  return WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

/* The lock ends with a fork, and is taken again. */
static int
check_child (const void *p)
{
  if (has_flag (p, " lo") || !has_flag (p, " dd"))
    return 1;
  if (secret_lock (p, 5000) == -1)
    return 2;
  return has_flag (p, " lo") ? 0 : 3;
}

static void
memory (void **state)
{
  struct rlimit limit;
  uint8_t *p = secret_new (5000);
  int i;

  (void) state;
  assert_non_null (p);
  for (i = 0; i < 5000; ++i)
    assert_int_equal (p[i], 0);
  if (!advice_arrives ()) {
    secret_free (p, 5000);
    print_message ("# MADV_DONTDUMP has no effect here\n");
    skip ();
  }
  assert_true (has_flag (p, " dd"));
  /* (Sanitizers make mlock do nothing.) */
  if (getrlimit (RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur >= 65536
      && has_flag (p, " lo"))
    assert_int_equal (run_in_child (check_child, p), 0);
  secret_free (p, 5000);
  secret_free (NULL, 1);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (xts),           cmocka_unit_test (blocks),
  cmocka_unit_test (modes_and_ivs), cmocka_unit_test (many_sectors),
  cmocka_unit_test (names),         cmocka_unit_test (methods),
  cmocka_unit_test (pbkdf2),        cmocka_unit_test (work),
  cmocka_unit_test (antiforensic),  cmocka_unit_test (antiforensic_published),
  cmocka_unit_test (threads),       cmocka_unit_test (memory),
};

UNIT_MAIN (tests)
