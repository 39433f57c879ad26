/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: the input is a snapshot table.  Each entry must lie in the table,
 * and must be the same if only its own bytes were read.  The escaped id and
 * name must be clean.
 */

#include "tests/fuzz/fuzz.h"

#include "base/utf8.h"
#include "format/snapshot-entry.h"

/* Longer than the first piece of a table that is read. */
#define MAX_TABLE (1U << 20)

static struct guarded table_area, text_area;

/* Parsing with only the bytes of the entry must give the same, because the
 * table is read in pieces.
 */
static void
check_shorter (const uint8_t *table, size_t start, size_t end, unsigned number,
               const struct snapshot_entry *s)
{
  struct problem problem;
  struct snapshot_entry again;
  size_t pos = start;

  MUST (snapshot_entry_parse (table, end, &pos, number, &again, &problem)
        == 1);
  MUST (pos == end);
  MUST (again.id == s->id && again.name == s->name);
  MUST (again.l1_table_offset == s->l1_table_offset
        && again.l1_size == s->l1_size);
  MUST (again.has_disk_size == s->has_disk_size
        && again.disk_size == s->disk_size);
  pos = start;
  MUST (snapshot_entry_parse (table, end - 1, &pos, number, &again, &problem)
        == 0);
  MUST (pos == start);
}

static void
check_text (const char *text, size_t length, enum side side)
{
  /* The size of a message, or less. */
  const size_t max = 1 + length % 600;
  char *out = (char *) guarded_place (&text_area, side, max);

  utf8_escape (out, max, text, length);
  MUST (memchr (out, '\0', max));
  MUST (utf8_is_clean (out, strlen (out)));
  MUST (!utf8_is_clean (text, length)
        || memcmp (out, text, strlen (out)) == 0);
}

/* The entry at [start, pos). */
static void
check_entry (const uint8_t *table, size_t length, size_t start, size_t pos,
             const struct snapshot_entry *s)
{
  const uint8_t *id = (const uint8_t *) s->id;
  const uint8_t *name = (const uint8_t *) s->name;

  MUST (pos > start && pos <= length && pos - start >= 40);
  MUST (pos % 8 == 0 || pos == length);
  MUST (id >= table + start + 40);
  MUST (id + s->id_length == name);
  MUST (name + s->name_length <= table + pos);
  MUST (table + pos - (name + s->name_length) < 8);
  MUST (s->has_disk_size || s->disk_size == 0);
}

static void
parse (const uint8_t *data, size_t size, enum side side)
{
  const uint8_t *table = guarded_copy (&table_area, side, data, size);
  struct problem problem;
  struct snapshot_entry s;
  size_t pos = 0;
  unsigned number;

  for (number = 1; number <= QCOW_MAX_SNAPSHOTS; ++number) {
    const size_t start = pos;
    int r;

    no_problem (&problem);
    r = snapshot_entry_parse (table, size, &pos, number, &s, &problem);
    if (r == -1)
      must_have_reason (&problem);
    if (r != 1) {
      MUST (pos == start);
      return;
    }
    check_entry (table, size, start, pos, &s);
    check_shorter (table, start,
                   (size_t) ((const uint8_t *) s.name + s.name_length - table),
                   number, &s);
    check_text (s.id, s.id_length, side);
    check_text (s.name, s.name_length, side);
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  enum side side;

  if (table_area.start == NULL) {
    table_area = guarded_new (MAX_TABLE);
    text_area = guarded_new (600);
  }
  if (size > MAX_TABLE)
    return 0;
  for (side = AT_END; side < SIDES; ++side)
    parse (data, size, side);
  return 0;
}
