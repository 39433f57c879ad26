/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory for keys and passphrases: never in a core dump, not swapped out if
 * the system allows that, wiped when it is freed.
 *
 * Each secret takes whole pages, so use this for few of them.  No locking: the
 * caller owns what secret_new returns.
 */

#ifndef QCOW_BASE_SECRET_H
#define QCOW_BASE_SECRET_H

#include <stddef.h>

/* Allocate 'length' > 0 bytes of zeros.  Returns NULL if out of memory. */
void *secret_new (size_t length);

/* Wipe and free the memory.  NULL is ignored. */
void secret_free (void *secret, size_t length);

/* Lock the memory again after a fork, which ends the lock that secret_new
 * takes.  Returns 0, or -1 with errno if the system does not allow it.
 */
int secret_lock (const void *secret, size_t length);

/* Wipe and free a secret that malloc allocated.  NULL is ignored.
 * secret_free_string wipes a string up to its NUL, so a caller that shortens
 * such a string wipes the rest itself.
 */
void secret_free_buffer (void *buffer, size_t length);
void secret_free_string (char *string);

#endif /* QCOW_BASE_SECRET_H */
