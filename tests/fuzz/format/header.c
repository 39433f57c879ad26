/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: the input is the beginning of an image file.  A header that is
 * accepted must satisfy header.h.
 */

#include "tests/fuzz/fuzz.h"

#include "base/minmax.h"
#include "format/header-extensions.h"
#include "format/header.h"

#define MAX_CLUSTER (1U << QCOW_MAX_CLUSTER_BITS)

/* The memory of the cluster is zero between runs, because clearing 2 MiB for
 * each run would take longer than the rest.
 */
static struct guarded fixed_area, cluster_area, name_area, header_area;

static bool
is_string (const char *s, size_t size)
{
  return memchr (s, '\0', size) != NULL;
}

static bool
is_aligned (uint64_t offset, const struct header *h)
{
  return (offset & ((UINT64_C (1) << h->cluster_bits) - 1)) == 0;
}

/* True if the end of a range fits a file offset. */
static bool
fits (uint64_t offset, uint64_t bytes)
{
  return bytes <= INT64_MAX && offset <= INT64_MAX - bytes;
}

/* Invariants of all versions. */
static void
check_all (const struct header *h)
{
  MUST (h->version >= 1 && h->version <= 3);
  MUST (h->cluster_bits >= 9 && h->cluster_bits <= 21);
  MUST (h->l2_bits >= 6 && h->l2_bits <= 18);
  MUST (h->size <= INT64_MAX);
  MUST (h->crypt_method <= QCOW_CRYPT_LUKS);
  /* Each guest byte has an L1 entry. */
  MUST ((unsigned __int128) h->l1_size << header_l1_shift (h) >= h->size);
  MUST (fits (h->l1_table_offset, 8 * (uint64_t) h->l1_size));
  MUST (h->compression <= QCOW_COMPRESSION_ZSTD);
  MUST (h->backing_size <= QCOW_MAX_BACKING_NAME);
  MUST (h->backing_size == 0 || h->backing_offset != 0);
  MUST (fits (h->backing_offset, h->backing_size));
  MUST (is_string (h->backing_file, sizeof h->backing_file));
  MUST (is_string (h->backing_format, sizeof h->backing_format));
  MUST (is_string (h->data_file, sizeof h->data_file));
  MUST (strlen (h->backing_file) <= h->backing_size);
}

static void
check_version_1 (const struct header *h)
{
  MUST (h->cluster_bits <= 16 && h->l2_bits <= 13);
  MUST (h->size >= 2 && h->crypt_method <= QCOW_CRYPT_AES);
  MUST (h->l1_size <= UINT32_C (1) << 28);
  /* Fields that version 1 lacks must be empty. */
  MUST (h->incompatible == 0 && h->autoclear == 0);
  MUST (h->nb_snapshots == 0 && h->nb_bitmaps == 0 && !h->bitmaps_broken);
  MUST (h->compression == QCOW_COMPRESSION_DEFLATE);
  MUST (h->backing_format[0] == '\0' && h->data_file[0] == '\0');
}

static void
check_version_2 (const struct header *h)
{
  const uint64_t cluster = UINT64_C (1) << h->cluster_bits;
  const bool extended = h->incompatible & QCOW_INCOMPAT_EXTENDED_L2;

  MUST (h->l2_bits == h->cluster_bits - (extended ? 4 : 3));
  MUST (!extended || h->cluster_bits >= 14);
  MUST (h->l1_size <= 4194304 && is_aligned (h->l1_table_offset, h));
  MUST (h->nb_snapshots <= 65536);
  MUST (is_aligned (h->snapshots_offset, h));
  MUST (h->snapshots_offset <= INT64_MAX);
  MUST ((h->incompatible & ~QCOW_INCOMPAT_KNOWN) == 0);
  MUST (h->version == 3 || (h->incompatible == 0 && h->autoclear == 0));
  MUST (((h->incompatible & QCOW_INCOMPAT_COMPRESSION) != 0)
        == (h->compression != QCOW_COMPRESSION_DEFLATE));
  MUST (h->header_length >= (h->version == 2 ? 72 : 104));
  MUST (h->header_length <= cluster);
  MUST (h->backing_offset <= cluster
        && h->backing_size <= cluster - h->backing_offset);
  MUST (h->crypt_method != QCOW_CRYPT_LUKS
        || (is_aligned (h->luks_offset, h)
            && fits (h->luks_offset, h->luks_length)));
  MUST (!h->bitmaps_broken || h->nb_bitmaps == 0);
}

/* Parse the header after the fixed fields. */
static int
parse_rest (const uint8_t *data, size_t size, enum side side, struct header *h,
            struct problem *problem)
{
  const size_t n = min64 (size, (size_t) 1 << h->cluster_bits);
  uint8_t *p;
  int r;

  if (h->version == 1) {
    p = guarded_place (&name_area, side, h->backing_size);
    memset (p, 0, h->backing_size);
    if (h->backing_offset < size)
      memcpy (p, data + h->backing_offset,
              min64 (h->backing_size, size - h->backing_offset));
    header_backing_name (p, h);
    return 0;
  }
  p = guarded_place (&cluster_area, side, (size_t) 1 << h->cluster_bits);
  memcpy (p, data, n);
  r = header_extensions (p, h, problem);
  memset (p, 0, n);
  return r;
}

static void
parse (const uint8_t *data, size_t size, enum side side)
{
  struct header *h
    = (struct header *) guarded_place (&header_area, side, sizeof *h);
  uint8_t *fixed = guarded_place (&fixed_area, side, HEADER_FIXED_BYTES);
  struct problem problem;

  memset (fixed, 0, HEADER_FIXED_BYTES);
  memcpy (fixed, data, min64 (size, HEADER_FIXED_BYTES));
  memset (h, 'x', sizeof *h);
  no_problem (&problem);
  if (header_fixed (fixed, h, &problem) == -1
      || parse_rest (data, size, side, h, &problem) == -1) {
    must_have_reason (&problem);
    return;
  }
  check_all (h);
  if (h->version == 1)
    check_version_1 (h);
  else
    check_version_2 (h);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  enum side side;

  if (header_area.start == NULL) {
    fixed_area = guarded_new (HEADER_FIXED_BYTES);
    cluster_area = guarded_new (MAX_CLUSTER);
    name_area = guarded_new (QCOW_MAX_BACKING_NAME);
    header_area = guarded_new (sizeof (struct header));
  }
  if (size == 0)
    return 0;
  for (side = AT_END; side < SIDES; ++side)
    parse (data, size, side);
  return 0;
}
