/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The header extensions, and the checks that depend on them.  See
 * header-extensions.h.
 *
 * Messages use the field names of qemu's docs/interop/qcow2.rst.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/minmax.h"
#include "format/header-extensions.h"

/* What the checks need from the extensions. */
struct extensions {
  const uint8_t *features; /* the feature name table; NULL: none */
  size_t features_length;
  bool luks; /* there is a LUKS extension */
};

/* Copy a name of 'length' bytes to a buffer of max + 1 bytes.  Returns 0, or
 * -1 and the reason.
 */
static int
copy_name (char *out, size_t max, const uint8_t *in, size_t length,
           const char *what, struct problem *problem)
{
  if (length > max)
    return problem_set (problem,
                        "header: the %s is %zu bytes: must be at most %zu",
                        what, length, max);
  memcpy (out, in, length);
  out[length] = '\0';
  return 0;
}

/* The disk can be read without its bitmaps, so an invalid extension is no
 * reason to refuse the image.
 */
static void
parse_bitmaps (const uint8_t *data, size_t length, struct header *h)
{
  h->nb_bitmaps = 0;
  h->bitmaps_broken
    = length != 24 || get_be32 (data) == 0 || get_be32 (data + 4) != 0;
  if (h->bitmaps_broken)
    return;
  h->nb_bitmaps = get_be32 (data);
  h->bitmap_directory_size = get_be64 (data + 8);
  h->bitmap_directory_offset = get_be64 (data + 16);
}

static int
parse_luks (const uint8_t *data, size_t length, struct header *h,
            struct problem *problem)
{
  if (h->crypt_method != QCOW_CRYPT_LUKS)
    return problem_set (problem,
                        "header: there is a LUKS header extension, but "
                        "crypt_method is %" PRIu32,
                        h->crypt_method);
  if (length != 16)
    return problem_set (
      problem, "header: the LUKS extension is %zu bytes: must be 16", length);
  h->luks_offset = get_be64 (data);
  h->luks_length = get_be64 (data + 8);
  return header_check_table (h, "header: the offset of the LUKS header",
                             h->luks_offset, h->luks_length, problem);
}

static int
parse_extension (uint32_t type, const uint8_t *data, size_t length,
                 struct header *h, struct extensions *ext,
                 struct problem *problem)
{
  switch (type) {
  case QCOW_EXT_BACKING_FORMAT:
    return copy_name (h->backing_format, QCOW_MAX_BACKING_FORMAT, data, length,
                      "backing format", problem);

  case QCOW_EXT_DATA_FILE:
    return copy_name (h->data_file, QCOW_MAX_DATA_FILE_NAME, data, length,
                      "data file name", problem);

  case QCOW_EXT_FEATURE_TABLE:
    ext->features = data;
    ext->features_length = length;
    return 0;

  case QCOW_EXT_BITMAPS:
    parse_bitmaps (data, length, h);
    return 0;

  case QCOW_EXT_LUKS:
    ext->luks = true;
    return parse_luks (data, length, h, problem);

  default: /* unknown: ignored (spec) */
    return 0;
  }
}

/* Parse the extensions in cluster[start..end). */
static int
parse_extensions (const uint8_t *cluster, size_t start, size_t end,
                  struct header *h, struct extensions *ext,
                  struct problem *problem)
{
  size_t pos = start;

  while (pos < end) {
    uint32_t type, length;

    if (end - pos < 8)
      return problem_set (problem,
                          "header: extension at 0x%zx: its type and length "
                          "extend beyond the end of the area at 0x%zx",
                          pos, end);
    type = get_be32 (cluster + pos);
    length = get_be32 (cluster + pos + 4);
    pos += 8;
    if (length > end - pos)
      return problem_set (problem,
                          "header: extension 0x%08" PRIx32 " at 0x%zx: its "
                          "length is %" PRIu32 ", but the area ends at 0x%zx",
                          type, pos - 8, length, end);
    if (type == QCOW_EXT_END)
      break;
    if (parse_extension (type, cluster + pos, length, h, ext, problem) == -1)
      return -1;
    pos += (size_t) round_up64 (length, 8);
  }
  return 0;
}

/* Find an incompatible feature in the image's feature name table, and copy its
 * name to 'name'.  Returns NULL if it has none.
 */
static const char *
feature_name (const struct extensions *ext, unsigned bit,
              char name[QCOW_FEATURE_NAME_BYTES + 1])
{
  size_t i;

  for (i = 0; i + QCOW_FEATURE_ENTRY_BYTES <= ext->features_length;
       i += QCOW_FEATURE_ENTRY_BYTES) {
    const uint8_t *entry = ext->features + i;

    if (entry[0] == QCOW_FEATURE_KIND_INCOMPAT && entry[1] == bit) {
      memcpy (name, entry + 2, QCOW_FEATURE_NAME_BYTES);
      name[QCOW_FEATURE_NAME_BYTES] = '\0';
      if (name[0] != '\0')
        return name;
    }
  }
  return NULL;
}

static int
check_features (const struct header *h, const struct extensions *ext,
                struct problem *problem)
{
  const uint64_t unknown = h->incompatible & ~QCOW_INCOMPAT_KNOWN;
  char name[QCOW_FEATURE_NAME_BYTES + 1];
  struct problem list = { "" };
  size_t len = 0;
  unsigned bit;

  if (unknown == 0)
    return 0;
  for (bit = 0; bit < 64; ++bit) {
    const char *known_as;

    if (!(unknown & (UINT64_C (1) << bit)))
      continue;
    known_as = feature_name (ext, bit, name);
    /* 64 names of 46 bytes do not fit, so cut the list. */
    if (len + sizeof name + 24 > sizeof list.text - 128)
      break;
    len += (size_t) snprintf (&list.text[len], sizeof list.text - len,
                              "%sbit %u (%s)", len ? ", " : "", bit,
                              known_as ? known_as : "unnamed");
  }
  return problem_set (
    problem, "header: unsupported incompatible features: %.800s", list.text);
}

/* The L1 table must cover the virtual size.  It can cover more, for the VM
 * state or a disk that was shrunk.  (This check follows check_features,
 * because a feature determines how much an entry spans.)
 */
static int
check_l1_covers_size (const struct header *h, struct problem *problem)
{
  const uint64_t need = header_l1_entries (h);

  if (h->l1_size < need)
    return problem_set (problem,
                        "header: l1_size is %" PRIu32 ": a virtual size of "
                        "%" PRIu64 " needs %" PRIu64 " L1 entries",
                        h->l1_size, h->size, need);
  return 0;
}

static int
check_compression (const struct header *h, struct problem *problem)
{
  const bool bit = h->incompatible & QCOW_INCOMPAT_COMPRESSION;

  if (h->compression > QCOW_COMPRESSION_ZSTD)
    return problem_set (problem,
                        "header: compression_type is %u: must be 0 "
                        "(deflate) or 1 (zstd)",
                        h->compression);
  if (bit != (h->compression != QCOW_COMPRESSION_DEFLATE))
    return problem_set (problem,
                        "header: compression_type is %u, but incompatible "
                        "feature bit 3 is %d: must be set if and only if the "
                        "type is not 0",
                        h->compression, bit);
  return 0;
}

static int
check_dependencies (const struct header *h, const struct extensions *ext,
                    struct problem *problem)
{
  if ((h->incompatible & QCOW_INCOMPAT_EXTENDED_L2)
      && header_cluster_size (h) / QCOW_SUBCLUSTERS
           < QCOW_MIN_SUBCLUSTER_BYTES)
    return problem_set (problem,
                        "header: cluster_bits is %u: must be at least 14 with "
                        "extended L2 entries (subclusters of at least %d "
                        "bytes)",
                        h->cluster_bits, QCOW_MIN_SUBCLUSTER_BYTES);
  if ((h->autoclear & QCOW_AUTOCLEAR_DATA_FILE_RAW)
      && !(h->incompatible & QCOW_INCOMPAT_DATA_FILE))
    return problem_set (problem,
                        "header: autoclear_features bit 1 (raw external data) "
                        "is set, but there is no external data file");
  if (h->crypt_method == QCOW_CRYPT_LUKS && !ext->luks)
    return problem_set (problem,
                        "header: crypt_method is 2 (LUKS), but there is no "
                        "LUKS header extension");
  return 0;
}

int
header_extensions (const uint8_t *cluster, struct header *h,
                   struct problem *problem)
{
  struct extensions ext = { NULL, 0, false };
  const size_t end = (size_t) (h->backing_offset ? h->backing_offset
                                                 : header_cluster_size (h));

  if (h->backing_offset)
    header_backing_name (cluster + h->backing_offset, h);
  if (parse_extensions (cluster, h->header_length, end, h, &ext, problem) == -1
      || check_features (h, &ext, problem) == -1
      || check_l1_covers_size (h, problem) == -1
      || check_compression (h, problem) == -1
      || check_dependencies (h, &ext, problem) == -1)
    return -1;
  return 0;
}
