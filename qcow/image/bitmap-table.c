/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The persistent dirty bitmaps of an image.  See bitmap-table.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/minmax.h"
#include "base/utf8.h"
#include "image/bitmap-table.h"

/* The file must hold the whole table of a bitmap: missing entries would read
 * as zeros, which means that nothing has changed.
 */
#define NO_SLACK 1

/* --- The directory --- */

/* For each bitmap: an entry of the list, and one of the index. */
#define ENTRY_BYTES 60

static int
read_directory (struct bitmap_table *all, const struct image *image,
                struct problem *problem)
{
  const struct header *h = &image->header;
  size_t bytes, pos = 0;
  unsigned i;

  if (h->bitmaps_broken)
    return problem_set (problem, "the header extension is not valid");
  if (h->nb_bitmaps > QCOW_MAX_BITMAPS)
    return problem_set (problem,
                        "nb_bitmaps is %" PRIu32 ": must be at most %d",
                        h->nb_bitmaps, QCOW_MAX_BITMAPS);
  if (h->bitmap_directory_size > QCOW_MAX_BITMAP_DIRECTORY_BYTES
      || h->bitmap_directory_offset >= image->source->size
      || h->bitmap_directory_size
           > image->source->size - h->bitmap_directory_offset)
    return problem_set (problem,
                        "the directory (%" PRIu64 " bytes at 0x%" PRIx64 ") "
                        "is larger than 64 MiB or extends beyond the end of "
                        "the file",
                        h->bitmap_directory_size, h->bitmap_directory_offset);

  bytes = (size_t) h->bitmap_directory_size;
  if (!l1_tables_reserve (all->limit,
                          bytes + (uint64_t) h->nb_bitmaps * ENTRY_BYTES,
                          &all->reserved))
    return problem_set (problem,
                        "with their directory, the tables in use would exceed "
                        "the limit of %" PRIu64 " MiB",
                        QCOW_MAX_L1_MEMORY >> 20);
  all->list = calloc (h->nb_bitmaps, sizeof all->list[0]);
  all->by_name = name_index_new (h->nb_bitmaps);
  all->directory = malloc (bytes + 1);
  if (all->list == NULL || all->by_name == NULL || all->directory == NULL)
    return problem_set (problem, "out of memory");
  if (source_read_table (image->source, all->directory, bytes,
                         h->bitmap_directory_offset)
      == -1)
    return problem_set (problem, "can't read the directory");
  for (i = 0; i < h->nb_bitmaps; ++i) {
    struct bitmap_entry *b = &all->list[i];

    if (bitmap_entry_parse (all->directory, bytes, &pos, i + 1, b, problem)
        == -1)
      return -1;
    name_index_set (all->by_name, i, b->name, b->name_length);
  }
  name_index_sort (all->by_name);
  all->count = h->nb_bitmaps;
  return 0;
}

/* Free the directory.  Then the table has no bitmaps. */
static void
free_directory (struct bitmap_table *all)
{
  name_index_free (all->by_name);
  free (all->list);
  free (all->directory);
  l1_tables_release (all->limit, all->reserved);
  *all = (struct bitmap_table){ .limit = all->limit };
}

struct bitmap_table *
bitmap_table_load (const struct image *image)
{
  struct bitmap_table *all = calloc (1, sizeof *all);
  const struct header *h = &image->header;
  struct problem problem;

  if (all == NULL) {
    image_no_memory (image);
    return NULL;
  }
  all->limit = image->context->l1_tables;
  if ((h->nb_bitmaps > 0 || h->bitmaps_broken)
      && read_directory (all, image, &problem) == -1) {
    error_warn (image->context->hooks, image->name,
                "the dirty bitmaps of the image can't be used: %s",
                problem.text);
    free_directory (all);
  }
  return all;
}

void
bitmap_table_free (struct bitmap_table *all)
{
  if (all == NULL)
    return;
  free_directory (all);
  free (all);
}

const struct bitmap_entry *
bitmap_table_find (const struct bitmap_table *all, const char *name,
                   size_t length)
{
  const int i
    = all->count > 0 ? name_index_find (all->by_name, name, length) : -1;

  return i == -1 ? NULL : &all->list[i];
}

/* --- One bitmap --- */

/* Returns 0, or -1 with the reason why the bitmap can't be used. */
static int
check (const struct image *image, const struct bitmap_entry *b,
       struct problem *problem)
{
  if (image->header.autoclear & QCOW_AUTOCLEAR_BITMAPS)
    return bitmap_entry_check (b, image->header.size,
                               image->header.cluster_bits, problem);
  return problem_set (problem,
                      "the image was written by a program without bitmap "
                      "support (autoclear_features bit 0 is not set), so "
                      "changes may be missing");
}

bool
bitmap_is_usable (const struct image *image, const struct bitmap_entry *b)
{
  struct problem problem;

  return check (image, b, &problem) == 0;
}

/* 'name' is the bitmap's name for messages. */
static struct l1_table *
check_and_load (const struct image *image, const struct bitmap_entry *b,
                const char *name)
{
  struct problem problem;
  char what[320];

  if (check (image, b, &problem) == -1) {
    error_report (image->context->hooks, EINVAL, image->name,
                  "the bitmap '%s' can't be used: %s", name, problem.text);
    return NULL;
  }
  snprintf (what, sizeof what, "the table of the bitmap '%s'", name);
  return l1_table_get (image->context->l1_tables, image->source,
                       b->table_offset, b->table_size, NO_SLACK, what);
}

struct open_bitmap *
bitmap_open (struct image *image, const struct bitmap_entry *b)
{
  struct open_bitmap *open = calloc (1, sizeof *open);
  char name[256];

  if (open == NULL) {
    image_no_memory (image);
    return NULL;
  }
  open->image = image;
  open->granularity_bits = b->granularity_bits;
  utf8_escape (name, sizeof name, b->name, b->name_length);
  if (!(b->flags & QCOW_BITMAP_AUTO)
      && error_filter_is_new (&image->damage, b->table_offset))
    error_warn (
      image->context->hooks, image->name,
      "the bitmap '%s' is disabled: it does not include later writes", name);
  open->table = check_and_load (image, b, name);
  if (open->table)
    return open;
  free (open);
  return NULL;
}

void
bitmap_close (struct open_bitmap *b)
{
  if (b == NULL)
    return;
  l1_table_put (b->image->context->l1_tables, b->table);
  free (b);
}

/* Returns the first bit in bits[from..to) that differs from 'bit', or 'to'. */
static uint64_t
same_bits_end (const uint8_t *bits, uint64_t from, uint64_t to, bool bit)
{
  const uint8_t full = bit ? 0xff : 0;

  while (from < to) {
    if (from % 8 == 0 && to - from >= 8 && bits[from / 8] == full)
      from += 8;
    else if ((bits[from / 8] >> from % 8 & 1) == bit)
      from++;
    else
      break;
  }
  return from;
}

static int
damaged (const struct open_bitmap *b, uint64_t offset, uint64_t host)
{
  const struct image *image = b->image;

  error_report_once (&b->image->damage, host, image->context->hooks, EIO,
                     image->name,
                     "damaged bitmap: the host offset 0x%" PRIx64
                     " for guest offset 0x%" PRIx64 " is invalid",
                     host, offset);
  return -1;
}

/* Look up the guest offset in its slice.  'host' is where its cluster of bits
 * is in the image file.
 */
static int
look_into_slice (const struct open_bitmap *b, uint64_t host, uint64_t offset,
                 uint64_t end, bool *dirty, uint64_t *same_end)
{
  const unsigned cluster_bits = b->image->header.cluster_bits;
  const unsigned slice_bits = (unsigned) min64 (cluster_bits, SLICE_BITS);
  const size_t slice_bytes = (size_t) 1 << slice_bits;
  const uint64_t bits_per_slice = UINT64_C (8) << slice_bits;
  const uint64_t bit = offset >> b->granularity_bits;
  const uint64_t in_slice = bit & (bits_per_slice - 1);
  const uint64_t in_cluster = (bit & ((UINT64_C (8) << cluster_bits) - 1))
                              >> (slice_bits + 3) << slice_bits;
  const struct cache_key key
    = { host + in_cluster, b->image->id, CACHE_BITMAP };
  struct source_pin slice;
  uint64_t last;

  /* Unlike data, missing bits past the end of the file can't count as zeros:
   * that would mean that nothing has changed.
   */
  if ((host & (image_cluster_size (b->image) - 1)) != 0
      || host + in_cluster + slice_bytes > b->image->source->size)
    return damaged (b, offset, host);
  if (image_get_slice (b->image, key, slice_bytes, &slice) == -1)
    return -1;
  *dirty = slice.data[in_slice / 8] >> in_slice % 8 & 1;
  last = same_bits_end (slice.data, in_slice, bits_per_slice, *dirty);
  cache_release (slice.entry);
  *same_end = min64 ((bit - in_slice + last) << b->granularity_bits, end);
  return 0;
}

int
bitmap_look (const struct open_bitmap *b, uint64_t offset, uint64_t end,
             bool *dirty, uint64_t *same_end)
{
  const unsigned shift
    = b->granularity_bits + 3 + b->image->header.cluster_bits;
  const uint64_t index = offset >> shift;
  const uint64_t entry = b->table->entries[index];
  const uint64_t host = entry & QCOW_ENTRY_OFFSET_MASK;

  if ((entry & ~(QCOW_ENTRY_OFFSET_MASK | QCOW_BITMAP_ALL_ONES)) != 0
      || (host != 0 && (entry & QCOW_BITMAP_ALL_ONES)))
    return damaged (b, offset, entry);
  if (host != 0)
    return look_into_slice (b, host, offset, end, dirty, same_end);
  /* A cluster of bits that are all zeros or all ones is not stored. */
  *dirty = entry & QCOW_BITMAP_ALL_ONES;
  *same_end = min64 ((index + 1) << shift, end);
  return 0;
}
