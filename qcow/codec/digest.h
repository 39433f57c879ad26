/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hashes, HMAC, and keys derived from passphrases.  All functions are
 * thread-safe.
 */

#ifndef QCOW_CODEC_DIGEST_H
#define QCOW_CODEC_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hooks.h"

#define DIGEST_MAX_BYTES 64

enum digest {
  DIGEST_MD5,
  DIGEST_SHA1,
  DIGEST_SHA224,
  DIGEST_SHA256,
  DIGEST_SHA384,
  DIGEST_SHA512,
  DIGEST_RIPEMD160,
};

/* Find a hash by its name in LUKS headers. */
bool digest_find (const char *name, enum digest *digest);
const char *digest_name (enum digest digest);

size_t digest_bytes (enum digest digest);

/* Hash two pieces, one after the other, into digest_bytes bytes.  Returns 0,
 * or -1 with errno ENOMEM or EIO.
 */
int digest_two (enum digest digest, const void *one, size_t one_length,
                const void *two, size_t two_length,
                uint8_t out[DIGEST_MAX_BYTES]);

/* HMAC (RFC 2104) of a text: digest_bytes bytes.  'out' and 'key' may be the
 * same buffer.  Returns 0, or -1 with errno ENOMEM or EIO.
 */
int digest_hmac (enum digest digest, const void *key, size_t key_length,
                 const void *text, size_t length,
                 uint8_t out[DIGEST_MAX_BYTES]);

/* PBKDF2 (RFC 8018) with HMAC.  'secret' is a passphrase or a key, and can be
 * empty; 'iterations' > 0.  Returns 0, or -1 with errno ENOMEM or EIO, or
 * ESHUTDOWN: the sleep hook has ended it.
 */
int digest_pbkdf2 (enum digest digest, const void *secret,
                   size_t secret_length, const uint8_t *salt,
                   size_t salt_length, uint32_t iterations, uint8_t *out,
                   size_t length, const struct qcow_hooks *hooks);

/* Return the time that digest_pbkdf2 takes, in units of one HMAC-SHA256 of a
 * short text (about 0.15 us).
 */
uint64_t digest_pbkdf2_work (enum digest digest, uint32_t iterations,
                             size_t length);

#endif /* QCOW_CODEC_DIGEST_H */
