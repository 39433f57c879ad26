/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A summary of one image as JSON, with the field names and the meanings of
 * 'qemu-img info --output=json'.  For programs that decide whether an image
 * may be used.
 *
 * No file that the image names is opened, and no passphrase is needed.  All
 * other checks are those of an image that is to be served.
 */

#ifndef QCOW_IMAGE_INFO_H
#define QCOW_IMAGE_INFO_H

#include <stdio.h>

#include "image/image.h"

/* Check the image's tables, then write the summary to 'out'.  0, or -1 with
 * errno EINVAL, EIO or ENOMEM and the error reported; then nothing is written.
 * The caller checks 'out' for errors of its own.
 */
int info_print (const struct image *image, FILE *out);

#endif /* QCOW_IMAGE_INFO_H */
