/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: any bytes as an image.  Open it, map it, read what the map
 * says is data and some places that follow from the input, prefetch.
 * Whatever comes, the sanitizers must stay silent, extents must be in
 * order, and memory and time bounded (libFuzzer's limits).
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const struct qcow_hooks hooks = { hear, hear, hear };
  static int fd = -1;
  char name[64];
  struct qcow_options options
    = { .filename = name, .cache_size = 1 << 20, .force_share = true };
  struct qcow *q;
  uint64_t seed = size;
  size_t i;

  if (fd == -1)
    fd = memfd_create ("image", 0);
  if (fd == -1 || ftruncate (fd, 0) == -1
      || pwrite (fd, data, size, 0) != (ssize_t) size)
    abort ();
  for (i = 0; i < size; i += 61)
    seed = seed * 31 + data[i];

  snprintf (name, sizeof name, "/proc/self/fd/%d", fd);
  q = qcow_open (&options, &hooks);
  if (q) {
    struct qcow_view *v = qcow_view_open (q, "");

    if (v) {
      use_view (v, seed);
      qcow_view_close (v);
    }
    qcow_close (q);
  }
  return 0;
}
