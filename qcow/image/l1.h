/* SPDX-License-Identifier: BSD-3-Clause
 *
 * L1 tables, and the tables of bitmaps, in memory.  Views share them: a table
 * is in memory once, as long as a view uses it.  All together take at most
 * QCOW_MAX_L1_MEMORY.
 *
 * All functions but new and free may be called by any number of threads at
 * once.  No lock is held while a table is read.  Threads that want a table
 * that another thread reads wait for it (single-flight).
 */

#ifndef QCOW_IMAGE_L1_H
#define QCOW_IMAGE_L1_H

#include <stdint.h>

#include "base/error.h"
#include "base/once.h"
#include "source/source.h"

/* 16 of the largest L1 tables of a QCOW2 image; with 64 KiB clusters, for
 * 32 PiB of disks.
 */
#define QCOW_MAX_L1_MEMORY (UINT64_C (512) << 20)

struct l1_tables;

struct l1_table {
  const uint64_t *entries; /* host byte order */
  uint32_t size;           /* entries */
  /* The rest is private to l1.c. */
  struct source *source;
  uint64_t offset;
  unsigned uses;
  struct once load;
  struct l1_table *next;
};

/* NULL if out of memory. */
struct l1_tables *l1_tables_new (void);

/* NULL is ignored.  All tables must have been put back. */
void l1_tables_free (struct l1_tables *all);

/* The table of 'size' entries at 'offset' of the source, which is read if no
 * view uses it yet.  The file may lack less than 'slack' bytes of its end,
 * which are zeros then.  'what' names the table in messages.  NULL with errno
 * EINVAL (beyond the end of the file), ENOMEM (also: too much for all tables)
 * or EIO and the error reported, or ESHUTDOWN if the sleep hook ended the
 * wait.
 */
struct l1_table *l1_table_get (struct l1_tables *all, struct source *source,
                               uint64_t offset, uint32_t size, uint64_t slack,
                               const char *what);

/* Give a table back.  NULL is ignored. */
void l1_table_put (struct l1_tables *all, struct l1_table *table);

#endif /* QCOW_IMAGE_L1_H */
