/* SPDX-License-Identifier: BSD-3-Clause
 *
 * runs -> extents.
 *
 * Adjacent runs that look the same to a client are merged.  Damaged parts are
 * reported as data: the client reads them and gets the error for these parts
 * alone.
 *
 * Unencrypted data that lies in a hole of its file reads as zeros.  In images
 * with preallocated metadata, most data is of this kind.  It is reported as
 * allocated zeros in clusters of an image, and as a hole in a raw backing file
 * (as qemu-nbd does).  If no file of the view has a hole, no source is
 * queried.  Otherwise the last result is kept: a source is queried once for
 * each fragment of its file, not once for each run.  An NBD server is asked
 * for large parts at once (source/remote.c).
 *
 * If the view is compared with an older view or a dirty bitmap, everything
 * unchanged is reported as one kind of extent.
 *
 * All structs here belong to one request, and so to one thread.
 */

#include "base/minmax.h"
#include "disk/diff.h"
#include "qcow.h"

/* In a hostile chain of images, finding the extents of 4 GiB can take minutes.
 * After this time the client gets the extents found so far, and can request
 * the rest.
 */
#define MAX_TIME_MS 1000

/* Runs between two readings of the clock. */
#define RUNS_PER_CHECK 8

/* Merges extents, and passes complete ones to fn. */
struct merger {
  qcow_extent_fn fn;
  void *opaque;
  bool one;       /* stop after the first */
  bool failed;    /* fn has returned -1 */
  unsigned count; /* extents passed on */
  bool have;      /* [offset, end) of 'kind' is pending */
  enum qcow_extent kind;
  uint64_t offset, end;
};

/* The last hole or data range that was found in a source. */
struct holes {
  bool none; /* no source of the view has a hole: query none */
  struct source *source;
  bool hole;
  uint64_t start, end;
};

struct extents_request {
  const struct qcow_view *view;
  struct lookup lookup;
  struct holes holes;
  struct merger merger;
  unsigned runs; /* since the clock was read */

  /* What finds the runs, and can hold pins. */
  bool mapping, comparing; /* 'map' or 'diff' is in use */
  struct map map;
  struct diff diff;
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

/* Returns 1 to continue, 0 if the reply is long enough, or -1 if fn failed. */
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

/* Find the fragment of the run's source at 'host'. */
static void
find_fragment (struct extents_request *r, const struct run *run, uint64_t host)
{
  struct holes *h = &r->holes;

  if (h->source == run->source && host >= h->start && host < h->end)
    return;
  h->source = run->source;
  h->start = host;
  if (source_extent (run->source, host, true, &h->hole, &h->end))
    return;
  if (r->mapping)
    map_release (&r->map);
  if (r->comparing)
    diff_release (&r->diff);
  source_extent (run->source, host, false, &h->hole, &h->end);
  lookup_expired (&r->lookup);
}

/* Add data, or only a part of it if the deadline passes.  Parts in a hole of
 * the file are added as zeros.
 */
static int
add_data (struct extents_request *r, const struct run *run)
{
  const enum qcow_extent in_hole
    = run->image ? QCOW_EXTENT_ZERO : QCOW_EXTENT_HOLE_ZERO;
  const struct holes *h = &r->holes;
  uint64_t done = 0;
  int added = 1;

  /* Zeros in the file do not decrypt to zeros. */
  if (h->none || (run->image && run->image->cipher))
    return add (&r->merger, run->offset, run->length, QCOW_EXTENT_DATA);
  while (done < run->length && added == 1) {
    const uint64_t host = run->host + done;
    uint64_t n;

    find_fragment (r, run, host);
    n = min64 (h->end - host, run->length - done);
    added = add (&r->merger, run->offset + done, n,
                 h->hole ? in_hole : QCOW_EXTENT_DATA);
    done += n;
    if (added == 1 && r->lookup.expired)
      added = 0;
  }
  return added;
}

static int
add_run (struct extents_request *r, const struct run *run)
{
  switch (run->kind) {
  case RUN_HOLE:
  case RUN_ZERO:
    return add (&r->merger, run->offset, run->length, QCOW_EXTENT_HOLE_ZERO);
  case RUN_DATA:
    return add_data (r, run);
  case RUN_COMPRESSED:
  case RUN_BAD:
    break;
  }
  return add (&r->merger, run->offset, run->length, QCOW_EXTENT_DATA);
}

/* Returns 'added', but 0 instead of 1 if the deadline has passed. */
static int
unless_expired (struct extents_request *r, int added)
{
  if (added != 1)
    return added;
  if (++r->runs % RUNS_PER_CHECK == 0)
    lookup_expired (&r->lookup);
  return r->lookup.expired ? 0 : 1;
}

/* A data file may be shorter than the disk: the rest is a hole. */
static bool
is_short (const struct layer *layer)
{
  return layer->image && layer->image->geometry.data_file
         && layer->source->size < layer->size;
}

/* True if no file of the view has a hole that would be reported. */
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

/* Returns 1 if all was added, 0 if the reply is long enough, -1 on error. */
static int
add_range (struct extents_request *r, uint64_t offset, uint64_t length)
{
  struct run run;
  int found, added = 1;

  map_begin (&r->map, r->view, &r->lookup, offset, length);
  r->mapping = true;
  while ((found = map_next (&r->map, &run)) == 1) {
    added = unless_expired (r, add_run (r, &run));
    if (added != 1)
      break;
  }
  r->mapping = false;
  map_end (&r->map);
  return found == -1 ? -1 : added;
}

/* Add [offset, end), which is unchanged and may be empty.  qemu-img rounds
 * extents to sectors, and treats a sector as unchanged if its first part is.
 * So an unchanged extent must end where a sector, the request or the disk
 * ends.
 */
static int
add_unchanged (struct extents_request *r, uint64_t offset, uint64_t end,
               uint64_t request_end)
{
  uint64_t whole = end;
  int added = 1;

  if (end != request_end && end != r->view->size)
    whole = round_down64 (end, QCOW_SECTOR_BYTES);
  whole = max64 (whole, offset);
  if (whole > offset)
    added = add (&r->merger, offset, whole - offset, QCOW_EXTENT_UNCHANGED);
  if (added == 1 && end > whole)
    added = add_range (r, whole, end - whole);
  return added;
}

/* Report what differs from the older view. */
static int
add_delta (struct extents_request *r, uint64_t offset, uint64_t length)
{
  const uint64_t end = offset + length;
  uint64_t same = offset, same_end = offset; /* unchanged, not yet added */
  struct run run;
  bool changed;
  int found, added = 1;

  diff_begin (&r->diff, r->view, &r->lookup, offset, length);
  r->comparing = true;
  while (added == 1 && (found = diff_next (&r->diff, &run, &changed)) == 1) {
    if (changed) {
      added = add_unchanged (r, same, same_end, end);
      if (added == 1)
        added = add_run (r, &run);
      same = run.offset + run.length;
    }
    same_end = run.offset + run.length;
    added = unless_expired (r, added);
  }
  r->comparing = false;
  diff_end (&r->diff);
  /* (Adds nothing if the reply is long enough.) */
  if (added != -1 && same < same_end
      && add_unchanged (r, same, same_end, end) == -1)
    return -1;
  return found == -1 ? -1 : added;
}

/* Report what the bitmap marks as dirty. */
static int
add_dirty (struct extents_request *r, uint64_t offset, uint64_t length)
{
  const uint64_t end = offset + length;
  int added = 1;

  while (offset < end && added == 1) {
    bool dirty;
    uint64_t same_end;

    if (bitmap_look (r->view->bitmap, offset, end, &dirty, &same_end) == -1)
      return -1;
    added = dirty ? add_range (r, offset, same_end - offset)
                  : add (&r->merger, offset, same_end - offset,
                         QCOW_EXTENT_UNCHANGED);
    added = unless_expired (r, added);
    offset = same_end;
  }
  return added;
}

int
qcow_extents (struct qcow_view *v, uint32_t count, uint64_t offset, bool one,
              qcow_extent_fn fn, void *opaque)
{
  struct extents_request r
    = { .view = v,
        .lookup = LOOKUP_INIT,
        .holes = { .none = is_solid (v) },
        .merger = { .fn = fn, .opaque = opaque, .one = one } };
  const struct merger *m = &r.merger;
  int added;

  r.lookup.deadline = monotonic_ms () + MAX_TIME_MS;
  /* Where data is stored matters only for holes in files and for comparisons.
   * Otherwise runs are joined regardless of place, so there are far fewer.
   */
  r.lookup.kinds_only = r.holes.none && !v->since;
  if (v->since)
    added = add_delta (&r, offset, count);
  else if (v->bitmap)
    added = add_dirty (&r, offset, count);
  else
    added = add_range (&r, offset, count);
  /* Report the extents found before the error.  A request for the rest gets
   * the error.
   */
  if (added == -1 && (m->failed || (!m->have && m->count == 0)))
    return -1;
  return flush (&r.merger);
}
