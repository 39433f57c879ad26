/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Safe ways to open local files whose names, or whose types, are not trusted.
 * A file is first opened with O_PATH, which has no effect on it, so the caller
 * can look at its type; then the same file is opened for reading.
 *
 * All descriptors are close-on-exec.  All functions return -1 with errno.
 */

#ifndef QCOW_BASE_OPEN_H
#define QCOW_BASE_OPEN_H

#include <stdint.h>

/* Open a file below a directory with O_PATH.  The kernel does not leave the
 * directory; if the name or a symbolic link does, errno is EXDEV.  'resolve'
 * has further RESOLVE_* flags of openat2.  errno is ENOSYS if the kernel has
 * no openat2.
 */
int open_below (int directory, const char *name, uint64_t resolve);

/* Open the file of a descriptor, which may be an O_PATH one, for reading.  The
 * result has a file offset and locks of its own.  errno is EOPNOTSUPP if /proc
 * is not mounted.
 */
int open_again (int fd);

void close_keeping_errno (int fd);

#endif /* QCOW_BASE_OPEN_H */
