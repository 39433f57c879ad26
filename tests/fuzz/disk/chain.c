/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: input bytes are a chain of images: the lengths of the first
 * images (2 bytes each, in sectors), the images, and the rest as a raw file
 * below.  All views are used, and the delta since each layer.  A layer that is
 * opened alone must hold the same as the chain from there on.
 */

#include "tests/fuzz/reader.h"

/* With the raw file, these are enough layers for the code that only long
 * chains use (map.c).
 */
#define IMAGES 4
#define RAW IMAGES

static struct memory_file files[IMAGES + 1];

/* Open the chain from the image 'top' down to 'bottom'. */
static struct qcow *
open_chain (unsigned top, unsigned bottom, bool encrypted)
{
  const char *names[IMAGES], *formats[IMAGES];
  struct qcow_options options = default_options ();
  unsigned i;

  for (i = top + 1; i <= bottom; ++i) {
    names[i - top - 1] = files[i].name;
    formats[i - top - 1] = i == RAW ? "raw" : "qcow";
  }
  options.filename = files[top].name;
  options.backing = names;
  options.backing_formats = formats;
  options.nr_backing = options.nr_backing_formats = bottom - top;
  options.passphrases = passphrases;
  options.nr_passphrases = encrypted ? 2 : 0;
  return open_image (&options);
}

/* Check what changed since the layer. */
static void
use_layer (struct qcow *q, unsigned layer, unsigned bottom, bool encrypted,
           struct input raw, struct input places)
{
  struct older lower = { .raw = raw.p, .raw_size = raw.left };
  struct qcow *lower_q = NULL;
  char name[16];

  snprintf (name, sizeof name, "layer:%u", layer);
  if (layer < RAW) {
    lower_q = open_chain (layer, bottom, encrypted);
    lower = (struct older){ .view = NULL };
    if (lower_q)
      lower.view = qcow_view_open (lower_q, "");
  }
  use_delta (q, name, "", &lower, places);
  qcow_view_close (lower.view);
  qcow_close (lower_q);
}

static void
use_chain (const struct input parts[IMAGES + 1], struct input places)
{
  bool encrypted[IMAGES + 1] = { false };
  unsigned bottom = 0, i;
  struct qcow *q;

  while (bottom < RAW && has_backing (parts[bottom]))
    bottom++;
  /* A passphrase that no layer needs is an error. */
  for (i = bottom < RAW ? bottom + 1 : RAW; i-- > 0;)
    encrypted[i] = is_encrypted (parts[i]) || encrypted[i + 1];
  q = open_chain (0, bottom, encrypted[0]);
  if (q == NULL)
    return;
  use_all_views (q, false, places);
  for (i = 1; i <= bottom; ++i)
    use_layer (q, i, bottom, encrypted[i], parts[RAW], places);
  qcow_close (q);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input in = { data, size }, parts[IMAGES + 1];
  const size_t tail = min64 (size, PLACES * 10);
  const struct input places = { data + size - tail, tail };
  uint64_t lengths[IMAGES + 1];
  unsigned i;

  if (files[0].name[0] == '\0') {
    load_reader ();
    for (i = 0; i <= IMAGES; ++i)
      files[i] = new_file ();
  }
  for (i = 0; i < IMAGES; ++i)
    lengths[i] = take_number (&in, 2) * QCOW_SECTOR_BYTES;
  lengths[RAW] = SIZE_MAX;
  for (i = 0; i <= IMAGES; ++i) {
    parts[i] = (struct input){ in.p, min64 (in.left, lengths[i]) };
    in.p += parts[i].left;
    in.left -= parts[i].left;
    write_file (&files[i], parts[i].p, parts[i].left);
  }
  use_chain (parts, places);
  return 0;
}
