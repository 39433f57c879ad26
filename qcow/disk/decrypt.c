/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading encrypted data.  See decrypt.h.
 */

#include <errno.h>
#include <string.h>

#include "codec/libgcrypt.h"
#include "disk/decrypt.h"

void
decrypt_begin (struct decrypt_batch *s)
{
  s->nr_pieces = s->nr_parts = 0;
}

bool
decrypt_is_full (const struct decrypt_batch *s)
{
  return s->nr_pieces > DECRYPT_RUNS - DECRYPT_RANGES
         || s->nr_parts > DECRYPT_PARTS - 2;
}

static struct source_range
add_piece (struct decrypt_batch *s, const struct run *run, uint64_t offset,
           uint64_t length, uint8_t *buf)
{
  const uint64_t host = run->host + (offset - run->offset);

  s->pieces[s->nr_pieces++]
    = (struct decrypt_piece){ run->image, buf, (size_t) length,
                              image_cipher_sector (run->image, offset, host) };
  return (struct source_range){ host, (size_t) length, buf };
}

/* [offset, offset + length) of the guest, within one sector. */
static struct source_range
add_part (struct decrypt_batch *s, const struct run *run, uint64_t offset,
          uint64_t length, uint8_t *dest)
{
  struct decrypt_part *part = &s->parts[s->nr_parts++];

  part->dest = dest;
  part->skip = (size_t) (offset % CIPHER_SECTOR_BYTES);
  part->length = (size_t) length;
  return add_piece (s, run, offset - part->skip, CIPHER_SECTOR_BYTES,
                    part->sector);
}

/* A run fits into the client's buffer, so its lengths fit into size_t.
 *
 * Sectors begin at the same places for the guest and in the file: clusters
 * do, and what is smaller are subclusters of 512 bytes or more.
 */
size_t
decrypt_add (struct decrypt_batch *s, const struct run *run, uint8_t *dest,
             struct source_range ranges[DECRYPT_RANGES])
{
  const uint64_t mask = CIPHER_SECTOR_BYTES - 1;
  const uint64_t end = run->offset + run->length;
  const uint64_t whole = (run->offset + mask) & ~mask, whole_end = end & ~mask;
  size_t n = 0;

  if (whole > whole_end) { /* within one sector */
    ranges[n++] = add_part (s, run, run->offset, run->length, dest);
    return n;
  }
  if (run->offset < whole)
    ranges[n++] = add_part (s, run, run->offset, whole - run->offset, dest);
  if (whole < whole_end)
    ranges[n++] = add_piece (s, run, whole, whole_end - whole,
                             dest + (whole - run->offset));
  if (whole_end < end)
    ranges[n++] = add_part (s, run, whole_end, end - whole_end,
                            dest + (whole_end - run->offset));
  return n;
}

static int
cannot_decrypt (struct image *image)
{
  if (errno == ENOMEM)
    return image_no_memory (image);
  return error_report_once (
    &image->damage, UINT64_MAX, image->context->hooks, EIO, image->name,
    "libgcrypt failed to decrypt: %s", libgcrypt_reason ());
}

int
decrypt_run (struct decrypt_batch *s)
{
  size_t i;

  for (i = 0; i < s->nr_pieces; ++i) {
    const struct decrypt_piece *p = &s->pieces[i];

    if (cipher_decrypt (p->image->cipher, p->buf, p->length, p->sector) == -1)
      return cannot_decrypt (p->image);
  }
  for (i = 0; i < s->nr_parts; ++i) {
    const struct decrypt_part *part = &s->parts[i];

    memcpy (part->dest, part->sector + part->skip, part->length);
  }
  decrypt_begin (s);
  return 0;
}
