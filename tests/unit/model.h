/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Chains of tiny images, written byte by byte, and a slow reader to compare
 * with.
 *
 * One letter for each cluster, or subcluster if L2 entries are extended,
 * describes a layer.  The writer makes a file from the letters.  The slow
 * reader uses only the letters, byte by byte.
 */

#ifndef MODEL_H
#define MODEL_H

#include <dirent.h>
#include <errno.h>
#include <time.h>
#include <zlib.h>

#include "unit.h"

#include "base/monotonic.h"
#include "disk/map.h"

enum {
  MAX_LAYERS = 8,
  MAX_UNITS = 4096,
  MAX_SNAPSHOTS = 10,
  MAX_SIZE = 4 << 20, /* of a file */
  JUNK = 0xee,        /* in bytes that must not be read */
};

/* What an image maps: its active layer or a snapshot. */
struct content {
  uint64_t size;
  /* A letter for each unit.  Units without a letter count as '.':
   *   .  nothing: the layer below shows
   *   d  data
   *   c  compressed, as a whole cluster
   *   z  zeros
   *   p  zeros, with a place in the file
   *   x  a whole cluster of damage
   */
  char units[MAX_UNITS + 1];
  uint8_t tag;      /* makes the bytes of each content different */
  unsigned same_l1; /* has the L1 table of this snapshot; 0: its own */
  bool old_entry;   /* its entry of the snapshot table has no size */
};

/* The description of a layer. */
struct model {
  uint32_t version; /* 0: raw */
  unsigned bits;    /* cluster_bits; raw: of a unit */
  unsigned l2_bits; /* version 1: as in its header */
  bool extended, data_file;
  bool sparse; /* raw: '.' units are holes of the file */
  struct content active;
  unsigned nr_snapshots;
  struct content *snapshots;
};

static struct model layers[MAX_LAYERS];

static inline uint64_t
random_number (void)
{
  static uint64_t x = 88172645463325252;

  x ^= x << 13; /* xorshift64 */
  x ^= x >> 7;
  x ^= x << 17;
  return x >> 11;
}

static inline unsigned
unit_bits (const struct model *l)
{
  return l->extended ? l->bits - 5 : l->bits;
}

static inline char
unit_at (const struct model *l, const struct content *c, uint64_t offset)
{
  const uint64_t i = offset >> unit_bits (l);

  return i < MAX_UNITS && c->units[i] != '\0' ? c->units[i] : '.';
}

/* Never 0.  Even 512 of these bytes can be compressed.  At the same offset,
 * layers have different bytes.
 */
static inline uint8_t
byte_at (const struct content *c, uint64_t offset)
{
  return (uint8_t) (1 + ((offset >> 3) + c->tag * 61U) % 251);
}

/* --- The writer --- */

static char dir[64];
static uint8_t file[MAX_SIZE];
static uint64_t file_end;

/* Allocate an aligned part of the file, filled with junk. */
static inline uint64_t
place (uint64_t bytes, uint64_t alignment)
{
  const uint64_t start = (file_end + alignment - 1) / alignment * alignment;

  assert_true (start + bytes <= sizeof file);
  memset (file + file_end, JUNK, (size_t) (start + bytes - file_end));
  file_end = start + bytes;
  return start;
}

static inline uint64_t
place_table (uint64_t bytes, uint64_t alignment)
{
  const uint64_t start = place (bytes, alignment);

  memset (file + start, 0, (size_t) bytes);
  return start;
}

/* Write the bytes of a guest range, up to the end of the content. */
static inline void
put_bytes (uint8_t *p, const struct content *c, uint64_t offset, uint64_t n)
{
  uint64_t i;

  for (i = 0; i < n && offset + i < c->size; ++i)
    p[i] = byte_at (c, offset + i);
}

/* The entry of a compressed cluster. */
static inline uint64_t
compressed_entry (const struct model *l, uint64_t host, uint64_t n)
{
  const unsigned x = 62 - (l->bits - 8);

  if (l->version == 1) {
    assert_true (n < UINT64_C (1) << l->bits);
    return UINT64_C (1) << 63 | n << (63 - l->bits) | host;
  }
  return UINT64_C (1) << 62 | (((host + n - 1) >> 9) - (host >> 9)) << x
         | host;
}

static inline uint64_t
put_compressed (const struct model *l, const struct content *c,
                uint64_t offset)
{
  const size_t size = (size_t) 1 << l->bits;
  static uint8_t plain[1 << 16], packed[1 << 16];
  z_stream z = { 0 };
  uint64_t host;

  memset (plain, JUNK, size);
  put_bytes (plain, c, offset, size);
  assert_int_equal (
    deflateInit2 (&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = plain;
  z.avail_in = (uInt) size;
  z.next_out = packed;
  z.avail_out = sizeof packed;
  assert_int_equal (deflate (&z, Z_FINISH), Z_STREAM_END);
  host = place (z.total_out, 1);
  memcpy (file + host, packed, z.total_out);
  deflateEnd (&z);
  return compressed_entry (l, host, z.total_out);
}

/* Write the data of one unit at 'host' of 'out'. */
static inline void
put_unit (const struct model *l, const struct content *c, uint64_t offset,
          uint8_t *out, uint64_t host)
{
  put_bytes (out + host, c, offset, UINT64_C (1) << unit_bits (l));
}

static uint8_t data_file[MAX_SIZE];

/* Allocate a cluster: in the file, or at the same offset of the data file. */
static inline uint8_t *
place_cluster (const struct model *l, uint64_t offset, uint64_t *entry)
{
  const uint64_t size = UINT64_C (1) << l->bits;
  uint64_t host;

  if (l->data_file) {
    *entry = UINT64_C (1) << 63 | offset;
    return data_file + offset;
  }
  host = place (size, l->version == 1 ? 512 : size);
  *entry = l->version == 1 ? host : UINT64_C (1) << 63 | host;
  return file + host;
}

static inline uint64_t
damaged_entry (const struct model *l)
{
  return compressed_entry (l, place (100, 1), 100);
}

static inline void
put_extended (const struct model *l, const struct content *c, uint64_t offset,
              uint8_t *entry)
{
  uint64_t first = 0, bitmap = 0;
  bool has_place = false;
  uint8_t *out;
  unsigned i;

  for (i = 0; i < 32; ++i) {
    const char u = unit_at (l, c, offset + ((uint64_t) i << unit_bits (l)));

    has_place |= u == 'd' || u == 'p';
    if (u == 'd')
      bitmap |= UINT64_C (1) << i;
    if (u == 'z' || u == 'p')
      bitmap |= UINT64_C (1) << (32 + i);
  }
  if (has_place) {
    out = place_cluster (l, offset, &first);
    for (i = 0; i < 32; ++i)
      if (bitmap >> i & 1)
        put_unit (l, c, offset + ((uint64_t) i << unit_bits (l)), out,
                  (uint64_t) i << unit_bits (l));
  }
  put_be64 (entry, first);
  put_be64 (entry + 8, bitmap);
}

/* Write a cluster, and its L2 entry at 'at' of the file. */
static inline void
put_cluster (const struct model *l, const struct content *c, uint64_t offset,
             uint64_t at)
{
  const char u = unit_at (l, c, offset);
  uint64_t entry = 0;
  uint8_t bytes[16] = { 0 };

  if (u == 'c' || u == 'x')
    entry = u == 'c' ? put_compressed (l, c, offset) : damaged_entry (l);
  else if (l->extended) {
    put_extended (l, c, offset, bytes);
    memcpy (file + at, bytes, 16);
    return;
  }
  else if (u == 'd')
    put_unit (l, c, offset, place_cluster (l, offset, &entry), 0);
  else if (u == 'p')
    place_cluster (l, offset, &entry);
  if (u == 'z' || u == 'p')
    entry |= 1;
  put_be64 (file + at, entry);
}

static unsigned
l2_bits (const struct model *l)
{
  return l->version == 1 ? l->l2_bits : l->bits - (l->extended ? 4 : 3);
}

static inline uint64_t
div_up (uint64_t n, uint64_t by)
{
  return (n + by - 1) / by;
}

/* Fill the L1 table, and write everything that it refers to. */
static inline void
put_mapping (const struct model *l, const struct content *c, uint64_t l1,
             uint64_t l1_size)
{
  const uint64_t entry = l->extended ? 16 : 8;
  const uint64_t clusters = UINT64_C (1) << l2_bits (l);
  uint64_t i, j;

  for (i = 0; i < l1_size; ++i) {
    const uint64_t start = (i * clusters) << l->bits;
    const uint64_t end = (i * clusters + clusters) << l->bits;
    uint64_t l2 = 0, offset;

    for (offset = start; offset < end && l2 == 0;
         offset += UINT64_C (1) << unit_bits (l))
      if (unit_at (l, c, offset) != '.') {
        /* In version 1, tables may be anywhere. */
        if (l->version == 1)
          place (3, 1);
        l2 = place_table (clusters * entry,
                          l->version == 1 ? 1 : UINT64_C (1) << l->bits);
      }
    put_be64 (file + l1 + i * 8, l2);
    for (j = 0; l2 != 0 && j < clusters; ++j)
      put_cluster (l, c, start + (j << l->bits), l2 + j * entry);
  }
}

/* Write a header extension.  Returns the offset of the next one. */
static inline uint64_t
put_extension (uint64_t at, uint32_t type, const char *text)
{
  const size_t n = strlen (text);

  put_be32 (file + at, type);
  put_be32 (file + at + 4, (uint32_t) n);
  memcpy (file + at + 8, text, n);
  return at + 8 + (n + 7) / 8 * 8;
}

static void
put_v1 (const struct model *l, const char *backing)
{
  const struct content *c = &l->active;
  const uint64_t l1_size
    = div_up (c->size, UINT64_C (1) << (l->bits + l->l2_bits));
  uint64_t l1;

  place_table (48, 1);
  put_be32 (file, 0x514649fb);
  put_be32 (file + 4, 1);
  put_be64 (file + 24, c->size);
  file[32] = (uint8_t) l->bits;
  file[33] = (uint8_t) l->l2_bits;
  if (backing) {
    place (strlen (backing), 1);
    memcpy (file + 48, backing, strlen (backing));
    put_be64 (file + 8, 48);
    put_be32 (file + 16, (uint32_t) strlen (backing));
  }
  l1 = place_table (l1_size * 8, 8);
  put_be64 (file + 40, l1);
  put_mapping (l, c, l1, l1_size);
}

/* The snapshot table, and what the snapshots map. */
static inline void
put_snapshots (const struct model *l)
{
  const uint64_t cluster = UINT64_C (1) << l->bits;
  const uint64_t table = place_table (80 * l->nr_snapshots, cluster);
  uint64_t at = table, l1s[MAX_SNAPSHOTS + 1] = { 0 };
  unsigned i;

  put_be32 (file + 60, l->nr_snapshots);
  put_be64 (file + 64, table);
  for (i = 0; i < l->nr_snapshots; ++i) {
    const struct content *c = &l->snapshots[i];
    /* The L1 table is no longer than necessary. */
    const uint64_t l1_size = div_up (strlen (c->units) << unit_bits (l),
                                     UINT64_C (1) << (l->bits + l2_bits (l)));
    const unsigned extra = c->old_entry ? 8 : 16;
    char id[16], name[16];

    l1s[i + 1]
      = c->same_l1 ? l1s[c->same_l1] : place_table (l1_size * 8, cluster);
    snprintf (id, sizeof id, "%u", i + 1);
    snprintf (name, sizeof name, "snap%u", i + 1);
    put_be64 (file + at, l1s[i + 1]);
    put_be32 (file + at + 8, (uint32_t) l1_size);
    file[at + 13] = (uint8_t) strlen (id);
    file[at + 15] = (uint8_t) strlen (name);
    put_be32 (file + at + 36, extra);
    if (!c->old_entry)
      put_be64 (file + at + 48, c->size);
    memcpy (file + at + 40 + extra, id, strlen (id));
    memcpy (file + at + 40 + extra + strlen (id), name, strlen (name));
    at += (40 + extra + strlen (id) + strlen (name) + 7) / 8 * 8;
    if (!c->same_l1)
      put_mapping (l, c, l1s[i + 1], l1_size);
  }
  assert_true (at <= table + 80 * l->nr_snapshots);
}

static void
put_v2 (const struct model *l, const char *backing, const char *format,
        const char *data)
{
  const struct content *c = &l->active;
  const uint64_t cluster = UINT64_C (1) << l->bits;
  const uint64_t l1_size
    = div_up (c->size, UINT64_C (1) << (l->bits + l2_bits (l)));
  uint64_t l1, at = l->version == 2 ? 72 : 112;

  place_table (cluster, 1);
  place (cluster, 1); /* the refcount table */
  l1 = place_table (l1_size * 8, cluster);
  unit_header (file, l->version, l->bits, c->size, (uint32_t) l1_size, l1);
  if (l->version == 3)
    put_be64 (file + 72, (l->extended ? 16U : 0U) | (l->data_file ? 4U : 0U));
  if (format)
    at = put_extension (at, 0xe2792aca, format);
  if (l->data_file)
    at = put_extension (at, 0x44415441, data);
  if (backing) {
    at += 8; /* the end of the extensions */
    memcpy (file + at, backing, strlen (backing));
    put_be64 (file + 8, at);
    put_be32 (file + 16, (uint32_t) strlen (backing));
  }
  put_mapping (l, c, l1, l1_size);
  if (l->nr_snapshots > 0)
    put_snapshots (l);
}

static inline void
save (const char *name, const uint8_t *bytes, size_t n)
{
  char path[128];
  int fd;

  snprintf (path, sizeof path, "%s/%s", dir, name);
  fd = open (path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  assert_true (fd >= 0);
  assert_int_equal (write (fd, bytes, n), (ssize_t) n);
  close (fd);
}

static inline void
save_raw (const struct model *l, const char *name)
{
  const struct content *c = &l->active;
  const uint64_t unit = UINT64_C (1) << l->bits;
  char path[128];
  uint64_t offset;
  int fd;

  put_bytes (file, c, 0, c->size);
  save (name, file, l->sparse ? 0 : (size_t) c->size);
  if (!l->sparse)
    return;
  snprintf (path, sizeof path, "%s/%s", dir, name);
  fd = open (path, O_RDWR);
  assert_true (fd >= 0);
  assert_int_equal (ftruncate (fd, (off_t) c->size), 0);
  for (offset = 0; offset < c->size; offset += unit) {
    const uint64_t n = c->size - offset < unit ? c->size - offset : unit;

    if (unit_at (l, c, offset) != '.')
      assert_int_equal (pwrite (fd, file + offset, (size_t) n, (off_t) offset),
                        (ssize_t) n);
  }
  close (fd);
}

/* Write layer number i of n. */
static inline void
save_layer (unsigned i, unsigned n)
{
  const struct model *l = &layers[i], *below = i + 1 < n ? l + 1 : NULL;
  char name[16], backing[16], data[16];

  snprintf (name, sizeof name, "%u", i);
  snprintf (backing, sizeof backing, "%u", i + 1);
  snprintf (data, sizeof data, "%u.data", i);
  file_end = 0;
  if (l->version == 0) {
    save_raw (l, name);
    return;
  }
  if (l->data_file)
    memset (data_file, JUNK, (size_t) l->active.size);
  if (l->version == 1)
    put_v1 (l, below ? backing : NULL);
  else
    put_v2 (l, below ? backing : NULL,
            !below                ? NULL
            : below->version == 0 ? "raw"
            : below->version == 1 ? "qcow"
                                  : "qcow2",
            data);
  save (name, file, (size_t) file_end);
  if (l->data_file)
    save (data, data_file, (size_t) l->active.size);
}

static const struct qcow_hooks silent = { .error = NULL };

/* Write all layers and open the top one. */
static inline struct qcow *
open_chain (unsigned n, uint64_t cache_size, const struct qcow_hooks *hooks)
{
  const char *formats[MAX_LAYERS];
  const char *const allow[] = { "image-dir" };
  char path[128];
  struct qcow_options options;
  unsigned i;

  qcow_options_init (&options);
  options.filename = path;
  options.cache_size = cache_size;
  options.allow = allow;
  options.nr_allow = 1;
  options.backing_formats = formats;
  /* A single one does not count for deeper layers. */
  options.backing_formats_numbered = true;

  for (i = n; i-- > 0;)
    save_layer (i, n);
  for (i = 1; i < n; ++i) {
    formats[i - 1] = layers[i].version == 0 ? "raw" : "qcow";
    /* Version 1 can't record a format, and images are not probed. */
    if (layers[i - 1].version == 1 && layers[i].version != 0)
      options.nr_backing_formats = i;
  }
  snprintf (path, sizeof path, "%s/0", dir);
  return qcow_open (&options, hooks);
}

/* --- The slow reader --- */

/* The expected content of a view. */
struct expected {
  uint64_t size;
  uint8_t *bytes;
  char *looks; /* '0': zeros, 'd': data, 'x': damaged data */
  /* For each byte: the end of its extent, and the next damaged byte. */
  uint32_t *extent_end, *damage;
};

static inline void
slow_byte (unsigned n, const struct content *top, uint64_t offset,
           uint8_t *byte, char *looks)
{
  unsigned i;

  *byte = 0;
  *looks = '0';
  for (i = 0; i < n; ++i) {
    const struct content *c = i == 0 ? top : &layers[i].active;

    /* A layer's end hides everything below it. */
    if (offset >= c->size)
      return;
    switch (unit_at (&layers[i], c, offset)) {
    case 'd':
    case 'c':
      *byte = byte_at (c, offset);
      *looks = 'd';
      return;
    case 'x':
      *looks = 'x';
      return;
    case 'z':
    case 'p':
      return;
    default:
      break;
    }
  }
}

static inline struct expected
expect_view (unsigned n, const struct content *top, uint64_t size)
{
  const size_t room = (size_t) size + 1;
  struct expected e = { .size = size };
  uint64_t i;

  e.bytes = malloc (room);
  e.looks = malloc (room);
  e.extent_end = malloc (room * sizeof e.extent_end[0]);
  e.damage = malloc (room * sizeof e.damage[0]);
  assert_true (e.bytes && e.looks && e.extent_end && e.damage);
  for (i = 0; i < size; ++i)
    slow_byte (n, top, i, &e.bytes[i], &e.looks[i]);
  e.damage[size] = UINT32_MAX;
  for (i = size; i-- > 0;) {
    const bool joins
      = i + 1 < size && (e.looks[i] == '0') == (e.looks[i + 1] == '0');

    e.damage[i] = e.looks[i] == 'x' ? (uint32_t) i : e.damage[i + 1];
    e.extent_end[i] = joins ? e.extent_end[i + 1] : (uint32_t) i + 1;
  }
  return e;
}

static inline void
free_expected (struct expected *e)
{
  free (e->bytes);
  free (e->looks);
  free (e->extent_end);
  free (e->damage);
}

/* --- Comparing --- */

/* Threads call these, too, so they return what is wrong and do not fail. */

static inline const char *
wrong_read (struct qcow_view *v, const struct expected *e, uint8_t *buf,
            uint64_t offset, uint64_t n)
{
  const bool damaged = e->damage[offset] < offset + n;

  memset (buf, JUNK, (size_t) n);
  errno = 0;
  if (qcow_read (v, buf, (uint32_t) n, offset) == -1)
    return !damaged ? "a read fails" : errno != EIO ? "not EIO" : NULL;
  if (damaged)
    return "damage is not noticed";
  return memcmp (buf, e->bytes + offset, (size_t) n) == 0 ? NULL
                                                          : "wrong bytes";
}

struct extents {
  const struct expected *expected;
  uint64_t next, end;
  uint64_t deadline; /* monotonic_ms: then extents may be cut short (qcow.h) */
  unsigned count;
  const char *wrong;
};

static inline int
on_extent (void *opaque, uint64_t offset, uint64_t length,
           enum qcow_extent kind)
{
  struct extents *x = opaque;
  const struct expected *e = x->expected;
  uint64_t end;

  x->count++;
  if (offset != x->next || length == 0 || length > x->end - offset) {
    x->wrong = "a gap or overlap of extents";
    return -1;
  }
  end = e->extent_end[offset] < x->end ? e->extent_end[offset] : x->end;
  x->next = offset + length;
  if ((kind == QCOW_EXTENT_DATA) != (e->looks[offset] != '0')
      || kind == QCOW_EXTENT_ZERO)
    x->wrong = "an extent of the wrong kind";
  else if (x->next < end && monotonic_ms () < x->deadline)
    x->wrong = "extents are not joined";
  else if (x->next > end)
    x->wrong = "an extent is too long";
  return x->wrong ? -1 : 0;
}

static inline const char *
wrong_extents (struct qcow_view *v, const struct expected *e, uint64_t offset,
               uint64_t n, bool one)
{
  struct extents x = { .expected = e,
                       .next = offset,
                       .end = offset + n,
                       .deadline = monotonic_ms () + 1000 };

  if (qcow_extents (v, (uint32_t) n, offset, one, on_extent, &x) == -1)
    return x.wrong ? x.wrong : "no extents";
  if (one)
    return x.count == 1 ? NULL : "not one extent";
  if (x.next != x.end && monotonic_ms () < x.deadline)
    return "extents end early";
  return NULL;
}

static inline const char *
wrong_at_random (struct qcow_view *v, const struct expected *e, uint8_t *buf,
                 uint64_t random)
{
  const uint64_t offset = (random >> 8) % e->size;
  const uint64_t most = e->size - offset;
  /* Any length, but mostly at most 2000. */
  const uint64_t n
    = 1 + (random >> 32) % (most < 2000 || random % 3 == 0 ? most : 2000);

  switch (random % 8) {
  case 0:
    return qcow_prefetch (v, (uint32_t) n, offset) == -1 ? "no prefetch"
                                                         : NULL;
  case 1:
    return wrong_extents (v, e, offset, n, false);
  case 2:
    return wrong_extents (v, e, offset, n, true);
  default:
    return wrong_read (v, e, buf, offset, n);
  }
}

static inline void
describe_chain (char *out, size_t max, unsigned n)
{
  size_t len = 0;
  unsigned i;

  for (i = 0; i < n && len < max; ++i) {
    const struct model *l = &layers[i];

    len += (size_t) snprintf (
      out + len, max - len,
      "\n  version %" PRIu32 " bits %u%s%s size %" PRIu64 " %.80s", l->version,
      l->bits, l->extended ? " extended" : "",
      l->data_file ? " data file" : "", l->active.size, l->active.units);
  }
}

static uint8_t buffer[MAX_SIZE];

static inline void
check_view (unsigned n, struct qcow_view *v, const struct expected *e)
{
  const char *wrong = NULL;
  char chain[2000];
  unsigned i;

  assert_non_null (v);
  assert_int_equal (qcow_view_size (v), e->size);
  if (e->size == 0)
    return;
  wrong = wrong_read (v, e, buffer, 0, e->size);
  if (!wrong)
    wrong = wrong_extents (v, e, 0, e->size, false);
  for (i = 0; !wrong && i < 60; ++i)
    wrong = wrong_at_random (v, e, buffer, random_number ());
  if (wrong) {
    describe_chain (chain, sizeof chain, n);
    fail_msg ("%s:%s", wrong, chain);
  }
}

/* Write, open and compare the active layer of a chain. */
static inline void
check_chain (unsigned n)
{
  const struct content *top = &layers[0].active;
  struct qcow *q = open_chain (n, 1 << 20, &unit_hooks);
  struct expected e = expect_view (n, top, top->size);
  struct qcow_view *v;
  char chain[2000];

  if (q == NULL) {
    describe_chain (chain, sizeof chain, n);
    fail_msg ("%s%s", unit_error_text, chain);
  }
  v = qcow_view_open (q, "");
  check_view (n, v, &e);
  qcow_view_close (v);
  qcow_close (q);
  free_expected (&e);
}

/* --- Making layers --- */

static inline void
set_layer (unsigned i, uint32_t version, unsigned bits, uint64_t size,
           const char *units)
{
  memset (&layers[i], 0, sizeof layers[i]);
  layers[i].version = version;
  layers[i].bits = bits;
  layers[i].l2_bits = 6;
  layers[i].active.size = size;
  layers[i].active.tag = (uint8_t) (i + 1);
  snprintf (layers[i].active.units, sizeof layers[i].active.units, "%s",
            units);
}

static inline uint64_t
nr_units (const struct model *l, uint64_t size)
{
  const uint64_t n = div_up (size, UINT64_C (1) << unit_bits (l));

  assert_true (n <= MAX_UNITS);
  return n;
}

/* The letters that a layer can have. */
static inline const char *
letters (const struct model *l)
{
  if (l->version == 0)
    return "d";
  if (l->version < 3)
    return ".d.c";
  if (l->data_file)
    return ".dz.p";
  return l->extended ? ".dz.pd" : ".dz.cp";
}

/* Runs of random letters; 'nothing' of 8 runs are '.'. */
static inline void
random_units (const struct model *l, struct content *c, unsigned nothing)
{
  const char *from = letters (l);
  const uint64_t n = nr_units (l, c->size);
  uint64_t i = 0;

  while (i < n) {
    const bool none = l->version != 0 && random_number () % 8 < nothing;
    uint64_t run = 1 + random_number () % 6;
    char u = none ? '.' : from[random_number () % strlen (from)];

    /* Sometimes a whole cluster is of one kind. */
    if (l->extended && i % 32 == 0 && random_number () % 4 == 0) {
      run = 32;
      u = l->data_file ? 'd' : 'c';
    }
    for (; run > 0 && i < n; --run)
      c->units[i++] = u;
    /* A compressed cluster has no subclusters. */
    if (u == 'c' && l->extended)
      while (i % 32 != 0)
        c->units[i++] = u;
  }
  c->units[i] = '\0';
}

/* Each ordered pair of letters, side by side. */
static inline void
all_pairs (const struct model *l, struct content *c)
{
  const char *from = letters (l), *a, *b;
  const uint64_t n = nr_units (l, c->size);
  uint64_t i = 0;

  while (i < n)
    for (a = from; *a; ++a)
      for (b = from; *b; ++b) {
        if (i < n)
          c->units[i++] = *a;
        if (i < n)
          c->units[i++] = *b;
      }
  c->units[i] = '\0';
}

struct format {
  uint32_t version;
  unsigned bits, l2_bits;
  bool extended, data_file;
};

static const struct format formats[] = {
  { 0, 12, 0, 0, 0 }, { 1, 9, 6, 0, 0 },  { 1, 12, 9, 0, 0 },
  { 2, 9, 0, 0, 0 },  { 2, 14, 0, 0, 0 }, { 3, 12, 0, 0, 0 },
  { 3, 16, 0, 0, 0 }, { 3, 14, 0, 1, 0 }, { 3, 12, 0, 0, 1 },
  { 3, 14, 0, 1, 1 },
};

enum { FORMATS = sizeof formats / sizeof formats[0] };

static inline struct model *
set_format (unsigned i, const struct format *f, uint64_t size)
{
  set_layer (i, f->version, f->bits, size, "");
  layers[i].l2_bits = f->l2_bits;
  layers[i].extended = f->extended;
  layers[i].data_file = f->data_file;
  return &layers[i];
}

/* --- The files --- */

static inline int
make_dir (void **state)
{
  (void) state;
  snprintf (dir, sizeof dir, "/tmp/qcow-unit.XXXXXX");
  return mkdtemp (dir) ? 0 : -1;
}

static inline int
remove_dir (void **state)
{
  DIR *d = opendir (dir);
  const struct dirent *entry;

  (void) state;
  if (d == NULL)
    return -1;
  while ((entry = readdir (d)) != NULL)
    unlinkat (dirfd (d), entry->d_name, 0);
  closedir (d);
  return rmdir (dir);
}

#endif /* MODEL_H */
