/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The header of an image, and the parser of its fixed fields.  Pure: no I/O,
 * no allocation.  (header-extensions.h parses the rest.)
 *
 * Sources: qemu's docs/interop/qcow2.rst; for the limits and for version 1,
 * what qemu 7.2 refuses.
 */

#ifndef QCOW_FORMAT_HEADER_H
#define QCOW_FORMAT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/format.h"

/* The fields that a reader needs.  After both parsers have succeeded, all
 * values are in the ranges given here.
 */
struct header {
  uint32_t version;          /* 1, 2 or 3 */
  unsigned cluster_bits;     /* 9..21 */
  unsigned l2_bits;          /* log2 of the entries of an L2 table, 6..18 */
  uint64_t size;             /* virtual size in bytes, <= INT64_MAX */
  uint32_t crypt_method;     /* QCOW_CRYPT_* */
  uint32_t l1_size;          /* entries, enough for size, <= 4194304;
                                version 1: <= 2^28 */
  uint64_t l1_table_offset;  /* cluster aligned (not in version 1);
                                + the table <= INT64_MAX */
  uint32_t nb_snapshots;     /* <= 65536 */
  uint64_t snapshots_offset; /* cluster aligned */
  uint64_t incompatible;     /* QCOW_INCOMPAT_*, no others */
  uint64_t compatible;       /* any; version 1 and 2: 0 */
  uint64_t autoclear;        /* any */
  unsigned refcount_order;   /* log2 of the bits of a refcount, <= 6;
                                version 1: 0 */
  uint32_t header_length;    /* bytes, <= the cluster size */
  unsigned compression;      /* QCOW_COMPRESSION_* */

  uint64_t backing_offset; /* of the name of the backing file; 0: none */
  uint32_t backing_size;   /* length of that name in bytes, <= 1023 */

  uint64_t luks_offset; /* if LUKS: of the LUKS header, cluster aligned */
  uint64_t luks_length; /* bytes; its end <= INT64_MAX */

  uint32_t nb_bitmaps;
  uint64_t bitmap_directory_size, bitmap_directory_offset; /* not checked */
  bool bitmaps_broken; /* the extension is not valid; nb_bitmaps is 0 */

  /* Names from the extensions, and the name of the backing file; "" if there
   * is none.  A name ends at its first NUL (qemu).
   */
  char backing_file[QCOW_MAX_BACKING_NAME + 1];
  char backing_format[QCOW_MAX_BACKING_FORMAT + 1];
  char data_file[QCOW_MAX_DATA_FILE_NAME + 1];
};

/* The number of bytes that header_fixed parses. */
#define HEADER_FIXED_BYTES 112

/* Parse the fixed fields.  'bytes' are the first HEADER_FIXED_BYTES of the
 * file, with zeros where the file is shorter.  Returns 0, or -1 and the
 * reason.
 */
int header_fixed (const uint8_t bytes[HEADER_FIXED_BYTES],
                  struct header *header, struct problem *problem);

/* Copy the name of the backing file, which has backing_size bytes, to the
 * header.  (In version 1 it can be anywhere in the file, so the caller reads
 * it.)
 */
void header_backing_name (const uint8_t *name, struct header *header);

/* Check that a table is aligned to a cluster, and that its end fits a file
 * offset.  'field' is the name of the offset for messages.  Returns 0, or -1
 * and the reason.
 */
int header_check_table (const struct header *h, const char *field,
                        uint64_t offset, uint64_t bytes,
                        struct problem *problem);

static inline uint64_t
header_cluster_size (const struct header *header)
{
  return UINT64_C (1) << header->cluster_bits;
}

/* Return log2 of the guest bytes that an L1 entry spans. */
static inline unsigned
header_l1_shift (const struct header *header)
{
  return header->cluster_bits + header->l2_bits;
}

/* Return the number of L1 entries that the virtual size needs. */
static inline uint64_t
header_l1_entries (const struct header *header)
{
  const unsigned shift = header_l1_shift (header);

  return (header->size >> shift)
         + ((header->size & ((UINT64_C (1) << shift) - 1)) != 0);
}

#endif /* QCOW_FORMAT_HEADER_H */
