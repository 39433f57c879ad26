/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decrypting sectors with libgcrypt.
 *
 * A struct cipher decrypts the data of one layer.  Any number of threads
 * may use it at once: each takes a context of libgcrypt from a pool.  The
 * key is in memory of its own (base/secret.h).  Contexts hold the key and its
 * schedule in ordinary memory, which libgcrypt wipes when it closes them.
 */

#ifndef QCOW_CODEC_CIPHER_H
#define QCOW_CODEC_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "codec/digest.h"

/* A sector is encrypted as one piece, with an IV of its own. */
#define CIPHER_SECTOR_BYTES 512

#define CIPHER_MAX_KEY_BYTES 64

enum cipher_algorithm {
  CIPHER_AES,
  CIPHER_SERPENT,
  CIPHER_TWOFISH,
  CIPHER_CAST5,
};

enum cipher_mode {
  CIPHER_CBC,
  CIPHER_XTS,
  CIPHER_CTR,
  CIPHER_ECB, /* has no IV */
};

/* The IV is the sector's number with 32 or 64 bits, little-endian; ESSIV
 * encrypts the latter with the hash of the key as key.
 */
enum cipher_iv {
  CIPHER_IV_PLAIN,
  CIPHER_IV_PLAIN64,
  CIPHER_IV_ESSIV,
};

struct cipher_method {
  enum cipher_algorithm algorithm;
  enum cipher_mode mode;
  size_t key_bytes; /* of both halves in XTS */
  enum cipher_iv iv;
  enum digest iv_hash; /* if ESSIV */
};

/* By their names in LUKS headers. */
bool cipher_find_algorithm (const char *name, enum cipher_algorithm *found);
bool cipher_find_mode (const char *name, enum cipher_mode *found);

/* Returns 0 if the parts of the method fit together, or -1 and the reason. */
int cipher_check (const struct cipher_method *method, struct problem *problem);

/* 'method' has passed cipher_check.  'key' has method->key_bytes bytes, which
 * are copied.  Returns NULL with errno ENOMEM, or EIO if libgcrypt may not use
 * the cipher or the hash for IVs: see libgcrypt_reason.
 */
struct cipher *cipher_new (const struct cipher_method *method,
                           const uint8_t *key);
void cipher_free (struct cipher *c);

/* Decrypt whole sectors in place; 'sector' is the number of the first. Returns
 * 0, or -1 with errno ENOMEM or EIO.
 */
int cipher_decrypt (struct cipher *c, uint8_t *buf, size_t length,
                    uint64_t sector);

/* Lock the key in memory again, after a fork.  Returns 0, or -1 with errno. */
int cipher_lock_key (const struct cipher *c);

#endif /* QCOW_CODEC_CIPHER_H */
