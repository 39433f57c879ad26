/* SPDX-License-Identifier: BSD-3-Clause
 *
 * qemu's image locks, for a reader.
 *
 * qemu marks an open image with OFD locks of single bytes, always read locks:
 * byte 100 + i for each permission i that it uses, and byte 200 + i for each
 * that it does not share with others (qemu's block/file-posix.c).  Permission
 * 0 is a consistent read, 1 write, 3 resize.
 */

#ifndef QCOW_SOURCE_LOCK_H
#define QCOW_SOURCE_LOCK_H

#include <stdbool.h>

#include "base/error.h"

/* Lock the file as a reader that shares neither writing nor resizing, then
 * check that no other process writes, resizes, or refuses to share reading.
 * The locks belong to the open file description: they survive a fork, and end
 * when the last descriptor is closed.
 *
 * Returns 0, also (with a warning) if the file system has no such locks; or -1
 * with the error reported and errno, EBUSY if the image is in use.
 */
int lock_image (int fd, const char *name, const struct qcow_hooks *hooks);

#endif /* QCOW_SOURCE_LOCK_H */
