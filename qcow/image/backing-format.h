/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rule that decides whether a backing file is read as a raw disk or as a
 * QCOW image.  Private to qcow/.
 *
 * If no format is recorded, it is not guessed from the content: a guest can
 * write an image header to its raw disk, and that header could name any file.
 * So the file is read as a raw disk, and refused if it starts like an image.
 * If the user substitutes another file, the recorded format still counts, but
 * a raw file is then refused, too, if it starts like an image.
 *
 * A single format of the user without a number is for the uppermost backing
 * file, and for all others for which no image records a format.
 */

#ifndef QCOW_IMAGE_BACKING_FORMAT_H
#define QCOW_IMAGE_BACKING_FORMAT_H

#include <stdbool.h>

#include "base/options.h"
#include "image/image.h"
#include "image/layer-suffix.h"
#include "url/reference.h"

enum layer_format { FORMAT_UNKNOWN, FORMAT_RAW, FORMAT_QCOW };

/* The format of a backing file as stated before the file is opened. */
struct stated_format {
  enum layer_format format; /* UNKNOWN: not stated */
  bool by_user;             /* by backing-format=; else by the image */
  bool of_other_file;       /* stated by the image for the file that backing=
                               replaces */

  /* Of backing-format=: as the user wrote it, if by_user; and as the user can
   * write one for this layer.
   */
  struct layer_suffix given, needed;
};

/* Check the values of backing-format=; 'object' is for messages.  0, or -1
 * with the error reported and errno EINVAL.
 */
int backing_format_check_options (const struct qcow_options *options,
                                  const struct qcow_hooks *hooks,
                                  const char *object);

/* Find what the user, or the image 'above', states about the format of its
 * backing file, which is the layer 'depth' below the top.  0, or -1 with the
 * error reported and errno EINVAL: the format is not supported.
 */
int backing_format_stated (const struct image *above, unsigned depth,
                           const struct qcow_options *options,
                           struct stated_format *stated);

/* Decide how to read the opened file.  UNKNOWN with the error reported, and
 * errno EINVAL, EIO or ENOMEM.
 */
enum layer_format backing_format_decide (const struct image *above,
                                         const struct stated_format *stated,
                                         const struct reference *ref,
                                         struct source *source);

#endif /* QCOW_IMAGE_BACKING_FORMAT_H */
