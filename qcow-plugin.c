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
#include <time.h>

#include <gcrypt.h>
#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "qcow/qcow.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* A parameter that nbdkit passes and we have no use for. */
#define UNUSED __attribute__ ((unused))

/* Debug flags: -D qcow.runs=1, -D qcow.cache=1, -D qcow.http=1 */
NBDKIT_DLL_PUBLIC int qcow_debug_runs = 0;
NBDKIT_DLL_PUBLIC int qcow_debug_cache = 0;
NBDKIT_DLL_PUBLIC int qcow_debug_http = 0;

/* The values of a parameter that may be given several times.  The strings
 * are nbdkit's.
 */
struct list {
  const char **values;
  size_t n;
};

static const char *filename, *url;
static const char *snapshot, *since, *bitmap;
static struct list allow, backing, backing_formats, data_files;
static struct list headers, resolve;
static uint64_t cache_size = QCOW_DEFAULT_CACHE_SIZE;
static uint64_t luks_iterations;
static bool force_share;
static struct qcow_http_options http;

/* Of qcow_secret. */
static char *user_password, *cookie, *proxy_password;
static char *access_key, *secret_key, *session_token;
static struct list passphrases;

static struct qcow *image;
static bool serving; /* after the fork */

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

/* Nothing of nbdkit's notices before it serves that it should end, but then
 * signals just kill it.
 */
static int
sleep_or_end (unsigned ms)
{
  const struct timespec t
    = { .tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000 };

  if (serving)
    return nbdkit_nanosleep (ms / 1000, (ms % 1000) * 1000000);
  nanosleep (&t, NULL);
  return 0;
}

static void
wipe (char **secret)
{
  qcow_secret_free (*secret);
  *secret = NULL;
}

static void
wipe_secrets (void)
{
  size_t i;

  for (i = 0; i < passphrases.n; ++i)
    wipe ((char **) &passphrases.values[i]);
  free (passphrases.values);
  passphrases = (struct list){ NULL, 0 };
  wipe (&user_password);
  wipe (&cookie);
  wipe (&proxy_password);
  wipe (&access_key);
  wipe (&secret_key);
  wipe (&session_token);
}

static void
plugin_load (void)
{
  if (qcow_load () == -1) {
    nbdkit_error ("libgcrypt %s is too old", gcry_check_version (NULL));
    exit (EXIT_FAILURE);
  }
}

static void
plugin_unload (void)
{
  qcow_close (image);
  wipe_secrets ();
  free (allow.values);
  free (backing.values);
  free (backing_formats.values);
  free (data_files.values);
  free (headers.values);
  free (resolve.values);
}

static void
plugin_dump_plugin (void)
{
  const char *curl = qcow_curl_version ();

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
  printf ("qcow_libgcrypt_version=%s\n", gcry_check_version (NULL));
}

static int
set_once (const char *key, const char *value, const char **var)
{
  if (*var) {
    /* In these there may be secrets. */
    if (strcmp (key, "url") == 0 || strcmp (key, "proxy") == 0)
      nbdkit_error ("%s= was given before: it can only be given once", key);
    else
      nbdkit_error ("%s=%s: the parameter was given before (%s=%s): it can "
                    "only be given once",
                    key, value, key, *var);
    return -1;
  }
  /* That says: none. */
  if (value[0] == '\0' && strcmp (key, "cainfo") != 0
      && strcmp (key, "proxy") != 0) {
    nbdkit_error ("%s= needs a value", key);
    return -1;
  }
  *var = value;
  return 0;
}

static int
add_to_list (const char *value, struct list *list)
{
  const char **values;

  values = realloc (list->values, (list->n + 1) * sizeof values[0]);
  if (values == NULL) {
    nbdkit_error ("realloc: %m");
    return -1;
  }
  list->values = values;
  list->values[list->n++] = value;
  return 0;
}

/* Never say what the value was. */
static int
read_secret (const char *value, char **secret)
{
  char *text = NULL;

  if (nbdkit_read_password (value, &text) == -1)
    return -1;
  *secret = qcow_secret (text);
  if (*secret)
    return 0;
  nbdkit_error ("out of memory");
  return -1;
}

static int
read_secret_once (const char *key, const char *value, char **secret)
{
  if (*secret) {
    nbdkit_error ("%s= was given before: it can only be given once", key);
    return -1;
  }
  return read_secret (value, secret);
}

static int
parse_bool (const char *value, bool *var)
{
  const int r = nbdkit_parse_bool (value);

  if (r == -1)
    return -1;
  *var = r;
  return 0;
}

/* The same for what is called by its opposite. */
static int
parse_not (const char *value, bool *var)
{
  if (parse_bool (value, var) == -1)
    return -1;
  *var = !*var;
  return 0;
}

static int
parse_size (const char *value, uint64_t *var)
{
  const int64_t r = nbdkit_parse_size (value);

  if (r == -1)
    return -1;
  *var = (uint64_t) r;
  return 0;
}

/* 0 would be the default. */
static int
parse_luks_iterations (const char *value)
{
  if (nbdkit_parse_uint64_t ("luks-iterations", value, &luks_iterations) == -1)
    return -1;
  if (luks_iterations > 0)
    return 0;
  nbdkit_error ("luks-iterations=%s: must be at least 1", value);
  return -1;
}

static int
parse_connections (const char *value)
{
  if (nbdkit_parse_unsigned ("connections", value, &http.connections) == -1)
    return -1;
  if (http.connections > 0)
    return 0;
  nbdkit_error ("connections=%s: must be at least 1", value);
  return -1;
}

/* Parameters that are kept as they are. */
static const struct {
  const char *key;
  const char **var;
} texts[] = {
  { "file", &filename },
  { "url", &url },
  { "snapshot", &snapshot },
  { "since", &since },
  { "bitmap", &bitmap },
  { "cainfo", &http.cainfo },
  { "capath", &http.capath },
  { "endpoint-url", &http.endpoint_url },
  { "http-version", &http.http_version },
  { "protocols", &http.protocols },
  { "proxy", &http.proxy },
  { "proxy-user", &http.proxy_user },
  { "region", &http.region },
  { "unix-socket-path", &http.unix_socket_path },
  { "user", &http.user },
  { "user-agent", &http.user_agent },
};

/* Those that may be given several times. */
static const struct {
  const char *key;
  struct list *list;
} lists[] = {
  { "allow", &allow },
  { "backing", &backing },
  { "backing-format", &backing_formats },
  { "data-file", &data_files },
  { "header", &headers },
  { "resolve", &resolve },
};

/* Those that nobody must see. */
static const struct {
  const char *key;
  char **secret;
} secrets[] = {
  { "access-key", &access_key },  { "cookie", &cookie },
  { "password", &user_password }, { "proxy-password", &proxy_password },
  { "secret-key", &secret_key },  { "session-token", &session_token },
};

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

static int
append (const char *key, const char *value, struct list *list)
{
  if (value[0] == '\0') {
    nbdkit_error ("%s= needs a value", key);
    return -1;
  }
  return add_to_list (value, list);
}

/* It may be empty. */
static int
append_passphrase (const char *value)
{
  char *passphrase = NULL;

  if (read_secret (value, &passphrase) == -1)
    return -1;
  if (add_to_list (passphrase, &passphrases) == 0)
    return 0;
  wipe (&passphrase);
  return -1;
}

static int
plugin_config (const char *key, const char *value)
{
  size_t i;

  if (strcmp (key, "passphrase") == 0)
    return append_passphrase (value);

  for (i = 0; i < COUNT (texts); ++i)
    if (strcmp (key, texts[i].key) == 0)
      return set_once (key, value, texts[i].var);
  for (i = 0; i < COUNT (lists); ++i)
    if (strcmp (key, lists[i].key) == 0)
      return append (key, value, lists[i].list);
  for (i = 0; i < COUNT (secrets); ++i)
    if (strcmp (key, secrets[i].key) == 0)
      return read_secret_once (key, value, secrets[i].secret);

  if (strcmp (key, "cache-size") == 0)
    return parse_size (value, &cache_size);
  if (strcmp (key, "force-share") == 0)
    return parse_bool (value, &force_share);
  if (strcmp (key, "luks-iterations") == 0)
    return parse_luks_iterations (value);
  if (strcmp (key, "connections") == 0)
    return parse_connections (value);
  if (strcmp (key, "timeout") == 0)
    return nbdkit_parse_unsigned ("timeout", value, &http.timeout);
  if (strcmp (key, "sslverify") == 0)
    return parse_not (value, &http.no_sslverify);
  if (strcmp (key, "followlocation") == 0)
    return parse_not (value, &http.no_followlocation);
  if (strcmp (key, "tcp-keepalive") == 0)
    return parse_bool (value, &http.tcp_keepalive);

  nbdkit_error ("unknown parameter '%s' (nbdkit qcow --help lists them)", key);
  return -1;
}

/* NULL if it is empty, too. */
static const char *
environment (const char *name)
{
  const char *value = getenv (name);

  return value && value[0] != '\0' ? value : NULL;
}

/* S3's keys, all of one kind: nobody's token fits another's key. */
static void
take_environment (void)
{
  http.access_key = access_key;
  http.secret_key = secret_key;
  http.session_token = session_token;
  if (access_key == NULL && secret_key == NULL) {
    http.access_key = environment ("AWS_ACCESS_KEY_ID");
    http.secret_key = environment ("AWS_SECRET_ACCESS_KEY");
    if (session_token == NULL)
      http.session_token = environment ("AWS_SESSION_TOKEN");
  }
  if (http.region == NULL)
    http.region = environment ("AWS_REGION");
  if (http.region == NULL)
    http.region = environment ("AWS_DEFAULT_REGION");
  if (http.endpoint_url == NULL)
    http.endpoint_url = environment ("AWS_ENDPOINT_URL_S3");
  if (http.endpoint_url == NULL)
    http.endpoint_url = environment ("AWS_ENDPOINT_URL");
}

static int
plugin_config_complete (void)
{
  if (filename == NULL && url == NULL) {
    nbdkit_error ("you must supply the image: [file=]FILENAME or url=URL "
                  "after the plugin name on the command line");
    return -1;
  }
  if (filename && url) {
    nbdkit_error ("file= and url= can't be combined: there is one image to "
                  "serve");
    return -1;
  }
  if (filename && strstr (filename, "://")
      && strcspn (filename, "/") == strcspn (filename, ":") + 1) {
    nbdkit_error ("that is no file but a URL: say url=URL");
    return -1;
  }
  http.password = user_password;
  http.cookie = cookie;
  http.proxy_password = proxy_password;
  http.headers = headers.values;
  http.nr_headers = headers.n;
  http.resolve = resolve.values;
  http.nr_resolve = resolve.n;
  take_environment ();
  return 0;
}

/* clang-format off */
#define plugin_config_help \
  "[file=]<FILENAME>     The QCOW image to serve, read-only: a file or a block\n" \
  "                      device.\n" \
  "url=<URL>             The image at an http or https URL, or at\n" \
  "                      s3://BUCKET/KEY.\n" \
  "allow=<WHERE>         What names inside images may reach: image-dir (the\n" \
  "                      image's directory), a directory, the beginning of URLs,\n" \
  "                      or any; may be given several times (default: nothing).\n" \
  "backing=<FILE>        Use this backing file (or URL) instead of the one that\n" \
  "                      the image names; the n-th is for the n-th layer.\n" \
  "backing-format=<FORMAT>\n" \
  "                      raw or qcow: what the n-th backing file is (default: as\n" \
  "                      recorded in the image).\n" \
  "bitmap=<NAME>         Serve the disk with what this dirty bitmap says has\n" \
  "                      changed.\n" \
  "cache-size=<SIZE>     Memory for lookup tables, inflated clusters and what was\n" \
  "                      read from the web (default: 64M).\n" \
  "data-file=<FILE>      Use this external data file (or URL) instead of the one\n" \
  "                      that the image names.\n" \
  "force-share=<BOOL>    Serve the image even if another process has it open for\n" \
  "                      writing (default: false).\n" \
  "luks-iterations=<N>   The most iterations of PBKDF2 to try a passphrase.\n" \
  "passphrase=<SECRET>   For encrypted images; -, +FILE or -FD reads it from\n" \
  "                      elsewhere; may be given several times.\n" \
  "since=<POINT>         Serve what changed since this snapshot, 'backing', or\n" \
  "                      'layer:N'.\n" \
  "snapshot=<ID-OR-NAME> Serve only this internal snapshot.\n" \
  "\n" \
  "For images on the web:\n" \
  "cainfo=<FILE>         CA certificates to trust.\n" \
  "capath=<DIR>          A directory of CA certificates to trust.\n" \
  "connections=<N>       Requests at once, at most (default: 16).\n" \
  "cookie=<COOKIE>       Cookies to send.\n" \
  "followlocation=<BOOL> Follow redirects (default: true).\n" \
  "header=<HEADER>       Send this header, too; may be given several times.\n" \
  "http-version=<V>      none, 1.0, 1.1, 2.0, 2TLS, 2-prior-knowledge or 3\n" \
  "                      (default: 1.1).\n" \
  "password=<PASSWORD>   Password for the web server.\n" \
  "protocols=<LIST>      Allow only these of http,https.\n" \
  "proxy=<PROXY>         Use this proxy.\n" \
  "proxy-password=<PW>   Password for the proxy.\n" \
  "proxy-user=<USER>     User name for the proxy.\n" \
  "resolve=<HOST:PORT:ADDRESS>\n" \
  "                      Where this host is; may be given several times.\n" \
  "sslverify=<BOOL>      Check the server's certificate (default: true).\n" \
  "tcp-keepalive=<BOOL>  Use TCP keepalives (default: false).\n" \
  "timeout=<SECONDS>     How long one try of a request may take.\n" \
  "unix-socket-path=<PATH>\n" \
  "                      Connect to this Unix domain socket.\n" \
  "user=<USER>           User name for the web server.\n" \
  "user-agent=<NAME>     What to call ourselves.\n" \
  "\n" \
  "For s3:// URLs (default: the usual AWS_* environment variables):\n" \
  "access-key=<KEY>      Access key id.\n" \
  "endpoint-url=<URL>    Server to use instead of Amazon's.\n" \
  "region=<REGION>       Region (default: us-east-1).\n" \
  "secret-key=<KEY>      Secret access key.\n" \
  "session-token=<TOKEN> Session token."
/* clang-format on */

static int
plugin_get_ready (void)
{
  const struct qcow_options options = {
    .filename = filename,
    .url = url,
    .http = http,
    .cache_size = cache_size,
    .allow = allow.values,
    .nr_allow = allow.n,
    .backing = backing.values,
    .nr_backing = backing.n,
    .backing_formats = backing_formats.values,
    .nr_backing_formats = backing_formats.n,
    .data_files = data_files.values,
    .nr_data_files = data_files.n,
    .passphrases = passphrases.values,
    .nr_passphrases = passphrases.n,
    .luks_iterations = luks_iterations,
    .snapshot = snapshot,
    .since = since,
    .bitmap = bitmap,
    .force_share = force_share,
    .debug_runs = qcow_debug_runs,
    .debug_cache = qcow_debug_cache,
    .debug_http = qcow_debug_http,
  };
  const struct qcow_hooks hooks = {
    .error = say_error,
    .warn = say_warning,
    .debug = say_debug,
    .sleep = sleep_or_end,
  };

  image = qcow_open (&options, &hooks);
  wipe_secrets ();
  return image ? 0 : -1;
}

static int
plugin_after_fork (void)
{
  serving = true;
  return qcow_start_threads (image);
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
                  filename ? filename : "url=", l.left_out);
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
  .load = plugin_load,
  .unload = plugin_unload,
  .dump_plugin = plugin_dump_plugin,
  .config = plugin_config,
  .config_complete = plugin_config_complete,
  .config_help = plugin_config_help,
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
  /* qcow/ sets errno to what a client should see. */
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
