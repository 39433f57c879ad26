/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The format of a backing file.  See backing-format.h.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "image/backing-format.h"
#include "url/url-name.h"

/* For NAMED: like NAMED_REFERENCE, once the source owns the URL. */
#define NAMED_SOURCE(ref, source)                                             \
  NAMED_ARGS ((ref)->name, (ref)->hidden ? (ref)->name : (source)->name)

/* Parse the name of a format from an image header or an option. */
static enum layer_format
format_by_name (const char *name)
{
  if (strcmp (name, "raw") == 0)
    return FORMAT_RAW;
  if (strcmp (name, "qcow2") == 0 || strcmp (name, "qcow") == 0)
    return FORMAT_QCOW;
  return FORMAT_UNKNOWN;
}

int
backing_format_check_options (const struct qcow_options *options,
                              const struct qcow_hooks *hooks,
                              const char *object)
{
  size_t i;

  for (i = 0; i < options->nr_backing_formats; ++i) {
    const char *format = options->backing_formats[i];

    if (format && format_by_name (format) == FORMAT_UNKNOWN)
      return error_report (
        hooks, EINVAL, object, "backing-format%s=%s: must be raw or qcow",
        layer_suffix (i + 1, options->backing_formats_numbered).text, format);
  }
  return 0;
}

/* The user's format for this layer, or NULL. */
static const char *
user_format (const struct qcow_options *options, unsigned depth,
             bool is_recorded)
{
  const size_t n = options->nr_backing_formats;

  if (depth <= n)
    return options->backing_formats[depth - 1];
  if (n == 1 && !options->backing_formats_numbered && !is_recorded)
    return options->backing_formats[0];
  return NULL;
}

int
backing_format_stated (const struct image *above, unsigned depth,
                       const struct qcow_options *options,
                       struct stated_format *stated)
{
  const bool is_named = above->header.backing_file[0] != '\0';
  const char *recorded = is_named ? above->header.backing_format : "";
  /* With many images, the user can't mean those that record a format. */
  const char *given = above->context->is_shared && recorded[0] != '\0'
                        ? NULL
                        : user_format (options, depth, recorded[0] != '\0');
  const bool numbered = options->backing_formats_numbered;
  const bool is_replaced
    = depth <= options->nr_backing && options->backing[depth - 1];

  *stated = (struct stated_format){
    .format = format_by_name (given ? given : recorded),
    .by_user = given,
    .of_other_file = !given && is_replaced,
    .given = layer_suffix (depth, numbered),
    .needed = layer_suffix_needed (depth, depth, options->nr_backing_formats,
                                   numbered),
  };
  if (given || recorded[0] == '\0')
    return 0;
  if (stated->format != FORMAT_UNKNOWN)
    return 0;
  if (is_replaced)
    return error_report (
      above->context->hooks, EINVAL, above->name,
      "the backing file '%s' has the format '%s': only raw, "
      "qcow and qcow2 are supported.  Specify the format of "
      "your own file with backing-format%s=raw or "
      "backing-format%s=qcow",
      error_name (above->context->hooks,
                  url_shown (above->header.backing_file)),
      recorded, stated->needed.text, stated->needed.text);
  return error_report (
    above->context->hooks, EINVAL, above->name,
    "the backing file '%s' has the format '%s': only raw, "
    "qcow and qcow2 are supported",
    error_name (above->context->hooks, url_shown (above->header.backing_file)),
    recorded);
}

/* The file is stated to be a QCOW image. */
static enum layer_format
check_qcow (const struct image *above, const struct stated_format *stated,
            const struct reference *ref, struct source *source,
            const uint8_t start[PROBE_IMAGE_BYTES])
{
  const struct qcow_hooks *hooks = above->context->hooks;
  const struct probe *probe;
  struct hint_room room;
  char given[64];

  /* image_open reports an empty file. */
  if (source->size == 0 || get_be32 (start) == QCOW_MAGIC)
    return FORMAT_QCOW;
  if (image_probe (source, start, PROBE_IMAGE_BYTES, &probe) == -1)
    return FORMAT_UNKNOWN;
  snprintf (given, sizeof given, "given as backing-format%s=qcow",
            stated->given.text);
  error_report (
    hooks, EINVAL, above->name,
    "the backing file " NAMED " is %s%s, but is not a QCOW image%s%s%s%s",
    NAMED_SOURCE (ref, source), stated->by_user ? given : "recorded as ",
    stated->by_user ? "" : above->header.backing_format,
    probe ? ": it looks like " : "", probe ? probe->what : "",
    probe && probe->is_image ? ", and only raw and QCOW images are supported"
                             : "",
    probe && probe->is_image ? ""
                             : error_hint_with (hooks, QCOW_HINT_FORMAT_RAW,
                                                stated->needed.text, &room));
  return FORMAT_UNKNOWN;
}

/* No format is stated for this file: refuse it if it starts like an image. */
static enum layer_format
check_raw (const struct image *above, const struct stated_format *stated,
           const struct reference *ref, const struct source *source,
           const uint8_t start[PROBE_IMAGE_BYTES])
{
  const struct probe *probe = probe_format (start, PROBE_IMAGE_BYTES, NULL);
  const char *recorded
    = stated->format == FORMAT_RAW ? "is recorded as raw" : "is not recorded";

  if (get_be32 (start) == QCOW_MAGIC)
    error_report (above->context->hooks, EINVAL, above->name,
                  "the backing file " NAMED
                  " starts like a QCOW image, but its format %s: a guest may "
                  "have written this header to its raw disk.  Specify the "
                  "format with backing-format%s=qcow or backing-format%s=raw",
                  NAMED_SOURCE (ref, source), recorded, stated->needed.text,
                  stated->needed.text);
  else if (probe && probe->is_image)
    error_report (above->context->hooks, EINVAL, above->name,
                  "the backing file " NAMED " starts like %s, and its format "
                  "%s: only raw and QCOW images are supported.  If it is a "
                  "raw disk, add backing-format%s=raw",
                  NAMED_SOURCE (ref, source), probe->what, recorded,
                  stated->needed.text);
  else
    return FORMAT_RAW;
  return FORMAT_UNKNOWN;
}

enum layer_format
backing_format_decide (const struct image *above,
                       const struct stated_format *stated,
                       const struct reference *ref, struct source *source)
{
  uint8_t start[PROBE_IMAGE_BYTES];

  if (stated->format == FORMAT_RAW && !stated->of_other_file)
    return FORMAT_RAW;
  if (source_read_table (source, start, sizeof start, 0) == -1)
    return FORMAT_UNKNOWN;
  return stated->format == FORMAT_QCOW
           ? check_qcow (above, stated, ref, source, start)
           : check_raw (above, stated, ref, source, start);
}
