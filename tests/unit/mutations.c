/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Test the rows of tests/mutations.tbl, which describes its own format: images
 * with one changed field each, and the expected result.
 *
 * Each row is a test.  It opens the changed image, lists its views, reads each
 * unit of each view, and gets the extents of each unit.  The results must be
 * as the table says, or the image must be refused with that message.  Further
 * tests check the table itself.
 *
 * mutations DIRECTORY: write the changed images there, and print the results
 * to expect from qemu, for tests/mutations.t.
 */

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "hints.h"
#include "mutations-expect.h"

enum {
  MAX_ROWS = 1000,
  LEAST_ROWS = 200,
  LEAST_ROWS_OF_AREA = 10,
  SECONDS_FOR_A_ROW = 30,
  MAX_KIB = 150 << 10, /* the bases and two L1 tables of 32 MiB */
};

static struct row rows[MAX_ROWS];
static unsigned nr_rows;
static struct base *bases[NR_BASES];

/* top_dir has row_dir with the image of a row, and a file outside of that. */
static char top_dir[256], row_dir[300];

/* --- Results --- */

static char errors[1 << 16], warnings[1 << 16], wrong[4096];

static void
append (char *to, size_t max, const char *s)
{
  const size_t n = strlen (to);

  snprintf (to + n, max - n, "%s\n", s);
}

static void
on_error (void *opaque, const char *s)
{
  (void) opaque;
  append (errors, sizeof errors, s);
}

static void
on_warning (void *opaque, const char *s)
{
  (void) opaque;
  append (warnings, sizeof warnings, s);
}

static const struct qcow_hooks hooks
  = { .error = on_error, .warn = on_warning, .hints = unit_hints };

static void __attribute__ ((format (printf, 1, 2)))
differs (const char *format, ...)
{
  char line[1024];
  va_list args;

  va_start (args, format);
  vsnprintf (line, sizeof line, format, args);
  va_end (args);
  append (wrong, sizeof wrong, line);
}

/* Print each line as a TAP comment. */
static void __attribute__ ((format (printf, 1, 2)))
print_comment (const char *format, ...)
{
  char all[8192], *line, *rest = all;
  va_list args;

  va_start (args, format);
  vsnprintf (all, sizeof all, format, args);
  va_end (args);
  while ((line = strsep (&rest, "\n")))
    if (line[0] != '\0')
      printf ("# %s\n", line);
}

static bool
matches (const char *s, const char *pattern)
{
  regex_t re;
  bool yes;

  if (regcomp (&re, pattern, REG_EXTENDED | REG_NOSUB | REG_NEWLINE) != 0)
    fail_msg ("'%s' is not a regular expression", pattern);
  yes = regexec (&re, s, 0, NULL, 0) == 0;
  regfree (&re);
  return yes;
}

/* Check a message: it must match, and name the file, while serving by its last
 * component.
 */
static void
check_message (const char *what, const char *message, const char *pattern)
{
  if ((strstr (message, row_dir) == NULL
       && strncmp (message, "image: ", 7) != 0)
      || !matches (message, pattern))
    differs ("%s: '%s' does not match '%s'", what, message, pattern);
}

struct seen {
  uint64_t next;
  bool data, unchanged, nonsense;
};

static int
on_extent (void *opaque, uint64_t offset, uint64_t length,
           enum qcow_extent kind)
{
  struct seen *s = opaque;

  s->nonsense |= offset != s->next || length == 0;
  s->next = offset + length;
  s->data |= kind == QCOW_EXTENT_DATA;
  s->unchanged |= kind == QCOW_EXTENT_UNCHANGED;
  return 0;
}

/* Check that the extents of a unit agree with its bytes and the bitmap. */
static void
check_extents (const struct base *base, unsigned number,
               const struct expected_view *e, struct qcow_view *v,
               unsigned unit, uint32_t n)
{
  const uint64_t offset = unit * base->unit;
  const uint8_t *bytes = e->bytes + offset;
  const bool zeros = bytes[0] == 0 && memcmp (bytes, bytes + 1, n - 1) == 0;
  struct seen s = { .next = offset };
  bool clean;

  while (s.next < offset + n) {
    const uint64_t at = s.next;

    if (qcow_extents (v, (uint32_t) (offset + n - at), at, false, on_extent,
                      &s)
          == -1
        || s.next == at) {
      if (e->clean[unit] != 2)
        differs ("unit %u: no extents: %s", unit, strerror (errno));
      return;
    }
  }
  clean = e->clean[unit] == 1;
  if (s.nonsense || s.next != offset + n)
    differs ("unit %u: extents overlap or leave it", unit);
  if (e->clean[unit] == 2 || s.unchanged != clean)
    differs ("unit %u: %sunchanged", unit, s.unchanged ? "" : "not ");
  if (!base->views[number].is_bitmap && !e->anything && !s.data
      && (!zeros || e->reads[unit] == FAIL))
    differs ("unit %u: the map says zeros", unit);
}

static void
check_unit (const struct expected_view *e, struct qcow_view *v,
            const char *what, uint64_t offset, uint32_t n, bool fails)
{
  uint8_t *buf = malloc (n); /* sanitizers detect writes past its end */
  int r;

  assert_non_null (buf);
  errors[0] = '\0';
  r = qcow_read (v, buf, n, offset);
  if (e->anything)
    ;
  else if (r == -1 && !fails)
    differs ("%s: %s, with '%s'", what, strerror (errno), errors);
  else if (r == -1 && errno != EIO)
    differs ("%s: %s instead of EIO", what, strerror (errno));
  else if (r == 0 && fails)
    differs ("%s: can be read, begins with %02x %02x %02x %02x", what, buf[0],
             buf[1], buf[2], buf[3]);
  else if (r == 0 && offset >= MAX_VIEW && buf[0] != 0)
    differs ("%s: is %02x instead of 0", what, buf[0]);
  else if (r == 0 && offset < MAX_VIEW
           && memcmp (buf, e->bytes + offset, n) != 0)
    differs ("%s: begins with %02x %02x %02x %02x instead of "
             "%02x %02x %02x %02x, or differs later",
             what, buf[0], buf[1], buf[2], buf[3], e->bytes[offset],
             e->bytes[offset + 1], e->bytes[offset + 2], e->bytes[offset + 3]);
  free (buf);
}

/* Read every unit; then all at once, or the last byte of a large disk. */
static void
check_bytes (const struct base *base, unsigned number,
             const struct expected_view *e, struct qcow_view *v)
{
  const unsigned units = nr_units (base, e->size);
  bool any_fails = false;
  unsigned i;

  for (i = 0; i < units; ++i) {
    const uint64_t offset = i * base->unit, left = e->size - offset;
    const uint32_t n = (uint32_t) (left < base->unit ? left : base->unit);
    char what[32];

    snprintf (what, sizeof what, "unit %u", i);
    check_unit (e, v, what, offset, n, e->reads[i] == FAIL);
    check_extents (base, number, e, v, i, n);
    any_fails |= e->reads[i] == FAIL;
  }
  if (e->size == 0)
    return;
  (void) qcow_prefetch (v, 1, e->size - 1);
  if (e->size <= MAX_VIEW)
    check_unit (e, v, "all of it", 0, (uint32_t) e->size, any_fails);
  else
    check_unit (e, v, "the last byte", e->size - 1, 1, false);
}

static void
check_view (const struct base *base, unsigned number,
            const struct expected_view *e, struct qcow *q)
{
  const char *name = base->views[number].name;
  struct qcow_view *v;
  char *before;

  errors[0] = '\0';
  before = strdup (wrong);
  v = qcow_view_open (q, name);
  if (v == NULL && !e->refused)
    differs ("refused: %s", errors);
  else if (v == NULL)
    check_message ("refused", errors, e->text);
  else if (e->refused)
    differs ("not refused");
  else if (qcow_view_size (v) != e->size)
    differs ("%" PRIu64 " bytes instead of %" PRIu64, qcow_view_size (v),
             e->size);
  else
    check_bytes (base, number, e, v);
  qcow_view_close (v);
  if (strcmp (before, wrong) != 0 && name[0] != '\0')
    differs ("(of '%s')", name);
  free (before);
}

static struct qcow *
open_changed (const struct base *base, const char *dir)
{
  char name[400];
  struct qcow_options options;
  struct qcow *q;

  errors[0] = warnings[0] = '\0';
  snprintf (name, sizeof name, "%s/image", dir);
  qcow_options_init (&options);
  options.filename = name;
  options.cache_size = 1 << 20;
  options.allow = &base->allow;
  options.nr_allow = base->allow != NULL;
  options.passphrases = &base->passphrase;
  options.nr_passphrases = base->passphrase != NULL;
  options.luks_iterations = 100000;
  q = qcow_open (&options, &hooks);
  if (q)
    assert_int_equal (qcow_after_fork (q), 0);
  return q;
}

struct listed {
  unsigned n;
  char names[MAX_NAMES][32];
};

static int
on_listed (void *opaque, const char *name, const char *description)
{
  struct listed *l = opaque;

  assert_non_null (description);
  if (l->n < MAX_NAMES)
    snprintf (l->names[l->n++], sizeof l->names[0], "%s", name ? name : "?");
  return 0;
}

static int
compare_strings (const void *x, const void *y)
{
  return strcmp (x, y);
}

static void
check_list (struct expected *e, struct qcow *q)
{
  struct listed got = { 0 };
  unsigned i;

  assert_int_equal (qcow_list (q, on_listed, &got), 0);
  qsort (got.names, got.n, sizeof got.names[0], compare_strings);
  qsort (e->names, e->nr_names, sizeof e->names[0], compare_strings);
  for (i = 0; i < got.n || i < e->nr_names; ++i) {
    const char *have = i < got.n ? got.names[i] : "nothing";
    const char *want = i < e->nr_names ? e->names[i] : "nothing";

    if (strcmp (have, want) != 0)
      differs ("'%s' is listed instead of '%s'", have, want);
  }
}

static void
check_opened (const struct base *base, struct expected *e, struct qcow *q)
{
  unsigned i;

  if (errors[0] != '\0')
    differs ("served, but with an error: %s", errors);
  check_list (e, q);
  for (i = 0; i < base->nr_views; ++i)
    check_view (base, i, &e->views[i], q);
  if (e->warning)
    check_message ("the warning", warnings, e->warning);
  else if (warnings[0] != '\0')
    differs ("warned: %s", warnings);
}

static void
test_row (void **state)
{
  static struct expected e;
  const struct row *row = *state;
  char copy[512];
  struct qcow *q;

  alarm (SECONDS_FOR_A_ROW);
  change (row);
  write_changed (row_dir, row->base);
  expect (&e, row->base, row->ours, copy);
  wrong[0] = '\0';
  q = open_changed (row->base, row_dir);
  if (q == NULL && !e.refused)
    differs ("refused: %s", errors);
  else if (q == NULL)
    check_message ("refused", errors, e.text);
  else if (e.refused)
    differs ("not refused");
  else
    check_opened (row->base, &e, q);
  qcow_close (q);
  if (wrong[0] != '\0') {
    print_comment ("%s:%u: %s  %s  %s", TABLE, row->line, row->base->name,
                   row->field, row->value);
    print_comment ("expected: %s", row->ours);
    print_comment ("%s", wrong);
    fail ();
  }
}

/* --- The table --- */

/* Known flaws of programs that read these formats.  Each needs a row that
 * would detect it.
 */
static const char *const flaws[] = {
  "CVE-2008-0928",  "CVE-2008-1945",       "CVE-2008-2004",  "CVE-2010-2237",
  "CVE-2010-2238",  "CVE-2010-2239",       "CVE-2010-3851",  "CVE-2011-3147",
  "CVE-2012-2652",  "CVE-2013-2096",       "CVE-2013-4463",  "CVE-2013-4469",
  "CVE-2014-0142",  "CVE-2014-0143",       "CVE-2014-0144",  "CVE-2014-0145",
  "CVE-2014-0146",  "CVE-2014-0147",       "CVE-2014-0222",  "CVE-2014-0223",
  "CVE-2014-3641",  "CVE-2015-1850",       "CVE-2015-1851",  "CVE-2015-5162",
  "CVE-2015-5163",  "CVE-2015-7548",       "CVE-2016-2140",  "CVE-2022-47951",
  "CVE-2024-32498", "CVE-2024-40767",      "CVE-2024-44082", "CVE-2024-4467",
  "CVE-2026-24708", "GHSA-jmr4-g2hv-mjj6",
};

/* The reasons for deliberate differences from qemu.  The table explains them
 * and states one in each row that differs.
 */
static const char *const reasons[] = {
  "end of file", "odd size", "snapshots",  "version 1",
  "overflow",    "bitmaps",  "iterations", "other files",
};

static bool
has_word (const char *s, const char *word)
{
  const char *p = strstr (s, word);

  return p && !isalnum ((unsigned char) p[strlen (word)]);
}

static bool
has_reason (const struct row *row)
{
  const char *p = strstr (row->why, "differs: ");
  unsigned i;

  for (i = 0; p && i < sizeof reasons / sizeof reasons[0]; ++i)
    if (has_word (p, reasons[i]))
      return true;
  return false;
}

static void
test_flaws (void **state)
{
  unsigned i, j;

  (void) state;
  for (i = 0; i < sizeof flaws / sizeof flaws[0]; ++i) {
    for (j = 0; j < nr_rows && !has_word (rows[j].why, flaws[i]); ++j)
      ;
    if (j == nr_rows)
      fail_msg ("%s has no row", flaws[i]);
  }
}

/* A row must have '=' if qemu does the same, and else a reason. */
static void
test_reasons (void **state)
{
  unsigned i;

  (void) state;
  for (i = 0; i < nr_rows; ++i) {
    const struct row *row = &rows[i];

    if (strcmp (row->qemus, row->ours) == 0
        || (strncmp (row->ours, "refuse", 6) == 0
            && strcmp (row->qemus, "refuse") == 0))
      fail_msg (TABLE ":%u: qemu does the same", row->line);
    if ((strcmp (row->qemus, "=") != 0) != has_reason (row))
      fail_msg (TABLE ":%u: differs from qemu without a known reason, or has "
                      "one and does not differ",
                row->line);
  }
}

static int
compare_rows (const void *x, const void *y)
{
  const struct row *a = *(const struct row *const *) x,
                   *c = *(const struct row *const *) y;
  int r = strcmp (a->base->name, c->base->name);

  if (r == 0)
    r = strcmp (a->field, c->field);
  return r != 0 ? r : strcmp (a->value, c->value);
}

static void
test_unique (void **state)
{
  static const struct row *sorted[MAX_ROWS];
  unsigned i;

  (void) state;
  for (i = 0; i < nr_rows; ++i)
    sorted[i] = &rows[i];
  qsort (sorted, nr_rows, sizeof sorted[0], compare_rows);
  for (i = 1; i < nr_rows; ++i)
    if (compare_rows (&sorted[i - 1], &sorted[i]) == 0)
      fail_msg (TABLE ":%u and :%u are the same", sorted[i - 1]->line,
                sorted[i]->line);
}

static const char *
area (const struct row *row)
{
  const char *base = row->base->name, *field = row->field;

  if (strcmp (field, "-") == 0)
    return "unchanged";
  if (strstr (field, ".length") && strchr (field, '.') == strrchr (field, '.')
      && (strncmp (field, "file.", 5) == 0 || strncmp (field, "base.", 5) == 0
          || strncmp (field, "data.", 5) == 0))
    return "truncations";
  if (strncmp (base, "v1", 2) == 0)
    return "v1";
  if (strncmp (field, "luks.", 5) == 0 || strncmp (field, "ext.luks", 8) == 0)
    return "LUKS";
  if (strstr (field, "bitmaps.") || strncmp (field, "bitmap[", 7) == 0)
    return "bitmaps";
  if (strcmp (base, "ext") == 0 && strstr (field, "l2["))
    return "subclusters";
  if (strncmp (field, "snapshot[", 9) == 0
      || (strncmp (base, "snapshots", 9) == 0 && !strstr (field, "header.s")
          && !strstr (field, "header.c")))
    return "snapshots";
  if (strncmp (field, "ext.", 4) == 0)
    return "extensions";
  if (strncmp (field, "l1[", 3) == 0)
    return "L1";
  if (strstr (field, "l2[") || strstr (field, "stream[")
      || strstr (field, "data["))
    return "L2";
  if (strncmp (field, "backing_file", 12) == 0
      || strncmp (field, "base.", 5) == 0)
    return "names";
  return "header";
}

static void
test_areas (void **state)
{
  static const char *const areas[]
    = { "header",      "extensions", "names",      "L1",
        "L2",          "v1",         "snapshots",  "LUKS",
        "subclusters", "bitmaps",    "truncations" };
  unsigned i, j, all = 0;

  (void) state;
  for (i = 0; i < sizeof areas / sizeof areas[0]; ++i) {
    unsigned n = 0;

    for (j = 0; j < nr_rows; ++j)
      n += strcmp (area (&rows[j]), areas[i]) == 0;
    print_message ("# %s: %u rows\n", areas[i], n);
    if (n < LEAST_ROWS_OF_AREA)
      fail_msg ("%s: only %u rows", areas[i], n);
    all += n;
  }
  print_message ("# %u rows\n", all);
  assert_true (all >= LEAST_ROWS);
}

/* No hostile image may take more memory than the tables that are allowed.
 * (Sanitizers take much more.)
 */
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
static void
test_memory (void **state)
{
  struct rusage usage;

  (void) state;
  assert_int_equal (getrusage (RUSAGE_SELF, &usage), 0);
  print_message ("# at most %ld KiB\n", usage.ru_maxrss);
  assert_true (usage.ru_maxrss < MAX_KIB);
}
#endif

static const struct base *
base_by_name (const char *name)
{
  unsigned i;

  for (i = 0; i < NR_BASES; ++i)
    if (strcmp (bases[i]->name, name) == 0)
      return bases[i];
  fprintf (stderr, TABLE ": there is no base '%s'\n", name);
  exit (1);
}

/* Columns are separated by two spaces or more. */
static char *
next_column (char **p)
{
  char *column = *p, *end = strstr (column, "  ");

  if (end == NULL) {
    *p = column + strlen (column);
    return column;
  }
  *p = end + strspn (end, " ");
  *end = '\0';
  return column;
}

static void
parse_row (char *line, unsigned number_of_line)
{
  struct row *row = &rows[nr_rows++];
  char *p = strdup (line);

  if (p == NULL || nr_rows > MAX_ROWS)
    abort ();
  row->line = number_of_line;
  row->base = base_by_name (next_column (&p));
  row->field = next_column (&p);
  row->value = next_column (&p);
  row->ours = next_column (&p);
  row->qemus = next_column (&p);
  row->why = p;
  if (row->qemus[0] == '\0') {
    fprintf (stderr, TABLE ":%u: columns are missing\n", number_of_line);
    exit (1);
  }
  snprintf (row->title, sizeof row->title, "line %u: %s %s %s", number_of_line,
            row->base->name, row->field, row->value);
}

static void
read_table (void)
{
  FILE *f = fopen (TABLE, "r");
  char line[1024];
  unsigned n = 0;
  unsigned i;

  if (f == NULL) {
    perror (TABLE);
    exit (1);
  }
  for (i = 0; i < NR_BASES; ++i)
    bases[i] = makers[i]();
  while (fgets (line, sizeof line, f)) {
    ++n;
    line[strcspn (line, "\n")] = '\0';
    if (line[0] != '\0' && line[0] != '#')
      parse_row (line, n);
  }
  fclose (f);
}

/* --- For qemu --- */

/* The bytes of each unit that are compared. */
enum { HEAD = 32 };

static void
print_unit (uint64_t offset, const uint8_t *bytes, uint64_t n,
            const char *fails)
{
  uint64_t i;

  printf ("at %" PRIu64 " ", offset);
  for (i = 0; fails == NULL && i < n && i < HEAD; ++i)
    printf ("%02x", bytes[i]);
  printf ("%s\n", fails ? fails : "");
}

/* If the table refers to qemu, expect our own result. */
static void
observe (struct expected_view *e, const struct base *base, const char *dir)
{
  struct qcow *q = open_changed (base, dir);
  struct qcow_view *v;
  unsigned i;

  assert_non_null (q);
  v = qcow_view_open (q, "");
  assert_non_null (v);
  e->size = qcow_view_size (v);
  for (i = 0; i < nr_units (base, e->size); ++i) {
    const uint64_t offset = i * base->unit, left = e->size - offset;
    const uint32_t n = (uint32_t) (left < HEAD ? left : HEAD);

    e->reads[i]
      = qcow_read (v, e->bytes + offset, n, offset) == 0 ? READ : FAIL;
  }
  qcow_view_close (v);
  qcow_close (q);
}

static void
print_view (const struct base *base, const struct expected_view *e)
{
  unsigned i;

  if (e->refused) {
    printf ("refuse\n");
    return;
  }
  printf ("size %" PRIu64 "\n", e->size);
  for (i = 0; i < nr_units (base, e->size); ++i) {
    const uint64_t offset = i * base->unit, left = e->size - offset;

    print_unit (offset, e->bytes + offset,
                left < base->unit ? left : base->unit,
                e->reads[i] == READ ? NULL
                : e->anything       ? "EIO-or-zeros"
                                    : "EIO");
  }
}

static void
print_row (const struct row *row, const char *dir, struct expected *e)
{
  const struct base *base = row->base;
  unsigned i;

  printf ("row %u %s %s %s\n", row->line, base->driver,
          base->passphrase == NULL           ? "-"
          : strcmp (base->name, "luks") == 0 ? "luks"
                                             : "aes",
          row->title);
  e->views[0].refused = e->refused;
  if (e->views[0].anything)
    observe (&e->views[0], base, dir);
  print_view (base, &e->views[0]);
  for (i = 1; i < base->nr_views && !e->refused; ++i)
    if (!base->views[i].is_bitmap
        && strstr (strcmp (row->qemus, "=") == 0 ? row->ours : row->qemus,
                   base->views[i].name)) {
      printf ("snapshot %s\n", base->views[i].name);
      print_view (base, &e->views[i]);
    }
}

static int
write_for_qemu (const char *top)
{
  static struct expected e;
  char dir[300], copy[512];
  unsigned i;

  for (i = 0; i < nr_rows; ++i) {
    const struct row *row = &rows[i];

    if (strcmp (row->qemus, "-") == 0)
      continue;
    snprintf (dir, sizeof dir, "%s/%u", top, row->line);
    if (mkdir (dir, 0777) == -1) {
      perror (dir);
      return 1;
    }
    change (row);
    write_changed (dir, row->base);
    expect (&e, row->base,
            strcmp (row->qemus, "=") == 0 ? row->ours : row->qemus, copy);
    print_row (row, dir, &e);
  }
  return 0;
}

/* --- */

/* Beside the images is a symbolic link that leads out of their directory. */
static int
set_up (void **state)
{
  const struct file_image outside
    = { .name = "outside.raw", .bytes = bases[0]->files[0].bytes, .size = 1 };
  char name[400];

  (void) state;
  snprintf (top_dir, sizeof top_dir, "/tmp/qcow-mutations.XXXXXX");
  if (mkdtemp (top_dir) == NULL)
    return -1;
  snprintf (row_dir, sizeof row_dir, "%s/row", top_dir);
  snprintf (name, sizeof name, "%s/link.raw", row_dir);
  write_file (top_dir, &outside);
  return mkdir (row_dir, 0777) == 0 && symlink ("../outside.raw", name) == 0
           ? 0
           : -1;
}

static int
tear_down (void **state)
{
  static const char *const names[]
    = { "row/image",    "row/base.raw", "row/data.raw",
        "row/link.raw", "row",          "outside.raw" };
  char name[400];
  unsigned i;

  (void) state;
  for (i = 0; i < sizeof names / sizeof names[0]; ++i) {
    snprintf (name, sizeof name, "%s/%s", top_dir, names[i]);
    remove (name);
  }
  return rmdir (top_dir);
}

static int
run_all (void)
{
  static struct CMUnitTest tests[MAX_ROWS + 5];
  size_t n = 0;
  unsigned i;

  for (i = 0; i < nr_rows; ++i)
    tests[n++] = (struct CMUnitTest){ .name = rows[i].title,
                                      .test_func = test_row,
                                      .initial_state = &rows[i] };
  tests[n++] = (struct CMUnitTest) cmocka_unit_test (test_flaws);
  tests[n++] = (struct CMUnitTest) cmocka_unit_test (test_reasons);
  tests[n++] = (struct CMUnitTest) cmocka_unit_test (test_unique);
  tests[n++] = (struct CMUnitTest) cmocka_unit_test (test_areas);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
  tests[n++] = (struct CMUnitTest) cmocka_unit_test (test_memory);
#endif
  cmocka_set_message_output (CM_OUTPUT_TAP);
  return _cmocka_run_group_tests ("mutations", tests, n, set_up, tear_down);
}

int
main (int argc, char **argv)
{
  if (qcow_load () == -1)
    return 1;
  read_table ();
  return argc > 1 ? write_for_qemu (argv[1]) : run_all ();
}
