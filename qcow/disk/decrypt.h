/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decrypting the data of a request after it was read.
 *
 * Data is encrypted in sectors of 512 bytes.  Whole sectors are read into the
 * client's buffer and decrypted there.  If a run begins or ends within a
 * sector, that sector is read into the batch's own memory, and a part of it is
 * copied after decryption.
 *
 * A batch belongs to one thread.
 */

#ifndef QCOW_DISK_DECRYPT_H
#define QCOW_DISK_DECRYPT_H

#include "codec/cipher.h"
#include "disk/ranges.h"
#include "disk/run.h"

/* The most ranges and steps that a run needs: one for its whole sectors, and
 * one for a partial sector at each end.
 */
#define DECRYPT_MAX_RANGES 3

/* The most partial sectors in a batch.  A run has at most two.  A request has
 * more only if the disks of several layers end within a sector.
 */
#define DECRYPT_EDGES 4

/* Whole sectors to decrypt in place. */
struct decrypt_step {
  struct image *image;
  uint64_t sector; /* number of the first one, for its IV */
  uint8_t *buf;
  size_t length; /* bytes */

  /* If not NULL: bytes [skip, skip + wanted) of 'buf' are then copied here. */
  uint8_t *dest;
  size_t skip, wanted;
};

/* Set nr_steps and nr_edges to 0 to initialize it. */
struct decrypt_batch {
  size_t nr_steps, nr_edges;
  struct decrypt_step steps[RANGES_MAX];
  uint8_t edges[DECRYPT_EDGES][CIPHER_SECTOR_BYTES];
};

/* Add a run of encrypted data, to be decrypted into 'dest', and add the reads
 * for it to 'ranges'.  The batch and 'ranges' must have room.
 */
void decrypt_batch_add (struct decrypt_batch *b, const struct run *run,
                        uint8_t *dest, struct ranges *ranges);

/* Decrypt everything and empty the batch, after the caller has read all
 * ranges.  Returns 0, or -1 with the error reported and errno EIO or ENOMEM.
 */
int decrypt_batch_run (struct decrypt_batch *b);

#endif /* QCOW_DISK_DECRYPT_H */
