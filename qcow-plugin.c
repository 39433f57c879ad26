/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit's callbacks, except those for the parameters (plugin-config.h).  All
 * knowledge of QCOW images is in qcow/.
 *
 * get_ready opens and checks the image before the server forks or changes its
 * directory or user, so the server does not start with a bad image.  From then
 * on the image is constant, and callbacks run in parallel without locking
 * here.  With dir=, get_ready opens the directory, and each image is opened
 * for the first client that asks for it.
 */

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <gcrypt.h>
#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin-config.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* For callback parameters that are not used. */
#define UNUSED __attribute__ ((unused))

/* Debug flags: -D qcow.runs=1, -D qcow.cache=1, -D qcow.http=1 */
NBDKIT_DLL_PUBLIC int qcow_debug_runs = 0;
NBDKIT_DLL_PUBLIC int qcow_debug_cache = 0;
NBDKIT_DLL_PUBLIC int qcow_debug_http = 0;

/* What is served: one of them is not NULL. */
static struct qcow *image;
static struct qcow_directory *directory;

static bool serving;     /* after the fork */
static bool before_1_34; /* the version of the running nbdkit */

static void
hook_error (UNUSED void *opaque, const char *text)
{
  nbdkit_error ("%s", text);
}

static void
hook_warn (UNUSED void *opaque, const char *text)
{
  /* nbdkit has no function for warnings; its own plugins do this. */
  nbdkit_error ("warning: %s", text);
}

static void
hook_debug (UNUSED void *opaque, const char *text)
{
  nbdkit_debug ("%s", text);
}

/* Before nbdkit serves, nbdkit_nanosleep does not notice a shutdown, but
 * signals simply end the process.
 */
static int
hook_sleep (UNUSED void *opaque, unsigned ms)
{
  const struct timespec t = { .tv_sec = (time_t) (ms / 1000),
                              .tv_nsec = (long) (ms % 1000) * 1000000 };

  if (serving)
    return nbdkit_nanosleep (ms / 1000, (ms % 1000) * 1000000);
  nanosleep (&t, NULL);
  return 0;
}

/* Each of nbdkit's threads would have its own arena, which takes 64 MiB of the
 * address space.  If that is limited, not even all threads would start.
 */
static void
save_address_space (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    mallopt (M_ARENA_MAX, 2);
}

static void
plugin_load (void)
{
  save_address_space ();
  if (qcow_load () == -1) {
    nbdkit_error ("libgcrypt %s is too old", gcry_check_version (NULL));
    exit (EXIT_FAILURE);
  }
  /* nbdkit 1.33.3 added this function.  Look it up at run time, because the
   * headers that the plugin was built with can be of another version.
   */
  before_1_34 = dlsym (RTLD_DEFAULT, "nbdkit_disconnect") == NULL;
  config_load ();
}

static void
plugin_unload (void)
{
  qcow_close (image);
  qcow_directory_close (directory);
  config_free ();
}

static void
plugin_dump_plugin (void)
{
  const char *curl = qcow_curl_version (), *nbd = qcow_nbd_version ();

  printf ("qcow_zlib=yes\n");
  printf ("qcow_zstd=yes\n");
  printf ("qcow_aes=yes\n");
  printf ("qcow_luks=yes\n");
  printf ("qcow_libdeflate_version=%s\n", LIBDEFLATE_VERSION_STRING);
  printf ("qcow_zlib_version=%s\n", zlibVersion ());
  printf ("qcow_zstd_version=%s\n", ZSTD_versionString ());
  printf ("qcow_url=%s\n", curl ? "yes" : "no");
  if (curl)
    printf ("qcow_curl_version=%s\n", curl);
  printf ("qcow_nbd=%s\n", nbd ? "yes" : "no");
  if (nbd)
    printf ("qcow_libnbd_version=%s\n", nbd);
  printf ("qcow_libgcrypt_version=%s\n", gcry_check_version (NULL));
}

/* Print what info=json asks for, and end the process: nbdkit has no other way
 * not to serve.  It has made no socket and no PID file yet.
 */
static void
print_info_and_exit (const struct qcow_options *options,
                     const struct qcow_hooks *hooks)
{
  int status = EXIT_FAILURE;

  if (qcow_print_info (options, hooks, stdout) == 0) {
    if (fflush (stdout) == 0 && !ferror (stdout))
      status = EXIT_SUCCESS;
    else
      nbdkit_error ("info=json: can't write to stdout: %m");
  }
  config_free ();
  exit (status);
}

static int
plugin_get_ready (void)
{
  struct qcow_options options = config_options ();
  const struct qcow_hooks hooks = {
    .error = hook_error,
    .warn = hook_warn,
    .debug = hook_debug,
    .sleep = hook_sleep,
    .hints = config_hints (),
  };

  options.debug_runs = qcow_debug_runs;
  options.debug_cache = qcow_debug_cache;
  options.debug_http = qcow_debug_http;
  if (config_info ())
    print_info_and_exit (&options, &hooks);
  if (options.directory) {
    directory = qcow_directory_open (&options, &hooks);
    return directory ? 0 : -1;
  }
  image = qcow_open (&options, &hooks);
  config_wipe_passphrases ();
  return image ? 0 : -1;
}

static int
plugin_after_fork (void)
{
  serving = true;
  return directory ? qcow_directory_after_fork (directory)
                   : qcow_after_fork (image);
}

/* nbdkit's limits.  With one export more, or a longer name or description, it
 * refuses the whole list.
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

  if ((directory ? qcow_directory_list (directory, list_one, &l)
                 : qcow_list (image, list_one, &l))
      == -1)
    return -1;
  if (l.left_out == 0 || atomic_flag_test_and_set (&warned))
    return 0;
  if (directory)
    nbdkit_error (
      "warning: list of exports: %u images are omitted: there are "
      "too many, or their names can't be listed (clients can still "
      "open them)",
      l.left_out);
  else
    nbdkit_error ("warning: list of exports: %u snapshots or bitmaps are "
                  "omitted: there are too many, their names can't be listed "
                  "(clients can still open them by id or name), or the "
                  "bitmaps are unusable",
                  l.left_out);
  return 0;
}

static const char *
plugin_default_export (UNUSED int readonly, UNUSED int is_tls)
{
  return "";
}

/* The view that this thread opened last, or NULL after it was closed. */
static __thread void *opened_here;

static void *
plugin_open (UNUSED int readonly)
{
  /* NULL if a filter opens the plugin without a client; nbdkit has reported
   * that.  Do not guess which export is meant.
   */
  const char *name = nbdkit_export_name ();

  if (name == NULL)
    opened_here = NULL;
  else if (directory)
    opened_here = qcow_directory_view_open (directory, name);
  else
    opened_here = qcow_view_open (image, name);
  return opened_here;
}

static void
plugin_close (void *handle)
{
  if (opened_here == handle)
    opened_here = NULL;
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

/* nbdcopy sends requests of the preferred size, and never less than 256 KiB.
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

/* Up to nbdkit 1.45, an extent of 4 GiB or more in the reply to a request of
 * almost 4 GiB fails an assertion in the server (CVE-2025-47711).  This is the
 * largest safe count that keeps the next request aligned to 64 KiB.
 */
#define MAX_EXTENTS_COUNT 0xffff0000

/* If a client disconnects while its block status reply is being sent, nbdkit
 * before 1.34 tries to send the next extent on the closed socket, and fails an
 * assertion.  A reply with one extent is safe, but each extent then costs a
 * round trip: nbdinfo --map of 262144 extents takes 9 s instead of 1 s.
 *
 * So send a single extent where that makes the server safe, and only there:
 * where the thread that opened the connection also serves it (nbdkit -t 1).
 * With more threads, a client that disconnects with several requests in flight
 * crashes such a server whatever the plugin does.
 */
static bool
must_send_one_extent (const void *handle)
{
  return before_1_34 && opened_here == handle;
}

static int
plugin_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                struct nbdkit_extents *extents)
{
  const bool one
    = (flags & NBDKIT_FLAG_REQ_ONE) != 0 || must_send_one_extent (handle);

  if (count > MAX_EXTENTS_COUNT)
    count = MAX_EXTENTS_COUNT;
  return qcow_extents (handle, count, offset, one, add_extent, extents);
}

static struct nbdkit_plugin plugin = {
  .name = "qcow",
  .longname = "nbdkit qcow plugin",
  .version = VERSION,
  .description = "serve QCOW disk images, read-only",
  .load = plugin_load,
  .unload = plugin_unload,
  .dump_plugin = plugin_dump_plugin,
  .config = config_parameter,
  .config_complete = config_complete,
  .config_help = config_help,
  .magic_config_key = "file",
  .get_ready = plugin_get_ready,
  .after_fork = plugin_after_fork,
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
  /* qcow/ sets errno to the value for the client. */
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
