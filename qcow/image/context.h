/* SPDX-License-Identifier: BSD-3-Clause
 *
 * State that all images of a chain share.  Private to qcow/; owned by struct
 * qcow.
 *
 * Constant once the chain is open.  The cache, the workspaces, the L1 tables
 * and http have their own locks.
 */

#ifndef QCOW_IMAGE_CONTEXT_H
#define QCOW_IMAGE_CONTEXT_H

#include <stdbool.h>

#include "base/cache.h"
#include "base/error.h"
#include "codec/workspace.h"
#include "http/http.h"
#include "image/l1.h"

struct context {
  const struct qcow_hooks *hooks;
  struct cache *cache;
  struct workspace_pool *workspaces;
  struct l1_tables *l1_tables;
  struct http *http; /* NULL: no URL is involved */
  bool force_share;
  bool debug_runs;
};

#endif /* QCOW_IMAGE_CONTEXT_H */
