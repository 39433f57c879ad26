/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rule of what may be opened because an image names it: nothing, but
 * what the user allows.  Used while the chain is opened, by one thread.
 *
 * URLs are allowed by their beginning.  They are compared with all that is
 * escaped in them as it is, and what a server might take for ".." is
 * refused.
 *
 * What an image names may come from a stranger.  So a name goes through
 * realpath, must then lie below an allowed directory, and is opened from
 * that directory's descriptor in a way that can't leave it again, whoever
 * renames or links what in the meantime.  Only regular files are opened,
 * and block devices below a directory that the user has named.  While no
 * directory is allowed, no system call gets a name from an image.
 */

#ifndef QCOW_IMAGE_ACCESS_H
#define QCOW_IMAGE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "http/reference.h"

struct access;

/* 'allow' are nr values of allow=: "image-dir", "any", a directory or the
 * beginning of URLs; 'image' is the one that the user names.  NULL with the
 * error reported, and errno, if a directory can't be used.
 */
struct access *access_new (const char *const *allow, size_t nr,
                           const struct reference *image,
                           const struct qcow_hooks *hooks);
void access_free (struct access *access);

/* Open a local file for reading if it may be opened.  The caller closes the
 * descriptor.  -1 with the error reported, and errno EPERM if it is not
 * allowed.
 */
int access_open (const struct access *access, const struct reference *ref);

/* May the URL be opened?  0, or -1 with the error reported and errno EPERM. */
int access_check_url (const struct access *access,
                      const struct reference *ref);

#endif /* QCOW_IMAGE_ACCESS_H */
