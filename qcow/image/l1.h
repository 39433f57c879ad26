/* SPDX-License-Identifier: BSD-3-Clause
 *
 * L1 tables, and tables of bitmaps, in memory: each is there once however many
 * views use it, only as long as one does, and all together take no more than
 * QCOW_MAX_L1_MEMORY.
 *
 * Everything may be called by any number of threads at once, except new
 * and free.  No lock is held while a table is read; who wants a table that
 * another thread reads waits for it.
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

/* All tables must have been put back. */
void l1_tables_free (struct l1_tables *all);

/* The L1 table of 'size' entries at 'offset' of the source, read if it is
 * not there.  'slack' is how much of its end the file may lack: all but
 * less than a cluster must be there.  'what' says for messages whose table
 * it is.  NULL with the error reported and errno EINVAL (beyond the end of
 * the file), ENOMEM (too much memory in all), EIO or ESHUTDOWN (it is of no
 * use to wait, as hooks_wait).
 */
struct l1_table *l1_table_get (struct l1_tables *all, struct source *source,
                               uint64_t offset, uint32_t size, uint64_t slack,
                               const char *what);

/* The caller does not need it any more.  NULL is ignored. */
void l1_table_put (struct l1_tables *all, struct l1_table *table);

#endif /* QCOW_IMAGE_L1_H */
