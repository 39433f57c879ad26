/* SPDX-License-Identifier: BSD-3-Clause
 *
 * file.c: the end of the file, truncation while serving, holes, locks, and
 * files that are refused.
 */

#include <errno.h>
#include <sys/stat.h>

#include "source/file.h"
#include "tests/unit/unit.h"

#include "source/source.h"

static struct source *
open_file (const struct unit_file *f)
{
  struct source *s = source_file_open (f->name, 0, &unit_hooks);

  assert_non_null (s);
  return s;
}

static void
end_of_file (void **state)
{
  const struct unit_file f = unit_file_new ();
  uint8_t buf[64];
  struct source_range ranges[3];
  struct source *s;

  (void) state;
  unit_write (&f, "0123456789", 10, 0);
  s = open_file (&f);
  assert_int_equal (s->size, 10);

  memset (buf, 0xee, sizeof buf);
  assert_int_equal (source_read_table (s, buf, 20, 5), 0);
  assert_memory_equal (buf, "56789\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xee", 21);

  memset (buf, 0xee, sizeof buf);
  ranges[0] = (struct source_range){ 9, 2, buf };
  ranges[1] = (struct source_range){ UINT64_MAX, 3, buf + 10 };
  ranges[2] = (struct source_range){ 0, 3, buf + 20 };
  assert_int_equal (source_read_data (s, ranges, 3), 0);
  assert_memory_equal (buf, "9\0\xee", 3);
  assert_memory_equal (buf + 10, "\0\0\0\xee", 4);
  assert_memory_equal (buf + 20, "012\xee", 4);
  source_close (s);
  close (f.fd);
}

static void
cut_while_served (void **state)
{
  const struct unit_file f = unit_file_new ();
  uint8_t buf[10];
  struct source *s;
  int i;

  (void) state;
  unit_write (&f, "0123456789", 10, 0);
  s = open_file (&f);
  assert_int_equal (ftruncate (f.fd, 5), 0);
  unit_forget ();
  assert_int_equal (source_read_table (s, buf, 5, 0), 0);
  for (i = 0; i < 1000; ++i) {
    errno = 0;
    assert_int_equal (source_read_table (s, buf, 1 + (size_t) i % 5, 5), -1);
    assert_int_equal (errno, EIO);
  }
  assert_said ("truncated while being served");
  assert_int_equal (unit_errors, 1);

  /* A file that grows keeps its length. */
  unit_write (&f, "abcdefghijklmnop", 16, 0);
  memset (buf, 0xee, sizeof buf);
  assert_int_equal (source_read_table (s, buf, 10, 8), 0);
  assert_memory_equal (buf, "ij\0\0\0\0\0\0\0\0", 10);
  source_close (s);
  close (f.fd);
}

static void
check_extent (struct source *s, uint64_t offset, bool hole, uint64_t end)
{
  bool got_hole;
  uint64_t got_end;

  assert_true (source_extent (s, offset, true, &got_hole, &got_end));
  if (got_hole != hole || got_end != end)
    fail_msg ("at %" PRIu64 ": %s to %" PRIu64 ", wanted %s to %" PRIu64,
              offset, got_hole ? "hole" : "data", got_end,
              hole ? "hole" : "data", end);
}

static void
holes (void **state)
{
  enum { M = 1 << 20 };
  const struct unit_file f = unit_file_new ();
  static uint8_t data[M];
  struct source *s;

  (void) state;
  memset (data, 1, sizeof data);
  unit_write (&f, data, M, 0);
  unit_write (&f, data, M, 4 * M);
  assert_int_equal (ftruncate (f.fd, 8 * M), 0);
  s = open_file (&f);
  check_extent (s, 5, false, M);
  check_extent (s, M, true, 4 * M);
  check_extent (s, M + 1, true, 4 * M);
  check_extent (s, 4 * M + 5, false, 5 * M);
  check_extent (s, 3 * M, true, 4 * M);
  check_extent (s, 5 * M, true, 8 * M);
  check_extent (s, 8 * M - 1, true, 8 * M);
  check_extent (s, 100, false, M);
  check_extent (s, 8 * M, true, UINT64_MAX);
  source_close (s);
  close (f.fd);
}

/* Truncated data is not a hole: a client must read it to get the error. */
static void
cut_is_no_hole (void **state)
{
  enum { M = 1 << 20 };
  const struct unit_file f = unit_file_new ();
  static uint8_t data[M];
  struct source *s;

  (void) state;
  memset (data, 1, sizeof data);
  unit_write (&f, data, M, 0);
  s = open_file (&f);
  assert_int_equal (ftruncate (f.fd, M / 2), 0);
  check_extent (s, M / 2, false, M);
  check_extent (s, M - 1, false, M);
  source_close (s);
  close (f.fd);
}

/* More fragments than the list holds, in any order. */
static void
fragmented (void **state)
{
  enum { PIECE = 65536, PIECES = 3000 };
  const struct unit_file f = unit_file_new ();
  static uint8_t data[PIECE];
  struct source *s;
  uint64_t i, x = 1;

  (void) state;
  memset (data, 1, sizeof data);
  for (i = 0; i < PIECES; i += 2)
    unit_write (&f, data, PIECE, i * PIECE);
  s = open_file (&f);
  for (i = 0; i < 3 * PIECES; ++i) {
    const uint64_t n = i < PIECES       ? i
                       : i < 2 * PIECES ? 2 * PIECES - 1 - i
                                        : x % PIECES;

    x = x * UINT64_C (6364136223846793005) + 1442695040888963407;
    x ^= x >> 33;
    if (n < PIECES - 1)
      check_extent (s, n * PIECE + x % PIECE, n % 2, (n + 1) * PIECE);
  }
  source_close (s);
  close (f.fd);
}

static void
begins_with_a_hole (void **state)
{
  const struct unit_file f = unit_file_new ();
  struct source *s;

  (void) state;
  unit_write (&f, "x", 1, 1 << 20);
  s = open_file (&f);
  check_extent (s, 0, true, 1 << 20);
  check_extent (s, 1 << 20, false, (1 << 20) + 1);
  source_close (s);
  close (f.fd);
}

static void
refuse (const char *name, const char *said, int err)
{
  unit_forget ();
  assert_null (source_file_open (name, 0, &unit_hooks));
  assert_int_equal (errno, err);
  assert_int_equal (unit_errors, 1);
  assert_said (said);
  assert_said (name[0] == '/' ? name : "\\x0a");
}

static void
refused (void **state)
{
  char fifo[] = "/tmp/qcow-unit.fifo.XXXXXX";
  int fd = mkstemp (fifo);

  (void) state;
  close (fd);
  unlink (fifo);
  assert_int_equal (mkfifo (fifo, 0600), 0);
  refuse (fifo, "is a FIFO", EINVAL);
  unlink (fifo);
  refuse (fifo, "No such file", ENOENT);
  refuse ("/tmp", "is a directory", EINVAL);
  refuse ("/dev/null", "is a character device", EINVAL);
  refuse ("no\nsuch", "No such file", ENOENT);
}

/* The locks that qemu has when it writes. */
static void
locked (void **state)
{
  static const off_t bytes[] = { 101, 103, 200 };
  const struct unit_file f = unit_file_new ();
  struct source *s;
  size_t i;

  (void) state;
  unit_write (&f, "x", 1, 0);
  for (i = 0; i < 3; ++i) {
    struct flock lock = {
      .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = bytes[i], .l_len = 1
    };

    assert_int_equal (fcntl (f.fd, F_OFD_SETLK, &lock), 0);
    unit_forget ();
    assert_null (source_file_open (f.name, 0, &unit_hooks));
    assert_int_equal (errno, EBUSY);
    assert_said ("open for writing in another process");
    assert_said ("at any time (words of the user)");

    s = source_file_open (f.name, SOURCE_FILE_FORCE_SHARE, &unit_hooks);
    assert_non_null (s);
    source_close (s);
    lock.l_type = F_UNLCK;
    assert_int_equal (fcntl (f.fd, F_OFD_SETLK, &lock), 0);
  }

  /* The source holds the locks that keep writers out: bytes 100, 201, 203. */
  s = open_file (&f);
  for (i = 90; i < 210; ++i) {
    struct flock lock = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t) i, .l_len = 1
    };

    assert_int_equal (fcntl (f.fd, F_OFD_GETLK, &lock), 0);
    assert_int_equal (lock.l_type == F_RDLCK,
                      i == 100 || i == 201 || i == 203);
  }
  source_close (s);
  close (f.fd);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (end_of_file), cmocka_unit_test (cut_while_served),
  cmocka_unit_test (holes),       cmocka_unit_test (begins_with_a_hole),
  cmocka_unit_test (fragmented),  cmocka_unit_test (cut_is_no_hole),
  cmocka_unit_test (refused),     cmocka_unit_test (locked),
};

UNIT_MAIN (tests)
