/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The files of a directory that is open: open one by its name, and list those
 * that may be images.  Private to qcow/.
 *
 * No other place of the file system can be reached through it: names have one
 * component, and symbolic links are followed only if they stay inside.
 *
 * Any number of threads may call these functions at once, except those that
 * open and close the directory.
 */

#ifndef QCOW_SOURCE_DIRECTORY_FILES_H
#define QCOW_SOURCE_DIRECTORY_FILES_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "base/error.h"

struct directory_files {
  const struct qcow_hooks *hooks;
  char *path;  /* the real path, with a slash at its end */
  int fd;      /* -1: not open */
  bool warned; /* of too many files; atomic */
};

/* Identifies a file and its content. */
struct file_version {
  dev_t device;
  ino_t inode;
  off_t size;
  struct timespec modified, changed;
};

bool file_version_same (const struct file_version *a,
                        const struct file_version *b);

/* Open the directory 'name'.  The hooks must outlive it.  0, or -1 with the
 * error reported and errno; then nothing is open.
 */
int directory_files_open (struct directory_files *f, const char *name,
                          const struct qcow_hooks *hooks);
void directory_files_close (struct directory_files *f);

/* Open a file for reading.  'name' has no slash.  Returns a descriptor, which
 * the caller closes, or -1 with the error reported and errno: ENOENT, EPERM (a
 * link leads outside), EINVAL (not a file or block device), or another from
 * opening it.
 */
int directory_files_open_one (const struct directory_files *f,
                              const char *name, struct file_version *version);

/* Call fn for each file that starts with QCOW_MAGIC and whose name does not
 * start with a dot, in the order of the names; see qcow_list_fn.  Returns 0,
 * or -1 with errno: fn returned -1, ESHUTDOWN if the sleep hook ended it, or
 * else with the error reported.
 */
int directory_files_list (struct directory_files *f,
                          int (*fn) (void *opaque, const char *name,
                                     const char *description),
                          void *opaque);

/* Files beyond this number are not listed, after one warning. */
#define DIRECTORY_FILES_MAX 65536

#endif /* QCOW_SOURCE_DIRECTORY_FILES_H */
