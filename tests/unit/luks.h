/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A good LUKS header in memory, and tables of changes to it.
 */

#ifndef TESTS_UNIT_LUKS_H
#define TESTS_UNIT_LUKS_H

#include "tests/unit/unit.h"

#include "format/luks-header.h"

enum {
  ALL = LUKS_HEADER_BYTES,
  MATERIAL = 258048, /* of a key of 64 bytes, rounded up to 4096 */
  FIRST = 4096,
  LENGTH = FIRST + 8 * MATERIAL,
};

static uint8_t bytes[ALL];

static inline void
put_name (size_t offset, const char *name)
{
  memset (bytes + offset, 0, 32);
  memcpy (bytes + offset, name, strlen (name));
}

/* Like a header of qemu-img, written according to the table in the LUKS
 * specification.
 */
static inline void
good_header (void)
{
  unsigned i;

  memset (bytes, 0, sizeof bytes);
  memcpy (bytes, "LUKS\xba\xbe\0\1", 8);
  put_name (8, "aes");
  put_name (40, "xts-plain64");
  put_name (72, "sha256");
  put_be32 (bytes + 104, LENGTH / 512);
  put_be32 (bytes + 108, 64);
  memset (bytes + 112, 0xd1, 20);
  memset (bytes + 132, 0x5a, 32);
  put_be32 (bytes + 164, 1234);
  for (i = 0; i < 8; ++i) {
    uint8_t *slot = bytes + 208 + i * 48;

    put_be32 (slot, i == 0 ? 0x00ac71f3 : 0x0000dead);
    put_be32 (slot + 4, i == 0 ? 5678 : 0);
    memset (slot + 8, (int) i, 32);
    put_be32 (slot + 40, (FIRST + i * MATERIAL) / 512);
    put_be32 (slot + 44, 4000);
  }
}

/* Bytes to change, and a part of the reason why the header is then refused;
 * "": it is accepted.
 */
struct mutation {
  size_t offset;
  const char *hex;
  const char *reason;
};

/* 'parse' parses 'bytes', and returns the reason, or "". */
static inline void
try_mutations (const struct mutation *rows, size_t n, uint64_t length,
               const char *(*parse) (uint64_t length))
{
  size_t i;

  for (i = 0; i < n; ++i) {
    const char *reason;

    good_header ();
    from_hex (rows[i].hex, bytes + rows[i].offset, ALL - rows[i].offset);
    reason = parse (length);
    if ((rows[i].reason[0] == '\0') != (reason[0] == '\0')
        || strstr (reason, rows[i].reason) == NULL)
      fail_msg ("row %zu: expected '%s', got '%s'", i, rows[i].reason, reason);
  }
}

#endif /* TESTS_UNIT_LUKS_H */
