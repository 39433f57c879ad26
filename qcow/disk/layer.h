/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a view consists of: layers, and perhaps an older view or a dirty bitmap
 * to compare them with.  Constant once the view is open, so it needs no lock.
 */

#ifndef QCOW_DISK_LAYER_H
#define QCOW_DISK_LAYER_H

#include <stdbool.h>
#include <stdint.h>

#include "image/bitmap-table.h"
#include "image/image.h"

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
  struct context *context;
  const char *name; /* of the image, for messages */
  char *description;
  uint32_t id; /* which view of the chain: the owner in cache keys; 0: it
                  has none */
  unsigned cluster_bits; /* of the image */
  uint64_t size;         /* bytes */
  struct l1_table *l1;   /* of the top layer; the view holds one use of it;
                            NULL: none */

  /* What extents are about, if not just what there is: at most one. */
  struct diff_base *since;
  struct open_bitmap *bitmap;

  bool remote;           /* at least one layer is */
  unsigned nr_layers;    /* >= 1 */
  struct layer layers[]; /* the top first */
};

/* What a view is compared with. */
struct diff_base {
  struct qcow_view *old; /* the older view, as a whole */

  /* The layers of each view above those that they have in common; NULL:
   * there are none.
   */
  struct qcow_view *new_upper, *old_upper;

  /* How much of the common layers each view sees, in bytes. */
  uint64_t new_lower_size, old_lower_size;
};

#endif /* QCOW_DISK_LAYER_H */
