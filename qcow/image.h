/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One opened QCOW file, and what a view of it is.  Private to qcow/.
 *
 * All of it is constant once the image is open, so it needs no lock; the
 * parts that change (the cache, the scratch pool, the error filter, the
 * source) lock themselves.
 */

#ifndef QCOW_IMAGE_H
#define QCOW_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "cache.h"
#include "entry.h"
#include "error.h"
#include "header.h"
#include "qcow.h"
#include "scratch.h"
#include "source.h"

struct image {
  const struct qcow_hooks *hooks;
  const char *name; /* the source's: for messages */
  struct source *source;
  struct header header;
  struct entry_rules rules;
  uint64_t *l1; /* header.l1_size entries, host byte order */
  struct error_filter damage;

  /* Shared with the other images of a chain; owned by struct qcow. */
  struct cache *cache;
  struct scratch_pool *scratches;
  uint32_t id; /* the owner in cache keys */
  bool debug_runs;
};

/* What a client sees: an L1 table, and how much of the image it spans. */
struct qcow_view {
  struct image *image;
  const uint64_t *l1;
  uint64_t l1_size; /* entries */
  uint64_t size;    /* bytes */
};

/* Open the file, read and check header and active L1 table.  cache and
 * scratches are left for the caller to set.  NULL with the error reported
 * and errno as qcow_open.
 */
struct image *image_open (const struct qcow_options *options,
                          const struct qcow_hooks *hooks);
void image_close (struct image *image);

static inline uint64_t
image_cluster_size (const struct image *image)
{
  return UINT64_C (1) << image->header.cluster_bits;
}

#endif /* QCOW_IMAGE_H */
