/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a client sees: layers, one over the other.  Private to qcow/.
 *
 * Constant once it is open, so it needs no lock.
 */

#ifndef QCOW_VIEW_H
#define QCOW_VIEW_H

#include <stdint.h>

#include "image.h"

/* An image as one of its L1 tables maps it, or a raw file. */
struct layer {
  struct image *image;       /* NULL: a raw file */
  const struct l1_table *l1; /* NULL: a raw file */
  struct source *source;     /* the raw file, or the image's data */
  uint64_t size; /* bytes from guest offset 0 that are of interest: not more
                    than it has, nor than the layers above it have */
};

/* Ids of views begin here, those of images are below. */
#define VIEW_FIRST_ID (UINT32_C (1) << 31)

struct qcow_view {
  struct shared *shared;
  char *description;
  uint32_t id;           /* which view of the chain; the owner in cache keys */
  uint64_t size;         /* bytes */
  struct l1_table *l1;   /* of the top layer; the view holds one use of it */
  unsigned nr_layers;    /* >= 1 */
  struct layer layers[]; /* the top first */
};

#endif /* QCOW_VIEW_H */
