/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decryption of sectors with libgcrypt.
 *
 * A struct cipher decrypts the data of one layer.  Any number of threads may
 * use it at once: each takes a libgcrypt context from a pool.  The key is in
 * memory of secret_new.  Contexts hold the key and its schedule in ordinary
 * memory, which libgcrypt wipes when it closes them.
 */

#ifndef QCOW_CODEC_CIPHER_H
#define QCOW_CODEC_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "codec/digest.h"

/* Each sector is encrypted separately, with its own IV. */
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

/* The IV is the sector's number as a little-endian integer of 32 (PLAIN) or 64
 * bits.  ESSIV encrypts the 64 bits with a hash of the key as the key.
 */
enum cipher_iv {
  CIPHER_IV_PLAIN,
  CIPHER_IV_PLAIN64,
  CIPHER_IV_ESSIV,
};

struct cipher_method {
  enum cipher_algorithm algorithm;
  enum cipher_mode mode;
  size_t key_bytes; /* in XTS, of both halves */
  enum cipher_iv iv;
  enum digest iv_hash; /* if ESSIV */
};

/* Find an algorithm or mode by its name in LUKS headers. */
bool cipher_find_algorithm (const char *name, enum cipher_algorithm *found);
bool cipher_find_mode (const char *name, enum cipher_mode *found);

/* Check that the parts of the method fit together.  Returns 0, or -1 and the
 * reason.
 */
int cipher_check (const struct cipher_method *method, struct problem *problem);

/* Create a cipher.  'method' has passed cipher_check.  Copies
 * method->key_bytes bytes of 'key'.  Returns NULL with errno ENOMEM, or EIO if
 * libgcrypt does not allow the cipher or the hash for IVs (see
 * libgcrypt_reason).
 */
struct cipher *cipher_new (const struct cipher_method *method,
                           const uint8_t *key);
void cipher_free (struct cipher *c);

/* Decrypt whole sectors in place.  'sector' is the number of the first one.
 * Returns 0, or -1 with errno ENOMEM or EIO.
 */
int cipher_decrypt (struct cipher *c, uint8_t *buf, size_t length,
                    uint64_t sector);

/* Lock the key in memory again after a fork.  Returns 0, or -1 with errno. */
int cipher_lock_key (const struct cipher *c);

#endif /* QCOW_CODEC_CIPHER_H */
