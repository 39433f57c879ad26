/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Resolve names of files: those that the user gives, and those that images
 * store.  No file is opened here.  Private to qcow/.
 *
 * The rules for names in images are those of qemu's block.c.  Protocols other
 * than URLs of web servers are refused.  Unlike in qemu, a relative name in an
 * image at a URL is a file name, in which '?', '#' and '%' are ordinary, and
 * one in an image without a name (a descriptor) is taken from the first
 * directory that allow= names.
 *
 * The first URL creates context->http.  All functions fill in *ref, which the
 * caller passes to reference_free, even on failure.  They return 0, or -1 with
 * the error reported and errno EINVAL, EIO or ENOMEM.
 */

#ifndef QCOW_IMAGE_RESOLVE_H
#define QCOW_IMAGE_RESOLVE_H

#include "base/options.h"
#include "image/image.h"
#include "image/layer-suffix.h"
#include "url/reference.h"

/* The image that the options name with url=, file= or fd=. */
int resolve_top (struct context *context, const struct qcow_options *options,
                 struct reference *ref);

/* The value of backing= or data-file=, which is a URL or a local file. */
int resolve_user_name (struct context *context,
                       const struct qcow_options *options, const char *name,
                       struct reference *ref);

/* The backing file, or the data file, that the image names.  'suffix' is that
 * of the parameter with which the user could name it.
 */
int resolve_backing_file (const struct image *image,
                          const struct qcow_options *options,
                          const struct layer_suffix *suffix,
                          struct reference *ref);
int resolve_data_file (const struct image *image,
                       const struct qcow_options *options,
                       const struct layer_suffix *suffix,
                       struct reference *ref);

#endif /* QCOW_IMAGE_RESOLVE_H */
