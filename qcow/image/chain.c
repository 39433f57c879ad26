/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Opening an image and the files that it needs.  See chain.h.
 *
 * A file that the user names is opened without further checks.  A file that an
 * image names is opened if the access rule allows it (access.h).
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "image/access.h"
#include "image/backing-format.h"
#include "image/chain.h"
#include "image/resolve.h"
#include "image/unlock.h"
#include "source/file.h"
#include "source/remote.h"
#include "url/url-name.h"

/* The state while a chain is opened. */
struct opening {
  struct context *context;
  const struct qcow_options *options;
  const struct access *access;
  struct access *own_access; /* NULL: it is the context's */
  struct chain *chain;
  size_t data_files; /* layers so far that have a data file */
  uint32_t remotes;  /* remote sources opened so far */
};

/* --- Files --- */

static struct source *
open_local (const struct opening *o, const struct reference *ref)
{
  const unsigned flags = o->context->file_flags;
  const struct qcow_hooks *hooks = o->context->hooks;
  int fd;

  if (ref->image == NULL)
    return source_file_open (ref->path, flags, hooks);
  fd = access_open (o->access, ref);
  return fd == -1 ? NULL : source_file_from_fd (fd, ref->path, flags, hooks);
}

static struct source *
open_remote (struct opening *o, struct reference *ref)
{
  if (ref->image && access_check_url (o->access, ref, o->remotes > 0) == -1)
    return NULL;
  return source_remote_new (
    remotes_open (&o->context->remotes, ref), o->context->cache,
    o->chain->first_id + o->remotes++, o->context->hooks);
}

static struct source *
open_reference (struct opening *o, struct reference *ref)
{
  return ref->path ? open_local (o, ref) : open_remote (o, ref);
}

/* Find the data file that the user or the image names.  'n' layers above have
 * one, too.
 */
static int
resolve_any_data_file (const struct opening *o, const struct image *image,
                       size_t n, struct reference *ref)
{
  const struct qcow_options *options = o->options;
  const bool numbered = options->data_files_numbered;
  const size_t layer = (size_t) (image->id - o->chain->first_id);
  const size_t nr = options->nr_data_files, i = numbered ? layer : n;
  const struct layer_suffix suffix
    = layer_suffix_needed (layer, n + 1, nr, numbered);
  struct hint_room room;

  if (i < nr && options->data_files[i])
    return resolve_user_name (o->context, options, options->data_files[i],
                              ref);
  if (image->header.data_file[0] != '\0')
    return resolve_data_file (image, options, &suffix, ref);
  return error_report (o->context->hooks, EINVAL, image->name,
                       "the image keeps its data in an external data file, "
                       "but does not name it%s",
                       error_hint_with (o->context->hooks, QCOW_HINT_DATA_FILE,
                                        suffix.text, &room));
}

/* A data file is always raw (qemu). */
static int
open_data_file (struct opening *o, struct image *image)
{
  struct reference ref = { .name = NULL };
  struct source *source;
  int r;

  if (!image->geometry.data_file)
    return 0;
  r = resolve_any_data_file (o, image, o->data_files++, &ref);
  source = r == 0 ? open_reference (o, &ref) : NULL;
  reference_free (&ref);
  if (source == NULL)
    return -1;
  image->data = source;
  return 0;
}

/* --- Layers --- */

/* True if the file is a layer of the chain already. */
static bool
is_layer (const struct chain *chain, const struct source *source)
{
  unsigned i;

  for (i = 0; i < chain->nr_layers; ++i)
    if (source_same (chain->layers[i].image->source, source))
      return true;
  return false;
}

/* Open the image of the next layer.  Takes ownership of the source, even on
 * failure.
 */
static int
add_image (struct opening *o, struct source *source)
{
  struct chain *chain = o->chain;
  struct chain_layer *layer = &chain->layers[chain->nr_layers];

  if (is_layer (chain, source)) {
    error_report (o->context->hooks, EINVAL, source->name,
                  "the backing files form a loop: this image is a backing "
                  "file of itself");
    source_close (source);
    return -1;
  }
  layer->image
    = image_open (o->context, source, chain->first_id + chain->nr_layers);
  if (layer->image == NULL)
    return -1;
  chain->nr_layers++;
  return 0;
}

/* Add an image with its data file.  Takes ownership of the source, even on
 * failure.
 */
static int
add_image_and_data (struct opening *o, struct source *source)
{
  struct chain *chain = o->chain;
  struct chain_layer *layer = &chain->layers[chain->nr_layers];

  if (add_image (o, source) == -1 || open_data_file (o, layer->image) == -1)
    return -1;
  if (chain->nr_layers == 1)
    return 0;
  layer->l1 = image_get_active_l1 (layer->image);
  return layer->l1 ? 0 : -1;
}

static void
add_raw (struct opening *o, struct source *source)
{
  o->chain->layers[o->chain->nr_layers++].raw = source;
}

/* The user's file for the layer 'depth' below the top, or NULL. */
static const char *
user_backing_file (const struct opening *o, unsigned depth)
{
  return depth <= o->options->nr_backing ? o->options->backing[depth - 1]
                                         : NULL;
}

/* Find the backing file of 'above' that the user or that image names. */
static int
resolve_any_backing_file (const struct opening *o, const struct image *above,
                          unsigned depth, struct reference *ref)
{
  const struct qcow_options *options = o->options;
  const struct layer_suffix suffix = layer_suffix_needed (
    depth, depth, options->nr_backing, options->backing_numbered);
  const char *given = user_backing_file (o, depth);

  return given ? resolve_user_name (o->context, options, given, ref)
               : resolve_backing_file (above, options, &suffix, ref);
}

/* Open the backing file of 'above', and decide how to read it.  On failure,
 * nothing stays open.
 */
static struct source *
open_backing_file (struct opening *o, const struct image *above,
                   unsigned depth, enum layer_format *format)
{
  struct stated_format stated;
  struct reference ref;
  struct source *source = NULL;

  if (backing_format_stated (above, depth, o->options, &stated) == -1)
    return NULL;
  if (resolve_any_backing_file (o, above, depth, &ref) == 0)
    source = open_reference (o, &ref);
  if (source) {
    *format = backing_format_decide (above, &stated, &ref, source);
    if (*format == FORMAT_UNKNOWN) {
      source_close (source);
      source = NULL;
    }
  }
  reference_free (&ref);
  return source;
}

/* A raw data file is a whole disk, also for programs that ignore the image.
 * So qemu adds no backing file to such an image (but can open one that has).
 */
static int
check_can_have_backing_file (const struct opening *o,
                             const struct image *above, unsigned depth)
{
  if (above->header.backing_file[0] != '\0'
      || !(above->header.autoclear & QCOW_AUTOCLEAR_DATA_FILE_RAW))
    return 0;
  return error_report (o->context->hooks, EINVAL, above->name,
                       "the image's data file is a raw disk by itself "
                       "(data_file_raw), so it can't have a backing file: "
                       "backing%s=%s has no effect",
                       layer_suffix (depth, o->options->backing_numbered).text,
                       url_shown (user_backing_file (o, depth)));
}

/* Open the backing file of the lowest layer, and make it the next layer. */
static int
add_layer (struct opening *o)
{
  const unsigned depth = o->chain->nr_layers;
  const struct image *above = o->chain->layers[depth - 1].image;
  enum layer_format format;
  struct source *source;

  if (depth > QCOW_MAX_DEPTH)
    return error_report (o->context->hooks, EINVAL, above->name,
                         "the backing chain has more than %d backing files",
                         QCOW_MAX_DEPTH);
  if (check_can_have_backing_file (o, above, depth) == -1)
    return -1;
  source = open_backing_file (o, above, depth, &format);
  if (source == NULL)
    return -1;
  if (format == FORMAT_QCOW)
    return add_image_and_data (o, source);
  add_raw (o, source);
  return 0;
}

/* True if the lowest layer is an image that has a backing file, by its header
 * or by the user.
 */
static bool
has_backing_file (const struct opening *o)
{
  const unsigned depth = o->chain->nr_layers;
  const struct image *lowest = o->chain->layers[depth - 1].image;

  return lowest
         && (lowest->header.backing_file[0] != '\0'
             || user_backing_file (o, depth));
}

/* --- All --- */

/* The index of the first value from 'i' on that is set, or n. */
static size_t
first_given (const char *const *values, size_t i, size_t n)
{
  while (i < n && values[i] == NULL)
    ++i;
  return i;
}

static int
check_all_backing_used (const struct opening *o)
{
  const struct qcow_options *options = o->options;
  const size_t depth = o->chain->nr_layers - 1;
  const struct chain_layer *lowest = &o->chain->layers[depth];
  const char *name = lowest->image ? lowest->image->name : lowest->raw->name;
  size_t i = first_given (options->backing, depth, options->nr_backing);

  if (i < options->nr_backing)
    return error_report (
      o->context->hooks, EINVAL, name, "%s backing%s=%s has no effect",
      lowest->image ? "has no backing file, so"
                    : "is raw, so it can't have a backing file:",
      layer_suffix (i + 1, options->backing_numbered).text,
      url_shown (options->backing[i]));
  i = first_given (options->backing_formats, depth,
                   options->nr_backing_formats);
  if (i < options->nr_backing_formats)
    return error_report (
      o->context->hooks, EINVAL, name,
      "has no backing file, so backing-format%s=%s has no "
      "effect",
      layer_suffix (i + 1, options->backing_formats_numbered).text,
      options->backing_formats[i]);
  return 0;
}

/* If data files have numbers, these must be of layers that have one. */
static int
check_data_file_numbers (const struct opening *o)
{
  const struct qcow_options *options = o->options;
  const struct chain *chain = o->chain;
  size_t i;

  for (i = 0; i < options->nr_data_files; ++i) {
    const bool exists = i < chain->nr_layers;
    const struct image *image = exists ? chain->layers[i].image : NULL;

    if (options->data_files[i] && !(image && image->geometry.data_file))
      return error_report (
        o->context->hooks, EINVAL, chain->layers[0].image->name,
        "layer %zu %s, so data-file.%zu=%s has no effect", i,
        exists ? "has no external data file" : "does not exist", i,
        url_shown (options->data_files[i]));
  }
  return 0;
}

/* Refuse files and formats that the user gives and no image needs: they show a
 * misunderstanding.
 */
static int
check_all_used (const struct opening *o)
{
  const struct qcow_options *options = o->options;

  if (o->context->is_shared)
    return 0;
  if (check_all_backing_used (o) == -1)
    return -1;
  if (options->data_files_numbered)
    return check_data_file_numbers (o);
  if (options->nr_data_files > o->data_files)
    return error_report (o->context->hooks, EINVAL,
                         o->chain->layers[0].image->name,
                         "%s external data file, so there is none to "
                         "replace with data-file=%s",
                         o->data_files == 0 ? "has no" : "has no further",
                         url_shown (options->data_files[o->data_files]));
  return 0;
}

/* The last step, since it can take long. */
static int
unlock_layers (const struct chain *chain, const struct qcow_options *options)
{
  struct image *images[QCOW_MAX_DEPTH + 1];
  size_t n = 0;
  unsigned i;

  for (i = 0; i < chain->nr_layers; ++i)
    if (chain->layers[i].image)
      images[n++] = chain->layers[i].image;
  return unlock_images (images, n, options);
}

static struct source *
open_top (struct opening *o, struct reference *top)
{
  const int fd = o->options->fd;

  if (fd == -1)
    return open_reference (o, top);
  return source_file_from_descriptor (
    fd, top->path, top->nameless, o->context->file_flags, o->context->hooks);
}

static int
open_layers (struct opening *o, struct reference *top)
{
  struct source *source = open_top (o, top);

  if (source == NULL || add_image_and_data (o, source) == -1)
    return -1;
  while (has_backing_file (o))
    if (add_layer (o) == -1)
      return -1;
  return check_all_used (o) == 0 ? unlock_layers (o->chain, o->options) : -1;
}

static int
begin (struct opening *o, struct reference *top)
{
  o->chain = calloc (1, sizeof *o->chain);
  if (o->chain == NULL) {
    error_no_memory (o->context->hooks, qcow_options_object (o->options));
    return -1;
  }
  o->chain->first_id = context_new_ids (o->context);
  return resolve_top (o->context, o->options, top);
}

static int
open_all (struct opening *o, struct reference *top)
{
  const struct qcow_options *options = o->options;
  const struct qcow_hooks *hooks = o->context->hooks;

  if (begin (o, top) == -1)
    return -1;
  o->access = o->context->access;
  if (o->access == NULL)
    o->access = o->own_access
      = access_new (options->allow, options->nr_allow, top, hooks);
  if (o->access == NULL
      || backing_format_check_options (options, hooks,
                                       qcow_options_object (options))
           == -1)
    return -1;
  return open_layers (o, top);
}

struct chain *
chain_open (struct context *context, const struct qcow_options *options)
{
  struct opening o = { .context = context, .options = options };
  struct reference top = { .name = NULL };
  const int r = open_all (&o, &top);

  access_free (o.own_access);
  reference_free (&top);
  if (r == 0)
    return o.chain;
  chain_close (o.chain);
  return NULL;
}

struct chain *
chain_open_top (struct context *context, const struct qcow_options *options)
{
  struct opening o = { .context = context, .options = options };
  struct reference top = { .name = NULL };
  struct source *source = NULL;
  bool ok;

  if (begin (&o, &top) == 0)
    source = open_top (&o, &top);
  ok = source && add_image (&o, source) == 0;
  reference_free (&top);
  if (ok)
    return o.chain;
  chain_close (o.chain);
  return NULL;
}

void
chain_close (struct chain *chain)
{
  KEEP_ERRNO;
  unsigned i;

  if (chain == NULL)
    return;
  for (i = 0; i < chain->nr_layers; ++i) {
    struct chain_layer *layer = &chain->layers[i];

    if (layer->l1)
      l1_table_put (layer->image->context->l1_tables, layer->l1);
    image_close (layer->image);
    source_close (layer->raw);
  }
  free (chain);
}
