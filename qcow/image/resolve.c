/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the names of files mean.  See resolve.h.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "image/resolve.h"
#include "url/url-name.h"

/* --- Names of either kind --- */

static int
set_url (struct context *context, const struct qcow_options *options,
         const char *written, const char *text, struct reference *ref)
{
  if (context->is_shared)
    return error_report (context->hooks, EPERM, ref->image ? ref->image : "",
                         "the image names the %s '%s', but images that are "
                         "served together can't reach URLs",
                         ref->what ? ref->what : "file",
                         error_name (context->hooks, url_shown (written)));
  if (remotes_parse_url (&context->remotes, options, context->hooks, text,
                         ref->image ? ref->image : "", &ref->url)
      == -1)
    return -1;
  /* Messages about a URL of the user show only the name of the URL. */
  if (ref->image == NULL || url_shown (written) != written)
    written = ref->url.name;
  ref->name = strdup (written);
  return ref->name ? 0 : error_no_memory (context->hooks, ref->url.name);
}

/* While serving, clients can see messages, so these show neither the path nor
 * the directory part of the name.
 */
static int
set_path (const struct context *context, const char *written, const char *path,
          struct reference *ref)
{
  const struct qcow_hooks *hooks = context->hooks;
  const char *shown = url_shown (written);

  if (hooks->serving && ref->image)
    error_debug (hooks, ref->image, "the %s '%s' is %s", ref->what, shown,
                 url_shown (path));
  ref->hidden = hooks->serving || shown != written;
  ref->name = strdup (error_name (hooks, shown));
  ref->path = strdup (path);
  return ref->name && ref->path
           ? 0
           : error_no_memory (hooks, ref->image ? ref->image : shown);
}

/* --- Names of the user --- */

int
resolve_top (struct context *context, const struct qcow_options *options,
             struct reference *ref)
{
  const char *filename = options->filename;
  char number[32];

  *ref = (struct reference){ .image = NULL };
  if (filename == NULL && options->fd != -1) {
    snprintf (number, sizeof number, "fd=%d", options->fd);
    ref->nameless = true;
    return set_path (context, number, number, ref);
  }
  if (options->url)
    return set_url (context, options, options->url, options->url, ref);
  if (url_looks_like_one (filename))
    return error_report (context->hooks, EINVAL, url_shown (filename),
                         "is a URL, not a file" HINT,
                         HINT_ARGS (context->hooks, QCOW_HINT_URL));
  return set_path (context, filename, filename, ref);
}

int
resolve_user_name (struct context *context, const struct qcow_options *options,
                   const char *name, struct reference *ref)
{
  *ref = (struct reference){ .image = NULL };
  return url_is_one (name) ? set_url (context, options, name, name, ref)
                           : set_path (context, name, name, ref);
}

/* --- Names in images --- */

static void
begin (const struct image *image, const char *what, enum qcow_hint hint,
       const struct layer_suffix *suffix, struct reference *ref)
{
  *ref
    = (struct reference){ .image = image->name, .what = what, .hint = hint };
  snprintf (ref->hint_value, sizeof ref->hint_value, "%s", suffix->text);
}

/* Returns the first directory that allow= names, or NULL. */
static const char *
first_directory (const struct qcow_options *options)
{
  size_t i;

  for (i = 0; i < options->nr_allow; ++i)
    if (strcmp (options->allow[i], "image-dir") != 0
        && strcmp (options->allow[i], "any") != 0
        && !url_is_one (options->allow[i]))
      return options->allow[i];
  return NULL;
}

/* The image has no directory to which a relative name could be joined. */
static int
set_below_allowed (const struct image *image,
                   const struct qcow_options *options, const char *stored,
                   const char *name, struct reference *ref)
{
  const char *dir = first_directory (options);
  struct hint_room room;
  char *joined;
  int r;

  if (dir == NULL)
    return error_report (
      image->context->hooks, EPERM, image->name,
      "the image names the %s '%s', but was passed as a file descriptor, so "
      "the directory of that name is not known%s",
      ref->what, url_shown (stored),
      error_hint_with (image->context->hooks, QCOW_HINT_ALLOW, "DIR", &room));
  if (asprintf (&joined, "%s/%s", dir, name) == -1)
    return image_no_memory (image);
  r = set_path (image->context, stored, joined, ref);
  free (joined);
  return r;
}

/* Join a relative name to the directory part of the image's name as written
 * (qemu).  An absolute name is a local file, even in an image at a URL.
 */
static int
set_joined (const struct image *image, const struct qcow_options *options,
            const char *stored, const char *name, struct reference *ref)
{
  const bool is_url = url_is_one (image->name) && name[0] != '/';
  char *joined;
  int r;

  if (image->source->nameless && name[0] != '/')
    return set_below_allowed (image, options, stored, name, ref);
  joined
    = is_url ? url_join (image->name, name) : path_join (image->name, name);
  if (joined == NULL)
    return image_no_memory (image);
  r = is_url ? set_url (image->context, options, stored, joined, ref)
             : set_path (image->context, stored, joined, ref);
  free (joined);
  return r;
}

/* A name has a protocol if its first ':' comes before its first '/' (qemu).
 * Only "file:" is supported.  Sets *name to the rest.
 */
static int
skip_protocol (const struct image *image, const struct reference *ref,
               const char **name)
{
  const struct qcow_hooks *hooks = image->context->hooks;
  const char *stored = image->header.backing_file, *shown;
  const char *p = strpbrk (stored, ":/");
  struct hint_room room;

  *name = stored;
  if (p == NULL || *p == '/')
    return 0;
  if (strncmp (stored, "file:", 5) == 0 && stored[5] != '\0') {
    *name = stored + 5;
    return 0;
  }
  shown = error_name (hooks, url_shown (stored));
  if (url_shown (stored) != stored)
    return error_report (
      hooks, EINVAL, image->name,
      "the backing file '%s' is named by a kind of URL "
      "that is not supported: '%.*s:'%s",
      shown, (int) (p - stored), stored,
      error_hint_with (hooks, ref->hint, ref->hint_value, &room));
  return error_report (
    hooks, EINVAL, image->name,
    "the backing file '%s' is neither a file nor a URL "
    "that is supported: '%.*s:' is not supported, and a "
    "file of this name would be './%s'%s",
    shown, (int) (p - stored), stored, shown,
    error_hint_with (hooks, ref->hint, ref->hint_value, &room));
}

int
resolve_backing_file (const struct image *image,
                      const struct qcow_options *options,
                      const struct layer_suffix *suffix, struct reference *ref)
{
  const char *stored = image->header.backing_file;
  const char *name;

  begin (image, "backing file", QCOW_HINT_BACKING, suffix, ref);
  if (url_is_one (stored))
    return set_url (image->context, options, stored, stored, ref);
  if (skip_protocol (image, ref, &name) == -1)
    return -1;
  /* "file:" is a local file, even in an image at a URL. */
  if (name != stored && url_is_one (image->name))
    return set_path (image->context, stored, name, ref);
  return set_joined (image, options, stored, name, ref);
}

/* Only URLs have a protocol here: "file:x" is a relative name (qemu). */
int
resolve_data_file (const struct image *image,
                   const struct qcow_options *options,
                   const struct layer_suffix *suffix, struct reference *ref)
{
  const char *stored = image->header.data_file;

  begin (image, "data file", QCOW_HINT_DATA_FILE, suffix, ref);
  if (url_is_one (stored))
    return set_url (image->context, options, stored, stored, ref);
  return set_joined (image, options, stored, stored, ref);
}
