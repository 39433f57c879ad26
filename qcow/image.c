/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Opening one QCOW file.  See image.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "image.h"

/* The header, its extensions and a name nearly always fit. */
#define FIRST_READ (UINT64_C (64) << 10)

static int
refuse (const struct image *image, const struct problem *problem)
{
  return error_report (image->hooks, EINVAL, image->name, "%s", problem->text);
}

static int
no_memory (const struct image *image)
{
  return error_report (image->hooks, ENOMEM, image->name, "out of memory");
}

/* Features that the format has and this program has not. */
static int
refuse_features (const struct image *image)
{
  const struct header *h = &image->header;

  if (h->crypt_method != QCOW_CRYPT_NONE)
    return error_report (image->hooks, EINVAL, image->name,
                         "the image is encrypted (%s): encrypted images are "
                         "not supported",
                         h->crypt_method == QCOW_CRYPT_AES ? "AES" : "LUKS");
  if (h->incompatible & QCOW_INCOMPAT_DATA_FILE)
    return error_report (image->hooks, EINVAL, image->name,
                         "the image keeps its data in the external data "
                         "file '%s': external data files are not supported",
                         h->data_file[0] ? h->data_file
                                         : "(no name recorded)");
  if (h->incompatible & QCOW_INCOMPAT_EXTENDED_L2)
    return error_report (image->hooks, EINVAL, image->name,
                         "the image has extended L2 entries (subclusters), "
                         "which are not supported");
  if (h->backing_file[0] != '\0')
    return error_report (image->hooks, EINVAL, image->name,
                         "the image has the backing file '%s' (format '%s'): "
                         "backing files are not supported",
                         h->backing_file,
                         h->backing_format[0] ? h->backing_format
                                              : "not recorded");
  return 0;
}

static void
warn_of_state (const struct image *image)
{
  if (image->header.incompatible & QCOW_INCOMPAT_CORRUPT)
    error_warn (image->hooks, image->name,
                "the image is marked corrupt: it is served as it is, some "
                "of its content may be wrong or unreadable ('qemu-img check' "
                "tells more)");
  else if (image->header.incompatible & QCOW_INCOMPAT_DIRTY)
    error_warn (image->hooks, image->name,
                "the image is marked dirty: it was not closed properly; its "
                "content can be read as it is ('qemu-img check' tells more)");
}

static int
read_header (struct image *image)
{
  struct problem problem;
  uint64_t length;
  uint8_t *first, *p;
  int r = -1;

  first = malloc (FIRST_READ);
  if (first == NULL)
    return no_memory (image);
  if (source_read (image->source, first, FIRST_READ, 0) == -1)
    goto out;
  if (header_fixed (first, &image->header, &problem) == -1) {
    refuse (image, &problem);
    goto out;
  }

  length = image_cluster_size (image);
  if (length > FIRST_READ) {
    p = realloc (first, length);
    if (p == NULL) {
      no_memory (image);
      goto out;
    }
    first = p;
    if (source_read (image->source, first + FIRST_READ, length - FIRST_READ,
                     FIRST_READ)
        == -1)
      goto out;
  }
  if (header_extensions (first, &image->header, &problem) == -1) {
    refuse (image, &problem);
    goto out;
  }
  r = refuse_features (image);

out:
  free (first);
  return r;
}

static int
read_l1 (struct image *image)
{
  const struct header *h = &image->header;
  const uint64_t bytes = h->l1_size * sizeof (uint64_t);
  uint32_t i;

  /* As everywhere: what begins before the end of the file and ends less
   * than a cluster behind it was not written out in full, and is zeros.
   */
  if (bytes > 0
      && (h->l1_table_offset >= image->source->size
          || h->l1_table_offset + bytes
               >= image->source->size + image_cluster_size (image)))
    return error_report (image->hooks, EINVAL, image->name,
                         "the L1 table (%" PRIu64 " bytes at %" PRIu64 ") "
                         "lies beyond the end of the file at %" PRIu64
                         ": was the file cut?",
                         bytes, h->l1_table_offset, image->source->size);

  image->l1 = malloc (bytes > 0 ? bytes : 1);
  if (image->l1 == NULL)
    return no_memory (image);
  if (source_read (image->source, image->l1, bytes, h->l1_table_offset) == -1)
    return -1;
  for (i = 0; i < h->l1_size; ++i)
    image->l1[i] = be64toh (image->l1[i]);
  return 0;
}

struct image *
image_open (const struct qcow_options *options, const struct qcow_hooks *hooks)
{
  struct image *image = calloc (1, sizeof *image);
  int err;

  if (image == NULL) {
    error_report (hooks, ENOMEM, options->filename, "out of memory");
    return NULL;
  }
  image->hooks = hooks;
  image->debug_runs = options->debug_runs;
  error_filter_init (&image->damage);
  image->source
    = source_file_open (options->filename, options->force_share, hooks);
  if (image->source == NULL)
    goto err;
  image->name = image->source->name;
  if (image->source->size == 0) {
    error_report (hooks, EINVAL, image->name,
                  "the file is empty, it is not a QCOW image");
    goto err;
  }
  if (read_header (image) == -1)
    goto err;
  image->rules.version = image->header.version;
  image->rules.cluster_bits = image->header.cluster_bits;
  image->rules.file_size = image->source->size;
  if (read_l1 (image) == -1)
    goto err;
  warn_of_state (image);
  return image;

err:
  err = errno;
  image_close (image);
  errno = err;
  return NULL;
}

void
image_close (struct image *image)
{
  if (image == NULL)
    return;
  source_close (image->source);
  error_filter_destroy (&image->damage);
  free (image->l1);
  free (image);
}
