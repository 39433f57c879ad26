/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hashes of libgcrypt.  See digest.h.
 */

#include <string.h>

#include <gcrypt.h>

#include "codec/digest.h"
#include "codec/libgcrypt.h"

/* 'work' is the time of an HMAC relative to SHA-256, measured with libgcrypt
 * 1.10 on an AMD EPYC (which has instructions for SHA-1 and SHA-256) and
 * rounded.
 */
static const struct {
  const char *name;
  int algorithm;
  size_t bytes;
  unsigned work;
} digests[] = {
  [DIGEST_MD5] = { "md5", GCRY_MD_MD5, 16, 2 },
  [DIGEST_SHA1] = { "sha1", GCRY_MD_SHA1, 20, 1 },
  [DIGEST_SHA224] = { "sha224", GCRY_MD_SHA224, 28, 1 },
  [DIGEST_SHA256] = { "sha256", GCRY_MD_SHA256, 32, 1 },
  [DIGEST_SHA384] = { "sha384", GCRY_MD_SHA384, 48, 3 },
  [DIGEST_SHA512] = { "sha512", GCRY_MD_SHA512, 64, 3 },
  [DIGEST_RIPEMD160] = { "ripemd160", GCRY_MD_RMD160, 20, 2 },
};

bool
digest_find (const char *name, enum digest *digest)
{
  size_t i;

  for (i = 0; i < sizeof digests / sizeof digests[0]; ++i)
    if (strcmp (name, digests[i].name) == 0) {
      *digest = (enum digest) i;
      return true;
    }
  return false;
}

const char *
digest_name (enum digest digest)
{
  return digests[digest].name;
}

size_t
digest_bytes (enum digest digest)
{
  return digests[digest].bytes;
}

int
digest_two (enum digest digest, const void *one, size_t one_length,
            const void *two, size_t two_length, uint8_t out[DIGEST_MAX_BYTES])
{
  const gcry_buffer_t parts[]
    = { { .data = (void *) one, .len = one_length },
        { .data = (void *) two, .len = two_length } };
  const gcry_error_t e
    = gcry_md_hash_buffers (digests[digest].algorithm, 0, out, parts, 2);

  return e ? libgcrypt_fail (e) : 0;
}

int
digest_hmac (enum digest digest, const void *key, size_t key_length,
             const void *text, size_t length, uint8_t out[DIGEST_MAX_BYTES])
{
  const gcry_buffer_t parts[] = { { .data = (void *) key, .len = key_length },
                                  { .data = (void *) text, .len = length } };
  gcry_error_t e;

  if (libgcrypt_reserve () == -1)
    return -1;
  e = gcry_md_hash_buffers (digests[digest].algorithm, GCRY_MD_FLAG_HMAC, out,
                            parts, 2);
  libgcrypt_release ();
  return e ? libgcrypt_fail (e) : 0;
}

int
digest_pbkdf2 (enum digest digest, const void *secret, size_t secret_length,
               const uint8_t *salt, size_t salt_length, uint32_t iterations,
               uint8_t *out, size_t length)
{
  gcry_error_t e;

  if (libgcrypt_reserve () == -1)
    return -1;
  e = gcry_kdf_derive (secret, secret_length, GCRY_KDF_PBKDF2,
                       digests[digest].algorithm, salt, salt_length,
                       iterations, length, out);
  libgcrypt_release ();
  return e ? libgcrypt_fail (e) : 0;
}

uint64_t
digest_pbkdf2_work (enum digest digest, uint32_t iterations, size_t length)
{
  const size_t bytes = digests[digest].bytes;
  const uint64_t blocks = (length + bytes - 1) / bytes;

  return blocks * iterations * digests[digest].work;
}
