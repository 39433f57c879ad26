/* SPDX-License-Identifier: BSD-3-Clause
 *
 * State that the images of a chain share, and that several chains can share
 * (qcow.h).  Private to qcow/.
 *
 * Constant once the first chain is open, except for the ids.  The cache, the
 * workspaces, the L1 tables and the remotes have their own locks.
 */

#ifndef QCOW_IMAGE_CONTEXT_H
#define QCOW_IMAGE_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cache.h"
#include "base/error.h"
#include "codec/workspace.h"
#include "image/access.h"
#include "image/l1.h"
#include "source/remotes.h"

struct context {
  const struct qcow_hooks *hooks;
  struct cache *cache;
  struct workspace_pool *workspaces;
  struct l1_tables *l1_tables;
  struct remotes remotes;

  /* Several images share the context.  Then threads open images at any time,
   * so nothing here may change: no URL is opened, and all images have the
   * access rule.  Passphrases and backing formats are for those images that
   * need them.
   */
  bool is_shared;
  const struct access *access; /* NULL: each chain makes its own */

  unsigned file_flags; /* of local files (source/file.h) */
  bool debug_runs;
  _Alignas(8) uint64_t chains; /* opened so far; atomic (i386: aligned) */
};

/* Each chain has CONTEXT_IDS ids of its own for the owners in cache keys: the
 * first ones for its images, and also for its remote sources, whose keys
 * differ otherwise; those from CONTEXT_FIRST_VIEW_ID on for its views.  There
 * are enough for 2^44 chains, so no id is used twice.
 */
#define CONTEXT_IDS (UINT64_C (1) << 20)
#define CONTEXT_FIRST_VIEW_ID (UINT64_C (1) << 19)

/* The first id of a new chain. */
static inline uint64_t
context_new_ids (struct context *context)
{
  return __atomic_fetch_add (&context->chains, 1, __ATOMIC_RELAXED)
         * CONTEXT_IDS;
}

/* Public as an opaque type (qcow.h). */
struct qcow_shared {
  struct context context;
  struct qcow_hooks hooks; /* of the context */
  bool debug_cache;
};

#endif /* QCOW_IMAGE_CONTEXT_H */
