/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory for keys: never in a core dump, not swapped out if the system
 * allows that, wiped when it is freed.
 *
 * Each piece has pages of its own, so this is for a few pieces.  It has no
 * lock: whoever made a piece owns it.
 */

#ifndef QCOW_BASE_SECRET_H
#define QCOW_BASE_SECRET_H

#include <stddef.h>

/* 'length' > 0 bytes of zeros.  NULL if out of memory. */
void *secret_new (size_t length);

/* NULL is ignored. */
void secret_free (void *secret, size_t length);

/* Wipe and free a string of ordinary memory, all that was allocated for it.
 * NULL is ignored.
 */
void secret_free_string (char *secret);

/* Keep it in memory.  secret_new has done so, but it ends with a fork.  0,
 * or -1 with errno if the system does not allow it.
 */
int secret_lock (const void *secret, size_t length);

#endif /* QCOW_BASE_SECRET_H */
