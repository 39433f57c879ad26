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
 * it is a raw disk, or QCOW, as far as can be seen.  (What qemu looks for, see
 * the _probe functions in its block/; but a VMDK descriptor may be a text that
 * begins in other ways, too, and DMG it knows by the file's name.)
 */
const char *foreign_format (const uint8_t start[FOREIGN_BYTES]);

#endif /* QCOW_FOREIGN_H */
