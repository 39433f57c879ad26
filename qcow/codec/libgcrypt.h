/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Initialization and errors of libgcrypt.  Only cipher.c and digest.c call
 * other functions of libgcrypt.
 */

#ifndef QCOW_CODEC_LIBGCRYPT_H
#define QCOW_CODEC_LIBGCRYPT_H

#include "base/error.h"

/* Call this once, before any function of cipher.h or digest.h.  Returns 0, or
 * -1 if libgcrypt is too old.
 */
int libgcrypt_load (void);

/* Return the reason of this thread's last failure with EIO in a function of
 * cipher.h or digest.h.
 */
const char *libgcrypt_reason (void);

/* Report that such a function failed.  'encryption' describes the method in
 * the header of the object.  Returns -1 with errno EIO or ENOMEM, unchanged.
 */
int libgcrypt_report (const struct qcow_hooks *hooks, const char *object,
                      const char *encryption);

/* For cipher.c and digest.c: store a gcry_error_t for libgcrypt_reason.
 * Returns -1 with errno EIO or ENOMEM.
 */
int libgcrypt_fail (unsigned error);

/* For each HMAC, libgcrypt allocates a few bytes, and ends the process if that
 * fails.  So reserve memory before the call, and release it afterwards.  The
 * reserve belongs to the thread.  libgcrypt_reserve returns 0, or -1 with
 * errno ENOMEM.
 */
int libgcrypt_reserve (void);
void libgcrypt_release (void);

#endif /* QCOW_CODEC_LIBGCRYPT_H */
