/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decrypting data: the steps of a request that follow its reads.
 *
 * Data is encrypted in sectors of 512 bytes.  Whole sectors are read to where
 * the client wants the bytes, and are decrypted there.  Where a run begins or
 * ends within a sector, that sector is read into memory of the batch, and a
 * part of it is copied after decryption.
 *
 * A batch belongs to one thread.
 */

#ifndef QCOW_DISK_DECRYPT_H
#define QCOW_DISK_DECRYPT_H

#include "codec/cipher.h"
#include "disk/ranges.h"
#include "disk/run.h"

/* One run needs at most so many ranges of its source, and steps: the sectors
 * that it fills, and one at each end.
 */
#define DECRYPT_MAX_RANGES 3

/* Sectors that are not wanted as a whole.  One run has two at most.  So has a
 * request, unless the disks of several layers end within a sector.
 */
#define DECRYPT_EDGES 4

/* Whole sectors that have been read. */
struct decrypt_step {
  struct image *image;
  uint64_t sector; /* number of the first one, for its IV */
  uint8_t *buf;
  size_t length; /* bytes */

  /* Then copy the bytes [skip, skip + wanted) to 'dest', if that is not
   * NULL.
   */
  uint8_t *dest;
  size_t skip, wanted;
};

/* Set nr_steps and nr_edges to 0 to initialize it. */
struct decrypt_batch {
  size_t nr_steps, nr_edges;
  struct decrypt_step steps[RANGES_MAX];
  uint8_t edges[DECRYPT_EDGES][CIPHER_SECTOR_BYTES];
};

/* Add a run of encrypted data, whose plain bytes are wanted at 'dest', and add
 * to 'ranges' what has to be read for it.  Both must have room.
 */
void decrypt_batch_add (struct decrypt_batch *b, const struct run *run,
                        uint8_t *dest, struct ranges *ranges);

/* Decrypt, after all ranges have been read, and empty the batch.  0, or -1
 * with the error reported and errno EIO or ENOMEM.
 */
int decrypt_batch_run (struct decrypt_batch *b);

#endif /* QCOW_DISK_DECRYPT_H */
