/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What all images of a chain share.  Private to qcow/; owned by struct
 * qcow.
 *
 * Constant once the chain is open; cache, scratches, L1 tables and http
 * lock themselves.
 */

#ifndef QCOW_SHARED_H
#define QCOW_SHARED_H

#include <stdbool.h>

#include "cache.h"
#include "error.h"
#include "http.h"
#include "l1.h"
#include "scratch.h"

struct shared {
  const struct qcow_hooks *hooks;
  struct cache *cache;
  struct scratch_pool *scratches;
  struct l1_tables *l1_tables;
  struct http *http; /* NULL: no URL is involved */
  bool force_share;
  bool debug_runs;
};

#endif /* QCOW_SHARED_H */
