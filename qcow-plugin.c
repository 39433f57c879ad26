/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit's callbacks, the parameters, the words for errors.  What a QCOW
 * image is, only qcow/ knows.
 *
 * The image is opened and checked in get_ready, before the server forks,
 * changes its directory or its user, so that a bad image stops the start.
 * From then on it is constant, and callbacks run in parallel without a
 * lock of ours.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "qcow/qcow.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* A parameter that nbdkit passes and we have no use for. */
#define UNUSED __attribute__ ((unused))

/* Debug flags: -D qcow.runs=1, -D qcow.cache=1 */
NBDKIT_DLL_PUBLIC int qcow_debug_runs = 0;
NBDKIT_DLL_PUBLIC int qcow_debug_cache = 0;

/* The values of a parameter that may be given several times.  The strings
 * are nbdkit's.
 */
struct list {
  const char **values;
  size_t n;
};

static const char *filename;
static const char *snapshot, *since, *bitmap;
static struct list allow, backing, backing_formats, data_files;
static uint64_t cache_size = QCOW_DEFAULT_CACHE_SIZE;
static bool force_share;

static struct qcow *image;

static void
say_error (const char *text)
{
  nbdkit_error ("%s", text);
}

static void
say_warning (const char *text)
{
  /* nbdkit has no warnings; its own plugins do this. */
  nbdkit_error ("warning: %s", text);
}

static void
say_debug (const char *text)
{
  nbdkit_debug ("%s", text);
}

static void
plugin_unload (void)
{
  qcow_close (image);
  free (allow.values);
  free (backing.values);
  free (backing_formats.values);
  free (data_files.values);
}

static void
plugin_dump_plugin (void)
{
  printf ("qcow_zlib=yes\n");
  printf ("qcow_zstd=yes\n");
  printf ("qcow_libdeflate_version=%s\n", LIBDEFLATE_VERSION_STRING);
  printf ("qcow_zlib_version=%s\n", zlibVersion ());
  printf ("qcow_zstd_version=%s\n", ZSTD_versionString ());
}

static int
set_once (const char *key, const char *value, const char **var)
{
  if (*var) {
    nbdkit_error ("%s=%s: the parameter was given before (%s=%s): it can "
                  "only be given once",
                  key, value, key, *var);
    return -1;
  }
  if (value[0] == '\0') {
    nbdkit_error ("%s= needs a value", key);
    return -1;
  }
  *var = value;
  return 0;
}

static int
append (const char *key, const char *value, struct list *list)
{
  const char **values;

  if (value[0] == '\0') {
    nbdkit_error ("%s= needs a value", key);
    return -1;
  }
  values = realloc (list->values, (list->n + 1) * sizeof values[0]);
  if (values == NULL) {
    nbdkit_error ("realloc: %m");
    return -1;
  }
  list->values = values;
  list->values[list->n++] = value;
  return 0;
}

static int
plugin_config (const char *key, const char *value)
{
  if (strcmp (key, "file") == 0)
    return set_once (key, value, &filename);
  if (strcmp (key, "snapshot") == 0)
    return set_once (key, value, &snapshot);
  if (strcmp (key, "since") == 0)
    return set_once (key, value, &since);
  if (strcmp (key, "bitmap") == 0)
    return set_once (key, value, &bitmap);
  if (strcmp (key, "allow") == 0)
    return append (key, value, &allow);
  if (strcmp (key, "backing") == 0)
    return append (key, value, &backing);
  if (strcmp (key, "backing-format") == 0)
    return append (key, value, &backing_formats);
  if (strcmp (key, "data-file") == 0)
    return append (key, value, &data_files);

  if (strcmp (key, "cache-size") == 0) {
    const int64_t r = nbdkit_parse_size (value);

    if (r == -1)
      return -1;
    cache_size = (uint64_t) r;
  }
  else if (strcmp (key, "force-share") == 0) {
    const int r = nbdkit_parse_bool (value);

    if (r == -1)
      return -1;
    force_share = r;
  }
  else {
    nbdkit_error ("unknown parameter '%s' (nbdkit qcow --help lists them)",
                  key);
    return -1;
  }
  return 0;
}

static int
plugin_config_complete (void)
{
  if (filename == NULL) {
    nbdkit_error ("you must supply the image: [file=]FILENAME after the "
                  "plugin name on the command line");
    return -1;
  }
  return 0;
}

#define plugin_config_help                                                    \
  "[file=]<FILENAME>     (required) The QCOW image to serve, read-only.\n"    \
  "allow=<WHERE>         What names inside images may reach: image-dir "      \
  "(the\n"                                                                    \
  "                      image's directory), a directory, or any; may be\n"   \
  "                      given several times (default: nothing).\n"           \
  "backing=<FILE>        Use this backing file instead of the one that the\n" \
  "                      image names; the n-th is for the n-th layer.\n"      \
  "backing-format=<FORMAT>\n"                                                 \
  "                      raw or qcow: what the n-th backing file is\n"        \
  "                      (default: as recorded in the image).\n"              \
  "bitmap=<NAME>         Serve the disk with what this dirty bitmap says "    \
  "has\n"                                                                     \
  "                      changed.\n"                                          \
  "cache-size=<SIZE>     Memory for lookup tables and inflated clusters\n"    \
  "                      (default: 64M).\n"                                   \
  "data-file=<FILE>      Use this external data file instead of the one\n"    \
  "                      that the image names.\n"                             \
  "force-share=<BOOL>    Serve the image even if another process has it\n"    \
  "                      open for writing (default: false).\n"                \
  "since=<POINT>         Serve what changed since this snapshot, "            \
  "'backing',\n"                                                              \
  "                      or 'layer:N'.\n"                                     \
  "snapshot=<ID-OR-NAME> Serve only this internal snapshot."

static int
plugin_get_ready (void)
{
  const struct qcow_options options = {
    .filename = filename,
    .cache_size = cache_size,
    .allow = allow.values,
    .nr_allow = allow.n,
    .backing = backing.values,
    .nr_backing = backing.n,
    .backing_formats = backing_formats.values,
    .nr_backing_formats = backing_formats.n,
    .data_files = data_files.values,
    .nr_data_files = data_files.n,
    .snapshot = snapshot,
    .since = since,
    .bitmap = bitmap,
    .force_share = force_share,
    .debug_runs = qcow_debug_runs,
    .debug_cache = qcow_debug_cache,
  };
  const struct qcow_hooks hooks = {
    .error = say_error,
    .warn = say_warning,
    .debug = say_debug,
  };

  image = qcow_open (&options, &hooks);
  return image ? 0 : -1;
}

/* One export more, or one longer name or description, and nbdkit refuses
 * the whole list.
 */
#define MAX_LISTED 10000
#define MAX_NAME_LENGTH 4096

struct listing {
  struct nbdkit_exports *exports;
  unsigned listed, left_out;
};

static int
list_one (void *opaque, const char *name, const char *description)
{
  struct listing *l = opaque;

  if (name == NULL || strlen (name) > MAX_NAME_LENGTH
      || l->listed == MAX_LISTED) {
    l->left_out++;
    return 0;
  }
  l->listed++;
  return nbdkit_add_export (l->exports, name, description);
}

static int
plugin_list_exports (UNUSED int readonly, UNUSED int is_tls,
                     struct nbdkit_exports *exports)
{
  static atomic_flag warned = ATOMIC_FLAG_INIT;
  struct listing l = { .exports = exports };

  if (qcow_list (image, list_one, &l) == -1)
    return -1;
  if (l.left_out > 0 && !atomic_flag_test_and_set (&warned))
    nbdkit_error ("warning: %s: %u snapshots or bitmaps are not listed, "
                  "since there are too many, or they have no name that can "
                  "be listed; they can still be asked for by id or name",
                  filename, l.left_out);
  return 0;
}

static const char *
plugin_default_export (UNUSED int readonly, UNUSED int is_tls)
{
  return "";
}

static void *
plugin_open (UNUSED int readonly)
{
  return qcow_view_open (image, nbdkit_export_name ());
}

static void
plugin_close (void *handle)
{
  qcow_view_close (handle);
}

static const char *
plugin_export_description (void *handle)
{
  return qcow_view_description (handle);
}

static int64_t
plugin_get_size (void *handle)
{
  return (int64_t) qcow_view_size (handle);
}

/* nbdcopy asks for pieces of the preferred size, and never less than
 * 256 KiB.
 */
#define PREFERRED_BLOCK_SIZE (512U << 10)

static int
plugin_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                   uint32_t *maximum)
{
  const uint32_t cluster_size = qcow_view_cluster_size (handle);

  *minimum = 1;
  *preferred = cluster_size > PREFERRED_BLOCK_SIZE ? cluster_size
                                                   : PREFERRED_BLOCK_SIZE;
  *maximum = 0xffffffff;
  return 0;
}

static int
plugin_can_multi_conn (UNUSED void *handle)
{
  return 1;
}

static int
plugin_can_extents (UNUSED void *handle)
{
  return 1;
}

static int
plugin_can_cache (UNUSED void *handle)
{
  return NBDKIT_CACHE_NATIVE;
}

static int
plugin_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
              UNUSED uint32_t flags)
{
  return qcow_read (handle, buf, count, offset);
}

static int
plugin_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  if (flags != 0) {
    errno = EINVAL;
    nbdkit_error ("cache: unknown flags 0x%" PRIx32, flags);
    return -1;
  }
  return qcow_prefetch (handle, count, offset);
}

static int
add_extent (void *opaque, uint64_t offset, uint64_t length,
            enum qcow_extent kind)
{
  static const uint32_t types[] = {
    [QCOW_EXTENT_DATA] = 0,
    [QCOW_EXTENT_ZERO] = NBDKIT_EXTENT_ZERO,
    [QCOW_EXTENT_HOLE_ZERO] = NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO,
    [QCOW_EXTENT_UNCHANGED] = NBDKIT_EXTENT_HOLE,
  };

  return nbdkit_add_extent (opaque, offset, length, types[kind]);
}

/* An extent of 4 GiB or more for a request of nearly as much ends servers
 * up to nbdkit 1.45 with an assertion (CVE-2025-47711).  This is the most
 * that is safe, and keeps the next request aligned to 64 KiB.
 */
#define MAX_EXTENTS_COUNT 0xffff0000

static int
plugin_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                struct nbdkit_extents *extents)
{
  if (count > MAX_EXTENTS_COUNT)
    count = MAX_EXTENTS_COUNT;
  return qcow_extents (handle, count, offset, flags & NBDKIT_FLAG_REQ_ONE,
                       add_extent, extents);
}

static struct nbdkit_plugin plugin = {
  .name = "qcow",
  .longname = "nbdkit qcow plugin",
  .version = VERSION,
  .description = "serve QCOW disk images, read-only",
  .unload = plugin_unload,
  .dump_plugin = plugin_dump_plugin,
  .config = plugin_config,
  .config_complete = plugin_config_complete,
  .config_help = plugin_config_help,
  .magic_config_key = "file",
  .get_ready = plugin_get_ready,
  .list_exports = plugin_list_exports,
  .default_export = plugin_default_export,
  .open = plugin_open,
  .close = plugin_close,
  .export_description = plugin_export_description,
  .get_size = plugin_get_size,
  .block_size = plugin_block_size,
  .can_multi_conn = plugin_can_multi_conn,
  .can_extents = plugin_can_extents,
  .can_cache = plugin_can_cache,
  .pread = plugin_pread,
  .cache = plugin_cache,
  .extents = plugin_extents,
  /* qcow/ sets errno to what a client should see. */
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
