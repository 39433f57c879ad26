/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rule that decides how a backing file is read: as a raw disk or as a QCOW
 * image.  Private to qcow/.
 *
 * A format that is not recorded is not guessed: a guest can write the header
 * of an image to its raw disk, and the reader would open what that names.  A
 * format that the image records for its own backing file is not believed for
 * the file that the user puts in its place.  So such a file is read as a raw
 * disk, and refused if it starts like an image.
 */

#ifndef QCOW_IMAGE_BACKING_FORMAT_H
#define QCOW_IMAGE_BACKING_FORMAT_H

#include <stdbool.h>

#include "base/options.h"
#include "http/reference.h"
#include "image/image.h"

enum layer_format { FORMAT_UNKNOWN, FORMAT_RAW, FORMAT_QCOW };

/* What is said about a backing file before it is opened. */
struct stated_format {
  enum layer_format format; /* UNKNOWN: nothing */
  bool by_user;             /* with backing-format=; else by the image */
  bool of_other_file; /* by the image, of the file that backing= replaces */
};

/* Check the values of backing-format=; 'object' is for messages.  0, or -1
 * with the error reported and errno EINVAL.
 */
int backing_format_check_options (const struct qcow_options *options,
                                  const struct qcow_hooks *hooks,
                                  const char *object);

/* What the user, or the image 'above', says about the format of its backing
 * file, which is the layer number 'depth' below the top.  0, or -1 with the
 * error reported and errno EINVAL: the format is not supported.
 */
int backing_format_stated (const struct image *above, unsigned depth,
                           const struct qcow_options *options,
                           struct stated_format *stated);

/* How to read the opened file.  UNKNOWN with the error reported, and errno
 * EINVAL, EIO or ENOMEM.
 */
enum layer_format backing_format_decide (const struct image *above,
                                         const struct stated_format *stated,
                                         const struct reference *ref,
                                         struct source *source);

#endif /* QCOW_IMAGE_BACKING_FORMAT_H */
