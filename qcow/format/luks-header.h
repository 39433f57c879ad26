/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parse the LUKS header of an encrypted image.  Pure: no I/O, no allocation.
 *
 * Sources: LUKS On-Disk Format Specification 1.2.3 ("spec"), and for the
 * checks what qemu 7.2 refuses ("qemu").
 */

#ifndef QCOW_FORMAT_LUKS_HEADER_H
#define QCOW_FORMAT_LUKS_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/minmax.h"

/* Lengths of the header and of its fields (spec). */
#define LUKS_HEADER_BYTES 592
#define LUKS_NAME_BYTES 32
#define LUKS_SALT_BYTES 32
#define LUKS_DIGEST_BYTES 20
#define LUKS_UUID_BYTES 40
#define LUKS_SLOTS 8

/* Offsets in the header are in sectors of this size (spec). */
#define LUKS_SECTOR_BYTES 512

/* The stripes of a key in a key slot.  qemu and cryptsetup support only this
 * number.
 */
#define LUKS_STRIPES 4000

/* The longest key for data: aes-xts-plain64 with two halves of 256 bits. */
#define LUKS_MAX_KEY_BYTES 64

/* Key material starts at this offset or later, and takes a multiple of it
 * (qemu).
 */
#define LUKS_MATERIAL_ALIGNMENT 4096

struct luks_slot {
  bool active;
  uint32_t iterations; /* > 0 if active */
  uint8_t salt[LUKS_SALT_BYTES];
  uint64_t material; /* offset of the key material from the start of the LUKS
                        header, bytes */
};

/* The header, checked as far as possible without knowledge of the algorithms.
 * The key material of the slots does not overlap, and lies in the header's
 * area.
 */
struct luks_header {
  char cipher_name[LUKS_NAME_BYTES]; /* these three end with a NUL */
  char cipher_mode[LUKS_NAME_BYTES];
  char hash_spec[LUKS_NAME_BYTES];
  uint32_t key_bytes; /* 1..LUKS_MAX_KEY_BYTES */
  uint8_t digest[LUKS_DIGEST_BYTES], digest_salt[LUKS_SALT_BYTES];
  uint32_t digest_iterations; /* > 0 */
  char uuid[LUKS_UUID_BYTES]; /* any bytes, maybe without a NUL */
  uint64_t payload;           /* bytes from the start of the LUKS header */
  struct luks_slot slots[LUKS_SLOTS];
};

/* Parse the header.  'length' is the length of its area in the image, which
 * includes all key material.  Returns 0, or -1 and the reason.
 */
int luks_header_parse (const uint8_t bytes[LUKS_HEADER_BYTES], uint64_t length,
                       struct luks_header *header, struct problem *problem);

unsigned luks_header_active_slots (const struct luks_header *header);

/* Return the length of the key material of a slot, in bytes. */
static inline uint64_t
luks_header_material_bytes (const struct luks_header *header)
{
  return (uint64_t) header->key_bytes * LUKS_STRIPES;
}

#endif /* QCOW_FORMAT_LUKS_HEADER_H */
