/* SPDX-License-Identifier: BSD-3-Clause
 *
 * L1 tables in memory.  See l1.h.
 *
 * The tables are in a list, which is only searched when an image or a view is
 * opened.  It has one entry for each image, snapshot and bitmap in use.
 *
 * The last table that was put stays, unless it is large: nbdkit's retry filter
 * closes a client's view and opens it again, and so do clients that come one
 * after the other.
 *
 * Invariants under the lock: each table in the list but 'idle' has uses > 0;
 * 'bytes' is the memory that the tables in the list take, and what is
 * reserved.
 */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/once.h"
#include "base/wait.h"
#include "format/format.h"
#include "image/l1.h"

/* For a disk of 64 TiB with clusters of 64 KiB. */
#define MAX_IDLE_BYTES (UINT64_C (1) << 20)

struct l1_tables {
  pthread_mutex_t lock;
  uint64_t bytes;
  struct l1_table *first;
  struct l1_table *idle; /* not in use; NULL: none */
};

static uint64_t
bytes_of (const struct l1_table *table)
{
  return table->size * UINT64_C (8);
}

/* Under the lock. */
static void
free_table (struct l1_tables *all, struct l1_table *table)
{
  struct l1_table **p = &all->first;

  while (*p != table)
    p = &(*p)->next;
  *p = table->next;
  all->bytes -= bytes_of (table);
  once_destroy (&table->load);
  free ((void *) table->entries);
  free (table);
}

/* Under the lock. */
static void
drop_idle (struct l1_tables *all)
{
  if (all->idle)
    free_table (all, all->idle);
  all->idle = NULL;
}

/* Under the lock: drop one use. */
static void
drop (struct l1_tables *all, struct l1_table *table)
{
  if (--table->uses > 0)
    return;
  if (table->load.state == ONCE_FAILED || bytes_of (table) > MAX_IDLE_BYTES) {
    free_table (all, table);
    return;
  }
  drop_idle (all);
  all->idle = table;
}

/* Under the lock.  False: there is no room for so many bytes more. */
static bool
make_room (struct l1_tables *all, uint64_t bytes)
{
  if (bytes > QCOW_MAX_L1_MEMORY - all->bytes)
    drop_idle (all);
  return bytes <= QCOW_MAX_L1_MEMORY - all->bytes;
}

struct l1_tables *
l1_tables_new (void)
{
  struct l1_tables *all = calloc (1, sizeof *all);

  if (all == NULL)
    return NULL;
  pthread_mutex_init (&all->lock, NULL);
  return all;
}

void
l1_tables_free (struct l1_tables *all)
{
  if (all == NULL)
    return;
  drop_idle (all);
  pthread_mutex_destroy (&all->lock);
  free (all);
}

uint64_t
l1_tables_bytes (struct l1_tables *all)
{
  uint64_t bytes;

  pthread_mutex_lock (&all->lock);
  bytes = all->bytes;
  pthread_mutex_unlock (&all->lock);
  return bytes;
}

bool
l1_tables_reserve (struct l1_tables *all, uint64_t bytes, uint64_t *reserved)
{
  bool fits;

  pthread_mutex_lock (&all->lock);
  fits = make_room (all, bytes);
  if (fits)
    all->bytes += bytes;
  pthread_mutex_unlock (&all->lock);
  if (fits)
    *reserved += bytes;
  return fits;
}

void
l1_tables_release (struct l1_tables *all, uint64_t reserved)
{
  pthread_mutex_lock (&all->lock);
  all->bytes -= reserved;
  pthread_mutex_unlock (&all->lock);
}

/* Read the table.  No other thread accesses its entries yet. */
static int
load (struct l1_table *table, const char *what)
{
  struct source *source = table->source;
  const size_t bytes = (size_t) bytes_of (table); /* see QCOW_MAX_L1_MEMORY */
  uint64_t *entries = malloc (bytes > 0 ? bytes : 1);
  uint32_t i;

  table->entries = entries;
  if (entries == NULL)
    return error_report (source->hooks, ENOMEM, source->name,
                         "out of memory for %s", what);
  if (source_read_table (source, entries, bytes, table->offset) == -1)
    return -1;
  for (i = 0; i < table->size; ++i)
    entries[i] = be64toh (entries[i]);
  return 0;
}

/* Accept a table of which less than 'slack' bytes lie past the end of the
 * file: it was not written in full, and these bytes are zeros.
 */
static int
check_place (const struct source *source, uint64_t offset, uint64_t bytes,
             uint64_t slack, const char *what)
{
  if (bytes == 0
      || (offset < source->size
          && (bytes <= source->size - offset
              || bytes - (source->size - offset) < slack)))
    return 0;
  return error_report (
    source->hooks, EINVAL, source->name,
    "%s (%" PRIu64 " bytes at 0x%" PRIx64 ") extends beyond "
    "the end of the file at 0x%" PRIx64 ": was the file truncated?",
    what, bytes, offset, source->size);
}

/* Under the lock: find a table and add a use. */
static struct l1_table *
find (struct l1_tables *all, const struct source *source, uint64_t offset,
      uint32_t size)
{
  struct l1_table *t;

  for (t = all->first; t; t = t->next)
    if (t->source == source && t->offset == offset && t->size == size
        && t->load.state != ONCE_FAILED) {
      t->uses++;
      if (t == all->idle)
        all->idle = NULL;
      break;
    }
  return t;
}

/* Under the lock: add a new table in state LOADING.  NULL with errno EAGAIN if
 * the tables would take too much memory, or ENOMEM.
 */
static struct l1_table *
add (struct l1_tables *all, struct source *source, uint64_t offset,
     uint32_t size)
{
  struct l1_table *t;

  if (!make_room (all, size * UINT64_C (8))) {
    errno = EAGAIN;
    return NULL;
  }
  t = calloc (1, sizeof *t);
  if (t == NULL)
    return NULL;
  t->source = source;
  t->offset = offset;
  t->size = size;
  t->uses = 1;
  once_begin (&t->load);
  t->next = all->first;
  all->first = t;
  all->bytes += bytes_of (t);
  return t;
}

static int
no_room (const struct source *source, uint32_t size, const char *what)
{
  if (errno == EAGAIN)
    return error_report (source->hooks, ENOMEM, source->name,
                         "%s is %" PRIu64 " bytes: the L1 tables in use would "
                         "exceed the limit of %" PRIu64 " MiB",
                         what, size * UINT64_C (8), QCOW_MAX_L1_MEMORY >> 20);
  return error_report (source->hooks, ENOMEM, source->name,
                       "out of memory for %s", what);
}

/* Under the lock, which is released during the read: read a new table.
 * Returns 0, or an errno value with the error reported.
 */
static int
fill (struct l1_tables *all, struct l1_table *t, const char *what)
{
  int err;

  pthread_mutex_unlock (&all->lock);
  err = load (t, what) == 0 ? 0 : errno;
  pthread_mutex_lock (&all->lock);
  once_end (&t->load, err);
  return err;
}

struct l1_table *
l1_table_get (struct l1_tables *all, struct source *source, uint64_t offset,
              uint32_t size, uint64_t slack, const char *what)
{
  const struct qcow_hooks *hooks = source->hooks;
  struct l1_table *t;
  bool mine;
  int err;

  if (check_place (source, offset, size * UINT64_C (8), slack, what) == -1)
    return NULL;

  do {
    pthread_mutex_lock (&all->lock);
    t = find (all, source, offset, size);
    mine = t == NULL;
    if (mine)
      t = add (all, source, offset, size);
    if (t == NULL) {
      pthread_mutex_unlock (&all->lock);
      no_room (source, size, what);
      return NULL;
    }
    err = mine ? fill (all, t, what) : once_wait (&t->load, &all->lock, hooks);
    if (err != 0)
      drop (all, t);
    pthread_mutex_unlock (&all->lock);
    if (err == 0)
      return t;
    /* The other thread's client disconnected.  Retry unless ours did, too. */
  } while (!mine && err == ESHUTDOWN && hooks_sleep (hooks, 0) == 0);

  /* The thread that read the table reported the reason to its own client. */
  if (!mine && err != ESHUTDOWN)
    error_report (hooks, err, source->name, "can't load %s", what);
  errno = err;
  return NULL;
}

void
l1_table_put (struct l1_tables *all, struct l1_table *table)
{
  if (table == NULL)
    return;
  pthread_mutex_lock (&all->lock);
  drop (all, table);
  pthread_mutex_unlock (&all->lock);
}

void
l1_tables_forget (struct l1_tables *all, const struct source *source)
{
  pthread_mutex_lock (&all->lock);
  if (all->idle && all->idle->source == source)
    drop_idle (all);
  pthread_mutex_unlock (&all->lock);
}
