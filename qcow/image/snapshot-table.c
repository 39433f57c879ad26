/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The snapshots of an image.  See snapshot-table.h.
 *
 * The table has no length of its own: it is read in growing pieces until
 * the last entry has been seen.  For looking up there are two lists of
 * the snapshots' numbers, sorted by id and by name; equal ones stay in
 * the order of the table.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "image/snapshot-table.h"

/* Nearly every table fits. */
#define FIRST_READ (UINT64_C (64) << 10)

struct key {
  const char *text;
  size_t length;
};

static struct key
id_of (const struct snapshot_entry *s)
{
  return (struct key){ s->id, s->id_length };
}

static struct key
name_of (const struct snapshot_entry *s)
{
  return (struct key){ s->name, s->name_length };
}

static int
compare (struct key a, struct key b)
{
  const int r
    = memcmp (a.text, b.text, a.length < b.length ? a.length : b.length);

  if (r != 0)
    return r;
  return a.length < b.length ? -1 : a.length > b.length;
}

/* For qsort_r: opaque is the list of snapshots. */
static int
compare_numbers (struct key a, struct key b, unsigned i, unsigned j)
{
  const int r = compare (a, b);

  return r != 0 ? r : i < j ? -1 : 1;
}

static int
compare_ids (const void *a, const void *b, void *opaque)
{
  const struct snapshot_entry *list = opaque;
  const unsigned i = *(const unsigned *) a, j = *(const unsigned *) b;

  return compare_numbers (id_of (&list[i]), id_of (&list[j]), i, j);
}

static int
compare_names (const void *a, const void *b, void *opaque)
{
  const struct snapshot_entry *list = opaque;
  const unsigned i = *(const unsigned *) a, j = *(const unsigned *) b;

  return compare_numbers (name_of (&list[i]), name_of (&list[j]), i, j);
}

/* Parse all entries of table[0..length).  1: done; 0: there must be more
 * bytes; -1 and the reason.
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

/* How much of the table may be there: what ends less than a cluster behind
 * the end of the file was not written out in full.
 */
static size_t
most_bytes (const struct source *source, const struct header *header)
{
  uint64_t left;

  if (header->snapshots_offset >= source->size)
    return 0;
  left = source->size - header->snapshots_offset
         + (UINT64_C (1) << header->cluster_bits) - 1;
  return left < QCOW_MAX_SNAPSHOT_TABLE_BYTES ? (size_t) left
                                              : QCOW_MAX_SNAPSHOT_TABLE_BYTES;
}

/* Read and parse more and more of the table until it is complete. */
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
          ? "goes beyond the end of the file: was the file truncated?"
          : "has more than 64 MiB, the most that is allowed");
    if (want > most)
      want = most;
    p = realloc (s->table, want);
    if (p == NULL)
      return source_no_memory (source);
    s->table = p;
    if (source_read (source, p + have, want - have,
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

struct snapshot_table *
snapshot_table_load (struct source *source, const struct header *header)
{
  const unsigned n = header->nb_snapshots;
  struct snapshot_table *s = calloc (1, sizeof *s);
  unsigned i;
  int err;

  if (s) {
    s->count = n;
    s->list = calloc (n + 1, sizeof s->list[0]);
    s->by_id = calloc (n + 1, sizeof s->by_id[0]);
    s->by_name = calloc (n + 1, sizeof s->by_name[0]);
  }
  if (s == NULL || s->list == NULL || s->by_id == NULL || s->by_name == NULL) {
    snapshot_table_free (s);
    source_no_memory (source);
    return NULL;
  }
  if (n > 0 && read_table (s, source, header) == -1) {
    err = errno;
    snapshot_table_free (s);
    errno = err;
    return NULL;
  }
  for (i = 0; i < n; ++i)
    s->by_id[i] = s->by_name[i] = i;
  qsort_r (s->by_id, n, sizeof s->by_id[0], compare_ids, s->list);
  qsort_r (s->by_name, n, sizeof s->by_name[0], compare_names, s->list);
  return s;
}

void
snapshot_table_free (struct snapshot_table *s)
{
  if (s == NULL)
    return;
  free (s->by_name);
  free (s->by_id);
  free (s->list);
  free (s->table);
  free (s);
}

/* The first snapshot of the sorted list with this key. */
static const struct snapshot_entry *
search (const struct snapshot_table *s, const unsigned *sorted,
        struct key (*key_of) (const struct snapshot_entry *),
        struct key wanted)
{
  unsigned low = 0, high = s->count;

  while (low < high) {
    const unsigned mid = low + (high - low) / 2;

    if (compare (key_of (&s->list[sorted[mid]]), wanted) < 0)
      low = mid + 1;
    else
      high = mid;
  }
  if (low == s->count || compare (key_of (&s->list[sorted[low]]), wanted) != 0)
    return NULL;
  return &s->list[sorted[low]];
}

static const struct snapshot_entry *
find (const struct snapshot_table *s, struct key wanted)
{
  const struct snapshot_entry *found = search (s, s->by_id, id_of, wanted);

  return found ? found : search (s, s->by_name, name_of, wanted);
}

const struct snapshot_entry *
snapshot_table_find (const struct snapshot_table *s, const char *id_or_name,
                     size_t length)
{
  return find (s, (struct key){ id_or_name, length });
}

/* "" is the default view, and what the protocol calls a name is UTF-8. */
static bool
leads_to (const struct snapshot_table *s, struct key key,
          const struct snapshot_entry *snapshot)
{
  return key.length > 0 && utf8_is_clean (key.text, key.length)
         && find (s, key) == snapshot;
}

char *
snapshot_table_export_name (const struct snapshot_table *s,
                            const struct snapshot_entry *snapshot)
{
  struct key key = name_of (snapshot);

  if (!leads_to (s, key, snapshot))
    key = id_of (snapshot);
  if (!leads_to (s, key, snapshot))
    key.length = 0;
  return strndup (key.text, key.length);
}
