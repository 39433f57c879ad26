/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An image with the files that it needs.  See chain.h.
 *
 * Every file is either named by the user, and opened as it is, or by an
 * image, and opened through the fence.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "image/access.h"
#include "image/chain.h"
#include "image/unlock.h"
#include "source/file.h"
#include "source/remote.h"
#include "source/transport-http.h"

enum layer_format { FORMAT_UNKNOWN, FORMAT_RAW, FORMAT_QCOW };

/* What is needed while the chain is being opened. */
struct opening {
  struct context *context;
  const struct qcow_options *options;
  struct access *access;
  struct chain *chain;
  size_t data_files; /* how many of data_file= are used up */
  uint32_t urls;     /* how many were opened */
};

/* For messages about what is no image's fault. */
static const char *
options_name (const struct opening *o)
{
  return o->options->filename ? o->options->filename : "url=";
}

/* --- Names --- */

/* A relative name is joined to the directory part of the name of the file
 * that holds it, as it is written (qemu).  From a URL only an absolute name
 * leads to a local file.  A new string.
 */
static char *
join_name (const char *holder, const char *name)
{
  if (url_is_one (holder) && name[0] != '/')
    return url_join (holder, name);
  return path_join (holder, name);
}

/* What a backing file's name is as a file name, or NULL if it is none, with
 * the error reported.  A name has a protocol if its first ':' comes before
 * its first '/' (qemu).
 */
static const char *
file_name (const struct image *image, const char *stored)
{
  const char *p = strpbrk (stored, ":/");

  if (p == NULL || *p == '/')
    return stored;
  if (strncmp (stored, "file:", 5) == 0 && stored[5] != '\0')
    return stored + 5;
  if (url_shown (stored) != stored)
    error_report (image->context->hooks, EINVAL, image->name,
                  "the backing file '%s' is named by a kind of URL that is "
                  "not supported: '%.*s:' (name the file yourself with "
                  "backing=FILE)",
                  url_shown (stored), (int) (p - stored), stored);
  else
    error_report (image->context->hooks, EINVAL, image->name,
                  "the backing file '%s' is neither a file nor a URL that is "
                  "supported: '%.*s:' is not (if a file is called so, its "
                  "name would be './%s'; or name it yourself with "
                  "backing=FILE)",
                  stored, (int) (p - stored), stored, stored);
  return NULL;
}

/* --- Formats --- */

/* As the header of an image, or the user, calls it. */
static enum layer_format
format_by_name (const char *name)
{
  if (strcmp (name, "raw") == 0)
    return FORMAT_RAW;
  if (strcmp (name, "qcow2") == 0 || strcmp (name, "qcow") == 0)
    return FORMAT_QCOW;
  return FORMAT_UNKNOWN;
}

/* What the image or the user says about the backing file of 'above', which
 * is the layer number 'depth' below the top.  0, or -1 with the error
 * reported if it is not supported; FORMAT_UNKNOWN: nobody says anything.
 */
static int
format_said (const struct opening *o, const struct image *above,
             unsigned depth, enum layer_format *format)
{
  const struct qcow_options *options = o->options;
  const char *recorded = above->header.backing_format;

  *format = FORMAT_UNKNOWN;
  if (depth <= options->nr_backing_formats)
    *format = format_by_name (options->backing_formats[depth - 1]);
  else if (recorded[0] != '\0') {
    *format = format_by_name (recorded);
    if (*format == FORMAT_UNKNOWN)
      return error_report (o->context->hooks, EINVAL, above->name,
                           "the backing file '%s' has the format '%s', which "
                           "is not supported: only raw and QCOW images are "
                           "(recorded as raw, qcow or qcow2)%s",
                           url_shown (above->header.backing_file), recorded,
                           depth <= options->nr_backing
                             ? ".  Say what your own file is with "
                               "backing-format=raw or backing-format=qcow"
                             : "");
  }
  return 0;
}

/* As the image or the user has named the file that became 'source'. */
static const char *
backing_name (const struct opening *o, const struct image *above,
              unsigned depth, const struct source *source)
{
  const char *stored = above->header.backing_file;

  return depth <= o->options->nr_backing || url_shown (stored) != stored
           ? source->name
           : stored;
}

#define BACKING_ARGS(o, above, depth, source)                                 \
  NAMED_ARGS (backing_name (o, above, depth, source), (source)->name)

/* The file is said to be a QCOW image.  If it is none, say what can be done.
 */
static int
check_qcow (const struct opening *o, const struct image *above, unsigned depth,
            struct source *source)
{
  const bool said_by_user = depth <= o->options->nr_backing_formats;
  uint8_t start[PROBE_IMAGE_BYTES];
  const struct probe *probe;

  if (source_read (source, start, sizeof start, 0) == -1)
    return -1;
  if (source->size == 0 || get_be32 (start) == QCOW_MAGIC)
    return 0;
  if (image_probe (source, start, sizeof start, &probe) == -1)
    return -1;
  return error_report (
    o->context->hooks, EINVAL, above->name,
    "the backing file " NAMED " is %s as %s, but is not a QCOW image%s%s%s",
    BACKING_ARGS (o, above, depth, source),
    said_by_user ? "given" : "recorded",
    said_by_user ? "backing-format=qcow" : above->header.backing_format,
    probe ? ": it looks like " : "", probe ? probe->what : "",
    probe && probe->is_image ? ", and only raw and QCOW images are supported"
                             : " (if it is raw, add backing-format=raw)");
}

/* How to read the file, or FORMAT_UNKNOWN with the error reported.  What
 * is not recorded is not guessed: a guest can write an image's header into
 * its raw disk, and have us open what it names.  Nor is what was recorded
 * about another file believed of one that the user has put in its place.
 * So the file is raw, unless it begins like an image.
 */
static enum layer_format
backing_format (const struct opening *o, const struct image *above,
                unsigned depth, enum layer_format said, struct source *source)
{
  const struct qcow_options *options = o->options;
  const bool replaced
    = depth <= options->nr_backing && depth > options->nr_backing_formats;
  const char *recorded = said == FORMAT_RAW ? "raw" : "nothing";
  uint8_t start[PROBE_IMAGE_BYTES];
  const struct probe *probe;

  if (said == FORMAT_QCOW)
    return check_qcow (o, above, depth, source) == 0 ? FORMAT_QCOW
                                                     : FORMAT_UNKNOWN;
  if (said == FORMAT_RAW && !replaced)
    return FORMAT_RAW;
  if (source_read (source, start, sizeof start, 0) == -1)
    return FORMAT_UNKNOWN;
  probe = probe_format (start, sizeof start, NULL);
  if (get_be32 (start) == QCOW_MAGIC)
    error_report (o->context->hooks, EINVAL, above->name,
                  "the backing file " NAMED
                  " starts like a QCOW image, but its "
                  "format is recorded as %s: that may be a trick of whoever "
                  "wrote to a raw disk.  Say what it is with "
                  "backing-format=qcow or backing-format=raw",
                  BACKING_ARGS (o, above, depth, source), recorded);
  else if (probe && probe->is_image)
    error_report (
      o->context->hooks, EINVAL, above->name,
      "the backing file " NAMED " starts like %s, and its format is "
      "recorded as %s: only raw and QCOW images are supported.  "
      "If it is a raw disk all the same, say so with "
      "backing-format=raw",
      BACKING_ARGS (o, above, depth, source), probe->what, recorded);
  else
    return FORMAT_RAW;
  return FORMAT_UNKNOWN;
}

/* --- Opening --- */

/* What is needed for the first URL. */
static int
prepare_http (const struct opening *o)
{
  if (o->context->http == NULL)
    o->context->http = http_new (o->options, o->context->hooks);
  return o->context->http ? 0 : -1;
}

static struct source *
open_url (struct opening *o, struct url *url, const struct reference *ref)
{
  return source_remote_new (transport_http_open (o->context->http, url, ref,
                                                 o->context->hooks),
                            o->urls++, o->context->hooks);
}

static struct source *
open_named_by_user (struct opening *o, const char *name)
{
  struct url url;

  if (!url_is_one (name))
    return source_file_open (name, o->context->force_share, o->context->hooks);
  if (prepare_http (o) == -1
      || http_parse_url (o->context->http, name, "", &url) == -1)
    return NULL;
  return open_url (o, &url, NULL);
}

/* ref.path is a URL. */
static struct source *
open_url_named_by_image (struct opening *o, struct reference *ref)
{
  struct url url;

  if (prepare_http (o) == -1
      || http_parse_url (o->context->http, ref->path, ref->image, &url) == -1)
    return NULL;
  /* What is stored may have secrets in it, too. */
  ref->path = url.name;
  if (url_shown (ref->stored) != ref->stored)
    ref->stored = url.name;
  if (access_check_url (o->access, ref, &url) == -1) {
    url_free (&url);
    errno = EPERM;
    return NULL;
  }
  return open_url (o, &url, ref);
}

/* 'name' as found in 'image', which stores it as 'stored'; 'path' is what it
 * means.
 */
static struct source *
open_named_by_image (struct opening *o, const struct image *image,
                     const char *what, const char *stored, const char *path,
                     const char *parameter)
{
  const char *shown = url_shown (stored);
  struct reference ref = { .image = image->name,
                           .what = what,
                           .stored = shown,
                           .path = path,
                           .parameter = parameter,
                           .hidden = shown != stored };
  int fd;

  if (url_is_one (path))
    return open_url_named_by_image (o, &ref);
  fd = access_open (o->access, &ref);
  if (fd == -1)
    return NULL;
  return source_file_from_fd (fd, path, o->context->force_share,
                              o->context->hooks);
}

/* The same for a name that counts from the image's place. */
static struct source *
open_beside_image (struct opening *o, const struct image *image,
                   const char *what, const char *stored, const char *name,
                   const char *parameter)
{
  char *path = join_name (image->name, name);
  struct source *source;

  if (path == NULL) {
    image_no_memory (image);
    return NULL;
  }
  source = open_named_by_image (o, image, what, stored, path, parameter);
  free (path);
  return source;
}

/* The n-th data-file= is for the n-th image from the top that has a data
 * file.  The name in an image is taken literally, and the file is raw
 * whatever it holds (qemu).
 */
static int
open_data_file (struct opening *o, struct image *image)
{
  const struct qcow_options *options = o->options;
  const char *stored = image->header.data_file;
  struct source *source;

  if (!image->geometry.data_file)
    return 0;
  if (o->data_files < options->nr_data_files)
    source = open_named_by_user (o, options->data_files[o->data_files++]);
  else if (stored[0] == '\0')
    return error_report (o->context->hooks, EINVAL, image->name,
                         "the image keeps its data in an external data "
                         "file, but does not say in which: name it with "
                         "data-file=FILE");
  else if (url_is_one (stored))
    source = open_named_by_image (o, image, "data file", stored, stored,
                                  "data-file");
  else
    source
      = open_beside_image (o, image, "data file", stored, stored, "data-file");
  if (source == NULL)
    return -1;
  image->data = source;
  return 0;
}

/* The image owns the source, also on failure. */
static int
add_image (struct opening *o, struct source *source)
{
  struct chain *chain = o->chain;
  struct chain_layer *layer = &chain->layers[chain->nr_layers];
  unsigned i;

  for (i = 0; i < chain->nr_layers; ++i) {
    const struct source *other = chain->layers[i].image->source;

    if (source_same (other, source)) {
      error_report (o->context->hooks, EINVAL, source->name,
                    "the backing files form a loop: this image is a backing "
                    "file of itself");
      source_close (source);
      errno = EINVAL;
      return -1;
    }
  }
  layer->image = image_open (o->context, source, chain->nr_layers);
  if (layer->image == NULL)
    return -1;
  chain->nr_layers++;
  if (open_data_file (o, layer->image) == -1)
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

/* The backing file of 'above'. */
static struct source *
open_backing_file (struct opening *o, const struct image *above,
                   unsigned depth)
{
  const struct qcow_options *options = o->options;
  const char *stored = above->header.backing_file;
  const char *name;

  if (depth <= options->nr_backing)
    return open_named_by_user (o, options->backing[depth - 1]);
  if (url_is_one (stored))
    return open_named_by_image (o, above, "backing file", stored, stored,
                                "backing");
  name = file_name (above, stored);
  if (name == NULL)
    return NULL;
  /* "file:" says that it is a local file, even beside a URL. */
  if (name != stored && url_is_one (above->name))
    return open_named_by_image (o, above, "backing file", stored, name,
                                "backing");
  return open_beside_image (o, above, "backing file", stored, name, "backing");
}

/* Open the layer below the lowest one, an image that has a backing
 * file.
 */
static int
add_layer (struct opening *o)
{
  struct chain *chain = o->chain;
  const unsigned depth = chain->nr_layers;
  const struct image *above = chain->layers[depth - 1].image;
  enum layer_format format;
  struct source *source;
  int err;

  if (depth > QCOW_MAX_DEPTH)
    return error_report (o->context->hooks, EINVAL, above->name,
                         "there are more than %d backing files below each "
                         "other",
                         QCOW_MAX_DEPTH);
  if (format_said (o, above, depth, &format) == -1)
    return -1;
  source = open_backing_file (o, above, depth);
  if (source == NULL)
    return -1;
  format = backing_format (o, above, depth, format, source);
  if (format == FORMAT_UNKNOWN) {
    err = errno;
    source_close (source);
    errno = err;
    return -1;
  }
  if (format == FORMAT_QCOW)
    return add_image (o, source);
  add_raw (o, source);
  return 0;
}

/* The lowest layer as an image that has a backing file, or NULL. */
static const struct image *
has_backing_file (const struct chain *chain)
{
  const struct image *lowest = chain->layers[chain->nr_layers - 1].image;

  return lowest && lowest->header.backing_file[0] != '\0' ? lowest : NULL;
}

/* What the user names and nobody needs is a misunderstanding. */
static int
check_all_used (const struct opening *o)
{
  const struct qcow_options *options = o->options;
  const struct chain *chain = o->chain;
  const struct chain_layer *lowest = &chain->layers[chain->nr_layers - 1];
  const char *name = lowest->image ? lowest->image->name : lowest->raw->name;
  const unsigned depth = chain->nr_layers - 1;

  if (options->nr_backing > depth)
    return error_report (o->context->hooks, EINVAL, name,
                         "has no backing file, so there is none to replace "
                         "by backing=%s",
                         url_shown (options->backing[depth]));
  if (options->nr_backing_formats > depth)
    return error_report (o->context->hooks, EINVAL, name,
                         "has no backing file, so backing-format=%s says "
                         "nothing",
                         options->backing_formats[depth]);
  if (options->nr_data_files > o->data_files)
    return error_report (o->context->hooks, EINVAL,
                         chain->layers[0].image->name,
                         "%s external data file, so there is none to "
                         "replace by data-file=%s",
                         o->data_files == 0 ? "has no" : "has no further",
                         url_shown (options->data_files[o->data_files]));
  return 0;
}

/* Last, since it is what may take time. */
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

/* What the user says must mean something. */
static int
check_formats (const struct opening *o)
{
  const struct qcow_options *options = o->options;
  size_t i;

  for (i = 0; i < options->nr_backing_formats; ++i)
    if (format_by_name (options->backing_formats[i]) == FORMAT_UNKNOWN)
      return error_report (o->context->hooks, EINVAL, options_name (o),
                           "backing-format=%s: must be raw or qcow",
                           options->backing_formats[i]);
  return 0;
}

static int
open_layers (struct opening *o)
{
  const char *url = o->options->url, *filename = o->options->filename;
  struct source *source;

  if (filename && url_looks_like_one (filename))
    return error_report (o->context->hooks, EINVAL, url_shown (filename),
                         "is a URL, not a file (use url= instead of file=)");
  source = open_named_by_user (o, url ? url : filename);
  if (source == NULL || add_image (o, source) == -1)
    return -1;
  while (has_backing_file (o->chain))
    if (add_layer (o) == -1)
      return -1;
  return check_all_used (o) == 0 ? unlock_layers (o->chain, o->options) : -1;
}

/* For a URL, its name, which has no secrets in it, is what counts. */
static struct access *
new_access (const struct opening *o)
{
  const struct qcow_options *options = o->options;
  struct access *access;
  struct url url;

  if (options->url == NULL)
    return access_new (options->allow, options->nr_allow, options->filename,
                       o->context->hooks);
  if (prepare_http (o) == -1
      || http_parse_url (o->context->http, options->url, "", &url) == -1)
    return NULL;
  access = access_new (options->allow, options->nr_allow, url.name,
                       o->context->hooks);
  url_free (&url);
  return access;
}

struct chain *
chain_open (struct context *context, const struct qcow_options *options)
{
  struct opening o = {
    .context = context,
    .options = options,
  };
  int r = -1, err;

  o.chain = calloc (1, sizeof *o.chain);
  if (o.chain == NULL)
    error_no_memory (o.context->hooks, options_name (&o));
  else {
    o.access = new_access (&o);
    if (o.access && check_formats (&o) == 0)
      r = open_layers (&o);
  }
  err = errno;
  access_free (o.access);
  if (r == -1) {
    chain_close (o.chain);
    o.chain = NULL;
  }
  errno = err;
  return o.chain;
}

void
chain_close (struct chain *chain)
{
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

static size_t
max_size (size_t a, size_t b)
{
  return a > b ? a : b;
}

size_t
chain_largest_cached (const struct chain *chain)
{
  size_t largest = 0;
  unsigned i;

  for (i = 0; i < chain->nr_layers; ++i) {
    const struct chain_layer *layer = &chain->layers[i];
    const struct image *image = layer->image;

    if (image)
      largest = max_size (largest, image_cluster_bytes (image));
    if (image ? image->source->remote || image->data->remote
              : layer->raw->remote)
      largest = max_size (largest, SOURCE_BLOCK_BYTES);
  }
  return largest;
}

void
chain_start (const struct chain *chain, struct cache *cache)
{
  unsigned i;

  for (i = 0; i < chain->nr_layers; ++i) {
    const struct chain_layer *layer = &chain->layers[i];

    if (layer->image) {
      source_start (layer->image->source, cache);
      if (layer->image->data != layer->image->source)
        source_start (layer->image->data, cache);
    }
    else
      source_start (layer->raw, cache);
  }
}
