/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The key of an encrypted image: read its LUKS header and try passphrases.
 *
 * Keys and key material are in memory for secrets (secret.h), except in
 * libgcrypt's contexts (cipher.h).
 */

#ifndef QCOW_IMAGE_LUKS_H
#define QCOW_IMAGE_LUKS_H

#include "base/options.h"
#include "codec/cipher.h"
#include "codec/digest.h"
#include "format/luks-header.h"
#include "source/source.h"

/* The most work (digest.h) for one passphrase in all key slots together.  A
 * header states how many iterations of its hash each slot takes.  The most,
 * 2^32 - 1, take hours.
 *
 * qemu-img chooses the iterations so that they take its machine 2 seconds.  On
 * an AMD EPYC: 7,481,278 iterations of SHA-256, twice since the key has 64
 * bytes, and 1,917,243 more to check the result: 17 million, or up to 21
 * million with SHA-1.  So the default allows three such slots, for which
 * libgcrypt takes some 10 seconds there.  luks-iterations= allows more.
 */

/* The most work for all passphrases and layers, as a multiple of that. */
#define LUKS_TOTAL_FACTOR 4

/* The LUKS header of an image, and its algorithms. */
struct luks {
  struct luks_header header;
  struct cipher_method method; /* of the data; passed cipher_check */
  enum digest hash;
};

/* Parse the header and find its algorithms.  Pure.  'length' is the length of
 * the header's area in the image, including all key material.  0, or -1 with
 * the reason.
 */
int luks_parse (const uint8_t bytes[LUKS_HEADER_BYTES], uint64_t length,
                struct luks *luks, struct problem *problem);

/* Read and parse the header in [offset, offset + length) of an image.  0, or
 * -1 with the error reported and errno EINVAL, EIO or ENOMEM.
 */
int luks_read (struct source *source, uint64_t offset, uint64_t length,
               struct luks *luks);

/* The work to try one passphrase in all active key slots. */
uint64_t luks_work (const struct luks *luks);

/* The work that may still be done. */
struct luks_limits {
  uint64_t each;  /* per passphrase, in all slots; constant */
  uint64_t total; /* luks_unlock subtracts its work */
};

struct luks_result {
  struct cipher *cipher; /* decrypts the data; NULL: no passphrase is right */
  unsigned slot;         /* if one is right: the slot it opens, 0 to 7 */
  size_t passphrase;     /* if one is right: its index */
  unsigned skipped;      /* slots not tried: too much work */
  unsigned cut;          /* slots past the end of the source */
  bool gave_up;          /* limits->total was too low */
};

/* Try the passphrases in each active slot, the cheapest slot first.  The LUKS
 * header is at 'offset' of the source.  0, or -1 with the error reported and
 * errno EIO or ENOMEM, or with errno ESHUTDOWN if the sleep hook ended it.
 */
int luks_unlock (const struct luks *luks, struct source *source,
                 uint64_t offset, const char *const *passphrases, size_t n,
                 struct luks_limits *limits, struct luks_result *result);

#endif /* QCOW_IMAGE_LUKS_H */
