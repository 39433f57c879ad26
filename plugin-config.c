/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The parameters: how they are written, kept, and given to qcow/.  See
 * plugin-config.h.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin-config.h"

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
static uint64_t luks_iterations = QCOW_DEFAULT_LUKS_ITERATIONS;
static bool force_share;
static struct qcow_http_options http
  = { .connections = QCOW_DEFAULT_CONNECTIONS,
      .sslverify = true,
      .followlocation = true };

/* Of qcow_secret. */
static char *user_password, *cookie, *proxy_password;
static char *access_key, *secret_key, *session_token;
static struct list passphrases;

static void
wipe (char **secret)
{
  qcow_secret_free (*secret);
  *secret = NULL;
}

void
config_wipe_secrets (void)
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

void
config_free (void)
{
  config_wipe_secrets ();
  free (allow.values);
  free (backing.values);
  free (backing_formats.values);
  free (data_files.values);
  free (headers.values);
  free (resolve.values);
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

/* nbdkit has said what is wrong with the value, but not of which parameter
 * it is.
 */
static int
bad_value (const char *key, const char *value, const char *must_be)
{
  nbdkit_error ("%s=%s: must be %s", key, value, must_be);
  return -1;
}

static int
parse_bool (const char *key, const char *value, bool *var)
{
  const int r = nbdkit_parse_bool (value);

  if (r == -1)
    return bad_value (key, value, "true or false");
  *var = r;
  return 0;
}

/* A cache that can't fit into the address space would make reads fail once
 * it is full, not the start.
 */
static int
parse_cache_size (const char *value)
{
  const int64_t r = nbdkit_parse_size (value);
  const size_t most = SIZE_MAX / 4 + 1;

  if (r == -1)
    return bad_value ("cache-size", value, "a size, such as 64M");
  if ((uint64_t) r > most) {
    nbdkit_error ("cache-size=%s: must be at most %zu bytes, a quarter of the "
                  "address space",
                  value, most);
    return -1;
  }
  cache_size = (uint64_t) r;
  return 0;
}

static int
parse_luks_iterations (const char *value)
{
  if (nbdkit_parse_uint64_t ("luks-iterations", value, &luks_iterations) == -1
      || luks_iterations == 0)
    return bad_value ("luks-iterations", value, "a number, at least 1");
  return 0;
}

static int
parse_connections (const char *value)
{
  if (nbdkit_parse_unsigned ("connections", value, &http.connections) == -1
      || http.connections == 0)
    return bad_value ("connections", value, "a number, at least 1");
  return 0;
}

/* Parameters that are kept as they are. */
enum {
  SECRETS = 1, /* there may be some in it, so it is in no message */
  EMPTY = 2,   /* it may be, which says: none */
};
static const struct text {
  const char *key;
  const char **var;
  unsigned may;
} texts[] = {
  { "file", &filename, 0 },
  { "url", &url, SECRETS },
  { "snapshot", &snapshot, 0 },
  { "since", &since, 0 },
  { "bitmap", &bitmap, 0 },
  { "cainfo", &http.cainfo, EMPTY },
  { "capath", &http.capath, 0 },
  { "endpoint-url", &http.s3.endpoint_url, SECRETS },
  { "http-version", &http.http_version, 0 },
  { "protocols", &http.protocols, 0 },
  { "proxy", &http.proxy, SECRETS | EMPTY },
  { "proxy-user", &http.proxy_user, SECRETS },
  { "region", &http.s3.region, 0 },
  { "unix-socket-path", &http.unix_socket_path, 0 },
  { "user", &http.user, 0 },
  { "user-agent", &http.user_agent, 0 },
};

static int
set_once (const struct text *t, const char *value)
{
  if (*t->var) {
    if (t->may & SECRETS)
      nbdkit_error ("%s= was given before: it can only be given once", t->key);
    else
      nbdkit_error ("%s=%s: the parameter was given before (%s=%s): it can "
                    "only be given once",
                    t->key, value, t->key, *t->var);
    return -1;
  }
  if (value[0] == '\0' && !(t->may & EMPTY)) {
    nbdkit_error ("%s= needs a value", t->key);
    return -1;
  }
  *t->var = value;
  return 0;
}

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

/* Those that are for web servers. */
static const char *const web_keys[] = {
  "access-key",     "cainfo",           "capath",         "connections",
  "cookie",         "endpoint-url",     "followlocation", "header",
  "http-version",   "password",         "protocols",      "proxy",
  "proxy-password", "proxy-user",       "region",         "resolve",
  "secret-key",     "session-token",    "sslverify",      "tcp-keepalive",
  "timeout",        "unix-socket-path", "user",           "user-agent",
};

static void
note_web_key (const char *key)
{
  size_t i;

  for (i = 0; i < COUNT (web_keys); ++i)
    if (http.given == NULL && strcmp (key, web_keys[i]) == 0)
      http.given = web_keys[i];
}

int
config_parameter (const char *key, const char *value)
{
  size_t i;

  note_web_key (key);

  if (strcmp (key, "passphrase") == 0)
    return append_passphrase (value);

  for (i = 0; i < COUNT (texts); ++i)
    if (strcmp (key, texts[i].key) == 0)
      return set_once (&texts[i], value);
  for (i = 0; i < COUNT (lists); ++i)
    if (strcmp (key, lists[i].key) == 0)
      return append (key, value, lists[i].list);
  for (i = 0; i < COUNT (secrets); ++i)
    if (strcmp (key, secrets[i].key) == 0)
      return read_secret_once (key, value, secrets[i].secret);

  if (strcmp (key, "cache-size") == 0)
    return parse_cache_size (value);
  if (strcmp (key, "force-share") == 0)
    return parse_bool (key, value, &force_share);
  if (strcmp (key, "luks-iterations") == 0)
    return parse_luks_iterations (value);
  if (strcmp (key, "connections") == 0)
    return parse_connections (value);
  if (strcmp (key, "timeout") == 0)
    return nbdkit_parse_unsigned ("timeout", value, &http.timeout);
  if (strcmp (key, "sslverify") == 0)
    return parse_bool (key, value, &http.sslverify);
  if (strcmp (key, "followlocation") == 0)
    return parse_bool (key, value, &http.followlocation);
  if (strcmp (key, "tcp-keepalive") == 0)
    return parse_bool (key, value, &http.tcp_keepalive);

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

static void
take_environment (struct qcow_s3_options *s3)
{
  s3->access_key = environment ("AWS_ACCESS_KEY_ID");
  s3->secret_key = environment ("AWS_SECRET_ACCESS_KEY");
  s3->session_token = environment ("AWS_SESSION_TOKEN");
  s3->region = environment ("AWS_REGION");
  if (s3->region == NULL)
    s3->region = environment ("AWS_DEFAULT_REGION");
  s3->endpoint_url = environment ("AWS_ENDPOINT_URL_S3");
  if (s3->endpoint_url == NULL)
    s3->endpoint_url = environment ("AWS_ENDPOINT_URL");
}

int
config_complete (void)
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
  http.password = user_password;
  http.cookie = cookie;
  http.proxy_password = proxy_password;
  http.headers = headers.values;
  http.nr_headers = headers.n;
  http.resolve = resolve.values;
  http.nr_resolve = resolve.n;
  http.s3.access_key = access_key;
  http.s3.secret_key = secret_key;
  http.s3.session_token = session_token;
  take_environment (&http.s3_defaults);
  return 0;
}

/* clang-format off */
const char config_help[] =
  "[file=]<FILENAME>     The QCOW image to serve, read-only: a file or a block\n"
  "                      device.\n"
  "url=<URL>             The image at an http or https URL, or at\n"
  "                      s3://BUCKET/KEY.\n"
  "allow=<WHERE>         What names inside images may reach: image-dir (the\n"
  "                      image's directory), a directory, the beginning of URLs,\n"
  "                      or any; may be given several times (default: nothing).\n"
  "backing=<FILE>        Use this backing file (or URL) instead of the one that\n"
  "                      the image names; the n-th is for the n-th layer.\n"
  "backing-format=<FORMAT>\n"
  "                      raw or qcow: what the n-th backing file is (default: as\n"
  "                      recorded in the image).\n"
  "bitmap=<NAME>         Serve the disk with what this dirty bitmap says has\n"
  "                      changed.\n"
  "cache-size=<SIZE>     Memory for lookup tables, inflated clusters and what was\n"
  "                      read from the web (default: 64M).\n"
  "data-file=<FILE>      Use this external data file (or URL) instead of the one\n"
  "                      that the image names.\n"
  "force-share=<BOOL>    Serve the image even if another process has it open for\n"
  "                      writing (default: false).\n"
  "luks-iterations=<N>   The most iterations of PBKDF2 to try a passphrase.\n"
  "passphrase=<SECRET>   For encrypted images; -, +FILE or -FD reads it from\n"
  "                      elsewhere; may be given several times.\n"
  "since=<POINT>         Serve what changed since this snapshot, 'backing', or\n"
  "                      'layer:N'.\n"
  "snapshot=<ID-OR-NAME> Serve only this internal snapshot.\n"
  "\n"
  "For images on the web:\n"
  "cainfo=<FILE>         CA certificates to trust.\n"
  "capath=<DIR>          A directory of CA certificates to trust.\n"
  "connections=<N>       Requests at once, at most (default: 16).\n"
  "cookie=<COOKIE>       Cookies to send.\n"
  "followlocation=<BOOL> Follow redirects (default: true).\n"
  "header=<HEADER>       Send this header, too; may be given several times.\n"
  "http-version=<V>      none, 1.0, 1.1, 2.0, 2TLS, 2-prior-knowledge or 3\n"
  "                      (default: 1.1).\n"
  "password=<PASSWORD>   Password for the web server.\n"
  "protocols=<LIST>      Allow only these of http,https.\n"
  "proxy=<PROXY>         Use this proxy.\n"
  "proxy-password=<PW>   Password for the proxy.\n"
  "proxy-user=<USER>     User name for the proxy.\n"
  "resolve=<HOST:PORT:ADDRESS>\n"
  "                      Where this host is; may be given several times.\n"
  "sslverify=<BOOL>      Check the server's certificate (default: true).\n"
  "tcp-keepalive=<BOOL>  Use TCP keepalives (default: false).\n"
  "timeout=<SECONDS>     How long one try of a request may take.\n"
  "unix-socket-path=<PATH>\n"
  "                      Connect to this Unix domain socket.\n"
  "user=<USER>           User name for the web server.\n"
  "user-agent=<NAME>     What to call ourselves.\n"
  "\n"
  "For s3:// URLs (default: the usual AWS_* environment variables):\n"
  "access-key=<KEY>      Access key id.\n"
  "endpoint-url=<URL>    Server to use instead of Amazon's.\n"
  "region=<REGION>       Region (default: us-east-1).\n"
  "secret-key=<KEY>      Secret access key.\n"
  "session-token=<TOKEN> Session token.";
/* clang-format on */

void
config_take (struct qcow_options *o)
{
  o->filename = filename;
  o->url = url;
  o->http = http;
  o->cache_size = cache_size;
  o->allow = allow.values;
  o->nr_allow = allow.n;
  o->backing = backing.values;
  o->nr_backing = backing.n;
  o->backing_formats = backing_formats.values;
  o->nr_backing_formats = backing_formats.n;
  o->data_files = data_files.values;
  o->nr_data_files = data_files.n;
  o->passphrases = passphrases.values;
  o->nr_passphrases = passphrases.n;
  o->luks_iterations = luks_iterations;
  o->snapshot = snapshot;
  o->since = since;
  o->bitmap = bitmap;
  o->force_share = force_share;
}
