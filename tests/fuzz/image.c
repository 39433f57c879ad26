/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: any bytes as an image.  Open it, list its views; map each,
 * read what the map says is data and some places that follow from the
 * input, prefetch.  An image with a backing file gets a raw one of some
 * bytes, one with a data file itself as that, one that is encrypted two
 * passphrases.  Whatever comes, the sanitizers
 * must stay silent, extents must be in order, and memory and time bounded
 * (libFuzzer's limits).
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "qcow/qcow.h"

/* A hostile image may have 2^61 bytes: look at the beginning, the end, and
 * a few places.
 */
#define MAX_READ 65536
#define MAX_READS 64

/* Messages are written, though nobody reads them. */
static void
hear (const char *text)
{
  (void) text;
}

struct walk {
  struct qcow_view *view;
  uint64_t next, end;
  unsigned reads;
};

static uint8_t buf[MAX_READ];

static int
on_extent (void *opaque, uint64_t offset, uint64_t length,
           enum qcow_extent kind)
{
  struct walk *w = opaque;

  if (offset != w->next || length == 0 || length > w->end - offset)
    abort ();
  w->next += length;
  if (kind == QCOW_EXTENT_DATA && w->reads++ < MAX_READS) {
    const uint32_t n = length < MAX_READ ? (uint32_t) length : MAX_READ;

    (void) qcow_read (w->view, buf, n, offset);
    (void) qcow_read (w->view, buf, 1, offset + length - 1);
  }
  return 0;
}

static void
use_view (struct qcow_view *v, uint64_t seed)
{
  const uint64_t size = qcow_view_size (v);
  uint64_t offset;
  int i;

  for (i = 0; i < 8 && size > 0; ++i) {
    uint32_t count;
    struct walk w;

    seed = seed * UINT64_C (6364136223846793005) + 1442695040888963407;
    offset = i == 0 ? 0 : i == 1 ? size - 1 : seed % size;
    count
      = size - offset < UINT32_MAX ? (uint32_t) (size - offset) : UINT32_MAX;
    w = (struct walk){ v, offset, offset + count, 0 };
    if (qcow_extents (v, count, offset, i % 3 == 2, on_extent, &w) == 0
        && w.next == offset)
      abort ();
    if (count > MAX_READ)
      count = MAX_READ;
    if (i % 3 == 1)
      (void) qcow_prefetch (v, count, offset);
    (void) qcow_read (v, buf, count, offset);
  }
}

/* Views beyond these are as the ones before. */
#define MAX_VIEWS 8

struct names {
  unsigned n;
  char *list[MAX_VIEWS];
};

static int
on_name (void *opaque, const char *name, const char *description)
{
  struct names *names = opaque;

  if (description == NULL)
    abort ();
  if (name && names->n < MAX_VIEWS) {
    names->list[names->n] = strdup (name);
    if (names->list[names->n++] == NULL)
      abort ();
  }
  return 0;
}

/* What changed from one to the next, if there is such a thing. */
static void
use_delta (struct qcow *q, const char *old, const char *new, uint64_t seed)
{
  struct qcow_view *v;
  char *name;

  if (asprintf (&name, "%s..%s", old, new) == -1)
    abort ();
  v = qcow_view_open (q, name);
  if (v) {
    use_view (v, seed);
    qcow_view_close (v);
  }
  free (name);
}

static void
use_all_views (struct qcow *q, uint64_t seed)
{
  struct names names = { 0 };
  unsigned i;

  if (qcow_list (q, on_name, &names) == -1)
    abort ();
  for (i = 0; i < names.n; ++i) {
    struct qcow_view *v = qcow_view_open (q, names.list[i]);

    if (v) {
      (void) qcow_view_description (v);
      use_view (v, seed + i);
      qcow_view_close (v);
    }
    if (i > 0) {
      use_delta (q, names.list[i], names.list[i - 1], seed);
      free (names.list[i - 1]);
    }
  }
  use_delta (q, "backing", "", seed);
  free (names.list[names.n - 1]);
}

static void
use_image (const struct qcow_options *options, uint64_t seed)
{
  static const struct qcow_hooks hooks
    = { .error = hear, .warn = hear, .debug = hear };
  struct qcow *q = qcow_open (options, &hooks);

  if (q) {
    use_all_views (q, seed);
    qcow_close (q);
  }
}

/* An unnamed file: its name in /proc.  The content is for all runs, or to
 * be filled by each.
 */
static int
make_file (const char *what, char name[64])
{
  const int fd = memfd_create (what, 0);

  if (fd == -1)
    abort ();
  snprintf (name, 64, "/proc/self/fd/%d", fd);
  return fd;
}

/* crypt_method, wherever the version has it. */
static bool
is_encrypted (const uint8_t *data, size_t size)
{
  return size >= 40 && (data[7] == 1 ? data[39] : data[35]) != 0;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static int fd = -1;
  static char name[64], raw_name[64];
  const char *const raw[] = { raw_name };
  const char *const itself[] = { name };
  const char *const as_raw[] = { "raw" };
  const char *const passphrases[] = { "wrong", "fuzz" };
  struct qcow_options options = {
    .filename = name,
    .cache_size = 1 << 20,
    .luks_iterations = 10000, /* 2 ms, and 8 for all */
    .force_share = true,
  };
  uint64_t seed = size;
  size_t i;

  if (fd == -1) {
    const int raw_fd = make_file ("raw", raw_name);

    if (qcow_load () == -1)
      abort ();
    fd = make_file ("image", name);
    memset (buf, 'r', sizeof buf);
    if (pwrite (raw_fd, buf, 3000, 1000) != 3000)
      abort ();
  }
  if (ftruncate (fd, 0) == -1 || pwrite (fd, data, size, 0) != (ssize_t) size)
    abort ();
  for (i = 0; i < size; i += 61)
    seed = seed * 31 + data[i];

  /* What the image does not need is an error, so one of these is right. */
  if (is_encrypted (data, size)) {
    options.passphrases = passphrases;
    options.nr_passphrases = 2;
  }
  use_image (&options, seed);
  options.data_files = itself;
  options.nr_data_files = 1;
  use_image (&options, seed);
  options.backing_formats = as_raw;
  options.nr_backing_formats = options.nr_backing = 1;
  options.backing = raw;
  use_image (&options, seed);
  options.nr_data_files = 0;
  use_image (&options, seed);
  return 0;
}
