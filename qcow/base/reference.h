/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A file that another one names, and who named it: for messages, and for
 * the rule that decides whether it may be opened (image/access.h).
 */

#ifndef QCOW_BASE_REFERENCE_H
#define QCOW_BASE_REFERENCE_H

#include <stdbool.h>

/* A reference to another file, found inside an image. */
struct reference {
  const char *image;     /* the image's name, for messages */
  const char *what;      /* "backing file", "data file" */
  const char *stored;    /* the name as it stands in the image */
  const char *path;      /* what it means: a path, or a URL's name (url.h) */
  const char *parameter; /* that names such a file: "backing" */
  bool hidden; /* 'path' may have a secret in it, and 'stored' was made fit for
                  messages */
};

#endif /* QCOW_BASE_REFERENCE_H */
