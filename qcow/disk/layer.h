/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The layers of a view, and what the view is compared with.  Everything here
 * is constant once the view is open, so it needs no lock.
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
  struct source *source;     /* of the raw file, or of the image's data */
  uint64_t size; /* bytes that the view shows, from guest offset 0; at most the
                    size of any layer above */
};

/* Keeps open what a view uses.  The view is gone when it is released. */
struct view_owner {
  void (*release) (struct view_owner *owner);
};

struct qcow_view {
  struct context *context;
  struct view_owner *owner; /* released last; NULL: somebody else keeps open
                               what the view uses */
  const char *name;         /* of the image, for messages */
  char *description;
  uint64_t id;           /* the owner in cache keys (context.h); 0: nothing is
                            cached */
  unsigned cluster_bits; /* of the top image of the chain */
  uint64_t size;         /* bytes */
  struct l1_table *l1;   /* of the top layer; the view holds a reference to it.
                            NULL: another view or the chain holds it */

  /* What extents are compared with.  At most one is not NULL. */
  struct diff_base *since;
  struct open_bitmap *bitmap;

  bool remote;           /* at least one layer is remote */
  unsigned nr_layers;    /* >= 1 */
  struct layer layers[]; /* layers[0] is the top */
};

/* The older view that a view is compared with.  Two views of one chain share
 * their lower layers.
 */
struct diff_base {
  struct qcow_view *old; /* the whole older view */

  /* The layers of each view above the shared ones.  NULL: it has none. */
  struct qcow_view *new_upper, *old_upper;

  /* How many bytes of the shared layers each view shows. */
  uint64_t new_lower_size, old_lower_size;
};

#endif /* QCOW_DISK_LAYER_H */
