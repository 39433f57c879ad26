/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How to write the images that tests/mutations.tbl changes: byte by byte, with
 * a name for each field and the expected content of each view.
 *
 * One letter for each unit describes a disk.  A unit is a cluster, or a
 * subcluster if the L2 entries are extended.
 *   d  data
 *   c  compressed
 *   z  zeros
 *   p  zeros, with a place in the file that holds other bytes
 *   .  nothing: zeros, or the backing file
 *
 * The units of disk D hold the bytes of content_byte (D, ...).  Disks are
 * numbered so that no two of them have the same bytes anywhere.
 */

#ifndef MUTATIONS_BASE_H
#define MUTATIONS_BASE_H

#include <gcrypt.h>
#include <zlib.h>

#include "unit.h"

enum {
  MAX_FILE = 1 << 20,
  MAX_VIEW = 1 << 19, /* the part of a disk that holds data */
  MAX_UNITS = 128,    /* checked units */
  MAX_FIELDS = 320,
  MAX_FILES = 2,
  MAX_VIEWS = 3,
  JUNK = 0xee, /* in bytes that must not be read */
};

#define COPIED (UINT64_C (1) << 63)
#define COMPRESSED (UINT64_C (1) << 62)

enum { WIDTH_TEXT = 0, WIDTH_FILE_LENGTH = 99 };

struct field {
  char name[40];
  unsigned file;
  uint64_t offset;
  unsigned width; /* bytes of a big-endian number, or one of the above */
  /* For a text: its longest length, and the field with its length.  Without
   * that field, a NUL ends the text if there is room.
   */
  uint64_t room;
  const struct field *length;
};

struct disk_view {
  const char *name; /* of the export */
  uint64_t size;
  uint8_t *bytes; /* MAX_VIEW */
  bool is_bitmap;
  bool clean[MAX_UNITS]; /* for a bitmap: unchanged units */
};

struct file_image {
  const char *name;
  uint8_t *bytes; /* MAX_FILE; zeros follow */
  uint64_t size;
};

struct base {
  const char *name;
  const char *driver; /* qemu's */
  const char *allow;  /* the value of allow=; NULL: none */
  const char *passphrase;
  uint64_t cluster, unit;
  unsigned per_table;
  uint64_t l1, l2;
  struct file_image files[MAX_FILES]; /* the first is the image */
  unsigned nr_files;
  struct field fields[MAX_FIELDS];
  unsigned nr_fields;
  struct disk_view views[MAX_VIEWS]; /* the first is the active layer */
  unsigned nr_views;
  gcry_cipher_hd_t cipher; /* NULL: not encrypted */
  bool iv_of_guest;        /* AES before LUKS */
};

/* The base that is being made. */
static struct base *b;

/* 16 different bytes, none of them 0: compresses to about half the size. */
static uint8_t
content_byte (unsigned disk, uint64_t offset)
{
  uint64_t x = (offset + 1) * UINT64_C (0x9e3779b97f4a7c15) ^ disk;

  x ^= x >> 29;
  x *= UINT64_C (0xbf58476d1ce4e5b9);
  x ^= x >> 32;
  return (uint8_t) (0x10 + disk * 0x20 + (x & 15));
}

static void
fill (uint8_t *p, unsigned disk, uint64_t offset, uint64_t n)
{
  uint64_t i;

  for (i = 0; i < n; ++i)
    p[i] = content_byte (disk, offset + i);
}

/* --- Fields --- */

static void
put (uint8_t *p, unsigned width, uint64_t value)
{
  unsigned i;

  for (i = 0; i < width; ++i)
    p[i] = (uint8_t) (value >> 8 * (width - 1 - i));
}

static uint64_t
get (const uint8_t *p, unsigned width)
{
  uint64_t value = 0;
  unsigned i;

  for (i = 0; i < width; ++i)
    value = value << 8 | p[i];
  return value;
}

static struct field *
new_field (unsigned width, uint64_t offset)
{
  struct field *f = &b->fields[b->nr_fields++];

  assert_true (b->nr_fields <= MAX_FIELDS);
  *f = (struct field){ .width = width, .offset = offset };
  return f;
}

/* Write a number to the image, and name it. */
static void __attribute__ ((format (printf, 4, 5)))
number (uint64_t offset, unsigned width, uint64_t value, const char *name, ...)
{
  struct field *f = new_field (width, offset);
  va_list args;

  va_start (args, name);
  vsnprintf (f->name, sizeof f->name, name, args);
  va_end (args);
  put (b->files[0].bytes + offset, width, value);
}

static const struct field *
find_field (const struct base *base, const char *name)
{
  unsigned i;

  for (i = 0; i < base->nr_fields; ++i)
    if (strcmp (base->fields[i].name, name) == 0)
      return &base->fields[i];
  return NULL;
}

/* Change the value of an existing field. */
static void
set_number (const char *name, uint64_t value)
{
  const struct field *f = find_field (b, name);

  assert_non_null (f);
  put (b->files[0].bytes + f->offset, f->width, value);
}

/* Write a text, and name it.  'length' is the field with its length, or NULL.
 */
static void
text (uint64_t offset, uint64_t room, const char *value, const char *length,
      const char *name)
{
  struct field *f = new_field (WIDTH_TEXT, offset);

  snprintf (f->name, sizeof f->name, "%s", name);
  f->room = room;
  memcpy (b->files[0].bytes + offset, value, strlen (value));
  if (length) {
    f->length = find_field (b, length);
    assert_non_null (f->length);
    set_number (length, strlen (value));
  }
}

/* --- Files, views --- */

static struct base *
new_base (const char *name, const char *driver, uint64_t cluster,
          uint64_t unit, uint64_t size)
{
  struct field *f;

  b = calloc (1, sizeof *b);
  assert_non_null (b);
  b->name = name;
  b->driver = driver;
  b->cluster = cluster;
  b->unit = unit;
  b->nr_files = b->nr_views = 1;
  b->files[0].name = "image";
  b->files[0].bytes = calloc (1, MAX_FILE);
  b->views[0] = (struct disk_view){ .name = "", .size = size };
  b->views[0].bytes = calloc (1, MAX_VIEW);
  assert_non_null (b->files[0].bytes);
  assert_non_null (b->views[0].bytes);
  f = new_field (WIDTH_FILE_LENGTH, 0);
  strcpy (f->name, "file.length");
  return b;
}

/* Add another file, with a disk of its own. */
static void
add_file (const char *name, const char *field, uint64_t size)
{
  struct file_image *file = &b->files[b->nr_files];
  struct field *f;

  file->name = name;
  file->size = size;
  file->bytes = calloc (1, MAX_FILE);
  assert_non_null (file->bytes);
  f = new_field (4, 0);
  f->file = b->nr_files;
  snprintf (f->name, sizeof f->name, "%s.magic", field);
  f = new_field (WIDTH_FILE_LENGTH, 0);
  f->file = b->nr_files;
  snprintf (f->name, sizeof f->name, "%s.length", field);
  b->nr_files++;
}

static struct disk_view *
add_view (const char *name)
{
  struct disk_view *v = &b->views[b->nr_views++];

  assert_true (b->nr_views <= MAX_VIEWS);
  *v = b->views[0];
  v->name = name;
  v->bytes = calloc (1, MAX_VIEW);
  assert_non_null (v->bytes);
  memcpy (v->bytes, b->views[0].bytes, MAX_VIEW);
  return v;
}

/* Allocate space at the end of the file. */
static uint64_t
place (uint64_t bytes, uint64_t alignment)
{
  struct file_image *f = &b->files[0];
  const uint64_t start = (f->size + alignment - 1) / alignment * alignment;

  assert_true (start + bytes <= MAX_FILE);
  f->size = start + bytes;
  return start;
}

/* --- Clusters --- */

/* Encrypt 512 bytes.  The IV is the sector number: 64 bits, little-endian. */
static void
encrypt_sector (gcry_cipher_hd_t cipher, uint8_t *p, uint64_t sector)
{
  uint8_t iv[16] = { 0 };
  unsigned i;

  for (i = 0; i < 8; ++i)
    iv[i] = (uint8_t) (sector >> 8 * i);
  assert_int_equal (gcry_cipher_reset (cipher), 0);
  assert_int_equal (gcry_cipher_setiv (cipher, iv, sizeof iv), 0);
  assert_int_equal (gcry_cipher_encrypt (cipher, p, 512, NULL, 0), 0);
}

static gcry_cipher_hd_t
new_cipher (const uint8_t key[16])
{
  gcry_cipher_hd_t cipher;

  assert_int_equal (
    gcry_cipher_open (&cipher, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_CBC, 0),
    0);
  assert_int_equal (gcry_cipher_setkey (cipher, key, 16), 0);
  return cipher;
}

/* Write 'n' bytes of data for guest offset 'guest' to p, which is at 'host'.
 */
static void
put_data (uint8_t *p, unsigned disk, uint64_t guest, uint64_t host, uint64_t n)
{
  uint64_t i;

  fill (p, disk, guest, n);
  for (i = 0; b->cipher && i < n; i += 512)
    encrypt_sector (b->cipher, p + i,
                    (b->iv_of_guest ? guest + i : host + i) / 512);
}

/* Write a raw deflate stream of n bytes at the end of the file.  Returns its
 * offset; *length is its length.
 */
static uint64_t
put_stream (const uint8_t *plain, uint64_t n, uint64_t *length)
{
  static uint8_t packed[1 << 18];
  z_stream z = { 0 };
  uint64_t host;

  assert_int_equal (
    deflateInit2 (&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = (uint8_t *) (uintptr_t) plain;
  z.avail_in = (uInt) n;
  z.next_out = packed;
  z.avail_out = sizeof packed;
  assert_int_equal (deflate (&z, Z_FINISH), Z_STREAM_END);
  *length = z.total_out;
  deflateEnd (&z);
  host = place (*length, 1);
  memcpy (b->files[0].bytes + host, packed, (size_t) *length);
  return host;
}

/* The L2 entry of a compressed cluster in version 2 and 3. */
static uint64_t
stream_entry (uint64_t host, uint64_t length)
{
  const unsigned shift = 62 - ((unsigned) __builtin_ctzll (b->cluster) - 8);

  return COMPRESSED | (((host + length - 1) >> 9) - (host >> 9)) << shift
         | host;
}

static uint64_t
put_compressed (unsigned disk, uint64_t guest, uint64_t *length)
{
  static uint8_t plain[1 << 16];

  assert_true (b->cluster <= sizeof plain);
  fill (plain, disk, guest, b->cluster);
  return put_stream (plain, b->cluster, length);
}

/* Write the cluster for a letter.  Returns its L2 entry. */
static uint64_t
put_cluster (char letter, unsigned disk, uint64_t guest)
{
  uint64_t host, length;

  switch (letter) {
  case 'd':
    host = place (b->cluster, b->cluster);
    put_data (b->files[0].bytes + host, disk, guest, host, b->cluster);
    return COPIED | host;
  case 'c':
    place (0x225, 1); /* not aligned to a sector */
    host = put_compressed (disk, guest, &length);
    return stream_entry (host, length);
  case 'p':
    host = place (b->cluster, b->cluster);
    memset (b->files[0].bytes + host, JUNK, (size_t) b->cluster);
    return COPIED | host | 1;
  case 'z':
    return 1;
  default:
    return 0;
  }
}

/* Set the expected bytes of a unit. */
static void
expect_unit (struct disk_view *v, unsigned disk, uint64_t index, char letter)
{
  if (letter == 'd' || letter == 'c')
    fill (v->bytes + index * b->unit, disk, index * b->unit, b->unit);
  else if (letter == 'z' || letter == 'p')
    memset (v->bytes + index * b->unit, 0, (size_t) b->unit);
}

/* Name the first stored byte of a unit. */
static void
name_bytes (char letter, uint64_t host, const char *prefix, uint64_t index)
{
  if (letter == 'd' || letter == 'c')
    number (host, 1, b->files[0].bytes[host], "%s%s[%" PRIu64 "]", prefix,
            letter == 'c' ? "stream" : "data", index);
}

/* Write the clusters from 'first' on, whose entries are in one table at 'l2'.
 */
static void
put_clusters (struct disk_view *v, unsigned disk, uint64_t first,
              const char *letters, uint64_t l2, const char *prefix)
{
  uint64_t i;

  for (i = 0; letters[i] != '\0'; ++i) {
    const uint64_t index = first + i;
    const uint64_t entry = put_cluster (letters[i], disk, index * b->cluster);

    number (l2 + 8 * (index % b->per_table), 8, entry, "%sl2[%" PRIu64 "]",
            prefix, index);
    name_bytes (letters[i], entry & 0xffffff, prefix, index);
    expect_unit (v, disk, index, letters[i]);
  }
}

/* --- Version 2 and 3 --- */

struct shape {
  uint32_t version;
  unsigned bits;
  uint64_t size;
  uint32_t l1_size;
  uint64_t incompatible, autoclear;
  uint32_t crypt_method;
};

/* Write a header, a refcount table, an L1 table, and 'tables' L2 tables, one
 * cluster each.
 */
static void
put_qcow2 (const char *name, const struct shape *s, unsigned tables)
{
  const bool extended = s->incompatible & 16;
  const uint64_t cluster = UINT64_C (1) << s->bits;
  unsigned i;

  new_base (name, "qcow2", cluster, extended ? cluster / 32 : cluster,
            s->size);
  b->per_table = (unsigned) cluster / (extended ? 16 : 8);
  place ((3 + tables) * cluster, 1);
  b->l1 = 2 * cluster;
  b->l2 = 3 * cluster;
  number (0, 4, 0x514649fb, "header.magic");
  number (4, 4, s->version, "header.version");
  number (8, 8, 0, "header.backing_file_offset");
  number (16, 4, 0, "header.backing_file_size");
  number (20, 4, s->bits, "header.cluster_bits");
  number (24, 8, s->size, "header.size");
  number (32, 4, s->crypt_method, "header.crypt_method");
  number (36, 4, s->l1_size, "header.l1_size");
  number (40, 8, b->l1, "header.l1_table_offset");
  number (48, 8, cluster, "header.refcount_table_offset");
  number (56, 4, 1, "header.refcount_table_clusters");
  number (60, 4, 0, "header.nb_snapshots");
  number (64, 8, 0, "header.snapshots_offset");
  number (72, 8, s->incompatible, "header.incompatible_features");
  number (80, 8, 0, "header.compatible_features");
  number (88, 8, s->autoclear, "header.autoclear_features");
  if (s->version == 3) {
    number (96, 4, 4, "header.refcount_order");
    number (100, 4, 112, "header.header_length");
    number (104, 1, s->incompatible >> 3 & 1, "header.compression_type");
    number (105, 7, 0, "header.padding");
  }
  text (0, 64, "", NULL, "file.start");
  number (cluster, 8, 0, "refcount_table[0]");
  for (i = 0; i < tables; ++i)
    number (b->l1 + 8 * i, 8, COPIED | (b->l2 + i * cluster), "l1[%u]", i);
}

/* Write the type and length of a header extension.  Returns the offset of its
 * data.
 */
static uint64_t
put_extension (uint64_t at, uint32_t type, uint32_t length, const char *name)
{
  number (at, 4, type, "ext.%s.type", name);
  number (at + 4, 4, length, "ext.%s.length", name);
  return at + 8;
}

#endif /* MUTATIONS_BASE_H */
