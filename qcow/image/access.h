/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The access rule: which files may be opened because an image names them.
 *
 * - A file is opened only if a value of allow= covers it.  By default there is
 *   no value, since an image may come from an untrusted source.
 * - A directory covers the files whose real path lies below its own real path,
 *   whatever is renamed or linked in the meantime.  allow=image-dir is the
 *   directory of the image that the user names.
 * - Only regular files are opened, and block devices below a directory that
 *   the user names.
 * - A URL covers itself and the URLs below it.  Percent-encoded characters are
 *   not decoded for the comparison.  A URL with a user name, or with anything
 *   that a server may treat as "..", is refused.
 * - allow=any covers every regular file and every URL, but no socket of this
 *   machine if a file of the chain is at a URL.
 *
 * A rule is constant, so any number of threads may use it at once.
 */

#ifndef QCOW_IMAGE_ACCESS_H
#define QCOW_IMAGE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "url/reference.h"

struct access;

/* 'allow' has nr values of allow=: "image-dir", "any", a directory or a prefix
 * of URLs.  They must outlive the result.  'image' is the image that the user
 * names.  NULL with the error reported and errno EINVAL, ENOMEM, or the reason
 * why a directory can't be opened.
 */
struct access *access_new (const char *const *allow, size_t nr,
                           const struct reference *image,
                           const struct qcow_hooks *hooks);
void access_free (struct access *access);

/* Open a local file for reading if the rule allows it.  The caller closes the
 * descriptor.  -1 with the error reported, and errno EPERM if the rule refuses
 * the file.
 */
int access_open (const struct access *access, const struct reference *ref);

/* Check that the rule allows the URL.  'has_remote': a file of the chain is at
 * a URL already.  0, or -1 with the error reported and
 * errno EPERM.
 */
int access_check_url (const struct access *access, const struct reference *ref,
                      bool has_remote);

#endif /* QCOW_IMAGE_ACCESS_H */
