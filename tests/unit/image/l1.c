/* SPDX-License-Identifier: BSD-3-Clause
 *
 * L1 tables: the limit of their memory, where they may be, sharing, and failed
 * reads and clients that disconnect.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "source/file.h"
#include "tests/unit/unit.h"

#include "image/l1.h"

static struct source *
open_file (const struct unit_file *f)
{
  struct source *s = source_file_open (f->name, 0, &unit_hooks);

  assert_non_null (s);
  return s;
}

/* The thread sanitizer would need five times the memory. */
#if defined(__SANITIZE_THREAD__)
#define HAVE_ROOM 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAVE_ROOM 0
#endif
#endif
#ifndef HAVE_ROOM
#define HAVE_ROOM 1
#endif

#if HAVE_ROOM
/* As many of the largest tables as may be in memory, and no more. */
static void
l1_memory (void **state)
{
  enum { ENTRIES = 4194304, BYTES = ENTRIES * 8, TABLES = 16 };
  const struct unit_file f = unit_file_new ();
  struct l1_tables *all = l1_tables_new ();
  struct l1_table *t[TABLES], *other, *half[2];
  struct source *s;
  unsigned i;

  (void) state;
  assert_int_equal (QCOW_MAX_L1_MEMORY, (uint64_t) TABLES * BYTES);
  assert_non_null (all);
  for (i = 0; i <= TABLES; ++i)
    unit_write_be64 (&f, 1000 + i, (uint64_t) i * BYTES + BYTES - 8);
  s = open_file (&f);

  unit_forget ();
  for (i = 0; i < TABLES; ++i) {
    t[i] = l1_table_get (all, s, (uint64_t) i * BYTES, ENTRIES, 512, "it");
    assert_non_null (t[i]);
    assert_int_equal (t[i]->size, ENTRIES);
    assert_int_equal (t[i]->entries[0], 0);
    assert_int_equal (t[i]->entries[ENTRIES - 1], 1000 + i);
  }
  assert_int_equal (unit_errors, 0);

  /* Not even the smallest. */
  errno = 0;
  assert_null (l1_table_get (all, s, 0, 1, 512, "table X"));
  assert_int_equal (errno, ENOMEM);
  assert_int_equal (unit_errors, 1);
  assert_said ("table X is 8 bytes");
  assert_said ("the limit of 512 MiB");
  assert_null (
    l1_table_get (all, s, (uint64_t) TABLES * BYTES, ENTRIES, 512, "table Y"));
  assert_int_equal (errno, ENOMEM);
  assert_said ("table Y is 33554432 bytes");

  /* A table that is in memory already takes no more. */
  other = l1_table_get (all, s, 3 * (uint64_t) BYTES, ENTRIES, 512, "it");
  assert_ptr_equal (other, t[3]);
  /* It stays until its last user has put it. */
  l1_table_put (all, t[3]);
  assert_null (l1_table_get (all, s, 0, 1, 512, "it"));
  assert_int_equal (other->entries[ENTRIES - 1], 1003);
  l1_table_put (all, other);

  /* Then present is room for just as much. */
  t[3] = l1_table_get (all, s, (uint64_t) TABLES * BYTES, ENTRIES, 512, "it");
  assert_non_null (t[3]);
  assert_int_equal (t[3]->entries[ENTRIES - 1], 1000 + TABLES);
  assert_null (l1_table_get (all, s, 0, 1, 512, "it"));
  l1_table_put (all, t[0]);
  assert_null (l1_table_get (all, s, 0, ENTRIES + 1, 512, "it"));
  for (i = 0; i < 2; ++i) {
    half[i] = l1_table_get (all, s, i * (BYTES / 2), ENTRIES / 2, 512, "it");
    assert_non_null (half[i]);
  }
  assert_null (l1_table_get (all, s, 0, 1, 512, "it"));
  l1_table_put (all, half[0]);
  l1_table_put (all, half[1]);
  for (i = 1; i < TABLES; ++i)
    l1_table_put (all, t[i]);
  l1_table_put (all, NULL);
  l1_tables_free (all);
  source_close (s);
  close (f.fd);
}

#endif

/* A version 1 header can require 2 GiB at once; nothing of that is read. */
static void
l1_too_large (void **state)
{
  const struct unit_file f = unit_file_new ();
  struct l1_tables *all = l1_tables_new ();
  struct source *s;

  (void) state;
  assert_non_null (all);
  assert_int_equal (ftruncate (f.fd, (off_t) 3 << 30), 0);
  s = open_file (&f);
  assert_null (l1_table_get (all, s, 48, 0xfffffff, 512, "it"));
  assert_int_equal (errno, ENOMEM);
  assert_null (l1_table_get (all, s, 48, (64 << 20) + 1, 512, "it"));
  assert_int_equal (errno, ENOMEM);
  source_close (s);

  /* With a small file, the file is wrong. */
  assert_int_equal (ftruncate (f.fd, 516), 0);
  s = open_file (&f);
  unit_forget ();
  assert_null (l1_table_get (all, s, 48, 0xfffffff, 512, "it"));
  assert_int_equal (errno, EINVAL);
  assert_said ("beyond the end of the file at 0x204");
  source_close (s);
  l1_tables_free (all);
  close (f.fd);
}

/* How much of a table's end may be missing. */
static void
l1_end (void **state)
{
  static const struct {
    uint64_t offset;
    uint32_t size;
    uint64_t slack;
    bool good;
  } rows[] = {
    /* The file has 1000 bytes. */
    { 488, 64, 512, true },
    { 489, 64, 512, true },
    { 999, 64, 512, true }, /* 511 bytes are missing */
    { 1000, 64, 512, false },
    { 1000, 64, 65536, false },
    { 999, 1, 512, true },
    { 1000, 1, 512, false },
    { 999, 65, 512, false }, /* 519 */
    { 999, 65, 519, false },
    { 999, 65, 520, true },
    { 0, 188, 512, true },
    { 0, 189, 512, false }, /* 512 */
    { 0, 4194304, 512, false },
    { INT64_MAX - 7, 1, 512, false },
    { UINT64_MAX, 1, 512, false },
    { UINT64_MAX - 511, 64, 512, false },
    /* An empty table may be anywhere. */
    { 0, 0, 512, true },
    { 1000, 0, 512, true },
    { UINT64_MAX, 0, 512, true },
  };
  const struct unit_file f = unit_file_new ();
  struct l1_tables *all = l1_tables_new ();
  uint8_t bytes[1000];
  struct source *s;
  size_t i;

  (void) state;
  assert_non_null (all);
  memset (bytes, 0x11, sizeof bytes);
  unit_write (&f, bytes, sizeof bytes, 0);
  s = open_file (&f);
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    struct l1_table *t = l1_table_get (all, s, rows[i].offset, rows[i].size,
                                       rows[i].slack, "it");
    uint32_t j;

    if ((t != NULL) != rows[i].good)
      fail_msg ("row %zu: should %sbe good", i, rows[i].good ? "" : "not ");
    if (t == NULL)
      assert_int_equal (errno, EINVAL);
    /* Missing entries are zeros. */
    for (j = 0; t && j < t->size; ++j) {
      const uint64_t start = rows[i].offset + j * UINT64_C (8);
      const unsigned present = start >= 1000  ? 0
                               : start <= 992 ? 8
                                              : 1000 - (unsigned) start;

      assert_int_equal (t->entries[j], present == 0
                                         ? 0
                                         : UINT64_C (0x1111111111111111)
                                             >> (64 - 8 * present)
                                                  << (64 - 8 * present));
    }
    l1_table_put (all, t);
  }
  source_close (s);
  l1_tables_free (all);
  close (f.fd);
}

/* Only tables of the same source, offset and size are shared. */
static void
l1_sharing (void **state)
{
  const struct unit_file f = unit_file_new ();
  struct l1_tables *all = l1_tables_new ();
  struct source *s, *same_file;
  struct l1_table *t, *same, *shorter, *elsewhere, *other;

  (void) state;
  assert_non_null (all);
  assert_int_equal (ftruncate (f.fd, 65536), 0);
  unit_write_be64 (&f, 0x123456789abcdef0, 0);
  s = open_file (&f);
  same_file = open_file (&f);
  t = l1_table_get (all, s, 0, 10, 512, "it");
  same = l1_table_get (all, s, 0, 10, 512, "it");
  shorter = l1_table_get (all, s, 0, 9, 512, "it");
  elsewhere = l1_table_get (all, s, 8, 10, 512, "it");
  other = l1_table_get (all, same_file, 0, 10, 512, "it");
  assert_non_null (t);
  assert_int_equal (t->entries[0], 0x123456789abcdef0);
  assert_ptr_equal (same, t);
  assert_ptr_not_equal (shorter, t);
  assert_int_equal (shorter->size, 9);
  assert_ptr_not_equal (elsewhere, t);
  assert_int_equal (elsewhere->entries[0], 0);
  assert_ptr_not_equal (other, t);
  l1_table_put (all, other);
  l1_table_put (all, elsewhere);
  l1_table_put (all, shorter);
  l1_table_put (all, same);
  l1_table_put (all, t);
  source_close (s);
  source_close (same_file);
  l1_tables_free (all);
  close (f.fd);
}

/* A table that could not be read takes no memory. */
static void
l1_failure (void **state)
{
  enum { ENTRIES = 4194304 };
  const struct unit_file f = unit_file_new ();
  struct l1_tables *all = l1_tables_new ();
  struct l1_table *t;
  struct source *s;
  int i;

  (void) state;
  assert_non_null (all);
  assert_int_equal (ftruncate (f.fd, ENTRIES * 8), 0);
  s = open_file (&f);
  assert_int_equal (ftruncate (f.fd, 0), 0);
  unit_forget ();
  for (i = 0; i < 40; ++i) {
    errno = 0;
    assert_null (l1_table_get (all, s, 0, ENTRIES, 512, "table X"));
    assert_int_equal (errno, EIO);
  }
  assert_said ("the file was truncated while being served");
  assert_int_equal (unit_errors, 1);
  /* The table can be read again later. */
  assert_int_equal (ftruncate (f.fd, ENTRIES * 8), 0);
  t = l1_table_get (all, s, 0, 100, 512, "table X");
  assert_non_null (t);
  l1_table_put (all, t);
  source_close (s);
  l1_tables_free (all);
  close (f.fd);
}

static uint64_t
use_table (struct l1_tables *all, struct source *s, uint64_t number,
           uint32_t size)
{
  struct l1_table *t
    = l1_table_get (all, s, number * size * 8, size, 512, "it");
  uint64_t first;

  assert_non_null (t);
  first = t->entries[0];
  l1_table_put (all, t);
  return first;
}

/* The last table that was put is still there, unless it is large. */
static void
l1_idle (void **state)
{
  enum { SMALL = 100, LARGE = (1 << 17) + 1 };
  const struct unit_file f = unit_file_new ();
  struct l1_tables *all = l1_tables_new ();
  struct l1_table *t;
  struct source *s;

  (void) state;
  assert_non_null (all);
  assert_int_equal (ftruncate (f.fd, 4 * LARGE * 8), 0);
  unit_write_be64 (&f, 7, 0);
  s = open_file (&f);
  assert_int_equal (use_table (all, s, 0, SMALL), 7);
  unit_write_be64 (&f, 8, 0);
  assert_int_equal (use_table (all, s, 0, SMALL), 7);
  t = l1_table_get (all, s, 0, SMALL, 512, "it");
  assert_int_equal (use_table (all, s, 1, SMALL), 0);
  l1_table_put (all, t);
  assert_int_equal (l1_tables_bytes (all), SMALL * 8);
  assert_int_equal (use_table (all, s, 1, SMALL), 0);
  assert_int_equal (use_table (all, s, 0, SMALL), 8);
  l1_tables_forget (all, NULL);
  assert_int_equal (l1_tables_bytes (all), SMALL * 8);
  l1_tables_forget (all, s);
  assert_int_equal (l1_tables_bytes (all), 0);

  use_table (all, s, 1, LARGE);
  assert_int_equal (l1_tables_bytes (all), 0);
  use_table (all, s, 1, LARGE - 1);
  assert_int_equal (l1_tables_bytes (all), (LARGE - 1) * 8);
  source_close (s);
  l1_tables_free (all);
  close (f.fd);
}

/* A source with reads so slow that other threads wait. */
static unsigned slow_reads;
static bool slow_fails;
/* The first read fails because its client disconnected. */
static bool slow_disconnects;
/* Reads wait until this is unlocked. */
static pthread_mutex_t slow_hold = PTHREAD_MUTEX_INITIALIZER;
/* The client of this thread has disconnected. */
static __thread bool disconnected;
/* Errors reported to this thread. */
static __thread unsigned nr_reported;

static int
slow_readv (struct source *s, const struct source_range *ranges, size_t n,
            enum source_use use)
{
  const struct timespec t = { 0, 30000000 };
  const bool first
    = __atomic_add_fetch (&slow_reads, 1, __ATOMIC_RELAXED) == 1;
  size_t i;

  (void) use;
  nanosleep (&t, NULL);
  pthread_mutex_lock (&slow_hold);
  pthread_mutex_unlock (&slow_hold);
  for (i = 0; i < n; ++i)
    memset (ranges[i].buf, 0x22, ranges[i].length);
  if (slow_disconnects && first) {
    disconnected = true;
    errno = ESHUTDOWN;
    return -1;
  }
  return slow_fails ? error_report (s->hooks, EIO, s->name, "can't read") : 0;
}

static void
slow_error (void *opaque, const char *text)
{
  (void) opaque;
  (void) text;
  nr_reported++;
}

static int
slow_sleep (void *opaque, unsigned ms)
{
  (void) opaque;
  (void) ms;
  return disconnected ? -1 : 0;
}

static const struct source_ops slow_ops = { .readv = slow_readv };
static const struct qcow_hooks slow_hooks
  = { .error = slow_error, .sleep = slow_sleep };
static char slow_name[] = "slow";
static struct source slow_source = {
  .ops = &slow_ops, .hooks = &slow_hooks, .name = slow_name, .size = 65536
};
static struct l1_tables *slow_tables;
static pthread_barrier_t slow_start;

static void *
slow_user (void *arg)
{
  struct l1_table *t;

  (void) arg;
  pthread_barrier_wait (&slow_start);
  errno = 0;
  t = l1_table_get (slow_tables, &slow_source, 0, 100, 512, "it");
  if ((t == NULL) != (slow_fails || disconnected))
    abort ();
  if (t == NULL && errno != (disconnected ? ESHUTDOWN : EIO))
    abort ();
  /* A failure is reported once to each client, whichever thread read. */
  if (nr_reported != (slow_fails && !disconnected))
    abort ();
  if (t && t->entries[99] != 0x2222222222222222)
    abort ();
  /* All threads have the table before the first one puts it. */
  pthread_barrier_wait (&slow_start);
  l1_table_put (slow_tables, t);
  return NULL;
}

/* Many threads need one table at once: one of them reads it, and all share it
 * or its failure.
 */
static void
l1_waiting (void **state)
{
  enum { USERS = 8, ROUNDS = 6 };
  pthread_t t[USERS];
  int i, round;

  (void) state;
  slow_tables = l1_tables_new ();
  assert_non_null (slow_tables);
  pthread_barrier_init (&slow_start, NULL, USERS);
  for (round = 0; round < ROUNDS; ++round) {
    slow_fails = round % 2;
    slow_reads = 0;
    for (i = 0; i < USERS; ++i)
      assert_int_equal (pthread_create (&t[i], NULL, slow_user, NULL), 0);
    for (i = 0; i < USERS; ++i)
      pthread_join (t[i], NULL);
    /* A thread that comes after a failure retries. */
    if (slow_fails)
      assert_between (slow_reads, 1, USERS);
    else
      assert_int_equal (slow_reads, 1);
    l1_tables_forget (slow_tables, &slow_source);
  }
  pthread_barrier_destroy (&slow_start);
  l1_tables_free (slow_tables);
}

/* The reading thread's client disconnects: another thread reads the table. */
static void
l1_loader_disconnects (void **state)
{
  enum { USERS = 8 };
  pthread_t t[USERS];
  int i;

  (void) state;
  slow_tables = l1_tables_new ();
  assert_non_null (slow_tables);
  pthread_barrier_init (&slow_start, NULL, USERS);
  slow_disconnects = true;
  slow_fails = false;
  slow_reads = 0;
  for (i = 0; i < USERS; ++i)
    assert_int_equal (pthread_create (&t[i], NULL, slow_user, NULL), 0);
  for (i = 0; i < USERS; ++i)
    pthread_join (t[i], NULL);
  assert_int_equal (slow_reads, 2);
  slow_disconnects = false;
  pthread_barrier_destroy (&slow_start);
  l1_tables_free (slow_tables);
}

/* A waiting thread's client disconnects: that thread stops waiting. */
static void
l1_waiter_disconnects (void **state)
{
  pthread_t t;

  (void) state;
  slow_tables = l1_tables_new ();
  assert_non_null (slow_tables);
  pthread_barrier_init (&slow_start, NULL, 1);
  slow_fails = false;
  slow_reads = 0;
  pthread_mutex_lock (&slow_hold);
  assert_int_equal (pthread_create (&t, NULL, slow_user, NULL), 0);
  while (__atomic_load_n (&slow_reads, __ATOMIC_RELAXED) == 0)
    sched_yield ();
  alarm (60);
  disconnected = true;
  errno = 0;
  assert_null (l1_table_get (slow_tables, &slow_source, 0, 100, 512, "it"));
  assert_int_equal (errno, ESHUTDOWN);
  disconnected = false;
  alarm (0);
  pthread_mutex_unlock (&slow_hold);
  pthread_join (t, NULL);
  assert_int_equal (slow_reads, 1);
  pthread_barrier_destroy (&slow_start);
  l1_tables_free (slow_tables);
}

static const struct CMUnitTest tests[] = {
#if HAVE_ROOM
  cmocka_unit_test (l1_memory),
#endif
  cmocka_unit_test (l1_too_large),
  cmocka_unit_test (l1_end),
  cmocka_unit_test (l1_sharing),
  cmocka_unit_test (l1_failure),
  cmocka_unit_test (l1_idle),
  cmocka_unit_test (l1_waiting),
  cmocka_unit_test (l1_loader_disconnects),
  cmocka_unit_test (l1_waiter_disconnects),
};

UNIT_MAIN (tests)
