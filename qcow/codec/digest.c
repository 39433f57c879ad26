/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hashes of libgcrypt.  See digest.h.
 */

#include <errno.h>
#include <string.h>

#include <gcrypt.h>

#include "base/minmax.h"
#include "base/wait.h"
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

/* --- PBKDF2 --- */

/* libgcrypt's own function can't be stopped.  (The loop here takes 1 to 3 %
 * longer, measured with libgcrypt 1.10.)
 */

/* After so many iterations, some 5 ms, ask whether the key is still wanted. */
#define CHECK_EACH 32768

struct pbkdf2 {
  gcry_md_hd_t hmac; /* its key is the secret */
  size_t bytes;      /* of an HMAC */
  const uint8_t *salt;
  size_t salt_length;
  uint32_t iterations;
  const struct qcow_hooks *hooks;
};

/* HMAC of two pieces, one after the other. */
static void
prf (const struct pbkdf2 *p, const void *one, size_t one_length,
     const void *two, size_t two_length, uint8_t out[DIGEST_MAX_BYTES])
{
  gcry_md_reset (p->hmac);
  gcry_md_write (p->hmac, one, one_length);
  gcry_md_write (p->hmac, two, two_length);
  memcpy (out, gcry_md_read (p->hmac, 0), p->bytes);
}

/* 0, or -1 with errno ENOMEM, or ESHUTDOWN. */
static int
check (const struct pbkdf2 *p)
{
  libgcrypt_release (); /* it may be used up */
  if (libgcrypt_reserve () == -1)
    return -1;
  if (hooks_sleep (p->hooks, 0) == 0)
    return 0;
  errno = ESHUTDOWN;
  return -1;
}

/* One block of the key: T_i of RFC 8018, section 5.2.  Results as check. */
static int
derive_block (const struct pbkdf2 *p, uint32_t number,
              uint8_t out[DIGEST_MAX_BYTES])
{
  const uint8_t index[] = { (uint8_t) (number >> 24), (uint8_t) (number >> 16),
                            (uint8_t) (number >> 8), (uint8_t) number };
  uint8_t last[DIGEST_MAX_BYTES];
  uint32_t i;
  size_t j;
  int r = 0;

  prf (p, p->salt, p->salt_length, index, sizeof index, last);
  memcpy (out, last, p->bytes);
  for (i = 1; i < p->iterations && r == 0; ++i) {
    prf (p, last, p->bytes, NULL, 0, last);
    for (j = 0; j < p->bytes; ++j)
      out[j] ^= last[j];
    if (i % CHECK_EACH == 0)
      r = check (p);
  }
  explicit_bzero (last, sizeof last);
  return r;
}

static int
derive (const struct pbkdf2 *p, uint8_t *out, size_t length)
{
  uint8_t block[DIGEST_MAX_BYTES];
  uint32_t number = 1;
  size_t n;
  int r = 0;

  for (; length > 0 && r == 0; out += n, length -= n) {
    n = (size_t) min64 (length, p->bytes);
    r = derive_block (p, number++, block);
    memcpy (out, block, n);
  }
  explicit_bzero (block, sizeof block);
  return r;
}

int
digest_pbkdf2 (enum digest digest, const void *secret, size_t secret_length,
               const uint8_t *salt, size_t salt_length, uint32_t iterations,
               uint8_t *out, size_t length, const struct qcow_hooks *hooks)
{
  struct pbkdf2 p = { .bytes = digests[digest].bytes,
                      .salt = salt,
                      .salt_length = salt_length,
                      .iterations = iterations,
                      .hooks = hooks };
  gcry_error_t e;
  int r;

  if (libgcrypt_reserve () == -1)
    return -1;
  e = gcry_md_open (&p.hmac, digests[digest].algorithm, GCRY_MD_FLAG_HMAC);
  if (e == 0)
    e = gcry_md_setkey (p.hmac, secret, secret_length);
  r = e == 0 ? derive (&p, out, length) : libgcrypt_fail (e);
  gcry_md_close (p.hmac);
  libgcrypt_release ();
  return r;
}

uint64_t
digest_pbkdf2_work (enum digest digest, uint32_t iterations, size_t length)
{
  const size_t bytes = digests[digest].bytes;
  const uint64_t blocks = (length + bytes - 1) / bytes;

  return blocks * iterations * digests[digest].work;
}
