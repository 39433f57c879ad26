/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The key of an encrypted image: reading its LUKS header, and trying
 * passphrases.
 *
 * While it is in use, everything secret is in memory for secrets (secret.h).
 */

#ifndef QCOW_IMAGE_LUKS_H
#define QCOW_IMAGE_LUKS_H

#include "base/options.h"
#include "codec/cipher.h"
#include "codec/digest.h"
#include "format/luks-header.h"
#include "source/source.h"

/* The most work (digest.h) of all key slots together for one passphrase.  A
 * header says how many iterations of its hash each slot takes: up to 2^32 - 1,
 * which takes hours.
 *
 * qemu-img chooses as many as take its machine 2 seconds.  On an AMD EPYC that
 * is 7,481,278 iterations of SHA-256, twice since the key has 64 bytes, and
 * 1,917,243 more to check the result: 17 million, with SHA-1 up to 21 million.
 * So the default allows three such slots, for which libgcrypt takes some 10
 * seconds there.  luks-iterations= allows more.
 */
#define LUKS_DEFAULT_WORK QCOW_DEFAULT_LUKS_ITERATIONS

/* The most work for all passphrases and layers is this many times as much. */
#define LUKS_TOTAL_FACTOR 4

/* The LUKS header of an image, and its algorithms. */
struct luks {
  struct luks_header header;
  struct cipher_method method; /* of the data; it has passed cipher_check */
  enum digest hash;
};

/* Parse the header, and find its algorithms.  Pure.  'length' is the length of
 * the header's area in the image, with all its key material.  0, or -1 and the
 * reason.
 */
int luks_parse (const uint8_t bytes[LUKS_HEADER_BYTES], uint64_t length,
                struct luks *luks, struct problem *problem);

/* Read and parse the header in [offset, offset + length) of an image.  0, or
 * -1 with the error reported and errno EINVAL, EIO or ENOMEM.
 */
int luks_read (struct source *source, uint64_t offset, uint64_t length,
               struct luks *luks);

/* The work of trying one passphrase in all active key slots. */
uint64_t luks_work (const struct luks *luks);

/* The most work that is left. */
struct luks_limits {
  uint64_t each;  /* for one passphrase in all slots; constant */
  uint64_t total; /* luks_unlock subtracts what it does */
};

struct luks_result {
  struct cipher *cipher; /* decrypts the data; NULL: no passphrase fits */
  unsigned slot;         /* if one fits: the slot it opens, 0 to 7 */
  size_t passphrase;     /* if one fits: its index */
  unsigned skipped;      /* slots that take too much work to try them */
  unsigned cut;          /* slots beyond the end of the source */
  bool gave_up;          /* limits->total did not suffice */
};

/* Try the passphrases in each active slot, the cheapest slot first.  The LUKS
 * header is at 'offset' of the source.  0, or -1 with the error reported and
 * errno EIO or ENOMEM.
 */
int luks_unlock (const struct luks *luks, struct source *source,
                 uint64_t offset, const char *const *passphrases, size_t n,
                 struct luks_limits *limits, struct luks_result *result);

#endif /* QCOW_IMAGE_LUKS_H */
