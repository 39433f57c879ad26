/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The snapshots of an image.  See snapshot-table.h.
 *
 * The header does not state the table's length.  So the table is read in
 * growing pieces until its last entry is complete.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/utf8.h"
#include "image/snapshot-table.h"

/* Nearly all tables are shorter. */
#define FIRST_READ (UINT64_C (64) << 10)

/* For each snapshot: an entry of the list, and one of each index. */
#define ENTRY_BYTES 120

/* Reserve memory before it is allocated. */
static int
reserve (struct snapshot_table *s, const struct source *source, size_t bytes)
{
  if (l1_tables_reserve (s->limit, bytes, &s->reserved))
    return 0;
  return error_report (source->hooks, ENOMEM, source->name,
                       "with the snapshot table (%u snapshots), the tables in "
                       "use would exceed the limit of %" PRIu64 " MiB",
                       s->count, QCOW_MAX_L1_MEMORY >> 20);
}

/* Parse all entries of table[0..length).  Returns 1, 0 if the table is longer,
 * or -1 with the reason.
 */
static int
parse_table (struct snapshot_table *s, size_t length, struct problem *problem)
{
  size_t pos = 0;
  unsigned i;

  for (i = 0; i < s->count; ++i) {
    const int r = snapshot_entry_parse (s->table, length, &pos, i + 1,
                                        &s->list[i], problem);

    if (r != 1)
      return r;
  }
  return 1;
}

/* The most bytes that the table can have.  (The last cluster of the file may
 * be incomplete.)
 */
static size_t
most_bytes (const struct source *source, const struct header *header)
{
  uint64_t left;

  if (header->snapshots_offset >= source->size)
    return 0;
  left = source->size - header->snapshots_offset + header_cluster_size (header)
         - 1;
  return (size_t) min64 (left, QCOW_MAX_SNAPSHOT_TABLE_BYTES);
}

/* Read and parse more of the table until it is complete. */
static int
read_table (struct snapshot_table *s, struct source *source,
            const struct header *header)
{
  const size_t most = most_bytes (source, header);
  struct problem problem;
  size_t have = 0, want = FIRST_READ;
  int r = 0;

  while (r == 0) {
    uint8_t *p;

    if (have == most)
      return error_report (
        source->hooks, EINVAL, source->name,
        "the snapshot table (%u snapshots at 0x%" PRIx64 ") %s", s->count,
        header->snapshots_offset,
        most < QCOW_MAX_SNAPSHOT_TABLE_BYTES
          ? "extends beyond the end of the file: was the file truncated?"
          : "exceeds the limit of 64 MiB");
    if (want > most)
      want = most;
    if (reserve (s, source, want - have) == -1)
      return -1;
    p = realloc (s->table, want);
    if (p == NULL)
      return source_no_memory (source);
    s->table = p;
    if (source_read_table (source, p + have, want - have,
                           header->snapshots_offset + have)
        == -1)
      return -1;
    have = want;
    want *= 4;
    r = parse_table (s, have, &problem);
  }
  if (r == -1)
    return error_report (source->hooks, EINVAL, source->name, "%s",
                         problem.text);
  return 0;
}

static void
sort_table (struct snapshot_table *s)
{
  unsigned i;

  for (i = 0; i < s->count; ++i) {
    const struct snapshot_entry *e = &s->list[i];

    name_index_set (s->by_id, i, e->id, e->id_length);
    name_index_set (s->by_name, i, e->name, e->name_length);
  }
  name_index_sort (s->by_id);
  name_index_sort (s->by_name);
}

/* 's' is new.  On failure the caller frees it. */
static int
load (struct snapshot_table *s, const struct image *image)
{
  const unsigned n = image->header.nb_snapshots;

  s->limit = image->context->l1_tables;
  s->count = n;
  if (reserve (s, image->source, (size_t) n * ENTRY_BYTES) == -1)
    return -1;
  s->list = calloc (n + 1, sizeof s->list[0]);
  s->by_id = name_index_new (n);
  s->by_name = name_index_new (n);
  if (s->list == NULL || s->by_id == NULL || s->by_name == NULL)
    return image_no_memory (image);
  if (n > 0 && read_table (s, image->source, &image->header) == -1)
    return -1;
  sort_table (s);
  return 0;
}

struct snapshot_table *
snapshot_table_load (const struct image *image)
{
  struct snapshot_table *s = calloc (1, sizeof *s);

  if (s == NULL)
    image_no_memory (image);
  else if (load (s, image) == 0)
    return s;
  snapshot_table_free (s);
  return NULL;
}

void
snapshot_table_free (struct snapshot_table *s)
{
  KEEP_ERRNO;

  if (s == NULL)
    return;
  name_index_free (s->by_name);
  name_index_free (s->by_id);
  free (s->list);
  free (s->table);
  l1_tables_release (s->limit, s->reserved);
  free (s);
}

const struct snapshot_entry *
snapshot_table_find (const struct snapshot_table *s, const char *id_or_name,
                     size_t length)
{
  int i = name_index_find (s->by_id, id_or_name, length);

  if (i == -1)
    i = name_index_find (s->by_name, id_or_name, length);
  return i == -1 ? NULL : &s->list[i];
}

/* True if a client that requests this id or name gets the snapshot.  "" is the
 * default view, and names in the NBD protocol are UTF-8.
 */
static bool
leads_to (const struct snapshot_table *s, const char *id_or_name,
          size_t length, const struct snapshot_entry *snapshot)
{
  return length > 0 && utf8_is_clean (id_or_name, length)
         && snapshot_table_find (s, id_or_name, length) == snapshot;
}

char *
snapshot_table_export_name (const struct snapshot_table *s,
                            const struct snapshot_entry *snapshot)
{
  if (leads_to (s, snapshot->name, snapshot->name_length, snapshot))
    return strndup (snapshot->name, snapshot->name_length);
  if (leads_to (s, snapshot->id, snapshot->id_length, snapshot))
    return strndup (snapshot->id, snapshot->id_length);
  return strdup ("");
}
