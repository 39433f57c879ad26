/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Disk images of formats that are not read here, known by how they begin.
 * Pure.
 */

#ifndef QCOW_FOREIGN_H
#define QCOW_FOREIGN_H

#include <stdint.h>

/* As much as must be known of a file, which may be shorter: then zeros. */
#define FOREIGN_BYTES 512

/* The format of a file that begins like that, as messages call it, or NULL:
 * it is none of those that qemu would find by looking (the _probe functions
 * in its block/), so a raw disk, or QCOW.
 */
const char *foreign_format (const uint8_t start[FOREIGN_BYTES]);

#endif /* QCOW_FOREIGN_H */
