/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The snapshots of an image: load the table and find a snapshot.
 *
 * The table is constant once it is loaded, so it needs no lock.  L1 tables are
 * not checked here, so that a damaged snapshot does not affect the others.
 */

#ifndef QCOW_IMAGE_SNAPSHOT_TABLE_H
#define QCOW_IMAGE_SNAPSHOT_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/name-index.h"
#include "format/header.h"
#include "format/snapshot-entry.h"
#include "image/image.h"

struct snapshot_table {
  unsigned count;
  struct snapshot_entry *list; /* in the order of the table */
  /* The rest is private to snapshot-table.c. */
  uint8_t *table; /* ids and names point into it */
  struct name_index *by_id, *by_name;
  struct l1_tables *limit;
  uint64_t reserved; /* of the limit, in bytes */
};

/* Read the snapshot table of the image.  The result takes as much memory as
 * the table, at most 64 MiB, and some 120 bytes for each snapshot, which count
 * to the limit of L1 tables.  The caller frees it.  NULL with the error
 * reported and errno EINVAL, EIO or ENOMEM.
 */
struct snapshot_table *snapshot_table_load (const struct image *image);
void snapshot_table_free (struct snapshot_table *s);

/* Find a snapshot by its id, or else by its name; the first one if there are
 * several (qemu).  NULL: there is none.
 */
const struct snapshot_entry *
snapshot_table_find (const struct snapshot_table *s, const char *id_or_name,
                     size_t length);

/* The export name to list for a snapshot: its name if that leads a client to
 * it, else its id.  Only clean text (utf8.h) can be listed; "" if neither can
 * be used.  A new string, or NULL if out of memory.
 */
char *snapshot_table_export_name (const struct snapshot_table *s,
                                  const struct snapshot_entry *snapshot);

#endif /* QCOW_IMAGE_SNAPSHOT_TABLE_H */
