/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An image with its data file and its backing files, which can have data
 * files, too.  Private to qcow/.
 *
 * One thread opens all files before the image is served.  After that the chain
 * is constant, so it needs no lock.
 */

#ifndef QCOW_IMAGE_CHAIN_H
#define QCOW_IMAGE_CHAIN_H

#include "base/options.h"
#include "image/image.h"

/* A QCOW image with its active L1 table, or a raw file. */
struct chain_layer {
  struct image *image;
  struct l1_table *l1; /* NULL in the top layer: views choose it */
  struct source *raw;  /* if image is NULL */
};

struct chain {
  uint64_t first_id;                             /* of its ids (context.h) */
  unsigned nr_layers;                            /* >= 1 */
  struct chain_layer layers[QCOW_MAX_DEPTH + 1]; /* the top first */
};

/* Open the image that the options name, and all files that it needs.  NULL
 * with the error reported, and errno as qcow_open.
 */
struct chain *chain_open (struct context *context,
                          const struct qcow_options *options);

/* Open only the image that the options name, and no file that it names: a
 * chain of one layer, without its L1 table and its data file, and not
 * unlocked.  The chain can't be served.
 */
struct chain *chain_open_top (struct context *context,
                              const struct qcow_options *options);

void chain_close (struct chain *chain);

#endif /* QCOW_IMAGE_CHAIN_H */
