/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bytes -> struct header.  Pure: no I/O, no allocation.
 *
 * Sources: qemu's docs/interop/qcow2.rst, and for the limits and for
 * version 1 what qemu 7.2 refuses.
 */

#ifndef QCOW_FORMAT_HEADER_H
#define QCOW_FORMAT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/format.h"

/* Every field that a reader needs, checked: a header that was parsed
 * without complaint has no value out of the ranges given here.
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
  uint64_t autoclear;        /* any */
  uint32_t header_length;    /* bytes, <= the cluster size */
  unsigned compression;      /* QCOW_COMPRESSION_* */

  uint64_t backing_offset; /* where its name is; 0: none */
  uint32_t backing_size;   /* bytes of its name, <= 1023 */

  uint64_t luks_offset; /* of the LUKS header, cluster aligned, if LUKS */
  uint64_t luks_length; /* bytes; its end <= INT64_MAX */

  uint32_t nb_bitmaps;
  uint64_t bitmap_directory_size, bitmap_directory_offset; /* not checked */
  bool bitmaps_broken; /* their extension is not valid; nb_bitmaps is 0 */

  /* From the area after the fixed fields; "" if not there.  As qemu
   * does, a name is cut at its first NUL.
   */
  char backing_file[QCOW_MAX_BACKING_NAME + 1];
  char backing_format[QCOW_MAX_BACKING_FORMAT + 1];
  char data_file[QCOW_MAX_DATA_FILE_NAME + 1];
};

/* How many bytes header_fixed wants to see. */
#define HEADER_FIXED_BYTES 112

/* Parse the fixed fields.  'bytes' are the first HEADER_FIXED_BYTES of
 * the file, zeros where it is shorter.  0, or -1 and the reason.
 */
int header_fixed (const uint8_t bytes[HEADER_FIXED_BYTES],
                  struct header *header, struct problem *problem);

/* Version 2 and 3: parse what follows in the first cluster: extensions
 * and the name of the backing file; then check what needs both parts.
 * 'cluster' is the whole first cluster (1 << cluster_bits bytes), zeros
 * where the file is shorter.  0, or -1 and the reason.
 */
int header_extensions (const uint8_t *cluster, struct header *header,
                       struct problem *problem);

/* Version 1, where the name may be anywhere in the file: take the name of
 * the backing file, 'name' is its backing_size bytes.
 */
void header_backing_name (const uint8_t *name, struct header *header);

/* log2 of the guest bytes that an L1 entry spans. */
static inline unsigned
header_l1_shift (const struct header *header)
{
  return header->cluster_bits + header->l2_bits;
}

#endif /* QCOW_FORMAT_HEADER_H */
