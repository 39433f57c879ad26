/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The snapshots of an image: reading the table, finding one.
 *
 * Constant once loaded, so it needs no lock.  L1 tables are not looked at:
 * a snapshot that can't be used harms no other.
 */

#ifndef QCOW_SNAPSHOTS_H
#define QCOW_SNAPSHOTS_H

#include <stddef.h>
#include <stdint.h>

#include "header.h"
#include "snapshot.h"
#include "source.h"

struct snapshots {
  unsigned count;
  struct snapshot *list; /* in the order of the table */
  /* The rest is private to snapshots.c. */
  uint8_t *table; /* what ids and names point into */
  unsigned *by_id, *by_name;
};

/* Read the snapshot table of the image.  Memory: the table, at most 64
 * MiB, and some 64 bytes for each snapshot.  The caller frees it.  NULL
 * with the error reported and errno EINVAL, EIO or ENOMEM.
 */
struct snapshots *snapshots_load (struct source *source,
                                  const struct header *header);
void snapshots_free (struct snapshots *s);

/* Find a snapshot by its id, or if there is none by its name; the first if
 * there are several (qemu).  NULL: there is none.
 */
const struct snapshot *snapshots_find (const struct snapshots *s,
                                       const char *id_or_name, size_t length);

/* What a client has to ask for to get this snapshot: its name if that
 * leads back to it, else its id.  A new string, NULL if out of memory; ""
 * if neither leads back to it as clean text (text.h), which is what can be
 * shown in a list.
 */
char *snapshots_export_name (const struct snapshots *s,
                             const struct snapshot *snapshot);

#endif /* QCOW_SNAPSHOTS_H */
