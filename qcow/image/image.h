/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One opened QCOW file.  Private to qcow/.
 *
 * Constant once the chain is open, so it needs no lock.  Exceptions: 'damage'
 * and the sources have their own locks; 'workspaces', 'ahead': see there.
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

/* For a remote image: the L1 entries [first, end) whose L2 tables were
 * prefetched last, in a batch of at most 'count' tables (disk/prefetch.c).  It
 * is only a hint, so it has no lock: disk/prefetch.c accesses it with atomic
 * operations, for which i386 needs the alignment.
 */
struct tables_ahead {
  _Alignas(8) uint64_t first, end;
  unsigned count;
};

struct image {
  struct context *context;
  const char *name;      /* the source's name, for messages */
  struct source *source; /* of the header and the tables */
  struct source *data;   /* of the clusters: a data file, or equal to source */
  struct header header;
  struct entry_geometry geometry;
  struct cipher *cipher; /* decrypts the clusters; NULL: not encrypted, or
                            not unlocked yet (unlock.h) */
  struct error_filter damage;
  uint64_t id;                    /* the owner in cache keys (context.h) */
  struct quota_client workspaces; /* protected by the lock of their pool */

  struct tables_ahead ahead;
};

/* Read and check the header.  Takes ownership of the source, even on failure.
 * The caller opens and sets a data file, and unlocks an encrypted image.  NULL
 * with the error reported and errno EINVAL, EIO or ENOMEM.
 */
struct image *image_open (struct context *context, struct source *source,
                          uint64_t id);

/* Set *probe to the format of a file that begins with the 'length' bytes at
 * 'start' and is no QCOW image, or to NULL if that is unknown.  0, or -1 with
 * the error reported.
 */
int image_probe (struct source *source, const uint8_t *start, size_t length,
                 const struct probe **probe);

/* Close the image and its sources.  NULL is ignored.  Keeps errno. */
void image_close (struct image *image);

/* Get the L1 table at this offset of the image; see l1.h. */
struct l1_table *image_get_l1 (const struct image *image, uint64_t offset,
                               uint32_t size, const char *what);

/* Get the active L1 table, which the header names. */
struct l1_table *image_get_active_l1 (const struct image *image);

/* log2 of the largest slice, the part of an L2 table or bitmap that is cached
 * as one.  16 KiB have 2048 entries: 128 MiB of a disk with 64 KiB clusters.
 * Reading 16 KiB from the page cache takes little longer than 4 KiB, and a map
 * of a whole image needs a quarter of the lookups.  Larger slices gain little,
 * and random reads would fill the cache with unused entries.
 */
#define SLICE_BITS 14

/* Pin a slice of a table: the 'size' bytes at key.host of the image's file.
 * If it is not cached, it is read: from a local file into an entry of its own,
 * from a remote one as a part of its block.  It is aligned for 64-bit entries.
 * The caller releases slice->entry.  0, or -1 with errno EIO or ENOMEM and the
 * error reported, or ESHUTDOWN.
 */
int image_get_slice (const struct image *image, struct cache_key key,
                     size_t size, struct source_pin *slice);

/* The same for a slice that is cached.  Returns false if it is not. */
bool image_peek_slice (const struct image *image, struct cache_key key,
                       size_t size, struct source_pin *slice);

static inline int
image_no_memory (const struct image *image)
{
  return error_no_memory (image->context->hooks, image->name);
}

/* The sector number for the IV of data at these guest and host offsets. */
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

/* As a length in memory: at most 2 MiB.  (Not for masks of 64-bit
 * offsets: size_t can be narrower.)
 */
static inline size_t
image_cluster_bytes (const struct image *image)
{
  return (size_t) 1 << image->header.cluster_bits;
}

#endif /* QCOW_IMAGE_IMAGE_H */
