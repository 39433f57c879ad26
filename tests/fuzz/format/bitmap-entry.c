/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: the input is the size of a disk (8 bytes), cluster_bits (1 byte),
 * and a directory of bitmaps.  Each entry must lie in the directory, and one
 * that can be used must cover the disk and no more.
 */

#include "tests/fuzz/fuzz.h"

#include "format/bitmap-entry.h"

#define MAX_DIRECTORY (1U << 20)

static struct guarded area;

/* The entry at [start, pos). */
static void
check_entry (const uint8_t *directory, size_t length, size_t start, size_t pos,
             const struct bitmap_entry *b)
{
  const uint8_t *name = (const uint8_t *) b->name;

  MUST (pos > start && pos <= length && pos - start >= 24);
  MUST (pos % 8 == 0 || pos == length);
  MUST (name == directory + start + 24 + b->extra_length);
  MUST (name + b->name_length <= directory + pos);
  MUST (directory + pos - (name + b->name_length) < 8);
}

static void
check_good (const struct bitmap_entry *b, uint64_t size, unsigned cluster_bits)
{
  const unsigned shift = b->granularity_bits + 3 + cluster_bits;

  MUST (b->type == QCOW_BITMAP_TYPE_DIRTY);
  MUST (!(b->flags & QCOW_BITMAP_IN_USE));
  MUST (b->granularity_bits >= 9 && b->granularity_bits <= 31);
  MUST (b->table_offset != 0 && b->table_offset % (1U << cluster_bits) == 0);
  MUST ((uint64_t) b->table_size << cluster_bits <= 512 << 20);
  MUST ((unsigned __int128) b->table_size << shift >= size);
  MUST (b->table_size == 0
        || (unsigned __int128) (b->table_size - 1) << shift < size);
}

static void
parse (struct input in, enum side side)
{
  const uint64_t size = take_number (&in, 8) & INT64_MAX;
  const unsigned bits
    = QCOW_MIN_CLUSTER_BITS
      + take_number (&in, 1)
          % (QCOW_MAX_CLUSTER_BITS - QCOW_MIN_CLUSTER_BITS + 1);
  const size_t length = in.left;
  const uint8_t *directory = guarded_copy (&area, side, in.p, length);
  struct problem problem;
  struct bitmap_entry b;
  size_t pos = 0;
  unsigned number;

  for (number = 1; number <= QCOW_MAX_BITMAPS; ++number) {
    const size_t start = pos;

    no_problem (&problem);
    if (bitmap_entry_parse (directory, length, &pos, number, &b, &problem)
        == -1) {
      must_have_reason (&problem);
      return;
    }
    check_entry (directory, length, start, pos, &b);
    no_problem (&problem);
    if (bitmap_entry_check (&b, size, bits, &problem) == 0)
      check_good (&b, size, bits);
    else
      must_have_reason (&problem);
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  enum side side;

  if (area.start == NULL)
    area = guarded_new (MAX_DIRECTORY);
  if (size > MAX_DIRECTORY)
    return 0;
  for (side = AT_END; side < SIDES; ++side)
    parse ((struct input){ data, size }, side);
  return 0;
}
