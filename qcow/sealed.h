/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading encrypted data: which sectors to read for runs, and their
 * decryption once they are there.  Private to qcow/.
 *
 * Data comes in sectors of 512 bytes.  Whole ones are read straight to where
 * the plain bytes are wanted and decrypted there; where a run begins or ends
 * within one, that one is read and decrypted beside, and the part that is
 * wanted is copied.
 *
 * A struct sealed_reads belongs to one thread.
 */

#ifndef QCOW_SEALED_H
#define QCOW_SEALED_H

#include "crypto.h"
#include "walk.h"

/* So many runs fit. */
#define SEALED_RUNS 64

/* One run needs so many ranges at most: one that both begins and ends within
 * a sector.
 */
#define SEALED_RANGES 3

/* Parts of sectors.  Requests have two at most, unless the disks of several
 * layers end within a sector.
 */
#define SEALED_PARTS 4

struct sealed_reads {
  size_t nr_pieces, nr_parts;

  /* Whole sectors, to be decrypted where they are. */
  struct sealed_piece {
    struct image *image;
    uint8_t *buf;
    size_t length;
    uint64_t sector; /* for the IV */
  } pieces[SEALED_RUNS];

  /* A sector of which only [skip, skip + length) is wanted. */
  struct sealed_part {
    uint8_t sector[CRYPTO_SECTOR_BYTES];
    uint8_t *dest;
    size_t skip, length;
  } parts[SEALED_PARTS];
};

void sealed_begin (struct sealed_reads *s);

/* Is there perhaps no room for one more run? */
bool sealed_is_full (const struct sealed_reads *s);

/* Take a run of encrypted data, whose plain bytes are wanted at 'dest'.
 * Returns how many ranges of its source have to be read for it, which it
 * puts into 'ranges'.
 */
size_t sealed_add (struct sealed_reads *s, const struct run *run,
                   uint8_t *dest, struct source_range ranges[SEALED_RANGES]);

/* All ranges are read: decrypt them and begin anew.  0, or -1 with the error
 * reported and errno EIO or ENOMEM.
 */
int sealed_decrypt (struct sealed_reads *s);

#endif /* QCOW_SEALED_H */
