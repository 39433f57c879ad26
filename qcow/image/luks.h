/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The LUKS header in an image: bytes -> struct luks_header, which is pure;
 * and finding the key of the data with a passphrase.
 *
 * Sources: LUKS On-Disk Format Specification 1.2.3, and for the checks
 * what qemu 7.2 refuses.
 */

#ifndef QCOW_IMAGE_LUKS_H
#define QCOW_IMAGE_LUKS_H

#include "base/options.h"
#include "codec/cipher.h"
#include "source/source.h"

#define LUKS_HEADER_BYTES 592
#define LUKS_SLOTS 8
#define LUKS_SALT_BYTES 32
#define LUKS_DIGEST_BYTES 20

/* Pieces of a key in a key slot; qemu and cryptsetup know no other
 * number.
 */
#define LUKS_STRIPES 4000

/* How much work (digest.h) all key slots together may make for one
 * passphrase.  A header says how often its hash is to be iterated, and
 * could say 2^32 - 1 for each slot: some hours.  qemu-img chooses what
 * takes its machine 2 seconds: on an AMD EPYC 7,481,278 iterations of
 * SHA-256 twice, since the key has 64 bytes, and 1,917,243 more to check the
 * result, 17 million; with SHA-1 up to 21 million.  So three such slots are
 * tried; it takes libgcrypt some 10 seconds there.  Who has more of them says
 * that he wants to wait (luks-iterations=).
 */
#define LUKS_DEFAULT_WORK QCOW_DEFAULT_LUKS_ITERATIONS

/* For several passphrases or layers, so many times that much. */
#define LUKS_TOTAL_FACTOR 4

struct luks_slot {
  bool active;
  uint32_t iterations; /* > 0 if active */
  uint8_t salt[LUKS_SALT_BYTES];
  uint64_t material; /* offset of the key material from the start of the
                        LUKS header, bytes */
};

struct luks_header {
  struct cipher_method method; /* checked */
  enum digest hash;
  uint8_t digest[LUKS_DIGEST_BYTES], digest_salt[LUKS_SALT_BYTES];
  uint32_t digest_iterations; /* > 0 */
  struct luks_slot slots[LUKS_SLOTS];
};

/* 'length' is how much room the header has in the image, with all its key
 * material.  0, or -1 and the reason.
 */
int luks_parse (const uint8_t bytes[LUKS_HEADER_BYTES], uint64_t length,
                struct luks_header *header, struct problem *problem);

unsigned luks_active_slots (const struct luks_header *header);

/* Work to make all key slots try one passphrase. */
uint64_t luks_work (const struct luks_header *header);

/* How much work may still be done. */
struct luks_limits {
  uint64_t each;  /* for one passphrase */
  uint64_t total; /* goes down */
};

/* What came of the passphrases. */
struct luks_result {
  struct cipher *cipher; /* decrypts the data; NULL: none fits a slot */
  unsigned slot;         /* if one does: which, 0 to 7 */
  size_t passphrase;     /* and which of them */
  unsigned skipped;      /* slots not tried: they make too much work */
  unsigned cut;          /* the same: the source ends before */
  bool gave_up;          /* the total was used up */
};

/* Try the passphrases in each active slot, beginning with the cheapest.  The
 * LUKS header is at 'offset' of the source.  0, or -1 with the error reported
 * and errno EIO or ENOMEM.
 */
int luks_unlock (const struct luks_header *header, struct source *source,
                 uint64_t offset, const char *const *passphrases, size_t n,
                 struct luks_limits *limits, struct luks_result *result);

#endif /* QCOW_IMAGE_LUKS_H */
