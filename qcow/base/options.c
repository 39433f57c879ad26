/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Defaults.  See options.h.
 */

#include "base/options.h"

void
qcow_options_init (struct qcow_options *options)
{
  *options = (struct qcow_options){
    .cache_size = QCOW_DEFAULT_CACHE_SIZE,
    .luks_iterations = QCOW_DEFAULT_LUKS_ITERATIONS,
    .http = {
      .connections = QCOW_DEFAULT_CONNECTIONS,
      .sslverify = true,
      .followlocation = true,
    },
  };
}
