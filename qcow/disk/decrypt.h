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
 * A struct decrypt_batch belongs to one thread.
 */

#ifndef QCOW_DISK_DECRYPT_H
#define QCOW_DISK_DECRYPT_H

#include "codec/cipher.h"
#include "disk/walk.h"

/* So many runs fit. */
#define DECRYPT_RUNS 64

/* One run needs so many ranges at most: one that both begins and ends within
 * a sector.
 */
#define DECRYPT_RANGES 3

/* Parts of sectors.  Requests have two at most, unless the disks of several
 * layers end within a sector.
 */
#define DECRYPT_PARTS 4

struct decrypt_batch {
  size_t nr_pieces, nr_parts;

  /* Whole sectors, to be decrypted where they are. */
  struct decrypt_piece {
    struct image *image;
    uint8_t *buf;
    size_t length;
    uint64_t sector; /* for the IV */
  } pieces[DECRYPT_RUNS];

  /* A sector of which only [skip, skip + length) is wanted. */
  struct decrypt_part {
    uint8_t sector[CIPHER_SECTOR_BYTES];
    uint8_t *dest;
    size_t skip, length;
  } parts[DECRYPT_PARTS];
};

void decrypt_begin (struct decrypt_batch *s);

/* Is there perhaps no room for one more run? */
bool decrypt_is_full (const struct decrypt_batch *s);

/* Take a run of encrypted data, whose plain bytes are wanted at 'dest'.
 * Returns how many ranges of its source have to be read for it, which it
 * puts into 'ranges'.
 */
size_t decrypt_add (struct decrypt_batch *s, const struct run *run,
                    uint8_t *dest, struct source_range ranges[DECRYPT_RANGES]);

/* All ranges are read: decrypt them and begin anew.  0, or -1 with the error
 * reported and errno EIO or ENOMEM.
 */
int decrypt_run (struct decrypt_batch *s);

#endif /* QCOW_DISK_DECRYPT_H */
