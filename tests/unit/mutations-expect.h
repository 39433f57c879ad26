/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Rows of tests/mutations.tbl: make the changed image of a row, and parse the
 * expected result.
 */

#ifndef MUTATIONS_EXPECT_H
#define MUTATIONS_EXPECT_H

#include "mutations-images.h"

#define TABLE "tests/mutations.tbl"

enum { MAX_NAMES = 16 };

struct row {
  unsigned line;
  const struct base *base;
  const char *field, *value, *ours, *qemus, *why;
  char title[256];
};

/* --- Changing an image --- */

/* The changed files of a base. */
static struct file_image changed[MAX_FILES];

static void
copy_files (const struct base *base)
{
  unsigned i;

  for (i = 0; i < base->nr_files; ++i) {
    uint8_t *bytes = changed[i].bytes;

    changed[i] = base->files[i];
    changed[i].bytes = bytes ? bytes : malloc (MAX_FILE);
    assert_non_null (changed[i].bytes);
    memcpy (changed[i].bytes, base->files[i].bytes, MAX_FILE);
  }
}

/* Evaluate a number, EOF, END or &FIELD, and advance *p past it. */
static uint64_t
term (const struct base *base, const char **p)
{
  const size_t n = strcspn (*p, "+-");
  const struct field *f;
  char word[64], *end;
  uint64_t value;

  assert_true (n > 0 && n < sizeof word);
  memcpy (word, *p, n);
  word[n] = '\0';
  *p += n;
  if (strcmp (word, "EOF") == 0)
    return base->files[0].size;
  if (strcmp (word, "END") == 0)
    return (base->files[0].size + base->cluster - 1) / base->cluster
           * base->cluster;
  if (word[0] == '&') {
    f = find_field (base, word + 1);
    if (f == NULL)
      fail_msg ("there is no field '%s' in %s", word + 1, base->name);
    return f->offset;
  }
  value = strtoull (word, &end, 0);
  if (*end != '\0')
    fail_msg ("'%s' is not a number", word);
  return value;
}

static uint64_t
evaluate (const struct base *base, const char *p)
{
  uint64_t value = term (base, &p);

  while (*p != '\0')
    if (*p++ == '+')
      value += term (base, &p);
    else
      value -= term (base, &p);
  return value;
}

static void
change_text (const struct field *f, const char *value)
{
  uint8_t *p = changed[f->file].bytes + f->offset;
  const size_t n = strlen (value) - 2; /* without its quotes */

  assert_true (value[n + 1] == '"' && n <= f->room);
  memcpy (p, value + 1, n);
  if (f->length)
    put (changed[f->file].bytes + f->length->offset, f->length->width, n);
  else if (n < f->room)
    p[n] = '\0';
}

static uint64_t
changed_number (const struct base *base, const char *value, uint64_t old)
{
  switch (value[0]) {
  case '+':
    return old + evaluate (base, value + 1);
  case '-':
    return old - evaluate (base, value + 1);
  case '|':
    return old | evaluate (base, value + 1);
  case '^':
    return old ^ evaluate (base, value + 1);
  default:
    return evaluate (base, value);
  }
}

/* Set 'changed' to the files of the row's base with the row's change. */
static void
change (const struct row *row)
{
  const struct field *f;
  struct file_image *file;
  uint8_t before[8];
  uint64_t value;

  copy_files (row->base);
  if (strcmp (row->field, "-") == 0)
    return;
  f = find_field (row->base, row->field);
  if (f == NULL)
    fail_msg ("there is no field '%s' in %s", row->field, row->base->name);
  file = &changed[f->file];
  if (f->width == WIDTH_TEXT) {
    change_text (f, row->value);
    return;
  }
  if (f->width == WIDTH_FILE_LENGTH) {
    value = changed_number (row->base, row->value, file->size);
    assert_true (value <= MAX_FILE && value != file->size);
    if (value < file->size)
      memset (file->bytes + value, 0, (size_t) (file->size - value));
    file->size = value;
    return;
  }
  memcpy (before, file->bytes + f->offset, f->width);
  value = changed_number (row->base, row->value, get (before, f->width));
  if (f->width < 8 && value >> 8 * f->width != 0)
    fail_msg ("%s does not fit in %u bytes", row->value, f->width);
  put (file->bytes + f->offset, f->width, value);
  if (memcmp (before, file->bytes + f->offset, f->width) == 0)
    fail_msg ("%s does not change %s", row->value, row->field);
}

/* Only blocks that are not all zeros are written.  The rest, and everything
 * after MAX_FILE, is a hole.
 */
static void
write_file (const char *dir, const struct file_image *file)
{
  char name[400];
  uint64_t at;
  int fd;

  snprintf (name, sizeof name, "%s/%s", dir, file->name);
  /* After O_TRUNC, ext4 would write to the disk at once. */
  unlink (name);
  fd = open (name, O_WRONLY | O_CREAT | O_EXCL, 0666);
  assert_true (fd >= 0);
  for (at = 0; at < file->size && at < MAX_FILE; at += 4096) {
    const size_t n
      = file->size - at < 4096 ? (size_t) (file->size - at) : 4096;
    const uint8_t *p = file->bytes + at;

    if (p[0] != 0 || memcmp (p, p + 1, n - 1) != 0)
      assert_int_equal (pwrite (fd, p, n, (off_t) at), (ssize_t) n);
  }
  assert_int_equal (ftruncate (fd, (off_t) file->size), 0);
  close (fd);
}

static void
write_changed (const char *dir, const struct base *base)
{
  unsigned i;

  for (i = 0; i < base->nr_files; ++i)
    write_file (dir, &changed[i]);
}

/* --- Expected results --- */

enum outcome { READ, FAIL }; /* of a unit */

struct expected_view {
  bool refused, anything;
  const char *text; /* the message if it is refused */
  uint64_t size;
  uint8_t bytes[MAX_VIEW];
  uint8_t reads[MAX_UNITS]; /* enum outcome */
  uint8_t clean[MAX_UNITS]; /* for a bitmap; 2: unknown */
};

struct expected {
  bool refused;
  const char *text, *warning; /* regular expressions */
  struct expected_view views[MAX_VIEWS];
  unsigned nr_names;
  char names[MAX_NAMES][32];
};

static unsigned
nr_units (const struct base *base, uint64_t size)
{
  const uint64_t n = size / base->unit + (size % base->unit != 0);
  const uint64_t most
    = MAX_VIEW / base->unit < MAX_UNITS ? MAX_VIEW / base->unit : MAX_UNITS;

  return (unsigned) (n < most ? n : most);
}

static void
name_expected (struct expected *e, const char *name)
{
  assert_true (e->nr_names < MAX_NAMES);
  snprintf (e->names[e->nr_names++], sizeof e->names[0], "%s", name);
}

static void
name_not_expected (struct expected *e, const char *name)
{
  unsigned i;

  for (i = 0; i < e->nr_names; ++i)
    if (strcmp (e->names[i], name) == 0) {
      memmove (e->names[i], e->names[i + 1],
               (MAX_NAMES - i - 1) * sizeof e->names[0]);
      e->nr_names--;
      return;
    }
  fail_msg ("'%s' is not listed in the base", name);
}

static void
expect_unchanged (struct expected *e, const struct base *base)
{
  unsigned i, j;

  memset (e, 0, sizeof *e);
  for (i = 0; i < base->nr_views; ++i) {
    const struct disk_view *v = &base->views[i];

    e->views[i].size = v->size;
    memcpy (e->views[i].bytes, v->bytes, MAX_VIEW);
    for (j = 0; j < MAX_UNITS; ++j)
      e->views[i].clean[j] = v->clean[j];
    name_expected (e, v->name);
  }
}

/* Parse N, N-M or 'all'. */
static void
parse_range (const struct base *base, const struct expected_view *v,
             const char *p, unsigned *first, unsigned *last)
{
  char *end;

  *first = 0;
  *last = nr_units (base, v->size) - 1;
  if (strncmp (p, "all", 3) == 0)
    return;
  *first = *last = (unsigned) strtoul (p, &end, 10);
  if (*end == '-')
    *last = (unsigned) strtoul (end + 1, &end, 10);
  if (end == p || (*end != '\0' && *end != ' ') || *last < *first
      || *last >= MAX_UNITS)
    fail_msg ("'%s' is not a range of units", p);
}

/* If the item begins with the word, returns the rest, else NULL. */
static const char *
after (const char *item, const char *word)
{
  const size_t n = strlen (word);

  if (strncmp (item, word, n) != 0 || (item[n] != '\0' && item[n] != ' '))
    return NULL;
  return item[n] == '\0' ? item + n : item + n + 1;
}

/* Expect the bytes of a file from 'offset' on, and zeros past its end. */
static void
expect_bytes (struct expected_view *v, const struct base *base, unsigned unit,
              const struct file_image *file, uint64_t offset)
{
  uint64_t i;

  for (i = 0; i < base->unit; ++i)
    v->bytes[unit * base->unit + i]
      = offset + i < file->size ? file->bytes[offset + i] : 0;
}

/* Parse an item about units.  Returns false if it is not about units. */
static bool
expect_units (const struct base *base, struct expected_view *v,
              const char *item)
{
  static const char *const words[]
    = { "eio", "zeros", "as", "host", "below", "clean", "unknown" };
  unsigned first, last, i, word;
  const char *rest = NULL, *argument;

  for (word = 0; word < sizeof words / sizeof words[0] && rest == NULL; ++word)
    rest = after (item, words[word]);
  if (rest == NULL)
    return false;
  --word;
  parse_range (base, v, rest, &first, &last);
  argument = strchr (rest, ' ');
  assert_true ((argument != NULL) == (word == 2 || word == 3));
  for (i = first; i <= last; ++i) {
    const uint64_t n = i - first;

    v->reads[i] = word == 0 ? FAIL : v->reads[i];
    if (word == 1)
      memset (v->bytes + i * base->unit, 0, (size_t) base->unit);
    else if (word == 2)
      memcpy (v->bytes + i * base->unit,
              base->views[0].bytes
                + (evaluate (base, argument + 1) + n) * base->unit,
              (size_t) base->unit);
    else if (word == 3)
      expect_bytes (v, base, i, &changed[0],
                    evaluate (base, argument + 1) + n * base->unit);
    else if (word == 4)
      expect_bytes (v, base, i, &changed[1], i * base->unit);
    else if (word >= 5)
      v->clean[i] = word == 5 ? 1 : 2;
  }
  return true;
}

static void
expect_of_view (const struct base *base, struct expected_view *v,
                const char *item)
{
  const char *rest;
  unsigned i;

  if ((rest = after (item, "refuse"))) {
    v->refused = true;
    v->text = rest;
  }
  else if ((rest = after (item, "size")))
    v->size = evaluate (base, rest);
  else if (after (item, "qemu"))
    v->anything = true;
  else if ((rest = after (item, "like"))) {
    for (i = 1; i < base->nr_views && strcmp (base->views[i].name, rest); ++i)
      ;
    assert_true (i < base->nr_views);
    memcpy (v->bytes, base->views[i].bytes, MAX_VIEW);
  }
  else if (after (item, "same") == NULL && !expect_units (base, v, item))
    fail_msg ("'%s' is not a known result", item);
}

/* Parse "VIEW: REST".  Returns the view, or NULL. */
static struct expected_view *
named_view (struct expected *e, const struct base *base, const char *item,
            const char **rest)
{
  unsigned i;

  for (i = 1; i < base->nr_views; ++i) {
    const char *name = base->views[i].name;
    const size_t n = strlen (name);

    if (strncmp (item, name, n) == 0 && strncmp (item + n, ": ", 2) == 0) {
      *rest = item + n + 2;
      return &e->views[i];
    }
  }
  return NULL;
}

static void
expect_item (struct expected *e, const struct base *base, const char *item)
{
  struct expected_view *v;
  const char *rest;
  unsigned i;

  if ((v = named_view (e, base, item, &rest)))
    expect_of_view (base, v, rest);
  else if ((rest = after (item, "refuse"))) {
    e->refused = true;
    e->text = rest;
  }
  else if ((rest = after (item, "warn")))
    e->warning = rest;
  else if ((rest = after (item, "listed")))
    name_expected (e, rest);
  else if ((rest = after (item, "unlisted")))
    name_not_expected (e, rest);
  else if ((rest = after (item, "gone"))) {
    for (i = 1; i < base->nr_views && strcmp (base->views[i].name, rest); ++i)
      ;
    assert_true (i < base->nr_views);
    name_not_expected (e, rest);
    e->views[i].refused = true;
    e->views[i].text = "there is no export";
  }
  else
    /* Bitmaps are views of the same disk. */
    for (i = 0; i < base->nr_views; ++i)
      if (i == 0 || base->views[i].is_bitmap)
        expect_of_view (base, &e->views[i], item);
}

/* Parse the items, which are separated by "; ".  'e' points into 'copy'. */
static void
expect (struct expected *e, const struct base *base, const char *outcome,
        char copy[512])
{
  char *item = copy, *end;

  snprintf (copy, 512, "%s", outcome);
  expect_unchanged (e, base);
  for (; item; item = end) {
    end = strstr (item, "; ");
    if (end) {
      *end = '\0';
      end += 2;
    }
    expect_item (e, base, item);
  }
}

#endif /* MUTATIONS_EXPECT_H */
