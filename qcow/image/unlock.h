/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unlock the encrypted images of a chain with the user's passphrases.
 * Private to qcow/.
 *
 * Only the thread that opens the chain calls this, once.  It takes seconds for
 * LUKS; the sleep hook can end it between two key slots.
 */

#ifndef QCOW_IMAGE_UNLOCK_H
#define QCOW_IMAGE_UNLOCK_H

#include "image/image.h"

/* Set image->cipher of each encrypted image.  Upper layers come first.
 *
 * A LUKS header shows whether a passphrase is right.  The old AES encryption
 * does not: the n-th AES layer takes the n-th of the passphrases that opened
 * no LUKS layer, or the last of them.  (If all opened one, it takes the n-th
 * or last of all.)
 *
 * 0, or -1 with the error reported and errno EACCES (no passphrase is right),
 * EINVAL (for example: there is a passphrase, but nothing is encrypted, unless
 * images share the context), EIO, ENOMEM or ESHUTDOWN.
 */
int unlock_images (struct image *const *images, size_t n,
                   const struct qcow_options *options);

#endif /* QCOW_IMAGE_UNLOCK_H */
