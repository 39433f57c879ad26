/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The format of a backing file.  See backing-format.h.
 */

#include <errno.h>
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

  for (i = 0; i < options->nr_backing_formats; ++i)
    if (format_by_name (options->backing_formats[i]) == FORMAT_UNKNOWN)
      return error_report (hooks, EINVAL, object,
                           "backing-format=%s: must be raw or qcow",
                           options->backing_formats[i]);
  return 0;
}

int
backing_format_stated (const struct image *above, unsigned depth,
                       const struct qcow_options *options,
                       struct stated_format *stated)
{
  const char *recorded = above->header.backing_format;
  const bool is_replaced = depth <= options->nr_backing;

  *stated = (struct stated_format){ .format = FORMAT_UNKNOWN };
  if (depth <= options->nr_backing_formats) {
    stated->format = format_by_name (options->backing_formats[depth - 1]);
    stated->by_user = true;
    return 0;
  }
  stated->of_other_file = is_replaced;
  if (recorded[0] == '\0')
    return 0;
  stated->format = format_by_name (recorded);
  if (stated->format != FORMAT_UNKNOWN)
    return 0;
  return error_report (above->context->hooks, EINVAL, above->name,
                       "the backing file '%s' has the format '%s': only raw, "
                       "qcow and qcow2 are supported%s",
                       url_shown (above->header.backing_file), recorded,
                       is_replaced
                         ? ".  Specify the format of your own file with "
                           "backing-format=raw or backing-format=qcow"
                         : "");
}

/* The file is stated to be a QCOW image. */
static enum layer_format
check_qcow (const struct image *above, const struct stated_format *stated,
            const struct reference *ref, struct source *source,
            const uint8_t start[PROBE_IMAGE_BYTES])
{
  const struct probe *probe;

  /* image_open reports an empty file. */
  if (source->size == 0 || get_be32 (start) == QCOW_MAGIC)
    return FORMAT_QCOW;
  if (image_probe (source, start, PROBE_IMAGE_BYTES, &probe) == 0)
    error_report (
      above->context->hooks, EINVAL, above->name,
      "the backing file " NAMED
      " is %s as %s, but is not a QCOW image%s%s%s" HINT,
      NAMED_SOURCE (ref, source), stated->by_user ? "given" : "recorded",
      stated->by_user ? "backing-format=qcow" : above->header.backing_format,
      probe ? ": it looks like " : "", probe ? probe->what : "",
      probe && probe->is_image ? ", and only raw and QCOW images are supported"
                               : "",
      HINT_ARGS (above->context->hooks, probe && probe->is_image
                                          ? QCOW_HINT_NONE
                                          : QCOW_HINT_FORMAT_RAW));
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
                  " starts like a QCOW image, but its "
                  "format %s: a guest may have written this "
                  "header to its raw disk.  Specify the format with "
                  "backing-format=qcow or backing-format=raw",
                  NAMED_SOURCE (ref, source), recorded);
  else if (probe && probe->is_image)
    error_report (above->context->hooks, EINVAL, above->name,
                  "the backing file " NAMED " starts like %s, and its format "
                  "%s: only raw and QCOW images are supported.  "
                  "If it is a raw disk, add backing-format=raw",
                  NAMED_SOURCE (ref, source), probe->what, recorded);
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
