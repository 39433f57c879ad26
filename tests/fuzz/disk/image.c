/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: input bytes are an image.  It is opened and all its views are
 * used; its last bytes choose the offsets to read.  An image with a backing
 * file gets a small raw one, an image with a data file gets itself as that,
 * and an encrypted image gets two passphrases.
 *
 * For any input, the sanitizers must find nothing, memory and time must be
 * bounded (libFuzzer's limits), and the views must be as reader.h says.
 */

#include "tests/fuzz/reader.h"

#include "codec/afsplit.h"
#include "format/header-extensions.h"
#include "format/header.h"
#include "image/luks.h"

/* The raw backing file has zeros, and data from RAW_START on. */
#define RAW_SIZE 4000
#define RAW_START 1000

static uint8_t raw[RAW_SIZE];

/* --- LUKS --- */

/* Compute the digest of the key that the passphrase gets from the first active
 * key slot.  Returns false if that takes much work.
 */
static bool
make_digest (const struct luks *luks, const uint8_t *area, size_t size,
             const char *passphrase, uint8_t digest[LUKS_DIGEST_BYTES])
{
  static uint8_t material[CIPHER_MAX_KEY_BYTES * LUKS_STRIPES];
  static const struct qcow_hooks hooks = { .error = NULL };
  uint8_t key[CIPHER_MAX_KEY_BYTES];
  const struct luks_header *h = &luks->header;
  const size_t n = luks->method.key_bytes;
  const size_t bytes = (n * LUKS_STRIPES + CIPHER_SECTOR_BYTES - 1)
                       / CIPHER_SECTOR_BYTES * CIPHER_SECTOR_BYTES;
  const struct luks_slot *s = h->slots;
  struct cipher *c;

  while (s < h->slots + LUKS_SLOTS - 1 && !s->active)
    s++;
  if (!s->active || s->iterations > 1000 || h->digest_iterations > 1000)
    return false;
  memset (material, 0, bytes);
  if (s->material < size)
    memcpy (material, area + s->material, min64 (bytes, size - s->material));
  MUST (digest_pbkdf2 (luks->hash, passphrase, strlen (passphrase), s->salt,
                       LUKS_SALT_BYTES, s->iterations, key, n, &hooks)
        == 0);
  c = cipher_new (&luks->method, key);
  MUST (c && cipher_decrypt (c, material, bytes, 0) == 0);
  cipher_free (c);
  MUST (afsplit_merge (luks->hash, material, n, LUKS_STRIPES, key) == 0);
  MUST (digest_pbkdf2 (luks->hash, key, n, h->digest_salt, LUKS_SALT_BYTES,
                       h->digest_iterations, digest, LUKS_DIGEST_BYTES, &hooks)
        == 0);
  return true;
}

/* A mutation almost never keeps the key's digest valid, and then the data
 * behind it would not be reached.  So set the right digest.
 */
static void
fit_passphrase (const struct memory_file *f, const uint8_t *data, size_t size,
                const char *passphrase)
{
  static uint8_t cluster[1 << 16];
  uint8_t digest[LUKS_DIGEST_BYTES];
  struct problem problem;
  struct header h;
  struct luks luks;

  memset (cluster, 0, sizeof cluster);
  memcpy (cluster, data, min64 (size, sizeof cluster));
  if (header_fixed (cluster, &h, &problem) == 0
      && h.crypt_method == QCOW_CRYPT_LUKS && h.cluster_bits <= 16
      && header_extensions (cluster, &h, &problem) == 0 && h.luks_offset < size
      && size - h.luks_offset >= LUKS_HEADER_BYTES
      && luks_parse (data + h.luks_offset, h.luks_length, &luks, &problem) == 0
      && make_digest (&luks, data + h.luks_offset, size - h.luks_offset,
                      passphrase, digest))
    MUST (pwrite (f->fd, digest, sizeof digest, (off_t) h.luks_offset + 112)
          == sizeof digest);
}

/* --- Images --- */

static void
use_image (const struct qcow_options *options, struct input places)
{
  const struct older backing = { .raw = raw, .raw_size = sizeof raw };
  struct qcow *q = open_image (options);

  if (q) {
    use_all_views (q, options->since || options->bitmap, places);
    use_delta (q, "backing", "", &backing, places);
    qcow_close (q);
  }
}

static bool
has_data_file (struct input image)
{
  return image.left >= 80 && image.p[7] == 3
         && (image.p[79] & QCOW_INCOMPAT_DATA_FILE);
}

/* True if the image has snapshots, or the header extension of bitmaps. */
static bool
has_tables (struct input image)
{
  static const uint8_t bitmaps[] = { 0x23, 0x85, 0x28, 0x75 };

  return image.left >= 72 && image.p[7] > 1
         && (!is_zero (image.p + 60, 4)
             || memmem (image.p, min64 (image.left, 512), bitmaps,
                        sizeof bitmaps));
}

/* Use images with snapshot=, since= or bitmap=, which give them another
 * default view, and only that.
 */
static void
use_pinned (const struct qcow_options *options, struct input places)
{
  struct qcow_options pinned = *options;

  pinned.debug_runs = pinned.debug_cache = true;
  pinned.snapshot = "1";
  use_image (&pinned, places);
  pinned.since = "2";
  use_image (&pinned, places);
  pinned.snapshot = pinned.since = NULL;
  pinned.bitmap = "b";
  use_image (&pinned, places);
}

/* With default options: the image can be opened if and only if the summary
 * names no other file and no encryption.  Whatever the image has in its names,
 * the summary has no control characters, so a line can't be forged.
 */
static void
check_summary (const struct qcow_options *options)
{
  char *text = NULL;
  size_t length = 0, i;
  FILE *out = open_memstream (&text, &length);
  struct qcow *q;
  int r;

  MUST (out != NULL);
  r = qcow_print_info (options, &hooks, out);
  MUST (fclose (out) == 0);
  MUST ((r == 0) == (length > 0));
  for (i = 0; i < length; ++i)
    MUST (text[i] == '\n' || (uint8_t) text[i] >= 0x20);
  q = open_image (options);
  MUST ((q != NULL)
        == (r == 0 && strstr (text, "\n    \"backing-filename\": ") == NULL
            && strstr (text, "\n            \"data-file\": ") == NULL
            && strstr (text, "\n    \"encrypted\": ") == NULL));
  qcow_close (q);
  free (text);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static struct memory_file file, raw_file;
  const char *const raws[] = { raw_file.name };
  const char *const itself[] = { file.name };
  const char *const as_raw[] = { "raw" };
  struct qcow_options options = default_options ();
  const size_t tail = min64 (size, PLACES * 10);
  const struct input image = { data, size };
  const struct input places = { data + size - tail, tail };

  if (file.name[0] == '\0') {
    load_reader ();
    file = new_file ();
    raw_file = new_file ();
    memset (raw + RAW_START, 'r', RAW_SIZE - RAW_START);
    write_file (&raw_file, raw, RAW_SIZE);
  }
  write_file (&file, data, size);
  options.filename = file.name;
  if (is_encrypted (image)) {
    options.passphrases = passphrases;
    options.nr_passphrases = 2;
    fit_passphrase (&file, data, size, passphrases[1]);
  }
  if (has_data_file (image)) {
    options.data_files = itself;
    options.nr_data_files = 1;
  }
  if (has_backing (image)) {
    options.backing_formats = as_raw;
    options.backing = raws;
    options.nr_backing_formats = options.nr_backing = 1;
  }
  use_image (&options, places);
  if (has_tables (image))
    use_pinned (&options, places);

  /* Without these options, no file that the image names may be opened. */
  options = default_options ();
  options.filename = file.name;
  if (has_data_file (image) || has_backing (image) || is_encrypted (image))
    use_image (&options, places);
  check_summary (&options);
  return 0;
}
