/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cipher.c against published vectors or, where there are none, Python's
 * package 'cryptography' (OpenSSL); threads that share a key.
 */

#include <pthread.h>

#include "tests/unit/unit.h"

#include "codec/cipher.h"

enum { SECTOR = CIPHER_SECTOR_BYTES };

/* 00 01 … ff, twice. */
static void
counted (uint8_t sector[SECTOR])
{
  int i;

  for (i = 0; i < SECTOR; ++i)
    sector[i] = (uint8_t) i;
}

static struct cipher *
new_cipher (struct cipher_method method, const uint8_t *key)
{
  struct problem problem = { "" };
  struct cipher *c;

  assert_int_equal (cipher_check (&method, &problem), 0);
  c = cipher_new (&method, key);
  assert_non_null (c);
  return c;
}

/* Decrypt one sector. */
static void
decrypt_one (struct cipher_method method, const uint8_t *key, uint64_t number,
             uint8_t sector[SECTOR])
{
  struct cipher *c = new_cipher (method, key);

  assert_int_equal (cipher_decrypt (c, sector, SECTOR, number), 0);
  cipher_free (c);
}

/* IEEE 1619-2007, annex B: vectors 4, 10 and 14, which have 512 bytes and
 * cover each key length and the largest sector number.
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
    const struct cipher_method method = { .algorithm = CIPHER_AES,
                                          .mode = CIPHER_XTS,
                                          .key_bytes = n,
                                          .iv = CIPHER_IV_PLAIN64 };

    assert_int_equal (
      from_hex (xts_vectors[i].ciphertext, sector, sizeof sector), SECTOR);
    decrypt_one (method, key, xts_vectors[i].number, sector);
    assert_memory_equal (sector, wanted, SECTOR);
  }
}

/* Single blocks by ECB: FIPS 197, appendix C; the Serpent vectors of Linux
 * (crypto/testmgr.h); the Twofish paper, appendix B; RFC 2144, appendix B.1.
 */
static void
blocks (void **state)
{
  static const struct {
    enum cipher_algorithm algorithm;
    const char *key, *plain, *encrypted;
  } rows[] = {
    { CIPHER_AES, "000102030405060708090a0b0c0d0e0f",
      "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a" },
    { CIPHER_AES, "000102030405060708090a0b0c0d0e0f1011121314151617",
      "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191" },
    { CIPHER_AES,
      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089" },
    { CIPHER_SERPENT, "000102030405060708090a0b0c0d0e0f",
      "000102030405060708090a0b0c0d0e0f", "4c7d8a328072a22c823e4a1f3acda16d" },
    { CIPHER_SERPENT,
      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      "000102030405060708090a0b0c0d0e0f", "de269ff833e432b85b2e88d2701ce75c" },
    { CIPHER_TWOFISH, "00000000000000000000000000000000",
      "00000000000000000000000000000000", "9f589f5cf6122c32b6bfec2f2ae8c35a" },
    { CIPHER_TWOFISH,
      "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
      "00000000000000000000000000000000", "37527be0052334b89f0cfccae87cfa20" },
    { CIPHER_CAST5, "0123456712345678234567893456789a", "0123456789abcdef",
      "238b4fe5847e44b2" },
  };
  uint8_t key[64], sector[SECTOR];
  size_t i, j;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    const struct cipher_method method
      = { .algorithm = rows[i].algorithm,
          .mode = CIPHER_ECB,
          .key_bytes = from_hex (rows[i].key, key, sizeof key),
          .iv = CIPHER_IV_PLAIN64 };
    const size_t n = from_hex (rows[i].encrypted, sector, SECTOR);

    for (j = n; j < SECTOR; ++j)
      sector[j] = sector[j - n];
    decrypt_one (method, key, 12345, sector);
    for (j = 0; j < SECTOR; j += n)
      assert_hex (sector + j, rows[i].plain);
  }
}

/* The first 32 bytes that 00 01 … ff decrypts to as sector 0x123456789a with
 * the key 01 02 …, by Python.
 */
static void
modes_and_ivs (void **state)
{
  static const struct {
    struct cipher_method method;
    const char *plain;
  } rows[] = {
    { { CIPHER_AES, CIPHER_CBC, 16, CIPHER_IV_PLAIN64, 0 },
      "57be9b3358efa8ae7c709d628f450f648661b499b07711469fc177f9e0a5f6bc" },
    { { CIPHER_AES, CIPHER_CBC, 24, CIPHER_IV_PLAIN64, 0 },
      "4a05db953a6b5aa8439003b0e5276a3fca2dfba44c7e018d7c6068d6cd25bbb3" },
    { { CIPHER_AES, CIPHER_CBC, 32, CIPHER_IV_PLAIN64, 0 },
      "cce9c3fdffc02d0630183c466653fc57212c0bce81d3df2aa537227630a04b2b" },
    { { CIPHER_AES, CIPHER_CBC, 32, CIPHER_IV_PLAIN, 0 },
      "cce9c3fdedc02d0630183c466653fc57212c0bce81d3df2aa537227630a04b2b" },
    { { CIPHER_AES, CIPHER_CBC, 32, CIPHER_IV_ESSIV, DIGEST_SHA256 },
      "6c77df3b11c5eff898549d49f46447ac212c0bce81d3df2aa537227630a04b2b" },
    { { CIPHER_AES, CIPHER_CBC, 16, CIPHER_IV_ESSIV, DIGEST_MD5 },
      "e412abb2bef6005da0dc45a1fdbbcf418661b499b07711469fc177f9e0a5f6bc" },
    { { CIPHER_AES, CIPHER_CBC, 16, CIPHER_IV_ESSIV, DIGEST_SHA256 },
      "7e942e35a1274d29f3fb5cfdb0d0262f8661b499b07711469fc177f9e0a5f6bc" },
    { { CIPHER_AES, CIPHER_CTR, 16, CIPHER_IV_PLAIN64, 0 },
      "ce2ff5d8e83703d5fc856a875d3975b48c9021fe8b48f16dff785cfcc8d78966" },
    { { CIPHER_AES, CIPHER_CTR, 32, CIPHER_IV_ESSIV, DIGEST_SHA256 },
      "958771ea0c6d890bcf98d2d584c18b213ef2dba965a483ad03a1e5a9a367cee4" },
    { { CIPHER_AES, CIPHER_ECB, 32, CIPHER_IV_PLAIN64, 0 },
      "569195c9edc02d0630183c466653fc57212d09cd85d6d92dad3e287d3cad4524" },
    { { CIPHER_AES, CIPHER_XTS, 32, CIPHER_IV_PLAIN, 0 },
      "780049b8e82216489099ba664b548929b9f6e5b6ad41cc5475fbdef240560038" },
    { { CIPHER_AES, CIPHER_XTS, 32, CIPHER_IV_PLAIN64, 0 },
      "86a3176e3846c9e6450728e650dc2e8c4996fe9a126664df8b7132fe060ad364" },
    { { CIPHER_AES, CIPHER_XTS, 32, CIPHER_IV_ESSIV, DIGEST_SHA256 },
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

/* Sectors are independent of their neighbours. */
static void
many_sectors (void **state)
{
  static const enum cipher_mode modes[]
    = { CIPHER_CBC, CIPHER_XTS, CIPHER_CTR, CIPHER_ECB };
  enum { N = 37 };
  uint8_t key[64], together[N * SECTOR], alone[N * SECTOR];
  size_t i, j;

  (void) state;
  for (i = 0; i < sizeof key; ++i)
    key[i] = (uint8_t) (i * 3);
  for (i = 0; i < sizeof modes / sizeof modes[0]; ++i) {
    struct cipher *c
      = new_cipher ((struct cipher_method){ .algorithm = CIPHER_AES,
                                            .mode = modes[i],
                                            .key_bytes = 32,
                                            .iv = CIPHER_IV_PLAIN },
                    key);
    /* After 2^32, 'plain' starts again at 0. */
    const uint64_t first = UINT32_MAX - 17;

    for (j = 0; j < sizeof together; ++j)
      together[j] = alone[j] = (uint8_t) (j / 7);
    assert_int_equal (cipher_decrypt (c, together, sizeof together, first), 0);
    for (j = 0; j < N; ++j)
      assert_int_equal (
        cipher_decrypt (c, alone + j * SECTOR, SECTOR, (uint32_t) (first + j)),
        0);
    assert_memory_equal (together, alone, sizeof together);
    assert_int_equal (cipher_decrypt (c, together, 0, 0), 0);
    cipher_free (c);
  }
}

static void
names (void **state)
{
  enum cipher_algorithm algorithm = CIPHER_AES;
  enum cipher_mode mode = CIPHER_CBC;

  (void) state;
  assert_true (cipher_find_algorithm ("twofish", &algorithm));
  assert_int_equal (algorithm, CIPHER_TWOFISH);
  assert_false (cipher_find_algorithm ("AES", &algorithm));
  assert_false (cipher_find_algorithm ("", &algorithm));
  assert_true (cipher_find_mode ("ctr", &mode));
  assert_int_equal (mode, CIPHER_CTR);
  assert_false (cipher_find_mode ("xts-plain64", &mode));
}

/* Methods that are accepted or refused. */
static void
methods (void **state)
{
  static const struct {
    struct cipher_method method;
    const char *problem; /* NULL: none */
  } rows[] = {
    { { CIPHER_AES, CIPHER_XTS, 32, CIPHER_IV_PLAIN64, 0 }, NULL },
    { { CIPHER_AES, CIPHER_XTS, 48, CIPHER_IV_PLAIN64, 0 }, NULL },
    { { CIPHER_AES, CIPHER_XTS, 64, CIPHER_IV_PLAIN64, 0 }, NULL },
    { { CIPHER_AES, CIPHER_XTS, 16, CIPHER_IV_PLAIN64, 0 }, "16-byte key" },
    { { CIPHER_AES, CIPHER_XTS, 33, CIPHER_IV_PLAIN64, 0 }, "33-byte key" },
    { { CIPHER_AES, CIPHER_XTS, 0, CIPHER_IV_PLAIN64, 0 }, "0-byte key" },
    { { CIPHER_AES, CIPHER_CBC, 0, CIPHER_IV_PLAIN64, 0 }, "0-byte key" },
    { { CIPHER_AES, CIPHER_CBC, 15, CIPHER_IV_PLAIN64, 0 }, "15-byte key" },
    { { CIPHER_AES, CIPHER_CBC, 64, CIPHER_IV_PLAIN64, 0 }, "64-byte key" },
    { { CIPHER_AES, CIPHER_CBC, UINT32_MAX, CIPHER_IV_PLAIN64, 0 },
      "4294967295-byte key" },
    { { CIPHER_SERPENT, CIPHER_CTR, 24, CIPHER_IV_PLAIN, 0 }, NULL },
    { { CIPHER_TWOFISH, CIPHER_CBC, 32, CIPHER_IV_PLAIN, 0 }, NULL },
    { { CIPHER_TWOFISH, CIPHER_CBC, 24, CIPHER_IV_PLAIN, 0 }, "24-byte key" },
    { { CIPHER_CAST5, CIPHER_CBC, 16, CIPHER_IV_PLAIN64, 0 }, NULL },
    { { CIPHER_CAST5, CIPHER_CBC, 32, CIPHER_IV_PLAIN64, 0 }, "32-byte key" },
    { { CIPHER_CAST5, CIPHER_XTS, 32, CIPHER_IV_PLAIN64, 0 }, "xts requires" },
    { { CIPHER_CAST5, CIPHER_CBC, 16, CIPHER_IV_ESSIV, DIGEST_MD5 }, NULL },
    { { CIPHER_CAST5, CIPHER_CBC, 16, CIPHER_IV_ESSIV, DIGEST_SHA256 },
      "essiv" },
    { { CIPHER_AES, CIPHER_CBC, 32, CIPHER_IV_ESSIV, DIGEST_SHA1 },
      "essiv with sha1" },
    { { CIPHER_AES, CIPHER_CBC, 32, CIPHER_IV_ESSIV, DIGEST_SHA512 },
      "essiv with sha512" },
  };
  static const uint8_t key[64] = { 1 };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    struct problem problem = { "" };
    const int r = cipher_check (&rows[i].method, &problem);

    assert_int_equal (r, rows[i].problem ? -1 : 0);
    if (rows[i].problem && strstr (problem.text, rows[i].problem) == NULL)
      fail_msg ("row %zu: %s", i, problem.text);
    if (r == 0) {
      uint8_t sector[SECTOR] = { 0 };

      decrypt_one (rows[i].method, key, 0, sector);
    }
  }
}

/* --- Threads --- */

enum { THREADS = 40, ROUNDS = 60, LENGTH = 64 * SECTOR };

static struct cipher *context;
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
    if (cipher_decrypt (context, buf, n, 1000) == -1
        || memcmp (buf, expected, n) != 0)
      abort ();
  }
  free (buf);
  return NULL;
}

/* More threads than contexts. */
static void
threads (void **state)
{
  static const uint8_t key[32] = { 1, 2, 3 };
  pthread_t t[THREADS];
  int i;

  (void) state;
  context
    = new_cipher ((struct cipher_method){ CIPHER_AES, CIPHER_CBC, 32,
                                          CIPHER_IV_ESSIV, DIGEST_SHA256 },
                  key);
  memset (expected, 'x', LENGTH);
  assert_int_equal (cipher_decrypt (context, expected, LENGTH, 1000), 0);
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (pthread_create (&t[i], NULL, worker, NULL), 0);
  for (i = 0; i < THREADS; ++i)
    pthread_join (t[i], NULL);
  cipher_free (context);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (xts),           cmocka_unit_test (blocks),
  cmocka_unit_test (modes_and_ivs), cmocka_unit_test (many_sectors),
  cmocka_unit_test (names),         cmocka_unit_test (methods),
  cmocka_unit_test (threads),
};

UNIT_MAIN (tests)
