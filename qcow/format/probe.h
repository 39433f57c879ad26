/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Recognize files of formats that this module can't read by their start or
 * end. Pure.
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
  /* qemu reads the file as this format if no format is given (see the _probe
   * functions in its block/).  Else qemu reads it as a raw disk.
   */
  bool is_image;
};

/* The bytes of the file's start and end that matter: up to the volume
 * descriptor of ISO 9660, and the footer of VHD or DMG.
 */
#define PROBE_START_BYTES (33U << 10)
#define PROBE_END_BYTES 512

/* The bytes of the start by which qemu tells images from raw disks. */
#define PROBE_IMAGE_BYTES 512

/* The format of the file that starts with the 'length' bytes of 'start' and
 * ends with 'end' (NULL: not known).  NULL: not recognized.
 */
const struct probe *probe_format (const uint8_t *start, size_t length,
                                  const uint8_t end[PROBE_END_BYTES]);

#endif /* QCOW_FORMAT_PROBE_H */
