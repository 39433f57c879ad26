/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unlocking an encrypted image with the user's passphrases.  Private to
 * qcow/.
 *
 * Done once for each layer, by one thread, while the chain is opened.
 */

#ifndef QCOW_UNLOCK_H
#define QCOW_UNLOCK_H

#include "image.h"

/* For all layers of a chain. */
struct passphrases {
  const char *const *list;
  size_t n;
  uint64_t max_work; /* see luks.h */

  /* What was met so far. */
  size_t encrypted_layers; /* of any kind */
  size_t aes_layers;       /* of the old kind */
};

/* Set image->crypto if the image is encrypted.  A LUKS header says which of
 * the passphrases is right.  With the old AES any would do, so the n-th such
 * layer takes the n-th, or the last.  0, or -1 with the error reported and
 * errno EACCES (no passphrase fits), EINVAL, EIO or ENOMEM.
 */
int unlock_image (struct image *image, struct passphrases *passphrases);

#endif /* QCOW_UNLOCK_H */
