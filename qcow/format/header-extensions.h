/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The part of the first cluster after the fixed fields (versions 2 and 3): the
 * header extensions and the name of the backing file.  Pure: no I/O, no
 * allocation.
 *
 * Source: qemu's docs/interop/qcow2.rst.
 */

#ifndef QCOW_FORMAT_HEADER_EXTENSIONS_H
#define QCOW_FORMAT_HEADER_EXTENSIONS_H

#include "format/header.h"

/* Parse the header after the fixed fields, then check the dependencies between
 * all parts of the header.  'header' comes from header_fixed.  'cluster' is
 * the whole first cluster (1 << cluster_bits bytes), with zeros where the file
 * is shorter.  Returns 0, or -1 and the reason.
 */
int header_extensions (const uint8_t *cluster, struct header *header,
                       struct problem *problem);

#endif /* QCOW_FORMAT_HEADER_EXTENSIONS_H */
