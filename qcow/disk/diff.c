/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What changed from one view to another.  See diff.h.
 *
 * Two snapshots of a disk share most of their L2 tables.  Where both L1 tables
 * name the same L2 table, nothing is read.  Elsewhere the layers above the
 * shared ones are compared run by run.  If that does not decide (for example,
 * one view stores zeros and the other nothing), the whole views are compared.
 *
 * Each of the four cursors pins at most what one map pins (map.h).
 */

#include <stdlib.h>

#include "base/minmax.h"
#include "disk/diff.h"

/* --- Cursors --- */

/* A cursor walks through gaps of up to this many bytes: starting a new map
 * costs more.
 */
#define MAX_STEP (UINT64_C (1) << 20)

static void
cursor_end (struct diff_cursor *c)
{
  if (c->started)
    map_end (&c->map);
  c->started = false;
}

/* Make c->run the view's run at d->offset.  Returns 0, or -1 as diff_next. */
static int
cursor_move (struct diff *d, struct diff_cursor *c,
             const struct qcow_view *view)
{
  const uint64_t end = min64 (d->span_end, view->size);

  if (!c->started || c->map.end != end
      || d->offset - c->run.offset > c->run.length + MAX_STEP) {
    cursor_end (c);
    map_begin (&c->map, view, d->lookup, d->offset, end - d->offset);
    c->started = true;
    c->run = (struct run){ .offset = d->offset };
  }
  while (d->offset >= c->run.offset + c->run.length)
    if (map_next (&c->map, &c->run) != 1)
      return -1;
  return 0;
}

/* Find the view's run at d->offset, cut to begin there.  Past the view's end,
 * or if 'view' is NULL, it is a hole.  Lower *end to the run's end if that
 * comes first.  Returns 0, or -1 as diff_next.
 */
static int
find_run (struct diff *d, struct diff_cursor *c, const struct qcow_view *view,
          struct run *part, uint64_t *end)
{
  if (view == NULL || d->offset >= view->size) {
    *part = (struct run){ .kind = RUN_HOLE, .offset = d->offset };
    return 0;
  }
  if (cursor_move (d, c, view) == -1)
    return -1;
  *end = min64 (*end, c->run.offset + c->run.length);
  *part = run_cut (&c->run, d->offset, *end);
  return 0;
}

/* --- Comparing --- */

/* True if two runs at the same guest offset read the same because they are
 * stored in the same place.  Damage counts as changed, so that clients read it
 * and get the error.  (Damage in L2 tables that both views share is not found,
 * since those are not read.)
 */
static bool
same_place (const struct run *a, const struct run *b)
{
  if (a->kind != b->kind)
    return false;
  if (a->kind == RUN_DATA)
    return a->source == b->source && a->host == b->host;
  if (a->kind == RUN_COMPRESSED)
    return a->image == b->image && a->host == b->host && a->bound == b->bound;
  return false;
}

static bool
is_zero (const struct run *run)
{
  return run->kind == RUN_HOLE || run->kind == RUN_ZERO;
}

/* True if the run, from the layers above the shared ones, reads as zeros
 * whatever the shared layers store.
 */
static bool
is_surely_zero (const struct run *run, bool sees_lower)
{
  return run->kind == RUN_ZERO || (run->kind == RUN_HOLE && !sees_lower);
}

/* log2 of the guest bytes that an L1 entry spans, if the L1 tables of both
 * views can be compared; else 0.
 */
static unsigned
l1_shift (const struct diff *d)
{
  const struct qcow_view *old = d->base->old_upper;
  const struct layer *top = &d->view->layers[0];

  if (old == NULL || old->nr_layers != 1 || d->base->new_upper->nr_layers != 1
      || old->layers[0].image != top->image)
    return 0;
  return header_l1_shift (&top->image->header);
}

/* The offset of the L2 table that an L1 entry names; 0: none. */
static uint64_t
table_of (const struct layer *layer, uint64_t index)
{
  if (index >= layer->l1->size)
    return 0;
  return layer->l1->entries[index] & QCOW_ENTRY_OFFSET_MASK;
}

/* Returns the end of the range from d->offset on in which both views have the
 * same L2 tables, and so the same data.  Sets d->span_end so that the cursors
 * do not read the next L2 tables, which may be shared again.
 */
static uint64_t
skip_same_tables (struct diff *d)
{
  const struct layer *new = &d->view->layers[0];
  const struct layer *old;
  const unsigned shift = l1_shift (d);
  uint64_t offset = d->offset;

  d->span_end = d->end;
  if (shift == 0)
    return offset;
  old = &d->base->old_upper->layers[0];
  while (offset < d->end && offset < d->base->old->size) {
    const uint64_t index = offset >> shift;
    /* (Does not overflow: offsets are at most INT64_MAX.) */
    const uint64_t next = min64 ((index + 1) << shift, d->end);

    d->span_end = next;
    if (table_of (new, index) != table_of (old, index)
        || next > d->base->old->size)
      break;
    offset = next;
  }
  return offset;
}

/* For runs that the layers above the shared ones do not decide. */
static int
compare_all (struct diff *d, uint64_t *end, struct run *run, bool *changed)
{
  struct run old;

  if (find_run (d, &d->new, d->view, run, end) == -1
      || find_run (d, &d->old, d->base->old, &old, end) == -1)
    return -1;
  *changed = !(is_zero (run) && is_zero (&old)) && !same_place (run, &old);
  return 0;
}

static int
compare (struct diff *d, uint64_t *end, struct run *run, bool *changed)
{
  const struct diff_base *b = d->base;
  const bool new_sees_lower = d->offset < b->new_lower_size;
  const bool old_sees_lower = d->offset < b->old_lower_size;
  struct run old;

  /* Past the end of the older view, everything has changed. */
  if (d->offset >= b->old->size) {
    *changed = true;
    return find_run (d, &d->new, d->view, run, end);
  }
  *end = min64 (*end, b->old->size);
  if (new_sees_lower)
    *end = min64 (*end, b->new_lower_size);
  if (old_sees_lower)
    *end = min64 (*end, b->old_lower_size);

  if (find_run (d, &d->new_upper, b->new_upper, run, end) == -1
      || find_run (d, &d->old_upper, b->old_upper, &old, end) == -1)
    return -1;
  *changed = false;
  if (run->kind == RUN_HOLE && old.kind == RUN_HOLE
      && new_sees_lower == old_sees_lower)
    return 0;
  if (same_place (run, &old)
      || (is_surely_zero (run, new_sees_lower)
          && is_surely_zero (&old, old_sees_lower)))
    return 0;
  if (!is_zero (run)) {
    *changed = true;
    return 0;
  }
  return compare_all (d, end, run, changed);
}

void
diff_begin (struct diff *d, const struct qcow_view *view,
            struct lookup *lookup, uint64_t offset, uint64_t length)
{
  d->view = view;
  d->base = view->since;
  d->lookup = lookup;
  d->offset = d->span_end = offset;
  d->end = offset + length;
  d->new_upper.started = d->old_upper.started = false;
  d->new.started = d->old.started = false;
}

int
diff_next (struct diff *d, struct run *run, bool *changed)
{
  uint64_t end;

  if (d->offset >= d->end)
    return 0;
  if (d->offset >= d->span_end) {
    const uint64_t same_end = skip_same_tables (d);

    if (same_end > d->offset) {
      *run = (struct run){ .kind = RUN_HOLE,
                           .offset = d->offset,
                           .length = same_end - d->offset };
      *changed = false;
      d->offset = same_end;
      return 1;
    }
  }
  end = d->span_end;
  if (compare (d, &end, run, changed) == -1)
    return -1;
  run->offset = d->offset;
  run->length = end - d->offset;
  d->offset = end;
  return 1;
}

void
diff_release (struct diff *d)
{
  struct diff_cursor *const cursors[]
    = { &d->new_upper, &d->old_upper, &d->new, &d->old };
  size_t i;

  for (i = 0; i < sizeof cursors / sizeof cursors[0]; ++i)
    if (cursors[i]->started)
      map_release (&cursors[i]->map);
}

void
diff_end (struct diff *d)
{
  cursor_end (&d->new_upper);
  cursor_end (&d->old_upper);
  cursor_end (&d->new);
  cursor_end (&d->old);
}
