/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The images that tests/mutations.tbl changes.  Each has a few KiB, and
 * follows the tables of qemu's docs/interop/qcow2.rst.  (Version 1 is only
 * defined by qemu's source.)
 */

#ifndef MUTATIONS_IMAGES_H
#define MUTATIONS_IMAGES_H

#include "mutations-base.h"

/* --- Version 2 and 3 --- */

/* Two feature names, one of them unknown, and an unknown extension. */
static void
put_usual_extensions (void)
{
  uint64_t at = put_extension (112, 0x6803f857, 96, "features");

  number (at, 2, 0, "ext.features[0].bit");
  text (at + 2, 46, "dirty bit", NULL, "ext.features[0].name");
  number (at + 48, 2, 63, "ext.features[1].bit");
  text (at + 50, 46, "test feature", NULL, "ext.features[1].name");
  at = put_extension (at + 96, 0x12345678, 8, "unknown");
  number (at + 8, 4, 0, "ext.end.type");
  number (at + 12, 4, 0, "ext.end.length");
}

/* A stream that inflates to far more than a cluster. */
static void
put_bomb (void)
{
  static const uint8_t zeros[1 << 20];
  uint64_t length;
  const uint64_t host = put_stream (zeros, sizeof zeros, &length);

  number (host, 1, b->files[0].bytes[host], "bomb");
}

static struct base *
make_usual (const char *name, uint32_t version)
{
  const struct shape s
    = { .version = version, .bits = 12, .size = 30720, .l1_size = 1 };

  put_qcow2 (name, &s, 1);
  if (version == 3)
    put_usual_extensions ();
  put_clusters (&b->views[0], 0, 0, version == 3 ? "ddczp.dd" : "ddc..dd",
                b->l2, "");
  put_bomb ();
  return b;
}

static struct base *
make_v3 (void)
{
  return make_usual ("v3", 3);
}

static struct base *
make_v2 (void)
{
  return make_usual ("v2", 2);
}

/* The smallest clusters, and two L2 tables. */
static struct base *
make_small (void)
{
  const struct shape s
    = { .version = 3, .bits = 9, .size = 36864, .l1_size = 2 };

  put_qcow2 ("small", &s, 2);
  put_clusters (&b->views[0], 0, 0, "ddczp.dd", b->l2, "");
  put_clusters (&b->views[0], 0, 64, "dcz.pddd", b->l2 + b->cluster, "");
  return b;
}

/* A Zstandard frame of one raw block, with a window of 128 KiB. */
static struct base *
make_zstd (void)
{
  const struct shape s = {
    .version = 3, .bits = 12, .size = 8192, .l1_size = 1, .incompatible = 8
  };
  uint64_t host;

  put_qcow2 ("zstd", &s, 1);
  put_clusters (&b->views[0], 0, 0, "d", b->l2, "");
  host = place (4 + 2 + 3 + 4096, 1);
  put (b->files[0].bytes + host, 4, 0x28b52ffd);
  number (host, 1, 0x28, "stream[1]");
  number (host + 4, 1, 0, "stream[1].descriptor");
  number (host + 5, 1, 0x38, "stream[1].window");
  /* Little-endian: the last block, raw, 4096 bytes. */
  number (host + 6, 3, 0x018000, "stream[1].block");
  fill (b->files[0].bytes + host + 9, 0, 4096, 4096);
  expect_unit (&b->views[0], 0, 1, 'c');
  number (b->l2 + 8, 8, stream_entry (host, 4105), "l2[1]");
  return b;
}

/* A table whose entries span 4 TiB. */
static struct base *
make_huge (void)
{
  const struct shape s
    = { .version = 3, .bits = 16, .size = 4 << 16, .l1_size = 8192 };

  put_qcow2 ("huge", &s, 1);
  put_clusters (&b->views[0], 0, 0, "d.d.", b->l2, "");
  return b;
}

/* Three clusters with subclusters of 512 bytes: one with data, zeros and
 * nothing; a compressed one; and one with zeros and no host cluster.
 */
static struct base *
make_ext (void)
{
  const struct shape s = {
    .version = 3, .bits = 14, .size = 3 << 14, .l1_size = 1, .incompatible = 16
  };
  const uint32_t data = 0x0000ffff, zeros = 0x00ff0000, far = 0xff;
  uint64_t host, length;
  unsigned i;

  put_qcow2 ("ext", &s, 1);
  host = place (b->cluster, b->cluster);
  memset (b->files[0].bytes + host, JUNK, (size_t) b->cluster);
  put_data (b->files[0].bytes + host, 0, 0, host, 16 * b->unit);
  for (i = 0; i < 16; ++i)
    expect_unit (&b->views[0], 0, i, 'd');
  name_bytes ('d', host, "", 0);
  number (b->l2, 8, COPIED | host, "l2[0]");
  number (b->l2 + 8, 8, (uint64_t) zeros << 32 | data, "l2[0].bitmap");
  host = put_compressed (0, b->cluster, &length);
  for (i = 32; i < 64; ++i)
    expect_unit (&b->views[0], 0, i, 'c');
  number (b->l2 + 16, 8, stream_entry (host, length), "l2[1]");
  number (b->l2 + 24, 8, 0, "l2[1].bitmap");
  number (b->l2 + 32, 8, 0, "l2[2]");
  number (b->l2 + 40, 8, (uint64_t) far << 32, "l2[2].bitmap");
  return b;
}

/* --- Other files --- */

/* An image with a backing file.  'format' is the recorded format, or NULL.
 * 'allow' is the value of allow=, or NULL.  'inner' is NULL if the backing
 * file is raw; else it is an image, which names the backing file 'inner'
 * unless that is "".
 */
static struct base *
make_overlay (const char *name, const char *format, const char *allow,
              const char *inner)
{
  const struct shape s
    = { .version = 3, .bits = 12, .size = 30720, .l1_size = 1 };
  unsigned i;

  put_qcow2 (name, &s, 1);
  b->allow = allow;
  if (format) {
    put_extension (112, 0xe2792aca, 0, "backing_format");
    text (120, 100, format, "ext.backing_format.length", "ext.backing_format");
  }
  set_number ("header.backing_file_offset", 1024);
  text (1024, 1100, "base.raw", "header.backing_file_size", "backing_file");
  add_file ("base.raw", "base", 30720);
  if (inner == NULL)
    fill (b->files[1].bytes, 1, 0, 30720);
  else {
    struct base *image = b;

    put_qcow2 ("inner", &s, 1);
    if (inner[0] != '\0') {
      set_number ("header.backing_file_offset", 1024);
      text (1024, 1100, inner, "header.backing_file_size", "backing_file");
    }
    memcpy (image->files[1].bytes, b->files[0].bytes,
            (size_t) b->files[0].size);
    free (b->files[0].bytes);
    free (b->views[0].bytes);
    free (b);
    b = image;
  }
  if (format == NULL || strcmp (format, "raw") == 0)
    for (i = 0; i < 8; ++i)
      memcpy (b->views[0].bytes + i * b->unit, b->files[1].bytes + i * b->unit,
              (size_t) (i < 7 ? b->unit : b->unit / 2));
  put_clusters (&b->views[0], 0, 0, "d.czp..d", b->l2, "");
  return b;
}

static struct base *
make_overlay_allowed (void)
{
  return make_overlay ("overlay", "raw", "image-dir", NULL);
}

static struct base *
make_overlay_alone (void)
{
  return make_overlay ("overlay-alone", "raw", NULL, NULL);
}

static struct base *
make_overlay_unrecorded (void)
{
  return make_overlay ("overlay-unrecorded", NULL, "image-dir", NULL);
}

static struct base *
make_overlay_qcow (void)
{
  return make_overlay ("overlay-qcow", "qcow2", "image-dir", "");
}

/* A guest wrote an image header to its raw disk. */
static struct base *
make_overlay_trick (void)
{
  return make_overlay ("overlay-trick", "raw", "image-dir", "/etc/passwd");
}

static struct base *
make_data (const char *name, const char *allow)
{
  const struct shape s = {
    .version = 3, .bits = 12, .size = 20480, .l1_size = 1, .incompatible = 4
  };
  static const char letters[] = "dd.zd";
  uint64_t i, host;

  put_qcow2 (name, &s, 1);
  b->allow = allow;
  put_extension (112, 0x44415441, 8, "data_file");
  text (120, 512, "data.raw", "ext.data_file.length", "ext.data_file");
  add_file ("data.raw", "data", 20480);
  memset (b->files[1].bytes, JUNK, 20480);
  for (i = 0; letters[i] != '\0'; ++i) {
    if (letters[i] == 'd')
      fill (b->files[1].bytes + i * b->cluster, 0, i * b->cluster, b->cluster);
    number (b->l2 + 8 * i, 8,
            letters[i] == 'd'   ? COPIED | i * b->cluster
            : letters[i] == 'z' ? 1
                                : 0,
            "l2[%" PRIu64 "]", i);
    expect_unit (&b->views[0], 0, i, letters[i]);
  }
  /* The same stream at the same place in both files. */
  place (b->cluster, 1);
  put_bomb ();
  host = find_field (b, "bomb")->offset;
  memcpy (b->files[1].bytes + host, b->files[0].bytes + host,
          (size_t) (b->files[0].size - host));
  b->files[1].size = b->files[0].size;
  return b;
}

static struct base *
make_data_allowed (void)
{
  return make_data ("data", "image-dir");
}

static struct base *
make_data_alone (void)
{
  return make_data ("data-alone", NULL);
}

/* --- Snapshots --- */

static uint64_t
put_snapshot (uint64_t at, unsigned n, uint64_t l1, const char *id,
              const char *name)
{
  char field[40];

  number (at, 8, l1, "snapshot[%u].l1_table_offset", n);
  number (at + 8, 4, 1, "snapshot[%u].l1_size", n);
  number (at + 12, 2, 1, "snapshot[%u].id_length", n);
  number (at + 14, 2, 3, "snapshot[%u].name_length", n);
  number (at + 16, 4, 1700000000, "snapshot[%u].date_seconds", n);
  number (at + 20, 4, 0, "snapshot[%u].date_nanoseconds", n);
  number (at + 24, 8, 0, "snapshot[%u].vm_clock", n);
  number (at + 32, 4, 0, "snapshot[%u].vm_state_size", n);
  number (at + 36, 4, 16, "snapshot[%u].extra_length", n);
  number (at + 40, 8, 0, "snapshot[%u].vm_state_size_64", n);
  number (at + 48, 8, 30720, "snapshot[%u].disk_size", n);
  snprintf (field, sizeof field, "snapshot[%u].id", n);
  text (at + 56, 1, id, NULL, field);
  snprintf (field, sizeof field, "snapshot[%u].name", n);
  text (at + 57, 3, name, NULL, field);
  return at + 64;
}

/* Two snapshots with different content. */
static struct base *
make_snapshots_of (const char *name)
{
  const struct shape s
    = { .version = 3, .bits = 12, .size = 30720, .l1_size = 1 };
  static const char *const names[] = { "mon", "tue" };
  static const char *const ids[] = { "1", "2" };
  static const char *const letters[] = { "d.cz.dd.", ".dd.zdpd" };
  uint64_t l1[2], at;
  unsigned i;

  put_qcow2 (name, &s, 1);
  for (i = 0; i < 2; ++i) {
    char prefix[16];
    struct disk_view *v;
    uint64_t l2;

    l1[i] = place (b->cluster, b->cluster);
    l2 = place (b->cluster, b->cluster);
    snprintf (prefix, sizeof prefix, "%s.", names[i]);
    number (l1[i], 8, COPIED | l2, "%s.l1[0]", names[i]);
    v = add_view (names[i]);
    put_clusters (v, i + 1, 0, letters[i], l2, prefix);
  }
  put_clusters (&b->views[0], 0, 0, "ddczp.dd", b->l2, "");
  at = place (128, b->cluster);
  set_number ("header.nb_snapshots", 2);
  set_number ("header.snapshots_offset", at);
  for (i = 0; i < 2; ++i)
    at = put_snapshot (at, i, l1[i], ids[i], names[i]);
  return b;
}

static struct base *
make_snapshots (void)
{
  return make_snapshots_of ("snapshots");
}

/* The file ends with a hole, which has room for large tables. */
static struct base *
make_snapshots_long (void)
{
  make_snapshots_of ("snapshots-long")->files[0].size = 80 << 20;
  return b;
}

/* --- Bitmaps --- */

static uint64_t
put_bitmap (uint64_t at, unsigned n, uint64_t table, const char *name)
{
  char field[40];

  number (at, 8, table, "bitmap[%u].table_offset", n);
  number (at + 8, 4, 1, "bitmap[%u].table_size", n);
  number (at + 12, 4, 2, "bitmap[%u].flags", n);
  number (at + 16, 1, 1, "bitmap[%u].type", n);
  number (at + 17, 1, 12, "bitmap[%u].granularity_bits", n);
  number (at + 18, 2, 2, "bitmap[%u].name_length", n);
  number (at + 20, 4, 0, "bitmap[%u].extra_length", n);
  snprintf (field, sizeof field, "bitmap[%u].name", n);
  text (at + 24, 2, name, NULL, field);
  return at + 32;
}

/* Two bitmaps: one with stored bits, and a full one. */
static struct base *
make_bitmaps_of (const char *name)
{
  const struct shape s = {
    .version = 3, .bits = 12, .size = 30720, .l1_size = 1, .autoclear = 1
  };
  const uint8_t bits = 0xa6;
  uint64_t at, table[2], host;
  unsigned i;

  put_qcow2 (name, &s, 1);
  put_clusters (&b->views[0], 0, 0, "ddczp.dd", b->l2, "");
  at = put_extension (112, 0x23852875, 24, "bitmaps");
  for (i = 0; i < 2; ++i)
    add_view (i == 0 ? "bitmap:b0" : "bitmap:b1")->is_bitmap = true;
  for (i = 0; i < 8; ++i)
    b->views[1].clean[i] = !(bits >> i & 1);
  table[0] = place (b->cluster, b->cluster);
  host = place (b->cluster, b->cluster);
  number (host, 1, bits, "bitmap[0].bits");
  number (table[0], 8, host, "bitmap[0].table[0]");
  host = place (64, b->cluster);
  number (at, 4, 2, "ext.bitmaps.nb_bitmaps");
  number (at + 4, 4, 0, "ext.bitmaps.reserved");
  number (at + 8, 8, 64, "ext.bitmaps.directory_size");
  number (at + 16, 8, host, "ext.bitmaps.directory_offset");
  table[1] = place (8, b->cluster);
  number (table[1], 8, 1, "bitmap[1].table[0]");
  host = put_bitmap (host, 0, table[0], "b0");
  put_bitmap (host, 1, table[1], "b1");
  return b;
}

static struct base *
make_bitmaps (void)
{
  return make_bitmaps_of ("bitmaps");
}

static struct base *
make_bitmaps_long (void)
{
  make_bitmaps_of ("bitmaps-long")->files[0].size = 80 << 20;
  return b;
}

/* --- Encryption --- */

static struct base *
make_aes (void)
{
  const struct shape s = {
    .version = 3, .bits = 12, .size = 16384, .l1_size = 1, .crypt_method = 1
  };
  uint8_t key[16] = "tiger";

  put_qcow2 ("aes", &s, 1);
  b->passphrase = "tiger";
  b->iv_of_guest = true;
  b->cipher = new_cipher (key);
  put_clusters (&b->views[0], 0, 0, "dzcd", b->l2, "");
  return b;
}

enum {
  LUKS_KEY = 16,
  LUKS_ROOM = 65536, /* 4000 stripes of a key, rounded up to 4096 */
  LUKS_ITERATIONS = 1000,
};

static void
derive (const void *secret, size_t n, const uint8_t salt[32], uint8_t *out,
        size_t length)
{
  assert_int_equal (gcry_kdf_derive (secret, n, GCRY_KDF_PBKDF2,
                                     GCRY_MD_SHA256, salt, 32, LUKS_ITERATIONS,
                                     length, out),
                    0);
}

/* Split a key into 4000 stripes.  All but the last have arbitrary bytes (LUKS
 * specification, AFsplit).  SHA-256 is longer than the key.
 */
static void
split_key (const uint8_t key[LUKS_KEY], uint8_t *stripes)
{
  uint8_t block[LUKS_KEY] = { 0 }, in[4 + LUKS_KEY] = { 0 }, hash[32];
  unsigned i, j;

  fill (stripes, 5, 0, 4000 * LUKS_KEY);
  for (i = 0; i < 3999; ++i) {
    for (j = 0; j < LUKS_KEY; ++j)
      in[4 + j] = block[j] ^ stripes[i * LUKS_KEY + j];
    gcry_md_hash_buffer (GCRY_MD_SHA256, hash, in, sizeof in);
    memcpy (block, hash, LUKS_KEY);
  }
  for (j = 0; j < LUKS_KEY; ++j)
    stripes[3999 * LUKS_KEY + j] = block[j] ^ key[j];
}

/* Write the header and the material of slot 0.  The other slots are not in
 * use, and the file ends before their material.
 */
static void
put_luks (uint64_t at, const uint8_t key[LUKS_KEY])
{
  uint8_t *p = b->files[0].bytes + at;
  uint8_t salt[32], slot_key[LUKS_KEY], digest[20];
  gcry_cipher_hd_t cipher;
  uint64_t i;

  memcpy (p, "LUKS\xba\xbe", 6);
  number (at, 6, get (p, 6), "luks.magic");
  number (at + 6, 2, 1, "luks.version");
  text (at + 8, 32, "aes", NULL, "luks.cipher_name");
  text (at + 40, 32, "cbc-plain64", NULL, "luks.cipher_mode");
  text (at + 72, 32, "sha256", NULL, "luks.hash_spec");
  number (at + 104, 4, (4096 + 8 * LUKS_ROOM) / 512, "luks.payload_offset");
  number (at + 108, 4, LUKS_KEY, "luks.key_bytes");
  fill (salt, 4, 0, 32);
  memcpy (p + 132, salt, 32);
  derive (key, LUKS_KEY, salt, digest, 20);
  number (at + 112, 4, get (digest, 4), "luks.mk_digest");
  memcpy (p + 112, digest, 20);
  number (at + 132, 4, get (salt, 4), "luks.mk_digest_salt");
  number (at + 164, 4, LUKS_ITERATIONS, "luks.mk_digest_iterations");
  text (at + 168, 40, "00000000-0000-4000-8000-000000000000", NULL,
        "luks.uuid");
  for (i = 0; i < 8; ++i) {
    const uint64_t slot = at + 208 + 48 * i;

    number (slot, 4, i == 0 ? 0x00ac71f3 : 0x0000dead,
            "luks.slot[%" PRIu64 "].state", i);
    number (slot + 4, 4, i == 0 ? LUKS_ITERATIONS : 0,
            "luks.slot[%" PRIu64 "].iterations", i);
    memcpy (p + 208 + 48 * i + 8, salt, 32);
    number (slot + 8, 4, get (salt, 4), "luks.slot[%" PRIu64 "].salt", i);
    number (slot + 40, 4, (4096 + i * LUKS_ROOM) / 512,
            "luks.slot[%" PRIu64 "].offset", i);
    number (slot + 44, 4, 4000, "luks.slot[%" PRIu64 "].stripes", i);
  }
  derive ("tiger", 5, salt, slot_key, LUKS_KEY);
  split_key (key, p + 4096);
  cipher = new_cipher (slot_key);
  for (i = 0; i < 4000 * LUKS_KEY / 512; ++i)
    encrypt_sector (cipher, p + 4096 + 512 * i, i);
  gcry_cipher_close (cipher);
  number (at + 4096, 4, get (p + 4096, 4), "luks.slot[0].material");
}

static struct base *
make_luks (void)
{
  const struct shape s = {
    .version = 3, .bits = 12, .size = 16384, .l1_size = 1, .crypt_method = 2
  };
  uint8_t key[LUKS_KEY];
  uint64_t at, host;

  put_qcow2 ("luks", &s, 1);
  b->passphrase = "tiger";
  fill (key, 3, 0, sizeof key);
  b->cipher = new_cipher (key);
  put_clusters (&b->views[0], 0, 0, "dzcd", b->l2, "");
  at = put_extension (112, 0x0537be77, 16, "luks");
  host = place (4096 + LUKS_ROOM, b->cluster);
  number (at, 8, host, "ext.luks.header_offset");
  number (at + 8, 8, 4096 + 8 * LUKS_ROOM, "ext.luks.header_length");
  put_luks (host, key);
  return b;
}

/* --- Version 1 --- */

/* Two L2 tables of 64 entries.  'backing' is the name of a backing file, after
 * the header, or NULL.
 */
static struct base *
make_version_1 (const char *name, const char *backing, const char *allow)
{
  const uint64_t size = 72 * 512;
  uint64_t l2;
  unsigned i;

  new_base (name, "qcow", 512, 512, size);
  b->allow = allow;
  b->per_table = 64;
  b->l1 = 128;
  place (512, 1);
  number (0, 4, 0x514649fb, "v1.magic");
  number (4, 4, 1, "v1.version");
  number (8, 8, backing ? 48 : 0, "v1.backing_file_offset");
  number (16, 4, backing ? 8 : 0, "v1.backing_file_size");
  number (20, 4, 0, "v1.mtime");
  number (24, 8, size, "v1.size");
  number (32, 1, 9, "v1.cluster_bits");
  number (33, 1, 6, "v1.l2_bits");
  number (34, 2, 0, "v1.padding");
  number (36, 4, 0, "v1.crypt_method");
  number (40, 8, b->l1, "v1.l1_table_offset");
  if (backing) {
    text (48, 64, backing, "v1.backing_file_size", "v1.backing_file");
    add_file ("base.raw", "base", size);
    fill (b->files[1].bytes, 1, 0, size);
    memcpy (b->views[0].bytes, b->files[1].bytes, size);
  }
  for (i = 0; i < 2; ++i) {
    static const char letters[2][9] = { "ddcd..dd", "dcd.ddcd" };
    unsigned j;

    l2 = place (512, 512);
    number (b->l1 + 8 * i, 8, l2, "l1[%u]", i);
    for (j = 0; j < 8; ++j) {
      const unsigned n = 64 * i + j;
      const char letter = letters[i][j];
      uint64_t entry = 0, length = 0;

      if (letter == 'c') {
        entry = put_compressed (0, n * 512, &length);
      }
      else if (letter == 'd') {
        entry = place (512, 512);
        fill (b->files[0].bytes + entry, 0, n * 512, 512);
      }
      assert_true (length < 512);
      name_bytes (letter, entry, "", n);
      number (l2 + 8 * j, 8,
              letter == 'c' ? COPIED | length << 54 | entry : entry, "l2[%u]",
              n);
      expect_unit (&b->views[0], 0, n, letter);
    }
  }
  return b;
}

static struct base *
make_v1 (void)
{
  return make_version_1 ("v1", NULL, NULL);
}

static struct base *
make_v1_overlay (void)
{
  return make_version_1 ("v1-overlay", "base.raw", "image-dir");
}

static struct base *
make_v1_alone (void)
{
  return make_version_1 ("v1-alone", "base.raw", NULL);
}

static struct base *(*const makers[]) (void) = {
  make_v3,
  make_v2,
  make_small,
  make_zstd,
  make_huge,
  make_ext,
  make_overlay_allowed,
  make_overlay_alone,
  make_overlay_unrecorded,
  make_overlay_qcow,
  make_overlay_trick,
  make_data_allowed,
  make_data_alone,
  make_snapshots,
  make_snapshots_long,
  make_bitmaps,
  make_bitmaps_long,
  make_aes,
  make_luks,
  make_v1,
  make_v1_overlay,
  make_v1_alone,
};

enum { NR_BASES = sizeof makers / sizeof makers[0] };

#endif /* MUTATIONS_IMAGES_H */
