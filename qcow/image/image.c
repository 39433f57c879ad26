/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Opening one QCOW file.  See image.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/keep-errno.h"
#include "base/wait.h"
#include "format/header-extensions.h"
#include "image/image.h"

/* The header, its extensions and the backing file's name nearly always fit. */
#define FIRST_READ (UINT64_C (64) << 10)
_Static_assert(FIRST_READ >= PROBE_START_BYTES, "enough to know a format");

static int
refuse (const struct image *image, const struct problem *problem)
{
  return error_report (image->context->hooks, EINVAL, image->name, "%s",
                       problem->text);
}

static void
warn_of_state (const struct image *image)
{
  if (image->header.incompatible & QCOW_INCOMPAT_CORRUPT)
    error_warn (image->context->hooks, image->name,
                "the image is marked corrupt and is served as is: parts of it "
                "may be wrong or unreadable ('qemu-img check' shows details)");
  else if (image->header.incompatible & QCOW_INCOMPAT_DIRTY)
    error_warn (image->context->hooks, image->name,
                "the image is marked dirty: it was not closed properly, but "
                "its content is readable ('qemu-img check' shows details)");
}

/* Read the extensions of version 2 and 3, from the whole first cluster.
 * 'first' is its first FIRST_READ bytes.
 */
static int
read_extensions (struct image *image, const uint8_t *first)
{
  const size_t length = image_cluster_bytes (image);
  struct problem problem;
  uint8_t *cluster;
  int r = -1;

  if (length <= FIRST_READ)
    return header_extensions (first, &image->header, &problem) == 0
             ? 0
             : refuse (image, &problem);
  cluster = malloc (length);
  if (cluster == NULL)
    return image_no_memory (image);
  if (source_read_table (image->source, cluster, length, 0) == 0)
    r = header_extensions (cluster, &image->header, &problem) == 0
          ? 0
          : refuse (image, &problem);
  free (cluster);
  return r;
}

/* Read the backing file's name in version 1, where it may be anywhere. */
static int
read_backing_name (struct image *image)
{
  struct header *h = &image->header;
  uint8_t name[QCOW_MAX_BACKING_NAME];

  if (h->backing_size == 0)
    return 0;
  if (h->backing_offset + h->backing_size > image->source->size)
    return error_report (image->context->hooks, EINVAL, image->name,
                         "header: backing_file_offset is 0x%" PRIx64
                         ": the name (%" PRIu32 " bytes) extends beyond the "
                         "end of the file at 0x%" PRIx64,
                         h->backing_offset, h->backing_size,
                         image->source->size);
  if (source_read_table (image->source, name, h->backing_size,
                         h->backing_offset)
      == -1)
    return -1;
  header_backing_name (name, h);
  return 0;
}

int
image_probe (struct source *source, const uint8_t *start, size_t length,
             const struct probe **probe)
{
  uint8_t end[PROBE_END_BYTES];
  const bool has_end = source->size >= sizeof end;

  if (has_end
      && source_read_table (source, end, sizeof end, source->size - sizeof end)
           == -1)
    return -1;
  *probe = probe_format (start, length, has_end ? end : NULL);
  return 0;
}

/* If the file has another known format, refuse it and name that format. */
static int
check_probe (const struct image *image, const uint8_t *first)
{
  const struct probe *probe;

  if (get_be32 (first) == QCOW_MAGIC)
    return 0;
  if (image_probe (image->source, first, FIRST_READ, &probe) == -1)
    return -1;
  if (probe == NULL)
    return 0;
  return error_report (image->context->hooks, EINVAL, image->name,
                       "not a QCOW image: it is %s" HINT, probe->what,
                       HINT_ARGS (image->context->hooks, probe->hint));
}

/* Refuse a file that is too short for its header. */
static int
check_length (const struct image *image, const uint8_t *first)
{
  const uint64_t size = image->source->size;
  const uint32_t version = get_be32 (first + 4);
  const uint64_t least = version == 3   ? QCOW_V3_HEADER_LENGTH
                         : version == 2 ? QCOW_V2_HEADER_LENGTH
                                        : QCOW_V1_HEADER_LENGTH;

  if (size >= 8 && (get_be32 (first) != QCOW_MAGIC || size >= least))
    return 0;
  return error_report (image->context->hooks, EINVAL, image->name,
                       "the file is %" PRIu64
                       " bytes, but a QCOW header needs "
                       "%" PRIu64 ": was the file truncated?",
                       size, least);
}

static int
read_header (struct image *image)
{
  struct problem problem;
  uint8_t *first = malloc (FIRST_READ);
  int r = -1;

  if (first == NULL)
    return image_no_memory (image);
  if (source_read_table (image->source, first, FIRST_READ, 0) == -1
      || check_probe (image, first) == -1 || check_length (image, first) == -1)
    goto out;
  if (header_fixed (first, &image->header, &problem) == -1)
    error_report (
      image->context->hooks, EINVAL, image->name, "%s" HINT, problem.text,
      HINT_ARGS (image->context->hooks, get_be32 (first) == QCOW_MAGIC
                                          ? QCOW_HINT_NONE
                                          : QCOW_HINT_UNKNOWN));
  else if (image->header.version == 1)
    r = read_backing_name (image);
  else
    r = read_extensions (image, first);

out:
  free (first);
  return r;
}

static void
set_geometry (struct image *image)
{
  const struct header *h = &image->header;

  image->geometry = (struct entry_geometry){
    .version = h->version,
    .cluster_bits = h->cluster_bits,
    .l2_bits = h->l2_bits,
    .extended = (h->incompatible & QCOW_INCOMPAT_EXTENDED_L2) != 0,
    .data_file = (h->incompatible & QCOW_INCOMPAT_DATA_FILE) != 0,
    .file_size = image->source->size,
  };
}

struct image *
image_open (struct context *context, struct source *source, uint64_t id)
{
  struct image *image = calloc (1, sizeof *image);

  if (image == NULL) {
    error_no_memory (context->hooks, source->name);
    source_close (source);
    errno = ENOMEM;
    return NULL;
  }
  image->context = context;
  image->source = image->data = source;
  image->name = source->name;
  image->id = id;
  error_filter_init (&image->damage);
  if (source->size == 0) {
    error_report (context->hooks, EINVAL, image->name,
                  "the file is empty: it is not a QCOW image");
    goto err;
  }
  if (read_header (image) == -1)
    goto err;
  if (cache_reserve (context->cache, image_cluster_bytes (image)) == -1) {
    image_no_memory (image);
    goto err;
  }
  set_geometry (image);
  warn_of_state (image);
  return image;

err:
  image_close (image);
  return NULL;
}

void
image_close (struct image *image)
{
  KEEP_ERRNO;

  if (image == NULL)
    return;
  l1_tables_forget (image->context->l1_tables, image->source);
  if (image->data != image->source)
    source_close (image->data);
  source_close (image->source);
  cipher_free (image->cipher);
  error_filter_destroy (&image->damage);
  free (image);
}

struct l1_table *
image_get_l1 (const struct image *image, uint64_t offset, uint32_t size,
              const char *what)
{
  return l1_table_get (image->context->l1_tables, image->source, offset, size,
                       image_cluster_size (image), what);
}

struct l1_table *
image_get_active_l1 (const struct image *image)
{
  return image_get_l1 (image, image->header.l1_table_offset,
                       image->header.l1_size, "the L1 table");
}

/* Pin the slice within the source's own cache entry, see source_pin.  This is
 * not possible if the entries there would not be aligned: a version 1 table
 * may be anywhere.
 */
static int
pin_in_place (const struct image *image, struct cache_key key, size_t size,
              bool cached_only, struct source_pin *slice)
{
  if (key.host % sizeof (uint64_t) != 0)
    return 0;
  return source_pin (image->source, key.host, size, cached_only, slice);
}

/* Pin a cache entry that holds only this slice.  Load it unless another thread
 * does.
 */
static int
pin_copy (const struct image *image, struct cache_key key, size_t size,
          struct cache_entry **entry)
{
  const struct qcow_hooks *hooks = image->context->hooks;

  for (;;) {
    switch (cache_claim (image->context->cache, key, size, true, entry)) {
    case CACHE_READY:
      return 0;

    case CACHE_MINE:
      if (source_read_table (image->source, (*entry)->data, size, key.host)
          == -1) {
        cache_fail (*entry);
        return -1;
      }
      cache_fill (*entry);
      return 0;

    case CACHE_BUSY:
      if (cache_wait (*entry, hooks) == 0)
        return 0;
      /* The loader failed, perhaps because its client disconnected.  Load the
       * slice ourselves unless our client has disconnected, too.
       */
      if (errno == ESHUTDOWN || hooks_sleep (hooks, 0) == -1) {
        errno = ESHUTDOWN;
        return -1;
      }
      break;

    case CACHE_FULL: /* not with 'must' */
    case CACHE_NO_MEMORY:
      return image_no_memory (image);
    }
  }
}

int
image_get_slice (const struct image *image, struct cache_key key, size_t size,
                 struct source_pin *slice)
{
  int r = pin_in_place (image, key, size, false, slice);

  if (r == 0 && pin_copy (image, key, size, &slice->entry) == 0) {
    slice->data = slice->entry->data;
    r = 1;
  }
  if (r == 1)
    return 0;
  slice->entry = NULL;
  return -1;
}

bool
image_peek_slice (const struct image *image, struct cache_key key, size_t size,
                  struct source_pin *slice)
{
  if (pin_in_place (image, key, size, true, slice) == 1)
    return true;
  slice->entry = cache_peek (image->context->cache, key);
  if (slice->entry == NULL)
    return false;
  slice->data = slice->entry->data;
  return true;
}
