/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One opened QCOW file.  Private to qcow/.
 *
 * Constant once the chain is open, so it needs no lock.  The error filter and
 * the sources have their own.
 */

#ifndef QCOW_IMAGE_IMAGE_H
#define QCOW_IMAGE_IMAGE_H

#include <stdint.h>

#include "base/error.h"
#include "base/quota.h"
#include "codec/cipher.h"
#include "format/entry.h"
#include "format/header.h"
#include "format/probe.h"
#include "image/context.h"
#include "source/source.h"

/* Of a remote image: the L2 tables of the L1 entries [first, end) were
 * prefetched last, 'count' of them at once (disk/prefetch.c).  Only a hint, so
 * without a lock: its users read and write it with atomic operations, for
 * which i386 needs the alignment.
 */
struct tables_ahead {
  _Alignas(8) uint64_t first, end;
  unsigned count;
};

struct image {
  struct context *context;
  const char *name;      /* the source's: for messages */
  struct source *source; /* header, tables, and clusters unless … */
  struct source *data; /* … they are in a data file; else equal to source */
  struct header header;
  struct entry_geometry geometry;
  struct cipher *cipher; /* decrypts the clusters; NULL: not encrypted, or
                            not unlocked yet (unlock.h) */
  struct error_filter damage;
  uint32_t id;                    /* in the chain: the owner in cache keys */
  struct quota_client workspaces; /* under the lock of their pool */

  struct tables_ahead ahead;
};

/* Read and check the header.  The image owns the source from now on, also on
 * failure.  The caller opens and sets a data file, and unlocks an encrypted
 * image.  NULL with the error reported and errno EINVAL, EIO or ENOMEM.
 */
struct image *image_open (struct context *context, struct source *source,
                          uint32_t id);

/* *probe: what the file that begins with the 'length' bytes at 'start' is, if
 * it is no QCOW image; NULL: unknown.  0, or -1 with the error reported.
 */
int image_probe (struct source *source, const uint8_t *start, size_t length,
                 const struct probe **probe);

/* Close the image and its sources.  NULL is ignored.  Keeps errno. */
void image_close (struct image *image);

/* The L1 table at this place of the image; see l1.h. */
struct l1_table *image_get_l1 (const struct image *image, uint64_t offset,
                               uint32_t size, const char *what);

/* The L1 table that the header names. */
struct l1_table *image_get_active_l1 (const struct image *image);

/* Pin a slice of a table: the 'size' bytes at key.host of the image's file.
 * Read it if it is not cached: from a local file to a cache entry of its own,
 * from a remote one to its block.  The data is aligned for 64-bit entries. The
 * caller releases slice->entry.  0, or -1 with errno EIO or ENOMEM and the
 * error reported, or ESHUTDOWN.
 */
int image_get_slice (const struct image *image, struct cache_key key,
                     size_t size, struct source_pin *slice);

/* The same only for a slice that is cached; else false. */
bool image_peek_slice (const struct image *image, struct cache_key key,
                       size_t size, struct source_pin *slice);

static inline int
image_no_memory (const struct image *image)
{
  return error_no_memory (image->context->hooks, image->name);
}

/* The number of the sector for the IV of what the image's data has at
 * 'host', and the guest sees at 'guest'.
 */
static inline uint64_t
image_cipher_sector (const struct image *image, uint64_t guest, uint64_t host)
{
  return (image->header.crypt_method == QCOW_CRYPT_AES ? guest : host)
         / CIPHER_SECTOR_BYTES;
}

static inline uint64_t
image_cluster_size (const struct image *image)
{
  return UINT64_C (1) << image->header.cluster_bits;
}

/* The same for a length in memory: it is 2 MiB at most.  (Not for masks of
 * offsets, which have more bits than size_t may have.)
 */
static inline size_t
image_cluster_bytes (const struct image *image)
{
  return (size_t) 1 << image->header.cluster_bits;
}

#endif /* QCOW_IMAGE_IMAGE_H */
