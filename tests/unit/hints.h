/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Texts of hints for tests, with what the tests look for in the plugin's own.
 */

#ifndef UNIT_HINTS_H
#define UNIT_HINTS_H

#include "base/hooks.h"

static const char *const unit_hints[QCOW_NR_HINTS] = {
  [QCOW_HINT_FORCE_SHARE] = "words of the user",
  [QCOW_HINT_ALLOW] = "if you trust it, add allow=%s, or name "
                      "the file with backing= or data-file=",
  [QCOW_HINT_BACKING] = "backing%s=FILE",
  [QCOW_HINT_DATA_FILE] = "data-file%s=FILE",
  [QCOW_HINT_ITERATIONS] = "luks-iterations=%s would try all",
};

#endif /* UNIT_HINTS_H */
