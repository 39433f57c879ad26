/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A summary of one image as JSON.  See info.h.
 *
 * Everything is loaded before the first byte is written, so that damage in any
 * table is an error without output.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/minmax.h"
#include "base/path.h"
#include "image/bitmap-table.h"
#include "image/info.h"
#include "image/luks.h"
#include "image/snapshot-table.h"
#include "url/url-name.h"

/* qemu cuts the ids and names of snapshots to these lengths.  Here they bound
 * the output.
 */
#define MAX_ID_LENGTH 127
#define MAX_NAME_LENGTH 255

struct info {
  const struct image *image;
  struct snapshot_table *snapshots;
  struct bitmap_table *bitmaps;
  struct luks luks; /* if the image is encrypted with LUKS */
  char *full_backing_name;
};

/* --- Loading --- */

/* An image that does not name its data file looks self-contained in the
 * output, but is not.
 */
static int
check_data_file (const struct image *image)
{
  if (!image->geometry.data_file || image->header.data_file[0] != '\0')
    return 0;
  return error_report (image->context->hooks, EINVAL, image->name,
                       "the image keeps its data in an external data file, "
                       "but does not name it");
}

/* Loading the L1 table checks it. */
static int
check_l1 (const struct image *image)
{
  struct l1_table *l1 = image_get_active_l1 (image);

  if (l1 == NULL)
    return -1;
  l1_table_put (image->context->l1_tables, l1);
  return 0;
}

/* Join the backing file's name to the directory of the image, as qemu does.
 * Set *full to NULL if there is no backing file, or if the image is a
 * descriptor, so that its directory is not known.
 */
static int
find_full_backing_name (const struct image *image, char **full)
{
  const char *name = image->header.backing_file;
  const char *p = strpbrk (name, ":/");

  *full = NULL;
  if (name[0] == '\0')
    return 0;
  /* An absolute name, or one with a protocol. */
  if (p && (*p == ':' || p == name))
    *full = strdup (name);
  else if (image->source->nameless)
    return 0;
  else if (url_is_one (image->name))
    *full = url_join (image->name, name);
  else
    *full = path_join (image->name, name);
  return *full ? 0 : image_no_memory (image);
}

static int
load (struct info *info, const struct image *image)
{
  const struct header *h = &image->header;

  info->image = image;
  if (check_data_file (image) == -1 || check_l1 (image) == -1
      || find_full_backing_name (image, &info->full_backing_name) == -1)
    return -1;
  if (h->crypt_method == QCOW_CRYPT_LUKS
      && luks_read (image->source, h->luks_offset, h->luks_length, &info->luks)
           == -1)
    return -1;
  info->snapshots = snapshot_table_load (image);
  if (info->snapshots == NULL)
    return -1;
  info->bitmaps = bitmap_table_load (image);
  return info->bitmaps ? 0 : -1;
}

static void
unload (struct info *info)
{
  free (info->full_backing_name);
  bitmap_table_free (info->bitmaps);
  snapshot_table_free (info->snapshots);
}

/* --- Writing --- */

#define SECOND UINT64_C (1000000000) /* in nanoseconds */

static void
put_snapshots (struct json *j, const struct snapshot_table *snapshots)
{
  unsigned i;

  if (snapshots->count == 0)
    return;
  json_begin (j, "snapshots", '[');
  for (i = 0; i < snapshots->count; ++i) {
    const struct snapshot_entry *s = &snapshots->list[i];

    json_begin (j, NULL, '{');
    json_text (j, "id", s->id, (size_t) min64 (s->id_length, MAX_ID_LENGTH));
    json_text (j, "name", s->name,
               (size_t) min64 (s->name_length, MAX_NAME_LENGTH));
    json_number (j, "vm-state-size", s->vm_state_size);
    json_number (j, "date-sec", s->date_seconds);
    json_number (j, "date-nsec", s->date_ns);
    json_number (j, "vm-clock-sec", s->vm_clock_ns / SECOND);
    json_number (j, "vm-clock-nsec", s->vm_clock_ns % SECOND);
    if (s->has_icount)
      json_number (j, "icount", s->icount);
    json_end (j, '}');
  }
  json_end (j, ']');
}

/* A program without support for bitmaps clears the autoclear bit, which makes
 * them invalid.
 */
static void
put_bitmaps (struct json *j, const struct header *h,
             const struct bitmap_table *bitmaps)
{
  unsigned i;

  if (bitmaps->count == 0 || !(h->autoclear & QCOW_AUTOCLEAR_BITMAPS))
    return;
  json_begin (j, "bitmaps", '[');
  for (i = 0; i < bitmaps->count; ++i) {
    const struct bitmap_entry *b = &bitmaps->list[i];

    json_begin (j, NULL, '{');
    json_text (j, "name", b->name, b->name_length);
    if (b->granularity_bits < 64)
      json_number (j, "granularity", UINT64_C (1) << b->granularity_bits);
    json_begin (j, "flags", '[');
    if (b->flags & QCOW_BITMAP_IN_USE)
      json_string (j, NULL, "in-use");
    if (b->flags & QCOW_BITMAP_AUTO)
      json_string (j, NULL, "auto");
    json_end (j, ']');
    json_end (j, '}');
  }
  json_end (j, ']');
}

static void
put_luks_slots (struct json *j, const struct luks_header *h)
{
  unsigned i;

  json_begin (j, "slots", '[');
  for (i = 0; i < LUKS_SLOTS; ++i) {
    const struct luks_slot *slot = &h->slots[i];

    json_begin (j, NULL, '{');
    json_bool (j, "active", slot->active);
    json_number (j, "key-offset", slot->material);
    if (slot->active) {
      json_number (j, "iters", slot->iterations);
      json_number (j, "stripes", LUKS_STRIPES);
    }
    json_end (j, '}');
  }
  json_end (j, ']');
}

/* The header's cipher_mode is MODE-IVGEN[:HASH]; luks_parse has checked it. */
static void
put_luks (struct json *j, const struct luks *luks)
{
  const struct luks_header *h = &luks->header;
  const size_t halves = luks->method.mode == CIPHER_XTS ? 2 : 1;
  const size_t mode = strcspn (h->cipher_mode, "-");
  const char *iv = h->cipher_mode + mode + 1;
  char cipher[LUKS_NAME_BYTES + 24];

  snprintf (cipher, sizeof cipher, "%s-%zu", h->cipher_name,
            luks->method.key_bytes / halves * 8);
  json_string (j, "format", "luks");
  json_text (j, "uuid", h->uuid, strnlen (h->uuid, sizeof h->uuid));
  json_string (j, "cipher-alg", cipher);
  json_text (j, "cipher-mode", h->cipher_mode, mode);
  json_text (j, "ivgen-alg", iv, strcspn (iv, ":"));
  if (luks->method.iv == CIPHER_IV_ESSIV)
    json_string (j, "ivgen-hash-alg", digest_name (luks->method.iv_hash));
  json_string (j, "hash-alg", digest_name (luks->hash));
  json_number (j, "payload-offset", h->payload);
  json_number (j, "master-key-iters", h->digest_iterations);
  put_luks_slots (j, h);
}

static void
put_encryption (struct json *j, const struct info *info)
{
  const uint32_t method = info->image->header.crypt_method;

  if (method == QCOW_CRYPT_NONE)
    return;
  json_begin (j, "encrypt", '{');
  if (method == QCOW_CRYPT_LUKS)
    put_luks (j, &info->luks);
  else
    json_string (j, "format", "aes");
  json_end (j, '}');
}

static void
put_version_3 (struct json *j, const struct header *h)
{
  json_bool (j, "lazy-refcounts", h->compatible & QCOW_COMPAT_LAZY_REFCOUNTS);
  json_bool (j, "corrupt", h->incompatible & QCOW_INCOMPAT_CORRUPT);
  json_bool (j, "extended-l2", h->incompatible & QCOW_INCOMPAT_EXTENDED_L2);
  if (h->incompatible & QCOW_INCOMPAT_DATA_FILE) {
    json_string (j, "data-file", h->data_file);
    json_bool (j, "data-file-raw",
               h->autoclear & QCOW_AUTOCLEAR_DATA_FILE_RAW);
  }
}

/* Version 1 has none. */
static void
put_format_specific (struct json *j, const struct info *info)
{
  const struct header *h = &info->image->header;

  if (h->version == 1)
    return;
  json_begin (j, "format-specific", '{');
  json_string (j, "type", "qcow2");
  json_begin (j, "data", '{');
  json_string (j, "compat", h->version == 2 ? "0.10" : "1.1");
  json_string (j, "compression-type",
               h->compression == QCOW_COMPRESSION_ZSTD ? "zstd" : "zlib");
  json_number (j, "refcount-bits", UINT64_C (1) << h->refcount_order);
  if (h->version == 3)
    put_version_3 (j, h);
  put_bitmaps (j, h, info->bitmaps);
  put_encryption (j, info);
  json_end (j, '}');
  json_end (j, '}');
}

static void
put_backing_file (struct json *j, const struct info *info)
{
  const struct header *h = &info->image->header;

  if (h->backing_file[0] == '\0')
    return;
  json_string (j, "backing-filename", h->backing_file);
  if (info->full_backing_name)
    json_string (j, "full-backing-filename", info->full_backing_name);
  if (h->backing_format[0] != '\0')
    json_string (j, "backing-filename-format", h->backing_format);
}

int
info_print (const struct image *image, FILE *out)
{
  const struct header *h = &image->header;
  struct info info = { .image = NULL };
  struct json j = { .out = out };
  const int r = load (&info, image);

  if (r == 0) {
    json_begin (&j, NULL, '{');
    json_string (&j, "filename", image->name);
    json_string (&j, "format", h->version == 1 ? "qcow" : "qcow2");
    json_number (&j, "virtual-size", h->size);
    if (!image->source->remote)
      json_number (&j, "actual-size", image->source->allocated);
    json_number (&j, "cluster-size", image_cluster_size (image));
    json_bool (&j, "dirty-flag", h->incompatible & QCOW_INCOMPAT_DIRTY);
    if (h->crypt_method != QCOW_CRYPT_NONE)
      json_bool (&j, "encrypted", true);
    put_backing_file (&j, &info);
    put_format_specific (&j, &info);
    put_snapshots (&j, info.snapshots);
    json_end (&j, '}');
  }
  unload (&info);
  return r;
}
