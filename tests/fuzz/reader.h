/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shared by the fuzzers of the whole reader: images in memory, and the use of
 * all their views.
 *
 * Each view is mapped, and read at pieces of its extents and at offsets from
 * the input.  Extents must be in order; zero extents must be zero, unchanged
 * ones equal to the older state.  A read must have the same result as two
 * reads of its parts.  Buffers lie between guard pages.
 */

#ifndef READER_H
#define READER_H

#include "fuzz.h"

#include "base/minmax.h"
#include "format/format.h"
#include "qcow/qcow.h"

/* A hostile image may have 2^61 bytes: read the beginning, the end, and a few
 * places.
 */
#define MAX_READ 32768
#define MAX_READS 24
#define PLACES 4

/* More views would test the same code. */
#define MAX_VIEWS 8

static struct guarded whole_area, pieces_area;

/* Format and check all messages. */
static void
hear (void *opaque, const char *text)
{
  (void) opaque;
  MUST (text[0] != '\0' && strpbrk (text, "\n\r\033") == NULL);
}

/* The state that 'unchanged' extents of a view refer to: another view, or the
 * bytes of a raw file, or neither, if not known.
 */
struct older {
  struct qcow_view *view;
  const uint8_t *raw;
  size_t raw_size;
};

struct walk {
  struct qcow_view *view;
  const struct older *older;
  uint64_t next, end;
  enum qcow_extent last;
  unsigned extents;
  bool read;
};

/* --- Reading --- */

/* Read a range as a whole, and in two pieces.  Returns its bytes, or NULL if
 * it can't be read.
 */
static const uint8_t *
read_range (struct qcow_view *v, uint64_t offset, uint32_t n)
{
  const uint32_t half = n / 3;
  uint8_t *whole = guarded_place (&whole_area, AT_END, n);
  uint8_t *pieces = guarded_place (&pieces_area, AT_START, n);
  const int r = qcow_read (v, whole, n, offset);
  int r2 = 0;

  if (half > 0)
    r2 |= qcow_read (v, pieces, half, offset);
  r2 |= qcow_read (v, pieces + half, n - half, offset + half);
  MUST (r == r2);
  if (r == -1)
    return NULL;
  MUST (memcmp (whole, pieces, n) == 0);
  return whole;
}

static bool
is_zero (const uint8_t *p, size_t n)
{
  return n == 0 || (p[0] == 0 && memcmp (p, p + 1, n - 1) == 0);
}

static void
check_unchanged (const struct older *older, const uint8_t *now,
                 uint64_t offset, uint32_t n)
{
  uint8_t *then = guarded_place (&pieces_area, AT_END, n);

  if (older->raw) {
    MUST (offset < older->raw_size && n <= older->raw_size - offset);
    MUST (now && memcmp (now, older->raw + offset, n) == 0);
  }
  else if (older->view) {
    const uint64_t size = qcow_view_size (older->view);

    MUST (offset < size && n <= size - offset);
    MUST ((qcow_read (older->view, then, n, offset) == 0) == (now != NULL));
    MUST (now == NULL || memcmp (now, then, n) == 0);
  }
}

static void
check_piece (const struct walk *w, uint64_t offset, uint32_t n,
             enum qcow_extent kind)
{
  const uint8_t *now = read_range (w->view, offset, n);

  switch (kind) {
  case QCOW_EXTENT_DATA:
    break;
  case QCOW_EXTENT_ZERO:
  case QCOW_EXTENT_HOLE_ZERO:
    MUST (now && is_zero (now, n));
    break;
  case QCOW_EXTENT_UNCHANGED:
    check_unchanged (w->older, now, offset, n);
    break;
  }
}

static int
on_extent (void *opaque, uint64_t offset, uint64_t length,
           enum qcow_extent kind)
{
  struct walk *w = opaque;
  const uint32_t n = (uint32_t) min64 (length, MAX_READ);

  MUST (offset == w->next && length > 0 && length <= w->end - offset);
  MUST (w->extents == 0 || kind != w->last);
  MUST (kind != QCOW_EXTENT_UNCHANGED || w->older);
  w->next += length;
  w->last = kind;
  if (w->read && w->extents < MAX_READS) {
    check_piece (w, offset, n, kind);
    if (n < length)
      check_piece (w, offset + length - n / 2, n / 2, kind);
  }
  w->extents++;
  return 0;
}

/* Map from 'offset' on; if 'read', read pieces of the extents. */
static void
map_from (struct qcow_view *v, const struct older *older, uint64_t offset,
          bool one, bool read)
{
  const uint32_t count
    = (uint32_t) min64 (qcow_view_size (v) - offset, UINT32_MAX);
  struct walk w = { .view = v,
                    .older = older,
                    .next = offset,
                    .end = offset + count,
                    .read = read };

  if (qcow_extents (v, count, offset, one, on_extent, &w) == 0)
    MUST (one ? w.extents == 1 : w.extents > 0);
}

/* --- Views --- */

/* 'older' is NULL if no extent may be unchanged. */
static void
use_view (struct qcow_view *v, const struct older *older, struct input places)
{
  const uint64_t size = qcow_view_size (v);
  unsigned i;

  MUST (qcow_view_description (v)[0] != '\0');
  MUST (size <= INT64_MAX);
  if (size == 0)
    return;
  map_from (v, older, 0, false, true);
  (void) read_range (v, size - min64 (size, 700),
                     (uint32_t) min64 (size, 700));
  for (i = 0; i < PLACES; ++i) {
    const uint64_t offset = take_number (&places, 8) % size;
    const uint32_t count
      = (uint32_t) min64 (size - offset, 1 + take_number (&places, 2) / 2);

    map_from (v, older, offset, i % 2 == 0, false);
    if (i % 2 == 1)
      (void) qcow_prefetch (v, count, offset);
    (void) read_range (v, offset, count);
  }
}

struct names {
  unsigned n;
  char *list[MAX_VIEWS];
};

static int
on_name (void *opaque, const char *name, const char *description)
{
  struct names *names = opaque;

  MUST (description && description[0] != '\0');
  if (name && names->n < MAX_VIEWS) {
    names->list[names->n] = strdup (name);
    MUST (names->list[names->n++]);
  }
  return 0;
}

/* Use the delta between two states, if it exists.  'known' is the content of
 * the old one if it is not a snapshot.
 */
static void
use_delta (struct qcow *q, const char *old, const char *new,
           const struct older *known, struct input places)
{
  struct older older = { .view = NULL };
  struct qcow_view *v;
  char *name;

  MUST (asprintf (&name, "%s..%s", old, new) != -1);
  v = qcow_view_open (q, name);
  if (v) {
    /* A name with dots may be split at other dots. */
    if (strchr (old, '.') == NULL && strchr (new, '.') == NULL) {
      older.view = qcow_view_open (q, old);
      if (older.view == NULL && known)
        older = *known;
    }
    use_view (v, &older, places);
    if (known == NULL || older.view != known->view)
      qcow_view_close (older.view);
    qcow_view_close (v);
  }
  free (name);
}

/* Use all listed views, and the delta from each to the one before.  'pinned'
 * if the default view may have unchanged extents.
 */
static inline void
use_all_views (struct qcow *q, bool pinned, struct input places)
{
  static const struct older unknown = { .view = NULL };
  struct names names = { 0 };
  unsigned i;

  MUST (qcow_list (q, on_name, &names) == 0);
  for (i = 0; i < names.n; ++i) {
    const char *name = names.list[i];
    const bool is_delta = name[0] ? strncmp (name, "bitmap:", 7) == 0 : pinned;
    struct qcow_view *v = qcow_view_open (q, name);

    if (v) {
      use_view (v, is_delta ? &unknown : NULL, places);
      qcow_view_close (v);
    }
    if (i > 0)
      use_delta (q, name, names.list[i - 1], NULL, places);
  }
  for (i = 0; i < names.n; ++i)
    free (names.list[i]);
}

/* --- Files --- */

/* An unnamed file in memory, with its name in /proc. */
struct memory_file {
  int fd;
  char name[64];
};

static inline void
write_file (const struct memory_file *f, const void *data, size_t size)
{
  MUST (ftruncate (f->fd, 0) == 0);
  MUST (pwrite (f->fd, data, size, 0) == (ssize_t) size);
}

static inline struct memory_file
new_file (void)
{
  struct memory_file f = { .fd = memfd_create ("image", 0) };

  MUST (f.fd != -1);
  snprintf (f.name, sizeof f.name, "/proc/self/fd/%d", f.fd);
  return f;
}

/* True if an image, valid or not, needs a passphrase or backing file: one that
 * it does not need is an error.
 */
static inline bool
is_encrypted (struct input image)
{
  return image.left >= 40 && image.p[image.p[7] == 1 ? 39 : 35] != 0;
}

static inline bool
has_backing (struct input image)
{
  return image.left >= 16 && !is_zero (image.p + 8, 8);
}

/* --- Images --- */

static const char *const passphrases[] = { "wrong", "fuzz" };

static struct qcow_options
default_options (void)
{
  struct qcow_options options;

  qcow_options_init (&options);
  options.cache_size = 1 << 20;
  options.luks_iterations = 20000; /* 3 ms per slot, 12 in total */
  options.force_share = true;      /* no other process uses it */
  return options;
}

static void
load_reader (void)
{
  MUST (qcow_load () == 0);
  whole_area = guarded_new (MAX_READ);
  pieces_area = guarded_new (MAX_READ);
}

static const struct qcow_hooks hooks
  = { .error = hear, .warn = hear, .debug = hear };

static struct qcow *
open_image (const struct qcow_options *options)
{
  struct qcow *q = qcow_open (options, &hooks);

  MUST (q == NULL || qcow_after_fork (q) == 0);
  return q;
}

#endif /* READER_H */
