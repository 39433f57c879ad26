/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Export names.  See export-name.h.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "disk/export-name.h"

#define BITMAP_PREFIX "bitmap:"
#define LAYER_PREFIX "layer:"

const struct snapshot_entry *
export_name_to_snapshot (const struct view_parts *p, const char *text,
                         size_t length)
{
  return snapshot_table_find (p->snapshots, text, length);
}

/* Parse "layer:N".  Returns N, or 0 for anything else. */
static unsigned
layer_number (const char *text, size_t length)
{
  const size_t prefix = strlen (LAYER_PREFIX);
  unsigned n = 0;
  size_t i;

  if (length <= prefix || memcmp (text, LAYER_PREFIX, prefix) != 0
      || text[prefix] == '0')
    return 0;
  for (i = prefix; i < length; ++i) {
    if (text[i] < '0' || text[i] > '9' || n > QCOW_MAX_DEPTH)
      return 0;
    n = 10 * n + (unsigned) (text[i] - '0');
  }
  return n;
}

bool
export_name_to_old_point (const struct view_parts *p, const char *text,
                          size_t length, struct view_point *point)
{
  *point = (struct view_point){ .snapshot = NULL, .depth = 0 };
  if (length == 0)
    return false;
  point->snapshot = export_name_to_snapshot (p, text, length);
  if (point->snapshot)
    return true;
  point->depth = length == 7 && memcmp (text, "backing", 7) == 0
                   ? 1
                   : layer_number (text, length);
  return point->depth > 0 && point->depth < p->chain->nr_layers;
}

/* Parse OLD..NEW or OLD.., split at the first ".." that has an existing state
 * on each side.
 */
static bool
name_to_delta (const struct view_parts *p, const char *name,
               struct view_point *old, struct view_point *new)
{
  const char *dots;

  *new = (struct view_point){ .snapshot = NULL, .depth = 0 };
  for (dots = strstr (name, ".."); dots; dots = strstr (dots + 1, "..")) {
    const char *after = dots + 2;

    if (!export_name_to_old_point (p, name, (size_t) (dots - name), old))
      continue;
    if (*after == '\0')
      return true;
    new->snapshot = export_name_to_snapshot (p, after, strlen (after));
    if (new->snapshot)
      return true;
  }
  return false;
}

struct qcow_view *
export_name_open_view (const struct view_parts *p, const char *name)
{
  const size_t prefix = strlen (BITMAP_PREFIX);
  const struct bitmap_entry *bitmap;
  struct view_point old, new = { .depth = 0 };

  new.snapshot = export_name_to_snapshot (p, name, strlen (name));
  if (new.snapshot)
    return view_open_point (p, new);
  if (strncmp (name, BITMAP_PREFIX, prefix) == 0) {
    bitmap
      = bitmap_table_find (p->bitmaps, name + prefix, strlen (name + prefix));
    if (bitmap)
      return view_open_bitmap (p, bitmap);
  }
  if (name_to_delta (p, name, &old, &new))
    return view_open_delta (p, old, new);
  error_report (p->context->hooks, ENOENT, p->chain->layers[0].image->name,
                "there is no export '%s': it is not a snapshot id or name, "
                "nor bitmap:NAME, OLD..NEW or OLD.. with existing names "
                "('nbdinfo --list' shows snapshots and bitmaps)",
                name);
  return NULL;
}

/* Call fn for one export.  Takes ownership of the strings; one that is NULL
 * means out of memory.
 */
static int
list_one (const struct view_parts *p, char *name, char *description,
          qcow_list_fn fn, void *opaque)
{
  int r;

  if (name && description)
    r = fn (opaque, name[0] ? name : NULL, description);
  else
    r = image_no_memory (p->chain->layers[0].image);
  free (name);
  free (description);
  return r;
}

/* Returns the bitmap's export name, or "" if the bitmap is not listed: nbdkit
 * can't list the name, the name means another export, or the bitmap can't be
 * opened.  Clients open what is listed, and some (qemu-nbd --list) show
 * nothing at all after an error.  NULL if out of memory.
 */
static char *
bitmap_export_name (const struct view_parts *p,
                    const struct bitmap_entry *bitmap)
{
  char *name;

  if (asprintf (&name, BITMAP_PREFIX "%.*s", (int) bitmap->name_length,
                bitmap->name)
      == -1)
    return NULL;
  if (!bitmap_is_usable (p->chain->layers[0].image, bitmap)
      || !utf8_is_clean (bitmap->name, bitmap->name_length)
      || bitmap_table_find (p->bitmaps, bitmap->name, bitmap->name_length)
           != bitmap
      || export_name_to_snapshot (p, name, strlen (name)))
    name[0] = '\0';
  return name;
}

int
export_names_list (const struct view_parts *p, qcow_list_fn fn, void *opaque)
{
  unsigned i;

  for (i = 0; i < p->snapshots->count; ++i) {
    const struct snapshot_entry *s = &p->snapshots->list[i];
    const struct view_point point = { .snapshot = s };

    if (list_one (p, snapshot_table_export_name (p->snapshots, s),
                  view_describe_point (p, point), fn, opaque)
        == -1)
      return -1;
  }
  for (i = 0; i < p->bitmaps->count; ++i) {
    const struct bitmap_entry *b = &p->bitmaps->list[i];

    if (list_one (p, bitmap_export_name (p, b), view_describe_bitmap (b), fn,
                  opaque)
        == -1)
      return -1;
  }
  return 0;
}
