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
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
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

static const char *filename;
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
plugin_config (const char *key, const char *value)
{
  if (strcmp (key, "file") == 0)
    return set_once (key, value, &filename);

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
  "cache-size=<SIZE>     Memory for lookup tables and inflated clusters\n"    \
  "                      (default: 64M).\n"                                   \
  "force-share=<BOOL>    Serve the image even if another process has it\n"    \
  "                      open for writing (default: false)."

static int
plugin_get_ready (void)
{
  const struct qcow_options options = {
    .filename = filename,
    .cache_size = cache_size,
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

static int
plugin_list_exports (UNUSED int readonly, UNUSED int is_tls,
                     struct nbdkit_exports *exports)
{
  return nbdkit_add_export (exports, "", qcow_description (image));
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
plugin_export_description (UNUSED void *handle)
{
  return qcow_description (image);
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
