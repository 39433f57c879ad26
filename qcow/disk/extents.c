/* SPDX-License-Identifier: BSD-3-Clause
 *
 * runs -> extents.
 *
 * Runs that look the same to a client are merged.  Damaged parts are data:
 * the client will read them and get its error just there, and the rest of
 * the map is of use.  Where unencrypted data lies in a hole of its file it
 * reads as zeros, which is worth telling: images with preallocated
 * metadata consist of little else.  For a cluster of an image that is
 * 'zero', since it has a place; a raw backing file has just a hole there
 * (qemu-nbd).
 *
 * A view that is compared with an older one, or has a dirty bitmap, says
 * only of what changed what it is.
 *
 * Most files have no holes, and are not asked.  For others the answer is
 * kept during a walk, so the source is asked once for each of its
 * fragments, not once for each run.
 */

#include "base/monotonic.h"
#include "disk/diff.h"
#include "qcow.h"

/* Somebody may make a chain of images of which it takes minutes to find out
 * what 4 GiB of it are, while a client waits, and the end of the server.  So
 * after a second it is told what is known by then; who wants more asks again.
 */
#define PATIENCE_MS 1000

/* How often to look at the clock. */
#define RUNS_PER_LOOK 8

/* Merges what is added, and hands on what is complete. */
struct merger {
  qcow_extent_fn fn;
  void *opaque;
  bool one;
  bool failed;    /* the callback has */
  unsigned count; /* extents handed on */
  unsigned runs;  /* looked at */
  uint64_t until; /* monotonic_ms: not much longer */
  bool have;      /* [offset, end) of 'kind' is pending */
  enum qcow_extent kind;
  uint64_t offset, end;
};

/* What is known of the holes of one source. */
struct holes {
  bool none;
  struct source *source;
  bool hole;
  uint64_t start, end;
};

static int
flush (struct merger *m)
{
  if (!m->have)
    return 0;
  m->have = false;
  m->count++;
  if (m->fn (m->opaque, m->offset, m->end - m->offset, m->kind) == 0)
    return 0;
  m->failed = true;
  return -1;
}

/* 1: go on; 0: that was enough; -1: error from the callback. */
static int
add (struct merger *m, uint64_t offset, uint64_t length, enum qcow_extent kind)
{
  if (m->have && m->kind == kind) {
    m->end = offset + length;
    return 1;
  }
  if (flush (m) == -1)
    return -1;
  if ((m->one && m->count > 0) || m->count >= QCOW_MAX_EXTENTS)
    return 0;
  m->have = true;
  m->kind = kind;
  m->offset = offset;
  m->end = offset + length;
  return 1;
}

/* Data: find the parts of it that lie in holes of the file. */
static int
add_data (struct merger *m, struct holes *h, const struct run *run)
{
  const enum qcow_extent in_hole
    = run->image ? QCOW_EXTENT_ZERO : QCOW_EXTENT_HOLE_ZERO;
  uint64_t done = 0;
  int r = 1;

  /* Zeros in the file decrypt to anything but that. */
  if (h->none || (run->image && run->image->cipher))
    return add (m, run->offset, run->length, QCOW_EXTENT_DATA);
  while (done < run->length && r == 1) {
    const uint64_t host = run->host + done;
    uint64_t n;

    if (h->source != run->source || host < h->start || host >= h->end) {
      h->source = run->source;
      h->start = host;
      source_extent (run->source, host, &h->hole, &h->end);
    }
    n = h->end - host;
    if (n > run->length - done)
      n = run->length - done;
    r = add (m, run->offset + done, n, h->hole ? in_hole : QCOW_EXTENT_DATA);
    done += n;
  }
  return r;
}

static int
add_run (struct merger *m, struct holes *h, const struct run *run)
{
  switch (run->kind) {
  case RUN_HOLE:
  case RUN_ZERO:
    return add (m, run->offset, run->length, QCOW_EXTENT_HOLE_ZERO);
  case RUN_DATA:
    return add_data (m, h, run);
  case RUN_COMPRESSED:
  case RUN_BAD:
    break;
  }
  return add (m, run->offset, run->length, QCOW_EXTENT_DATA);
}

/* What add has returned, or that it is late: then it was enough. */
static int
unless_late (struct merger *m, bool late, int added)
{
  if (added == 1
      && (late
          || (++m->runs % RUNS_PER_LOOK == 0 && monotonic_ms () >= m->until)))
    return 0;
  return added;
}

/* A data file that is too short has nothing but a hole behind its end. */
static bool
is_short (const struct layer *layer)
{
  return layer->image && layer->image->geometry.data_file
         && layer->source->size < layer->size;
}

/* Has no file of the view a hole that counts? */
static bool
is_solid (const struct qcow_view *v)
{
  unsigned i;

  for (i = 0; i < v->nr_layers; ++i) {
    const struct layer *layer = &v->layers[i];

    if (layer->image && layer->image->cipher)
      continue;
    if (!source_is_solid (layer->source) || is_short (layer))
      return false;
  }
  return true;
}

/* 1: all was added; 0: that was enough; -1: error. */
static int
add_range (struct merger *m, struct holes *h, const struct qcow_view *v,
           uint64_t offset, uint64_t length)
{
  struct map map;
  struct run run;
  int r, added = 1;

  /* Where the files have no holes, the place of data in them is of no
   * interest, and there is much less to look at.
   */
  map_begin (&map, v, offset, length, h->none);
  map.until = m->until;
  while ((r = map_next (&map, &run)) == 1) {
    added = unless_late (m, map.late, add_run (m, h, &run));
    if (added != 1)
      break;
  }
  map_end (&map);
  return r == -1 ? -1 : added;
}

/* What is unchanged, of any number of pieces; it may be nothing.  qemu-img
 * thinks in sectors, and takes one of which the first part is unchanged for
 * unchanged: so this ends at the end of a sector, of the range or of the disk.
 */
static int
add_unchanged (struct merger *m, struct holes *h, const struct qcow_view *v,
               uint64_t offset, uint64_t end, uint64_t range_end)
{
  uint64_t whole = end;
  int r = 1;

  if (end != range_end && end != v->size)
    whole &= ~(uint64_t) (QCOW_SECTOR_BYTES - 1);
  if (whole < offset)
    whole = offset;
  if (whole > offset)
    r = add (m, offset, whole - offset, QCOW_EXTENT_UNCHANGED);
  if (r == 1 && end > whole)
    r = add_range (m, h, v, whole, end - whole);
  return r;
}

/* The parts that differ from the older view. */
static int
add_delta (struct merger *m, struct holes *h, const struct qcow_view *v,
           uint64_t offset, uint64_t length)
{
  const uint64_t end = offset + length;
  uint64_t same = offset, same_end = offset; /* unchanged, not added yet */
  struct diff delta;
  struct run run;
  bool changed;
  int r, added = 1;

  diff_begin (&delta, v, v->since, offset, length);
  delta.until = m->until;
  while (added == 1 && (r = diff_next (&delta, &run, &changed)) == 1) {
    if (changed) {
      added = add_unchanged (m, h, v, same, same_end, end);
      if (added == 1)
        added = add_run (m, h, &run);
      same = run.offset + run.length;
    }
    same_end = run.offset + run.length;
    added = unless_late (m, delta.late, added);
  }
  diff_end (&delta);
  /* (Nothing, if it was enough before.) */
  if (added != -1 && same < same_end
      && add_unchanged (m, h, v, same, same_end, end) == -1)
    return -1;
  return r == -1 ? -1 : added;
}

/* The parts that the bitmap calls dirty. */
static int
add_dirty (struct merger *m, struct holes *h, const struct qcow_view *v,
           uint64_t offset, uint64_t length)
{
  const uint64_t end = offset + length;
  int added = 1;

  while (offset < end && added == 1) {
    bool dirty;
    uint64_t same_end;

    if (bitmap_look (v->bitmap, offset, end, &dirty, &same_end) == -1)
      return -1;
    added = dirty ? add_range (m, h, v, offset, same_end - offset)
                  : add (m, offset, same_end - offset, QCOW_EXTENT_UNCHANGED);
    added = unless_late (m, false, added);
    offset = same_end;
  }
  return added;
}

int
qcow_extents (struct qcow_view *v, uint32_t count, uint64_t offset, bool one,
              qcow_extent_fn fn, void *opaque)
{
  struct merger merger = { .fn = fn,
                           .opaque = opaque,
                           .one = one,
                           .until = monotonic_ms () + PATIENCE_MS };
  struct holes holes = { .none = is_solid (v) };
  int r;

  if (v->since)
    r = add_delta (&merger, &holes, v, offset, count);
  else if (v->bitmap)
    r = add_dirty (&merger, &holes, v, offset, count);
  else
    r = add_range (&merger, &holes, v, offset, count);
  /* What was found before an error is worth telling; who asks for the rest
   * gets the error.
   */
  if (r == -1 && (merger.failed || (!merger.have && merger.count == 0)))
    return -1;
  return flush (&merger);
}
