/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The messages about files that the access rule refuses, and the values of
 * allow=, which they name.  Private to access.c.
 */

#ifndef QCOW_IMAGE_ACCESS_REFUSAL_H
#define QCOW_IMAGE_ACCESS_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hooks.h"
#include "url/reference.h"

/* One value of allow= other than "any": a directory or a prefix of URLs. */
struct allowed {
  const char *value;
  char *real;    /* a directory: its real path; else NULL */
  int fd;        /* of the directory, O_PATH; else -1 */
  bool is_named; /* the value names the directory, and is not image-dir */
  char *prefix;  /* a prefix of URLs: its name; else NULL */
};

struct access {
  const struct qcow_hooks *hooks;
  bool any; /* allow=any */

  /* The directory of the image that the user names, which a descriptor does
   * not have: of a local file ...
   */
  char *stated_dir; /* as the user writes it; else NULL */
  char *real_dir;   /* its real path; NULL: not known */
  /* ... or of a URL. */
  char *url_dir; /* else NULL */

  size_t nr;
  struct allowed allowed[];
};

/* All return -1 with the error reported.  The first two set errno EPERM; the
 * third keeps errno.
 */

/* No value of allow= covers the local file.  'real' is its real path, or NULL
 * if that was not looked up.
 */
int access_refuse_file (const struct access *access,
                        const struct reference *ref, const char *real);

/* No value of allow= covers the URL. */
int access_refuse_url (const struct access *access,
                       const struct reference *ref);

/* The file can't be opened, for the reason in errno. */
int access_open_failed (const struct access *access,
                        const struct reference *ref);

#endif /* QCOW_IMAGE_ACCESS_REFUSAL_H */
