/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The anti-forensic merge of LUKS.  LUKS spreads a key over many stripes, so
 * that losing a few bytes of them destroys the key.  Pure.
 */

#ifndef QCOW_CODEC_AFSPLIT_H
#define QCOW_CODEC_AFSPLIT_H

#include <stdint.h>

#include "codec/digest.h"

/* Merge 'stripes' stripes of key_bytes bytes into a key of that size.  Returns
 * 0, or -1 with errno ENOMEM or EIO.
 */
int afsplit_merge (enum digest digest, const uint8_t *in, size_t key_bytes,
                   unsigned stripes, uint8_t *key);

#endif /* QCOW_CODEC_AFSPLIT_H */
