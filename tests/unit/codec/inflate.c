/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inflate.c: every stream that qemu accepts inflates, all others are refused,
 * and no byte outside of input and output is accessed: guard pages surround
 * both.
 */

#include <errno.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/unit/unit.h"

#include "codec/inflate.h"

#define CLUSTER 65536

/* Return 'size' bytes that end just before a guard page, and start after
 * another.
 */
static uint8_t *
guarded (size_t size)
{
  const size_t page = 4096;
  const size_t pages = (size + page - 1) / page;
  uint8_t *p = mmap (NULL, (pages + 2) * page, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  assert_true (p != MAP_FAILED);
  if (pages > 0)
    assert_int_equal (
      mprotect (p + page, pages * page, PROT_READ | PROT_WRITE), 0);
  return p + page + pages * page - size;
}

static uint8_t plain[2 * CLUSTER];

/* Compressible, but not trivial. */
static void
fill_plain (void)
{
  uint32_t x = 1;
  size_t i;

  for (i = 0; i < sizeof plain; ++i) {
    if (i % 64 < 16)
      x = x * 1664525 + 1013904223;
    plain[i] = (uint8_t) (x >> 24);
  }
}

static int
inflate_guarded (unsigned compression, const uint8_t *in, size_t in_len,
                 uint8_t *out)
{
  struct inflater *c = inflater_new ();
  uint8_t *g = guarded (in_len);
  int r;

  memcpy (g, in, in_len);
  memset (out, 0xee, CLUSTER);
  r = inflate_cluster (c, compression, g, in_len, out, CLUSTER);
  if (r == -1)
    assert_int_equal (errno, EIO);
  inflater_free (c);
  return r;
}

static void
accepts (unsigned compression, const uint8_t *in, size_t in_len)
{
  uint8_t *out = guarded (CLUSTER);

  assert_int_equal (inflate_guarded (compression, in, in_len, out), 0);
  assert_memory_equal (out, plain, CLUSTER);
}

static void
refuses (unsigned compression, const uint8_t *in, size_t in_len)
{
  uint8_t *out = guarded (CLUSTER);

  assert_int_equal (inflate_guarded (compression, in, in_len, out), -1);
}

/* Raw deflate as qemu writes it: a window of 4 KiB. */
static size_t
deflate_raw (const void *in, size_t len, int flush, uint8_t *out, size_t max)
{
  z_stream z = { 0 };
  int r;

  assert_int_equal (
    deflateInit2 (&z, 6, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = (Bytef *) in;
  z.avail_in = (uInt) len;
  z.next_out = out;
  z.avail_out = (uInt) max;
  r = deflate (&z, flush);
  assert_int_equal (r, flush == Z_FINISH ? Z_STREAM_END : Z_OK);
  max -= z.avail_out;
  deflateEnd (&z);
  return max;
}

static uint8_t packed[4 * CLUSTER];

static void
deflate_streams (void **state)
{
  size_t n, i;

  (void) state;
  n = deflate_raw (plain, CLUSTER, Z_FINISH, packed, sizeof packed);
  accepts (QCOW_COMPRESSION_DEFLATE, packed, n);
  /* Followed by bytes of the next cluster. */
  memset (packed + n, 0xa5, 511);
  accepts (QCOW_COMPRESSION_DEFLATE, packed, n + 511);
  /* Cut at every length near the end, and at some before.  The last bytes may
   * hold only the end mark.
   */
  for (i = 8; i < n; i += 997)
    refuses (QCOW_COMPRESSION_DEFLATE, packed, n - i);
  refuses (QCOW_COMPRESSION_DEFLATE, packed, 0);
  refuses (QCOW_COMPRESSION_DEFLATE, packed, 1);
}

static void
deflate_without_end_mark (void **state)
{
  size_t n;

  (void) state;
  n = deflate_raw (plain, CLUSTER, Z_SYNC_FLUSH, packed, sizeof packed);
  accepts (QCOW_COMPRESSION_DEFLATE, packed, n);
  n = deflate_raw (plain, CLUSTER, Z_PARTIAL_FLUSH, packed, sizeof packed);
  accepts (QCOW_COMPRESSION_DEFLATE, packed, n);
}

static void
deflate_too_long (void **state)
{
  size_t n;

  (void) state;
  /* qemu uses the first cluster of it. */
  n = deflate_raw (plain, 2 * CLUSTER, Z_FINISH, packed, sizeof packed);
  accepts (QCOW_COMPRESSION_DEFLATE, packed, n);
}

static void
deflate_too_short (void **state)
{
  size_t n;

  (void) state;
  n = deflate_raw (plain, CLUSTER - 1, Z_FINISH, packed, sizeof packed);
  refuses (QCOW_COMPRESSION_DEFLATE, packed, n);
  n = deflate_raw (plain, 0, Z_FINISH, packed, sizeof packed);
  refuses (QCOW_COMPRESSION_DEFLATE, packed, n);
}

static void
deflate_garbage (void **state)
{
  static uint8_t junk[2 * CLUSTER];
  size_t n, i;

  (void) state;
  memset (junk, 0xff, sizeof junk);
  refuses (QCOW_COMPRESSION_DEFLATE, junk, sizeof junk);
  memset (junk, 0, sizeof junk);
  refuses (QCOW_COMPRESSION_DEFLATE, junk, sizeof junk);
  /* With one bit flipped anywhere: refused or other bytes, never more. */
  n = deflate_raw (plain, CLUSTER, Z_FINISH, packed, sizeof packed);
  for (i = 0; i < 8 * n; i += 8 * n / 200) {
    uint8_t *out = guarded (CLUSTER);

    packed[i / 8] ^= (uint8_t) (1 << i % 8);
    (void) inflate_guarded (QCOW_COMPRESSION_DEFLATE, packed, n, out);
    packed[i / 8] ^= (uint8_t) (1 << i % 8);
  }
}

static size_t
zstd_frame (const void *in, size_t len, bool known_size, uint8_t *out,
            size_t max)
{
  ZSTD_CCtx *c = ZSTD_createCCtx ();
  ZSTD_inBuffer i = { in, len, 0 };
  ZSTD_outBuffer o = { out, max, 0 };

  ZSTD_CCtx_setParameter (c, ZSTD_c_contentSizeFlag, known_size);
  ZSTD_CCtx_setParameter (c, ZSTD_c_checksumFlag, !known_size);
  assert_int_equal (ZSTD_compressStream2 (c, &o, &i, ZSTD_e_end), 0);
  ZSTD_freeCCtx (c);
  return o.pos;
}

static void
zstd_frames (void **state)
{
  size_t n, m;

  (void) state;
  n = zstd_frame (plain, CLUSTER, true, packed, sizeof packed);
  accepts (QCOW_COMPRESSION_ZSTD, packed, n);
  memset (packed + n, 0xa5, 511);
  accepts (QCOW_COMPRESSION_ZSTD, packed, n + 511);
  for (m = 1; m < n; m += 997)
    refuses (QCOW_COMPRESSION_ZSTD, packed, n - m);

  n = zstd_frame (plain, CLUSTER, false, packed, sizeof packed);
  accepts (QCOW_COMPRESSION_ZSTD, packed, n);

  /* Two frames with an empty one between them, and a skippable one. */
  n = zstd_frame (plain, 1000, true, packed, sizeof packed);
  n += zstd_frame (plain, 0, true, packed + n, sizeof packed - n);
  memcpy (packed + n, "\x50\x2a\x4d\x18\x03\0\0\0abc", 11);
  n += 11;
  n += zstd_frame (plain + 1000, CLUSTER - 1000, false, packed + n,
                   sizeof packed - n);
  accepts (QCOW_COMPRESSION_ZSTD, packed, n);
}

static void
zstd_refused (void **state)
{
  size_t n;

  (void) state;
  /* Too short, too long, no frame. */
  n = zstd_frame (plain, CLUSTER - 1, true, packed, sizeof packed);
  refuses (QCOW_COMPRESSION_ZSTD, packed, n);
  n = zstd_frame (plain, CLUSTER + 1, true, packed, sizeof packed);
  refuses (QCOW_COMPRESSION_ZSTD, packed, n);
  n = zstd_frame (plain, 2 * CLUSTER, false, packed, sizeof packed);
  refuses (QCOW_COMPRESSION_ZSTD, packed, n);
  memset (packed, 0, 1000);
  refuses (QCOW_COMPRESSION_ZSTD, packed, 1000);
  refuses (QCOW_COMPRESSION_ZSTD, packed, 0);
  /* Deflate in a zstd image, and the other way round. */
  n = deflate_raw (plain, CLUSTER, Z_FINISH, packed, sizeof packed);
  refuses (QCOW_COMPRESSION_ZSTD, packed, n);
  n = zstd_frame (plain, CLUSTER, true, packed, sizeof packed);
  refuses (QCOW_COMPRESSION_DEFLATE, packed, n);
}

/* A frame that declares the largest window that the library accepts, 2 GiB (1
 * GiB where pointers have 32 bits), allocates no memory for it.
 */
static void
zstd_window (void **state)
{
  const int log = ZSTD_dParam_getBounds (ZSTD_d_windowLogMax).upperBound;
  const uint8_t header[]
    = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, (uint8_t) ((log - 10) << 3) };
  size_t i, n = sizeof header, left = CLUSTER;

  (void) state;
  memcpy (packed, header, sizeof header);
  /* Raw blocks of up to 32 KiB: size << 3 | type << 1 | last. */
  for (i = 0; left > 0; i += 32768, left -= 32768) {
    const uint32_t block = 32768U << 3 | (left == 32768);

    packed[n++] = (uint8_t) block;
    packed[n++] = (uint8_t) (block >> 8);
    packed[n++] = (uint8_t) (block >> 16);
    memcpy (packed + n, plain + i, 32768);
    n += 32768;
  }
  accepts (QCOW_COMPRESSION_ZSTD, packed, n);
}

/* One inflater for many clusters, with good ones after bad ones. */
static void
used_again (void **state)
{
  struct inflater *c = inflater_new ();
  static uint8_t out[CLUSTER];
  int i;

  (void) state;
  for (i = 0; i < 10; ++i) {
    size_t n = deflate_raw (plain, CLUSTER, i % 2 ? Z_FINISH : Z_SYNC_FLUSH,
                            packed, sizeof packed);

    assert_int_equal (inflate_cluster (c, QCOW_COMPRESSION_DEFLATE, packed,
                                       n / 2, out, CLUSTER),
                      -1);
    assert_int_equal (
      inflate_cluster (c, QCOW_COMPRESSION_DEFLATE, packed, n, out, CLUSTER),
      0);
    assert_memory_equal (out, plain, CLUSTER);

    n = zstd_frame (plain, CLUSTER, i % 2, packed, sizeof packed);
    assert_int_equal (
      inflate_cluster (c, QCOW_COMPRESSION_ZSTD, packed, n / 2, out, CLUSTER),
      -1);
    assert_int_equal (
      inflate_cluster (c, QCOW_COMPRESSION_ZSTD, packed, n, out, CLUSTER), 0);
    assert_memory_equal (out, plain, CLUSTER);
  }
  inflater_free (c);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (deflate_streams),
  cmocka_unit_test (deflate_without_end_mark),
  cmocka_unit_test (deflate_too_long),
  cmocka_unit_test (deflate_too_short),
  cmocka_unit_test (deflate_garbage),
  cmocka_unit_test (zstd_frames),
  cmocka_unit_test (zstd_refused),
  cmocka_unit_test (zstd_window),
  cmocka_unit_test (used_again),
};

int
main (void)
{
  fill_plain ();
  cmocka_set_message_output (CM_OUTPUT_TAP);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
