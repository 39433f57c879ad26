/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Threads read, prefetch and map one image through a cache that is far too
 * small, and compare every byte.  This is for the thread sanitizer, too.
 *
 * The image has 4 KiB clusters of all kinds.  The content of a cluster follows
 * from its number, so the expected bytes need no second reader.  The test runs
 * again with encrypted clusters (AES, which is the simplest to write).
 */

#include <gcrypt.h>
#include <pthread.h>
#include <zlib.h>

#include "tests/unit/unit.h"

enum {
  BITS = 12,
  CLUSTER = 1 << BITS,
  PER_TABLE = CLUSTER / 8,
  TABLES = 3,
  CLUSTERS = TABLES * PER_TABLE,
  THREADS = 24, /* more than there are workspaces */
  REQUESTS = 1000,
};

enum kind { NORMAL, COMPRESSED, ZERO, NOTHING, DAMAGED, KINDS };

static enum kind
kind_of (uint64_t cluster)
{
  /* Runs of a few clusters; one in 100 is damaged. */
  if (cluster % 100 == 77)
    return DAMAGED;
  return (enum kind) (cluster * 2654435761U >> 4) % DAMAGED;
}

static uint8_t
byte_at (uint64_t offset)
{
  const uint64_t cluster = offset >> BITS;

  switch (kind_of (cluster)) {
  case NORMAL:
  case COMPRESSED:
    return (uint8_t) (cluster * 31 + offset / 7 + 1);
  default:
    return 0;
  }
}

static void
make_cluster (uint64_t cluster, uint8_t *buf)
{
  uint64_t i;

  for (i = 0; i < CLUSTER; ++i)
    buf[i] = byte_at ((cluster << BITS) + i);
}

static size_t
pack (const uint8_t *in, uint8_t *out, size_t max)
{
  z_stream z = { 0 };

  assert_int_equal (
    deflateInit2 (&z, 1, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = (Bytef *) in;
  z.avail_in = CLUSTER;
  z.next_out = out;
  z.avail_out = (uInt) max;
  assert_int_equal (deflate (&z, Z_FINISH), Z_STREAM_END);
  max -= z.avail_out;
  deflateEnd (&z);
  return max;
}

/* The password is "tiger".  Compressed clusters are not encrypted. */
static void
encrypt_cluster (uint64_t cluster, uint8_t *buf)
{
  uint64_t sector = cluster * (CLUSTER / 512);
  gcry_cipher_hd_t h;
  int i;

  assert_int_equal (
    gcry_cipher_open (&h, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_CBC, 0), 0);
  assert_int_equal (gcry_cipher_setkey (h, "tiger\0\0\0\0\0\0\0\0\0\0", 16),
                    0);
  for (i = 0; i < CLUSTER; i += 512) {
    const uint64_t iv[2] = { htole64 (sector++), 0 };

    assert_int_equal (gcry_cipher_setiv (h, iv, 16), 0);
    assert_int_equal (gcry_cipher_encrypt (h, buf + i, 512, NULL, 0), 0);
  }
  gcry_cipher_close (h);
}

static struct unit_file
make_image (bool encrypted)
{
  const struct unit_file f = unit_file_new ();
  uint64_t next = (uint64_t) (3 + TABLES) * CLUSTER, c;
  uint8_t header[112], plain[CLUSTER], packed[2 * CLUSTER];

  unit_header (header, 3, BITS, (uint64_t) CLUSTERS * CLUSTER - 1000, TABLES,
               2 * CLUSTER);
  put_be32 (header + 32, encrypted ? QCOW_CRYPT_AES : QCOW_CRYPT_NONE);
  unit_write (&f, header, sizeof header, 0);
  for (c = 0; c < TABLES; ++c)
    unit_write_be64 (&f, (3 + c) * CLUSTER, 2 * CLUSTER + c * 8);

  for (c = 0; c < CLUSTERS; ++c) {
    uint64_t entry = 0;
    size_t n;

    switch (kind_of (c)) {
    case NORMAL:
      next = (next + CLUSTER - 1) & ~(uint64_t) (CLUSTER - 1);
      make_cluster (c, plain);
      if (encrypted)
        encrypt_cluster (c, plain);
      unit_write (&f, plain, CLUSTER, next);
      entry = UINT64_C (1) << 63 | next;
      next += CLUSTER;
      break;
    case COMPRESSED:
      make_cluster (c, plain);
      n = pack (plain, packed, sizeof packed);
      unit_write (&f, packed, n, next);
      entry = UINT64_C (1) << 62 | (((next + n - 1) >> 9) - (next >> 9)) << 58
              | next;
      next += n;
      break;
    case ZERO:
      entry = 1;
      break;
    case DAMAGED: /* in its entry or in its stream */
      entry = c % 200 == 77 ? CLUSTER + 512 : UINT64_C (1) << 62 | CLUSTER;
      break;
    default:
      break;
    }
    unit_write_be64 (&f, entry, (uint64_t) 3 * CLUSTER + c * 8);
  }
  return f;
}

static struct qcow *image;

/* Extents must be contiguous, and data exactly where something is stored. */
struct walk {
  uint64_t next, end;
};

static int
on_extent (void *opaque, uint64_t offset, uint64_t length,
           enum qcow_extent kind)
{
  struct walk *w = opaque;
  uint64_t i;

  if (offset != w->next || length == 0 || offset + length > w->end)
    abort ();
  w->next += length;
  for (i = offset; i < offset + length; i = ((i >> BITS) + 1) << BITS) {
    const enum kind k = kind_of (i >> BITS);

    if ((kind == QCOW_EXTENT_DATA)
        != (k == NORMAL || k == COMPRESSED || k == DAMAGED))
      abort ();
  }
  return 0;
}

static bool
has_damage (uint64_t offset, uint64_t count)
{
  uint64_t c;

  for (c = offset >> BITS; c <= (offset + count - 1) >> BITS; ++c)
    if (kind_of (c) == DAMAGED)
      return true;
  return false;
}

static void
one_request (struct qcow_view *v, unsigned *seed, uint8_t *buf)
{
  const uint64_t size = qcow_view_size (v);
  const uint64_t offset = (uint64_t) rand_r (seed) % size;
  uint64_t count = 1 + (uint64_t) rand_r (seed) % (8 * CLUSTER);
  uint64_t i;
  struct walk w;

  if (count > size - offset)
    count = size - offset;
  switch (rand_r (seed) % 8) {
  case 0:
    if (qcow_prefetch (v, (uint32_t) count, offset) == -1)
      abort ();
    break;
  case 1:
    w = (struct walk){ offset, offset + count };
    if (qcow_extents (v, (uint32_t) count, offset, rand_r (seed) % 2,
                      on_extent, &w)
          == -1
        || w.next == offset)
      abort ();
    break;
  default:
    if (qcow_read (v, buf, (uint32_t) count, offset) == -1) {
      if (!has_damage (offset, count))
        abort ();
      break;
    }
    if (has_damage (offset, count))
      abort ();
    for (i = 0; i < count; ++i)
      if (buf[i] != byte_at (offset + i))
        abort ();
  }
}

static void *
worker (void *arg)
{
  unsigned seed = (unsigned) (uintptr_t) arg;
  uint8_t *buf = malloc (8 * CLUSTER);
  struct qcow_view *v = qcow_view_open (image, "");
  int i;

  if (buf == NULL || v == NULL)
    abort ();
  for (i = 0; i < REQUESTS; ++i)
    one_request (v, &seed, buf);
  qcow_view_close (v);
  free (buf);
  return NULL;
}

static void
run_threads (uint64_t cache_size, bool encrypted)
{
  static const char *const passphrases[] = { "tiger" };
  const struct unit_file f = make_image (encrypted);
  struct qcow_options options;
  const struct qcow_hooks silent = { .error = NULL };
  pthread_t t[THREADS];
  int i;

  qcow_options_init (&options);
  options.filename = f.name;
  options.cache_size = cache_size;
  options.passphrases = passphrases;
  options.nr_passphrases = encrypted;
  image = qcow_open (&options, &silent);
  assert_non_null (image);
  assert_int_equal (qcow_after_fork (image), 0);
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (
      pthread_create (&t[i], NULL, worker, (void *) (uintptr_t) (i + 1)), 0);
  for (i = 0; i < THREADS; ++i)
    pthread_join (t[i], NULL);
  qcow_close (image);
  close (f.fd);
}

static void
tiny_cache (void **state)
{
  (void) state;
  run_threads (0, false);
}

static void
small_cache (void **state)
{
  (void) state;
  run_threads (64 * CLUSTER, false);
}

static void
large_cache (void **state)
{
  (void) state;
  run_threads (QCOW_DEFAULT_CACHE_SIZE, false);
}

static void
encrypted_clusters (void **state)
{
  (void) state;
  run_threads (64 * CLUSTER, true);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (tiny_cache),
  cmocka_unit_test (small_cache),
  cmocka_unit_test (large_cache),
  cmocka_unit_test (encrypted_clusters),
};

UNIT_MAIN (tests)
