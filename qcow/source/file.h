/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A local file or block device as a source.
 */

#ifndef QCOW_SOURCE_FILE_H
#define QCOW_SOURCE_FILE_H

#include "source/source.h"

enum source_file_flags {
  SOURCE_FILE_FORCE_SHARE = 1,   /* take no locks, ignore those of others */
  SOURCE_FILE_NO_PAGE_CACHE = 2, /* evict what was read (evict.h) */
};

/* Open a local regular file or block device read-only, with qemu's locks
 * (lock.h).  'flags' are SOURCE_FILE_*.  The caller closes the source. Returns
 * NULL with the error reported, and errno as qcow_open.
 */
struct source *source_file_open (const char *filename, unsigned flags,
                                 const struct qcow_hooks *hooks);

/* The same for a descriptor that another program opened, perhaps one that has
 * rights which this one lacks.  The caller keeps the descriptor, and can close
 * it.  If 'nameless' is set, 'name' is only for messages.
 *
 * If possible, the file is opened again, so that the other program's file
 * offset stays as it is and the locks are independent of its own.  Otherwise
 * the locks last until both programs have closed the file, and locks that the
 * other program took through this descriptor are not noticed.
 */
struct source *source_file_from_descriptor (int fd, const char *name,
                                            bool nameless, unsigned flags,
                                            const struct qcow_hooks *hooks);

/* The same for a file that is already open.  Takes over 'fd', also on failure.
 */
struct source *source_file_from_fd (int fd, const char *filename,
                                    unsigned flags,
                                    const struct qcow_hooks *hooks);

#endif /* QCOW_SOURCE_FILE_H */
