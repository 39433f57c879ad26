/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Defaults, and a name for messages.  See options.h.
 */

#include "base/options.h"

void
qcow_options_init (struct qcow_options *options)
{
  *options = (struct qcow_options){
    .fd = -1,
    .cache_size = QCOW_DEFAULT_CACHE_SIZE,
    .luks_iterations = QCOW_DEFAULT_LUKS_ITERATIONS,
    .http = {
      .connections = QCOW_DEFAULT_CONNECTIONS,
      .sslverify = true,
      .followlocation = true,
      .tcp_nodelay = true,
    },
  };
}

const char *
qcow_options_object (const struct qcow_options *options)
{
  if (options->filename)
    return options->filename;
  return options->url ? "url=" : "fd=";
}
