/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unlock the encrypted images of a chain with the user's passphrases.
 * Private to qcow/.
 *
 * One thread does this once, while the chain is opened.
 */

#ifndef QCOW_IMAGE_UNLOCK_H
#define QCOW_IMAGE_UNLOCK_H

#include "image/image.h"

/* Set image->cipher of each image that is encrypted; upper layers come first.
 *
 * A LUKS header says which of the passphrases is right.  With the old AES any
 * would do: the n-th such layer takes the n-th of those that no LUKS layer
 * has taken, or the last of them.  (If there is none, of all.)
 *
 * 0, or -1 with the error reported and errno EACCES (no passphrase fits),
 * EINVAL (among others: there is one, and nothing is encrypted), EIO or
 * ENOMEM.
 */
int unlock_images (struct image *const *images, size_t n,
                   const struct qcow_options *options);

#endif /* QCOW_IMAGE_UNLOCK_H */
