/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decrypting data.  See decrypt.h.
 */

#include <string.h>

#include "base/minmax.h"
#include "disk/damage.h"
#include "disk/decrypt.h"
#include "image/image.h"

/* Add whole sectors from guest 'offset' on.  They are read into 'buf'. */
static struct decrypt_step *
add_sectors (struct decrypt_batch *b, const struct run *run, uint64_t offset,
             uint64_t length, uint8_t *buf, struct ranges *ranges)
{
  const uint64_t host = run->host + (offset - run->offset);
  struct decrypt_step *step = &b->steps[b->nr_steps++];

  *step = (struct decrypt_step){
    .image = run->image,
    .sector = image_cipher_sector (run->image, offset, host),
    .buf = buf,
    .length = (size_t) length,
  };
  ranges_add (ranges, run->source, host, (size_t) length, buf);
  return step;
}

/* Add guest range [offset, end), which lies within one sector. */
static void
add_edge (struct decrypt_batch *b, const struct run *run, uint64_t offset,
          uint64_t end, uint8_t *dest, struct ranges *ranges)
{
  const uint64_t skip = offset % CIPHER_SECTOR_BYTES;
  struct decrypt_step *step
    = add_sectors (b, run, offset - skip, CIPHER_SECTOR_BYTES,
                   b->edges[b->nr_edges++], ranges);

  step->dest = dest;
  step->skip = (size_t) skip;
  step->wanted = (size_t) (end - offset);
}

/* Runs begin and end anywhere, but their guest and host offsets are equal
 * modulo the sector size, since clusters and subclusters are aligned to
 * sectors.  A run is not longer than the client's buffer, so its length fits
 * into size_t.
 */
void
decrypt_batch_add (struct decrypt_batch *b, const struct run *run,
                   uint8_t *dest, struct ranges *ranges)
{
  const uint64_t start = run->offset, end = start + run->length;
  const uint64_t whole = round_up64 (start, CIPHER_SECTOR_BYTES);
  const uint64_t whole_end = round_down64 (end, CIPHER_SECTOR_BYTES);

  if (whole > whole_end) { /* within one sector */
    add_edge (b, run, start, end, dest, ranges);
    return;
  }
  if (start < whole)
    add_edge (b, run, start, whole, dest, ranges);
  if (whole < whole_end)
    add_sectors (b, run, whole, whole_end - whole, dest + (whole - start),
                 ranges);
  if (whole_end < end)
    add_edge (b, run, whole_end, end, dest + (whole_end - start), ranges);
}

int
decrypt_batch_run (struct decrypt_batch *b)
{
  size_t i;

  for (i = 0; i < b->nr_steps; ++i) {
    const struct decrypt_step *s = &b->steps[i];

    if (cipher_decrypt (s->image->cipher, s->buf, s->length, s->sector) == -1)
      return damage_report_decryption (s->image);
    if (s->dest)
      memcpy (s->dest, s->buf + s->skip, s->wanted);
  }
  b->nr_steps = b->nr_edges = 0;
  return 0;
}
