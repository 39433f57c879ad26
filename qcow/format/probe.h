/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Files of formats that are not read here, known by how they begin or end.
 * Pure.
 */

#ifndef QCOW_FORMAT_PROBE_H
#define QCOW_FORMAT_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hooks.h"

struct probe {
  const char *what; /* "a VMDK image": for messages */
  enum qcow_hint hint;
  /* qemu reads it as this format where none is recorded (see the _probe
   * functions in its block/).  Else it is a raw disk to qemu, whatever it
   * holds.
   */
  bool is_image;
};

/* How much of the file's beginning and of its end is looked at: up to the
 * volume descriptor of ISO 9660, and a footer of VHD or DMG.
 */
#define PROBE_START_BYTES (33U << 10)
#define PROBE_END_BYTES 512

/* How much of it qemu looks at to tell images from raw disks. */
#define PROBE_IMAGE_BYTES 512

/* The format of the file that begins with 'start', 'length' bytes of it, and
 * ends with 'end' (NULL: not known).  NULL if it is none of these.
 */
const struct probe *probe_format (const uint8_t *start, size_t length,
                                  const uint8_t end[PROBE_END_BYTES]);

#endif /* QCOW_FORMAT_PROBE_H */
