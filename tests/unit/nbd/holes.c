/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD transport: which parts of an export are holes.
 */

#include "tests/unit/nbd.h"

static struct fetch_holes holes;

/* 0, or an errno value. */
static int
find_holes (uint64_t offset, uint64_t length)
{
  struct transport *t = &object->transport;
  struct fetch f = { .offset = offset, .holes = &holes };

  free (holes.list);
  holes = (struct fetch_holes){ .length = length };
  return t->ops->fetch_all (t, &f, 1) == 0 ? 0 : errno;
}

static void
check_found (const struct fragment *expected, size_t n)
{
  size_t i;

  for (i = 0; i < n || i < holes.n; ++i) {
    const struct fragment none = { 0, 0, false };
    const struct fragment e = i < n ? expected[i] : none;
    const struct fragment f = i < holes.n ? holes.list[i] : none;

    if (e.start != f.start || e.end != f.end || e.hole != f.hole)
      fail_msg ("fragment %zu is %" PRIu64 "-%" PRIu64 " %d, expected %" PRIu64
                "-%" PRIu64 " %d",
                i, f.start, f.end, f.hole, e.start, e.end, e.hole);
  }
}

#define FOUND(...)                                                            \
  do {                                                                        \
    const struct fragment expected_[] = { __VA_ARGS__ };                      \
                                                                              \
    check_found (expected_, NR (expected_));                                  \
  } while (0)

static void
finish (void)
{
  free (holes.list);
  holes.list = NULL;
  end ();
}

/* nbdkit's data plugin stores pages of 32 KiB. */
static void
sparse (void **state)
{
  (void) state;
  server_start ("data", "data=1 @0x100000 2 @0x2fffff 3", "size=5000001");
  begin (1);
  assert_true (object->transport.has_holes);
  assert_int_equal (find_holes (0, 5000001), 0);
  FOUND ({ 0, 32 * K, false }, { 32 * K, M, true }, { M, M + 32 * K, false },
         { M + 32 * K, 3 * M - 32 * K, true },
         { 3 * M - 32 * K, 3 * M, false }, { 3 * M, 5000001, true });
  assert_int_equal (find_holes (3 * M - 1, 1), 0);
  FOUND ({ 3 * M - 1, 3 * M, false });
  assert_int_equal (find_holes (5000000, 1), 0);
  FOUND ({ 5000000, 5000001, true });
  assert_int_equal (nbd_start (nbd), 0);
  assert_int_equal (find_holes (2 * M, M), 0);
  FOUND ({ 2 * M, 3 * M - 32 * K, true }, { 3 * M - 32 * K, 3 * M, false });
  assert_int_equal (unit_errors, 0);
  finish ();
}

/* Only whole blocks may be asked for.  A reply can tell more than that. */
static void
blocks (void **state)
{
  (void) state;
  server_start ("--filter=blocksize-policy", "data", "data=@0x100000 2",
                "size=3M", "blocksize-minimum=4096", "blocksize-maximum=65536",
                "blocksize-error-policy=error");
  begin (1);
  assert_int_equal (find_holes (M + 40 * K + 5, 6), 0);
  FOUND ({ M + 40 * K, M + 64 * K, true });
  assert_int_equal (find_holes (0, 3 * M), 0);
  FOUND ({ 0, M, true }, { M, M + 32 * K, false },
         { M + 32 * K, 3 * M, true });
  finish ();
}

/* A hole can have any content, unless the server says that it reads as zeros.
 * Nor does it matter whether zeros are allocated.
 */
static void
kinds (void **state)
{
  (void) state;
  server_start ("eval", "get_size=echo 4M",
                "pread=dd if=/dev/zero bs=$3 count=1",
                "extents=echo 0 1M hole; echo 1M 1M hole,zero; "
                "echo 2M 1M zero; echo 3M 1M");
  begin (1);
  assert_int_equal (find_holes (0, 4 * M), 0);
  FOUND ({ 0, M, false }, { M, 3 * M, true }, { 3 * M, 4 * M, false });
  assert_int_equal (unit_errors, 0);
  /* It has a temporary directory, and waits for its clients. */
  nbd_hang_up (nbd);
  server_end (SIGTERM);
  finish ();
}

/* More than fit in one reply, and than are kept. */
static void
many (void **state)
{
  size_t i;

  (void) state;
  server_start ("data", "data=( 1 @+65535 )*40000", "size=2600M");
  begin (1);
  assert_int_equal (find_holes (0, FETCH_HOLES_MAX), 0);
  assert_int_equal (holes.n, 32768);
  for (i = 0; i < holes.n; ++i) {
    assert_int_equal (holes.list[i].start, i * 32 * K);
    assert_int_equal (holes.list[i].end, (i + 1) * 32 * K);
    assert_int_equal (holes.list[i].hole, i % 2);
  }
  finish ();
}

static void
not_told (void **state)
{
  (void) state;
  server_start ("--no-sr", "null", "size=1M");
  begin (1);
  assert_false (object->transport.has_holes);
  finish ();
}

/* The server reports an error: once. */
static void
failing (void **state)
{
  (void) state;
  server_start ("--filter=error", "null", "size=1M", "error-extents=EIO",
                "error-extents-rate=1");
  begin (1);
  assert_true (object->transport.has_holes);
  assert_int_equal (find_holes (0, M), EIO);
  assert_int_equal (find_holes (0, M), EIO);
  assert_int_equal (holes.n, 0);
  assert_said ("can't find the holes in 1048576 bytes at 0x0: the NBD server "
               "reports: Input/output error");
  assert_int_equal (unit_errors, 1);
  finish ();
}

/* A client that leaves does not wait, and the next gets its reply. */
static void
leaving (void **state)
{
  uint64_t began;

  (void) state;
  server_start ("--filter=delay", "data", "data=@0x100000 2", "size=3M",
                "delay-extents=1");
  begin (1);
  assert_int_equal (nbd_start (nbd), 0);
  began = monotonic_ms ();
  leave_at = began + 100;
  assert_int_equal (find_holes (0, 3 * M), ESHUTDOWN);
  assert_true (monotonic_ms () < began + 100 + soon_ms ());
  leave_at = 0;
  assert_int_equal (find_holes (2 * M, M), 0);
  FOUND ({ 2 * M, 3 * M, true });
  assert_int_equal (unit_errors, 0);
  finish ();
}

/* The connection is lost while a query is in flight. */
static void
reconnecting (void **state)
{
  (void) state;
  server_start ("data", "data=@0x100000 2", "size=3M");
  begin (1);
  assert_int_equal (nbd_start (nbd), 0);
  server_kill ();
  server_start ("data", "data=@0x100000 2", "size=3M");
  assert_int_equal (find_holes (0, 3 * M), 0);
  FOUND ({ 0, M, true }, { M, M + 32 * K, false },
         { M + 32 * K, 3 * M, true });
  finish ();
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (sparse),   cmocka_unit_test (blocks),
  cmocka_unit_test (kinds),    cmocka_unit_test (many),
  cmocka_unit_test (not_told), cmocka_unit_test (failing),
  cmocka_unit_test (leaving),  cmocka_unit_test (reconnecting),
};

UNIT_MAIN_AFTER (nbd_setup, tests)
