/* SPDX-License-Identifier: BSD-3-Clause
 *
 * L1 tables, and the tables of bitmaps, in memory.  Views share them: there is
 * one copy of a table while any view uses it, and perhaps longer.  All tables
 * together, and the snapshot tables and bitmap directories of images, take at
 * most QCOW_MAX_L1_MEMORY.
 *
 * Any number of threads may call all functions but new and free at once.  No
 * lock is held while a table is read.  A thread that needs a table which
 * another thread is reading waits for it (single-flight).
 */

#ifndef QCOW_IMAGE_L1_H
#define QCOW_IMAGE_L1_H

#include <stdbool.h>
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

/* NULL is ignored.  All tables must have been put. */
void l1_tables_free (struct l1_tables *all);

/* The memory that all tables in use take, in bytes, with what is reserved. */
uint64_t l1_tables_bytes (struct l1_tables *all);

/* Count memory of another kind of table, too, before it is allocated.  Add the
 * bytes to *reserved, which starts as 0.  False: there would be too much.
 */
bool l1_tables_reserve (struct l1_tables *all, uint64_t bytes,
                        uint64_t *reserved);
void l1_tables_release (struct l1_tables *all, uint64_t reserved);

/* Get the table of 'size' entries at 'offset' of the source, and read it if no
 * view uses it yet.  If less than 'slack' bytes of its end lie past the end of
 * the file, these are zeros.  'what' names the table in messages.  NULL with
 * the error reported and errno EINVAL (past the end of the file), ENOMEM (also
 * if all tables together would take too much) or EIO; or with errno ESHUTDOWN
 * if the sleep hook ended the wait.
 */
struct l1_table *l1_table_get (struct l1_tables *all, struct source *source,
                               uint64_t offset, uint32_t size, uint64_t slack,
                               const char *what);

/* Drop a reference to a table.  NULL is ignored. */
void l1_table_put (struct l1_tables *all, struct l1_table *table);

/* Free what is kept of a source that is to be closed.  No table of it may be
 * in use.
 */
void l1_tables_forget (struct l1_tables *all, const struct source *source);

#endif /* QCOW_IMAGE_L1_H */
