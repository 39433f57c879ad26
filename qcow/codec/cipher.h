/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decrypting sectors, hashes, and keys from passphrases: all that is
 * used of libgcrypt, which nothing else in qcow/ knows.
 *
 * A struct crypto decrypts the data of one layer.  Any number of threads
 * may use it at once: each takes a context of libgcrypt from a pool.  The
 * key is in memory of our own (secret.h); but contexts hold what is derived
 * from it, which begins with the key itself, in ordinary memory, wiped when
 * they are closed.
 */

#ifndef QCOW_CODEC_CIPHER_H
#define QCOW_CODEC_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What is encrypted as one piece, with an IV of its own. */
#define CRYPTO_SECTOR_BYTES 512

#define CRYPTO_MAX_KEY_BYTES 64
#define CRYPTO_MAX_HASH_BYTES 64

enum crypto_cipher {
  CRYPTO_AES,
  CRYPTO_SERPENT,
  CRYPTO_TWOFISH,
  CRYPTO_CAST5,
};

enum crypto_mode {
  CRYPTO_CBC,
  CRYPTO_XTS,
  CRYPTO_CTR,
  CRYPTO_ECB, /* has no IV */
};

/* How the IV is made of the sector's number: as 32 or 64 bits little-
 * endian, or that encrypted with the hash of the key as key.
 */
enum crypto_iv {
  CRYPTO_PLAIN,
  CRYPTO_PLAIN64,
  CRYPTO_ESSIV,
};

enum crypto_hash {
  CRYPTO_MD5,
  CRYPTO_SHA1,
  CRYPTO_SHA224,
  CRYPTO_SHA256,
  CRYPTO_SHA384,
  CRYPTO_SHA512,
  CRYPTO_RIPEMD160,
};

struct crypto_method {
  enum crypto_cipher cipher;
  enum crypto_mode mode;
  size_t key_bytes; /* of both halves in XTS */
  enum crypto_iv iv;
  enum crypto_hash iv_hash; /* if ESSIV */
};

/* Once, before anything else here.  0, or -1: libgcrypt is too old. */
int crypto_load (void);

/* By the names that LUKS headers have for them. */
bool crypto_find_cipher (const char *name, enum crypto_cipher *cipher);
bool crypto_find_mode (const char *name, enum crypto_mode *mode);
bool crypto_find_hash (const char *name, enum crypto_hash *hash);

/* Is there such a method?  0, or -1 and the reason. */
int crypto_check (const struct crypto_method *method, struct problem *problem);

/* Why the last function that this thread called failed with EIO. */
const char *crypto_reason (void);

/* Report that it failed, of what the object's header says of its encryption.
 * -1 with errno EIO or ENOMEM, as it was.
 */
int crypto_report (const struct qcow_hooks *hooks, const char *object,
                   const char *encryption);

/* A method that crypto_check has approved of, and a key of method->key_bytes,
 * which is copied.  NULL with errno ENOMEM, or EIO if libgcrypt may not use
 * the cipher, or the hash for IVs.
 */
struct crypto *crypto_new (const struct crypto_method *method,
                           const uint8_t *key);
void crypto_free (struct crypto *c);

/* Decrypt whole sectors in place; 'sector' is the number of the first.  0,
 * or -1 with errno ENOMEM or EIO.
 */
int crypto_decrypt (struct crypto *c, uint8_t *buf, size_t length,
                    uint64_t sector);

/* Lock the key in memory again, after a fork.  0, or -1 with errno. */
int crypto_lock_key (const struct crypto *c);

size_t crypto_hash_bytes (enum crypto_hash hash);

/* The hash of two pieces, one after the other: crypto_hash_bytes bytes. */
int crypto_hash_two (enum crypto_hash hash, const void *one, size_t one_length,
                     const void *two, size_t two_length,
                     uint8_t out[CRYPTO_MAX_HASH_BYTES]);

/* HMAC (RFC 2104) of a text: crypto_hash_bytes bytes, which may take the
 * key's place.  0, or -1 with errno ENOMEM or EIO.
 */
int crypto_hmac (enum crypto_hash hash, const void *key, size_t key_length,
                 const void *text, size_t length,
                 uint8_t out[CRYPTO_MAX_HASH_BYTES]);

/* PBKDF2 (RFC 8018) with HMAC; 'secret' is a passphrase or a key, and may
 * be empty.  0, or -1 with errno ENOMEM or EIO.
 */
int crypto_pbkdf2 (enum crypto_hash hash, const void *secret,
                   size_t secret_length, const uint8_t *salt,
                   size_t salt_length, uint32_t iterations, uint8_t *out,
                   size_t length);

/* How much time that takes, in the time of HMAC-SHA256 of a short text:
 * some 0.15 us.
 */
uint64_t crypto_pbkdf2_work (enum crypto_hash hash, uint32_t iterations,
                             size_t length);

#endif /* QCOW_CODEC_CIPHER_H */
