/* SPDX-License-Identifier: BSD-3-Clause
 *
 * directory.c: threads open, read, list and close images of a directory, while
 * another thread replaces them.  This is for the thread sanitizer, too.
 *
 * Each image has one cluster.  All bytes of it are equal, and tell the image
 * and its generation.
 */

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include "qcow/directory.h"
#include "tests/unit/unit.h"

enum {
  BITS = 12,
  CLUSTER = 1 << BITS,
  IMAGES = 8, /* more than are kept open without clients */
  GENERATIONS = 32,
  THREADS = 8,
  ROUNDS = 500,
};

static char dir[64];
static struct qcow_directory *directory;
static bool done; /* atomic */

static void
image_path (char path[128], const char *name)
{
  snprintf (path, 128, "%s/%s", dir, name);
}

/* Write an image, and let it replace the one that has the name. */
static void
save (unsigned number, unsigned generation)
{
  static uint8_t bytes[4 * CLUSTER];
  char name[16], path[128], new[128];
  FILE *f;

  memset (bytes, 0, sizeof bytes);
  unit_header (bytes, 3, BITS, CLUSTER, 1, CLUSTER);
  put_be64 (bytes + CLUSTER, (UINT64_C (1) << 63) | 2 * CLUSTER);
  put_be64 (bytes + 2 * CLUSTER, (UINT64_C (1) << 63) | 3 * CLUSTER);
  memset (bytes + 3 * CLUSTER,
          (int) (number * GENERATIONS + generation % GENERATIONS), CLUSTER);
  snprintf (name, sizeof name, "%u", number);
  image_path (path, name);
  image_path (new, ".new");
  f = fopen (new, "w");
  if (f == NULL || fwrite (bytes, sizeof bytes, 1, f) != 1 || fclose (f) != 0
      || rename (new, path) != 0)
    abort ();
}

static void
start (void)
{
  struct qcow_options options;
  unsigned i;

  snprintf (dir, sizeof dir, "/tmp/qcow-unit.XXXXXX");
  assert_non_null (mkdtemp (dir));
  for (i = 0; i < IMAGES; ++i)
    save (i, 0);
  qcow_options_init (&options);
  options.directory = dir;
  options.cache_size = 1 << 20;
  directory = qcow_directory_open (&options, &unit_hooks);
  assert_non_null (directory);
  assert_int_equal (qcow_directory_after_fork (directory), 0);
  unit_forget ();
}

static void
stop_all (void)
{
  char path[128], name[16];
  unsigned i;

  qcow_directory_close (directory);
  for (i = 0; i < IMAGES; ++i) {
    snprintf (name, sizeof name, "%u", i);
    image_path (path, name);
    unlink (path);
  }
  assert_int_equal (rmdir (dir), 0);
}

/* Read an image, and return its generation, or -1. */
static int
generation_of (struct qcow_view *v, unsigned number)
{
  uint8_t buf[CLUSTER];
  unsigned i;

  if (qcow_read (v, buf, sizeof buf, 0) == -1
      || buf[0] / GENERATIONS != number)
    return -1;
  for (i = 1; i < CLUSTER; ++i)
    if (buf[i] != buf[0])
      return -1;
  return buf[0] % GENERATIONS;
}

static struct qcow_view *
open_number (unsigned number)
{
  char name[16];

  snprintf (name, sizeof name, "%u", number);
  return qcow_directory_view_open (directory, name);
}

/* --- One thread --- */

static void
replaced (void **state)
{
  struct qcow_view *old, *same, *new;
  unsigned before;

  (void) state;
  before = unit_count_fds ();
  start ();
  old = open_number (3);
  assert_non_null (old);
  same = open_number (3);
  assert_non_null (same);
  save (3, 1);
  new = open_number (3);
  assert_non_null (new);
  assert_int_equal (generation_of (new, 3), 1);
  assert_int_equal (generation_of (old, 3), 0);
  qcow_view_close (new);
  qcow_view_close (old);
  assert_int_equal (generation_of (same, 3), 0);
  qcow_view_close (same);
  new = open_number (3);
  assert_int_equal (generation_of (new, 3), 1);
  qcow_view_close (new);
  stop_all ();
  assert_int_equal (unit_count_fds (), before);
}

static void
refused (void **state)
{
  static const struct {
    const char *name;
    int err;
    const char *said;
  } rows[] = {
    { "", ENOENT, "no such export" },
    { ".", ENOENT, "no such export" },
    { "..", ENOENT, "no such export" },
    { ".new", ENOENT, "no such export" },
    { "/", ENOENT, "no such export" },
    { "/1", ENOENT, "no such export" },
    { "1/", ENOENT, "no such export" },
    { "1/x", ENOENT, "there is no export 'x'" },
    { "1//", ENOENT, "there is no export '/'" },
    { "9", ENOENT, "no such file" },
    { "9/x", ENOENT, "no such file" },
  };
  size_t i;

  (void) state;
  start ();
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    unit_forget ();
    errno = 0;
    assert_null (qcow_directory_view_open (directory, rows[i].name));
    assert_int_equal (errno, rows[i].err);
    assert_int_equal (unit_errors, 1);
    assert_said (rows[i].said);
  }
  stop_all ();
}

/* --- Threads --- */

static void *
read_images (void *arg)
{
  unsigned seed = (unsigned) (uintptr_t) arg;
  int i;

  for (i = 0; i < ROUNDS; ++i) {
    const unsigned number = (unsigned) rand_r (&seed) % IMAGES;
    struct qcow_view *v = open_number (number);

    if (v == NULL || generation_of (v, number) == -1)
      abort ();
    qcow_view_close (v);
  }
  return NULL;
}

static void *
replace_images (void *arg)
{
  unsigned i;

  (void) arg;
  for (i = IMAGES; !__atomic_load_n (&done, __ATOMIC_SEQ_CST); ++i)
    save (i % IMAGES, i / IMAGES);
  return NULL;
}

/* A file that is replaced while the directory is read can be missed. */
static int
check_order (void *opaque, const char *name, const char *description)
{
  char *last = opaque;

  if (name == NULL || strcmp (name, last) <= 0 || strlen (name) != 1
      || strcmp (description, "QCOW2 version 3") != 0)
    return -1;
  strcpy (last, name);
  return 0;
}

static void *
list_images (void *arg)
{
  (void) arg;
  while (!__atomic_load_n (&done, __ATOMIC_SEQ_CST)) {
    char last[2] = "";

    if (qcow_directory_list (directory, check_order, last) == -1)
      abort ();
  }
  return NULL;
}

static void
threads (void **state)
{
  pthread_t readers[THREADS], replacer, lister;
  uintptr_t i;

  (void) state;
  start ();
  done = false;
  assert_int_equal (pthread_create (&replacer, NULL, replace_images, NULL), 0);
  assert_int_equal (pthread_create (&lister, NULL, list_images, NULL), 0);
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (
      pthread_create (&readers[i], NULL, read_images, (void *) (i + 1)), 0);
  for (i = 0; i < THREADS; ++i)
    pthread_join (readers[i], NULL);
  __atomic_store_n (&done, true, __ATOMIC_SEQ_CST);
  pthread_join (replacer, NULL);
  pthread_join (lister, NULL);
  assert_int_equal (unit_errors, 0);
  stop_all ();
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (replaced),
  cmocka_unit_test (refused),
  cmocka_unit_test (threads),
};

UNIT_MAIN (tests)
