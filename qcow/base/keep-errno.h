/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Functions that clean up after an error must not change errno, which says
 * what the error was.  They begin with
 *
 *   KEEP_ERRNO;
 *
 * which restores errno at the end of the block, however it is left.
 */

#ifndef QCOW_BASE_KEEP_ERRNO_H
#define QCOW_BASE_KEEP_ERRNO_H

#include <errno.h>

static inline void
keep_errno_restore (const int *saved)
{
  errno = *saved;
}

#define KEEP_ERRNO                                                            \
  __attribute__ ((cleanup (keep_errno_restore), unused))                      \
  const int keep_errno_saved                                                  \
    = errno

#endif /* QCOW_BASE_KEEP_ERRNO_H */
