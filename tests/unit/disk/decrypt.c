/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which sectors are read and decrypted for a run of encrypted data.
 */

#include "tests/unit/unit.h"

#include "disk/decrypt.h"
#include "image/image.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

enum { GUEST = 1 << 20, HOST = 5 << 20 };

/* All offsets are relative to the beginning of a cluster. */
static const struct {
  uint64_t offset, length;
  size_t n;
  struct {
    uint64_t offset;     /* of the sectors */
    size_t length;       /* bytes of the sectors */
    size_t skip, wanted; /* 0, 0: whole sectors */
    size_t dest;         /* in the client's buffer */
  } want[3];
} rows[] = {
  { 0, 512, 1, { { 0, 512, 0, 0, 0 } } },
  { 0, 65536, 1, { { 0, 65536, 0, 0, 0 } } },
  { 512, 1024, 1, { { 512, 1024, 0, 0, 0 } } },
  { 0, 1, 1, { { 0, 512, 0, 1, 0 } } },
  { 0, 511, 1, { { 0, 512, 0, 511, 0 } } },
  { 1, 511, 1, { { 0, 512, 1, 511, 0 } } },
  { 513, 1, 1, { { 512, 512, 1, 1, 0 } } },
  { 100, 300, 1, { { 0, 512, 100, 300, 0 } } },
  { 511, 2, 2, { { 0, 512, 511, 1, 0 }, { 512, 512, 0, 1, 1 } } },
  { 1, 1023, 2, { { 0, 512, 1, 511, 0 }, { 512, 512, 0, 0, 511 } } },
  { 512, 513, 2, { { 512, 512, 0, 0, 0 }, { 1024, 512, 0, 1, 512 } } },
  { 500,
    2000,
    3,
    { { 0, 512, 500, 12, 0 },
      { 512, 1536, 0, 0, 12 },
      { 2048, 512, 0, 452, 1548 } } },
};

static void
check_row (size_t row, uint32_t method)
{
  static uint8_t buf[65536];
  static struct decrypt_batch b;
  static struct ranges ranges;
  struct source source = { .size = INT64_MAX };
  struct image image = { .header = { .crypt_method = method } };
  const struct run run = { .kind = RUN_DATA,
                           .offset = GUEST + rows[row].offset,
                           .length = rows[row].length,
                           .image = &image,
                           .source = &source,
                           .host = HOST + rows[row].offset };
  size_t i;

  b.nr_steps = b.nr_edges = ranges.n = 0;
  decrypt_batch_add (&b, &run, buf, &ranges);
  assert_int_equal (b.nr_steps, rows[row].n);
  assert_int_equal (ranges.n, rows[row].n);
  for (i = 0; i < rows[row].n; ++i) {
    const struct decrypt_step *s = &b.steps[i];
    const uint64_t offset = rows[row].want[i].offset;
    uint8_t *dest = buf + rows[row].want[i].dest;

    assert_ptr_equal (ranges.sources[i], &source);
    assert_int_equal (ranges.list[i].offset, HOST + offset);
    assert_int_equal (ranges.list[i].length, rows[row].want[i].length);
    assert_ptr_equal (ranges.list[i].buf, s->buf);
    assert_ptr_equal (s->image, &image);
    assert_int_equal (s->length, rows[row].want[i].length);
    assert_int_equal (
      s->sector, ((method == QCOW_CRYPT_AES ? GUEST : HOST) + offset) / 512);
    if (rows[row].want[i].wanted == 0) {
      assert_null (s->dest);
      assert_ptr_equal (s->buf, dest);
      continue;
    }
    assert_ptr_equal (s->dest, dest);
    assert_int_equal (s->skip, rows[row].want[i].skip);
    assert_int_equal (s->wanted, rows[row].want[i].wanted);
  }
}

static void
sectors (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    check_row (i, QCOW_CRYPT_AES);
    check_row (i, QCOW_CRYPT_LUKS);
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (sectors),
};

UNIT_MAIN (tests)
