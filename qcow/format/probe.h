/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Recognize files of formats that the reader does not support, by their start
 * or end.  Pure.
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
  /* True if qemu detects this format if none is given (see the _probe
   * functions in qemu's block/), false if it reads the file as a raw disk.
   */
  bool is_image;
};

/* The lengths of the file's start and end that are examined: up to the volume
 * descriptor of ISO 9660, and the footer of VHD or DMG.
 */
#define PROBE_START_BYTES (33U << 10)
#define PROBE_END_BYTES 512

/* The length of the start by which qemu distinguishes images from raw disks.
 */
#define PROBE_IMAGE_BYTES 512

/* Return the format of a file that starts with the 'length' bytes of 'start'
 * and ends with 'end', or NULL if it is not recognized.  'end' can be NULL if
 * it is not known.
 */
const struct probe *probe_format (const uint8_t *start, size_t length,
                                  const uint8_t end[PROBE_END_BYTES]);

#endif /* QCOW_FORMAT_PROBE_H */
