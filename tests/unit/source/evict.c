/* SPDX-License-Identifier: BSD-3-Clause
 *
 * evict.c: which pages are evicted, and when.  posix_fadvise is replaced by a
 * function that records its calls.
 */

#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>

#include "source/evict.h"

#define KIB UINT64_C (1024)
#define MIB (KIB << 10)
#define PAGE (4 * KIB)
#define MAX_PAGES (512 * MIB / PAGE)

static unsigned calls;
static bool evicted[MAX_PAGES], was_read[MAX_PAGES];

int
posix_fadvise (int fd, off_t offset, off_t length, int advice)
{
  uint64_t i;

  assert_int_equal (fd, 7);
  assert_int_equal (advice, POSIX_FADV_DONTNEED);
  assert_true (length > 0 && offset % (off_t) PAGE == 0
               && length % (off_t) PAGE == 0);
  for (i = (uint64_t) offset / PAGE; i < (uint64_t) (offset + length) / PAGE;
       ++i) {
    assert_true (i < MAX_PAGES);
    evicted[i] = true;
  }
  calls++;
  return 0;
}

static void
begin (struct evict *e, uint64_t size)
{
  calls = 0;
  memset (evicted, 0, sizeof evicted);
  memset (was_read, 0, sizeof was_read);
  evict_init (e, 7, size);
}

static void
read_range (struct evict *e, uint64_t offset, uint64_t length)
{
  uint64_t i;

  for (i = offset / PAGE; i <= (offset + length - 1) / PAGE; ++i)
    was_read[i] = true;
  errno = 12345;
  evict_after_read (e, offset, length);
  assert_int_equal (errno, 12345);
}

static uint64_t
count (const bool *pages)
{
  uint64_t i, n = 0;

  for (i = 0; i < MAX_PAGES; ++i)
    n += pages[i];
  return n;
}

/* A stream evicts itself, one call per chunk, and stays behind by the lag. */
static void
one_stream (void **state)
{
  const uint64_t size = 100 * MIB + 5;
  struct evict e;
  uint64_t at;

  (void) state;
  begin (&e, size);
  for (at = 0; at < size; at += 256 * KIB)
    read_range (&e, at, size - at < 256 * KIB ? size - at : 256 * KIB);
  assert_int_equal (calls, 51 - EVICT_LAG);
  assert_int_equal (count (evicted),
                    (51 - EVICT_LAG) * EVICT_CHUNK_BYTES / PAGE);
  evict_destroy (&e);
  for (at = 0; at < (size + PAGE - 1) / PAGE; ++at)
    assert_true (evicted[at]);
}

/* Lengths and offsets that are no multiples of a page, as of compressed
 * clusters.
 */
static void
unaligned (void **state)
{
  const uint64_t size = 64 * MIB;
  struct evict e;
  uint64_t at, n;

  (void) state;
  begin (&e, size);
  for (at = 0; at < size; at += n) {
    n = size - at < 12345 ? size - at : 12345;
    read_range (&e, at, n);
  }
  assert_int_equal (count (evicted),
                    (32 - EVICT_LAG) * EVICT_CHUNK_BYTES / PAGE);
  evict_destroy (&e);
  assert_int_equal (count (evicted), size / PAGE);
}

/* Only what was read, and only when there are too many chunks. */
static void
single_pages (void **state)
{
  struct evict e;
  uint64_t i;

  (void) state;
  begin (&e, 512 * MIB);
  for (i = 0; i < 100; ++i) {
    read_range (&e, (i * 37 % 256) * EVICT_CHUNK_BYTES + i * PAGE + 17, 100);
    assert_int_equal (calls, i < EVICT_CHUNKS ? 0 : i - EVICT_CHUNKS + 1);
  }
  evict_destroy (&e);
  assert_memory_equal (evicted, was_read, sizeof evicted);
}

/* The same page again and again does not complete its chunk. */
static void
one_page_often (void **state)
{
  struct evict e;
  unsigned i;

  (void) state;
  begin (&e, 512 * MIB);
  for (i = 0; i < 2000; ++i)
    read_range (&e, 3 * PAGE, PAGE);
  assert_int_equal (calls, 0);
  evict_destroy (&e);
  assert_int_equal (calls, 1);
  assert_memory_equal (evicted, was_read, sizeof evicted);
}

/* A chunk with a small gap is evicted with the gap. */
static void
gap (void **state)
{
  struct evict e;

  (void) state;
  begin (&e, 512 * MIB);
  read_range (&e, 4 * MIB, MIB);
  read_range (&e, 5 * MIB + 64 * KIB, MIB - 64 * KIB);
  evict_destroy (&e);
  assert_int_equal (count (evicted), EVICT_CHUNK_BYTES / PAGE);
  assert_true (evicted[4 * MIB / PAGE] && evicted[5 * MIB / PAGE]);
}

/* Where a stream ends at the start of another, the start is evicted again. */
static void
next_stream (void **state)
{
  struct evict e;
  uint64_t at;

  (void) state;
  begin (&e, 512 * MIB);
  for (at = 128 * MIB; at < 256 * MIB; at += EVICT_CHUNK_BYTES)
    read_range (&e, at, EVICT_CHUNK_BYTES);
  for (at = 0; at < 64 * MIB; at += EVICT_CHUNK_BYTES)
    read_range (&e, at, EVICT_CHUNK_BYTES);
  memset (evicted, 0, sizeof evicted);
  for (; at < 128 * MIB; at += EVICT_CHUNK_BYTES)
    read_range (&e, at, EVICT_CHUNK_BYTES);
  assert_false (evicted[128 * MIB / PAGE]);
  for (at = 256 * MIB; at < 300 * MIB; at += EVICT_CHUNK_BYTES)
    read_range (&e, at, EVICT_CHUNK_BYTES);
  assert_true (evicted[128 * MIB / PAGE]);
  assert_true (evicted[(128 + 2 * EVICT_AGAIN) * MIB / PAGE - 1]);
  assert_false (evicted[(128 + 2 * EVICT_AGAIN) * MIB / PAGE]);
  evict_destroy (&e);
}

/* Whatever is read: all of it is evicted at the end, and of others nothing but
 * in chunks of which most was read.
 */
static void
random_reads (void **state)
{
  static unsigned read_in[MAX_PAGES];
  const uint64_t size = 100 * MIB - 3000;
  unsigned round, i;

  (void) state;
  srand (1);
  for (round = 0; round < 50; ++round) {
    struct evict e;
    uint64_t n = round % 2 ? MIB : 20 * KIB, page;

    begin (&e, size);
    for (i = 0; i < 1 + (unsigned) rand () % 500; ++i) {
      const uint64_t at = (uint64_t) rand () % size;
      const uint64_t length = 1 + (uint64_t) rand () % n;

      read_range (&e, at, at + length > size ? size - at : length);
    }
    evict_destroy (&e);
    memset (read_in, 0, sizeof read_in);
    for (page = 0; page < MAX_PAGES; ++page)
      read_in[page / EVICT_CHUNK_PAGES] += was_read[page];
    for (page = 0; page < size / PAGE; ++page) {
      assert_true (!was_read[page] || evicted[page]);
      if (evicted[page] && read_in[page / EVICT_CHUNK_PAGES] < 200)
        assert_true (was_read[page]);
    }
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (one_stream),     cmocka_unit_test (unaligned),
  cmocka_unit_test (single_pages),   cmocka_unit_test (gap),
  cmocka_unit_test (one_page_often), cmocka_unit_test (next_stream),
  cmocka_unit_test (random_reads),
};

UNIT_MAIN (tests)
