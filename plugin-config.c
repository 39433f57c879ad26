/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The parameters on nbdkit's command line, in one table.  See plugin-config.h.
 *
 * nbdkit passes them one by one, before there are other threads, so there is
 * no locking.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin-config.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

/* The values so far.  Secrets are copies by qcow_secret, which this file
 * frees.  All other strings belong to nbdkit.
 */
static struct qcow_options options;

/* info=json is given. */
static bool info;

/* The largest number in lists in which numbers only give the order. */
#define MAX_ORDER 9999

/* The user numbers the values of these lists, too (see 'numbered' below). */
static bool allow_numbered, headers_numbered, passphrases_numbered,
  resolve_numbered;

enum {
  WEB = 1,    /* for web servers */
  HIDDEN = 2, /* can contain a secret: never show the value */
  EMPTY = 4,  /* can be empty */
  READ = 8,   /* read by nbdkit_read_password */
  SECRET = HIDDEN | EMPTY | READ,
};

struct parameter {
  const char *key;
  int (*take) (const struct parameter *p, const char *value);
  unsigned flags;
  union {
    const char **text;
    const char *const **list;
    bool *flag;
    unsigned *number;
    int *fd;
    uint64_t *number64;
  };

  /* Only for lists.  The user repeats KEY=, or writes KEY.N= for each value, N
   * from 'first' to 'last', in any order.  The value of KEY.first= is the
   * first of the list.  Where there is none, it is NULL.
   */
  size_t *count;
  bool *numbered;
  unsigned first, last;
};

/* 'key' is as the user wrote it. */
static int
check_empty (const struct parameter *p, const char *key, const char *value)
{
  if (value[0] != '\0' || (p->flags & EMPTY))
    return 0;
  nbdkit_error ("%s= needs a value", key);
  return -1;
}

static int
check_once (const struct parameter *p, const char *value)
{
  if (*p->text == NULL)
    return 0;
  if (p->flags & HIDDEN)
    nbdkit_error ("%s= can only be given once", p->key);
  else
    nbdkit_error ("%s=%s: already given as %s=%s: the parameter can only "
                  "be given once",
                  p->key, value, p->key, *p->text);
  return -1;
}

/* Returns NULL with the error reported. */
static char *
read_secret (const char *value)
{
  char *text = NULL, *secret;

  if (nbdkit_read_password (value, &text) == -1)
    return NULL;
  secret = qcow_secret (text);
  if (secret == NULL)
    nbdkit_error ("out of memory");
  return secret;
}

/* Store a value: check it, and read it from elsewhere if it is a secret. */
static int
store (const struct parameter *p, const char *key, const char *value,
       const char **place)
{
  if (check_empty (p, key, value) == -1)
    return -1;
  *place = p->flags & READ ? read_secret (value) : value;
  return *place ? 0 : -1;
}

static int
take_text (const struct parameter *p, const char *value)
{
  return check_once (p, value) == -1 ? -1 : store (p, p->key, value, p->text);
}

/* Make a list at least n values long, and return it, or NULL with the error
 * reported.
 */
static const char **
list_of (const struct parameter *p, size_t n)
{
  const char **list;

  if (n <= *p->count)
    return (const char **) *p->list;
  list = realloc ((void *) *p->list, n * sizeof list[0]);
  if (list == NULL) {
    nbdkit_error ("realloc: %m");
    return NULL;
  }
  *p->list = list;
  while (*p->count < n)
    list[(*p->count)++] = NULL;
  return list;
}

static int
store_in_list (const struct parameter *p, const char *key, const char *value,
               size_t place, bool numbered)
{
  const char **list;

  if (*p->count > 0 && *p->numbered != numbered) {
    nbdkit_error ("%s= and %s.N= can't be combined: number all of them, or "
                  "none",
                  p->key, p->key);
    return -1;
  }
  list = list_of (p, place + 1);
  if (list == NULL)
    return -1;
  if (list[place]) {
    nbdkit_error ("%s= was already given: it can only be given once", key);
    return -1;
  }
  *p->numbered = numbered;
  return store (p, key, value, &list[place]);
}

static int
take_list (const struct parameter *p, const char *value)
{
  return store_in_list (p, p->key, value, *p->count, false);
}

/* Take KEY.N=VALUE, where 'number' is N. */
static int
take_numbered (const struct parameter *p, const char *key, const char *number,
               const char *value)
{
  const size_t digits = strspn (number, "0123456789");
  unsigned n;

  if (p->numbered == NULL) {
    nbdkit_error ("%s=: %s= can't have a number", key, p->key);
    return -1;
  }
  n = digits > 0 && digits <= 4 ? (unsigned) strtoul (number, NULL, 10)
                                : UINT_MAX;
  if (number[digits] != '\0' || (number[0] == '0' && digits > 1)
      || n < p->first || n > p->last) {
    nbdkit_error ("%s=: after '%s.' must be a number from %u to %u, without "
                  "leading zeros",
                  key, p->key, p->first, p->last);
    return -1;
  }
  return store_in_list (p, key, value, n - p->first, true);
}

static int
bad_value (const struct parameter *p, const char *value, const char *must_be)
{
  nbdkit_error ("%s=%s: must be %s", p->key, value, must_be);
  return -1;
}

/* Accepts the words of nbdkit_parse_bool, whose error message does not name
 * the parameter.
 */
static int
take_bool (const struct parameter *p, const char *value)
{
  static const char *const words[] = { "0", "1", "false", "true",
                                       "f", "t", "no",    "yes",
                                       "n", "y", "off",   "on" };
  size_t i;

  for (i = 0; i < COUNT (words); ++i)
    if (strcasecmp (value, words[i]) == 0) {
      *p->flag = i % 2;
      return 0;
    }
  return bad_value (p, value, "true or false");
}

/* The error messages of nbdkit_parse_size do not name the parameter either, so
 * it gets only well-formed sizes.  It can still report that one is too large.
 */
static bool
looks_like_size (const char *value)
{
  const size_t digits = strspn (value, "0123456789");
  const size_t suffix = strspn (value + digits, "bBsSkKmMgGtTpPeE");

  return digits > 0 && digits < 20 && suffix <= 1
         && value[digits + suffix] == '\0';
}

/* If the cache did not fit into the address space, the server would start, but
 * reads would fail once that is full.
 */
static int
take_cache_size (const struct parameter *p, const char *value)
{
  const size_t most = SIZE_MAX / 4 + 1;
  int64_t size;

  if (!looks_like_size (value))
    return bad_value (p, value, "a size, such as 64M");
  size = nbdkit_parse_size (value);
  if (size == -1)
    return -1;
  if ((uint64_t) size > most) {
    nbdkit_error ("%s=%s: must be at most %zu bytes, a quarter of the "
                  "address space",
                  p->key, value, most);
    return -1;
  }
  *p->number64 = (uint64_t) size;
  return 0;
}

static int
take_cache (const struct parameter *p, const char *value)
{
  *p->flag = strcmp (value, "none") == 0;
  return *p->flag || strcmp (value, "default") == 0
           ? 0
           : bad_value (p, value, "default or none");
}

static int
take_info (const struct parameter *p, const char *value)
{
  if (strcmp (value, "json") != 0)
    return bad_value (p, value, "json");
  *p->flag = true;
  return 0;
}

static int
take_unsigned (const struct parameter *p, const char *value)
{
  return nbdkit_parse_unsigned (p->key, value, p->number);
}

static int
take_fd (const struct parameter *p, const char *value)
{
  if (*p->fd != -1) {
    nbdkit_error ("%s=%s: already given as %s=%d: the parameter can only be "
                  "given once",
                  p->key, value, p->key, *p->fd);
    return -1;
  }
  if (nbdkit_parse_int (p->key, value, p->fd) == -1)
    return -1;
  return *p->fd > STDERR_FILENO
           ? 0
           : bad_value (p, value,
                        "greater than 2: stdin, stdout and stderr "
                        "are for nbdkit");
}

static int
take_iterations (const struct parameter *p, const char *value)
{
  if (nbdkit_parse_uint64_t (p->key, value, p->number64) == -1)
    return -1;
  return *p->number64 > 0 ? 0 : bad_value (p, value, "at least 1");
}

/* clang-format off */
#define LIST(where, name) .list = &(where).name, .count = &(where).nr_##name
/* The numbers are those of layers, or only give the order. */
#define BY_LAYER(name, from)                                                  \
  LIST (options, name), .numbered = &options.name##_numbered,                 \
  .first = (from), .last = QCOW_MAX_DEPTH
#define ORDERED(where, name)                                                  \
  LIST (where, name), .numbered = &name##_numbered, .last = MAX_ORDER
static const struct parameter parameters[] = {
  { "file", take_text, 0, .text = &options.filename },
  { "url", take_text, HIDDEN, .text = &options.url },
  { "fd", take_fd, 0, .fd = &options.fd },
  { "dir", take_text, 0, .text = &options.directory },
  { "allow", take_list, 0, ORDERED (options, allow) },
  { "backing", take_list, 0, BY_LAYER (backing, 1) },
  { "backing-format", take_list, 0, BY_LAYER (backing_formats, 1) },
  { "bitmap", take_text, 0, .text = &options.bitmap },
  { "cache", take_cache, 0, .flag = &options.no_page_cache },
  { "cache-size", take_cache_size, 0, .number64 = &options.cache_size },
  { "data-file", take_list, 0, BY_LAYER (data_files, 0) },
  { "force-share", take_bool, 0, .flag = &options.force_share },
  { "info", take_info, 0, .flag = &info },
  { "luks-iterations", take_iterations, 0,
    .number64 = &options.luks_iterations },
  { "passphrase", take_list, SECRET, ORDERED (options, passphrases) },
  { "since", take_text, 0, .text = &options.since },
  { "snapshot", take_text, 0, .text = &options.snapshot },

  { "cainfo", take_text, WEB | EMPTY, .text = &options.http.cainfo },
  { "capath", take_text, WEB, .text = &options.http.capath },
  { "connections", take_unsigned, WEB, .number = &options.http.connections },
  { "cookie", take_text, WEB | SECRET, .text = &options.http.cookie },
  { "cookie-script", take_text, WEB | HIDDEN,
    .text = &options.http.cookie_script },
  { "cookie-script-renew", take_unsigned, WEB,
    .number = &options.http.cookie_script_renew },
  { "cookiefile", take_text, WEB | EMPTY, .text = &options.http.cookiefile },
  { "cookiejar", take_text, WEB, .text = &options.http.cookiejar },
  { "followlocation", take_bool, WEB, .flag = &options.http.followlocation },
  { "header", take_list, WEB | HIDDEN, ORDERED (options.http, headers) },
  { "header-script", take_text, WEB | HIDDEN,
    .text = &options.http.header_script },
  { "header-script-renew", take_unsigned, WEB,
    .number = &options.http.header_script_renew },
  { "http-version", take_text, WEB, .text = &options.http.http_version },
  { "ipresolve", take_text, WEB, .text = &options.http.ipresolve },
  { "password", take_text, WEB | SECRET, .text = &options.http.password },
  { "protocols", take_text, WEB, .text = &options.http.protocols },
  { "proxy", take_text, WEB | HIDDEN | EMPTY, .text = &options.http.proxy },
  { "proxy-cainfo", take_text, WEB | EMPTY,
    .text = &options.http.proxy_cainfo },
  { "proxy-capath", take_text, WEB, .text = &options.http.proxy_capath },
  { "proxy-password", take_text, WEB | SECRET,
    .text = &options.http.proxy_password },
  { "proxy-user", take_text, WEB | HIDDEN, .text = &options.http.proxy_user },
  { "resolve", take_list, WEB, ORDERED (options.http, resolve) },
  { "ssl-cipher-list", take_text, WEB,
    .text = &options.http.ssl_cipher_list },
  { "ssl-version", take_text, WEB, .text = &options.http.ssl_version },
  { "sslverify", take_bool, WEB, .flag = &options.http.sslverify },
  { "tcp-keepalive", take_bool, WEB, .flag = &options.http.tcp_keepalive },
  { "tcp-nodelay", take_bool, WEB, .flag = &options.http.tcp_nodelay },
  { "timeout", take_unsigned, WEB, .number = &options.http.timeout },
  { "tls13-ciphers", take_text, WEB, .text = &options.http.tls13_ciphers },
  { "unix-socket-path", take_text, WEB,
    .text = &options.http.unix_socket_path },
  { "unix_socket_path", take_text, WEB, /* as the curl plugin */
    .text = &options.http.unix_socket_path },
  { "user", take_text, WEB, .text = &options.http.user },
  { "user-agent", take_text, WEB, .text = &options.http.user_agent },

  { "access-key", take_text, WEB | SECRET,
    .text = &options.http.s3.access_key },
  { "endpoint-url", take_text, WEB | HIDDEN,
    .text = &options.http.s3.endpoint_url },
  { "instance-metadata", take_bool, WEB,
    .flag = &options.http.instance_metadata },
  { "profile", take_text, WEB, .text = &options.http.profile },
  { "region", take_text, WEB, .text = &options.http.s3.region },
  { "secret-key", take_text, WEB | SECRET,
    .text = &options.http.s3.secret_key },
  { "session-token", take_text, WEB | SECRET,
    .text = &options.http.s3.session_token },
};
/* clang-format on */

void
config_load (void)
{
  qcow_options_init (&options);
}

int
config_parameter (const char *key, const char *value)
{
  const size_t length = strcspn (key, ".");
  const struct parameter *p;

  for (p = parameters; p < parameters + COUNT (parameters); ++p)
    if (strncmp (key, p->key, length) == 0 && p->key[length] == '\0') {
      if ((p->flags & WEB)
          && (options.http.given == NULL
              || strcmp (options.http.given, "connections") == 0))
        options.http.given = p->key;
      return key[length] == '.'
               ? take_numbered (p, key, key + length + 1, value)
               : p->take (p, value);
    }
  nbdkit_error ("unknown parameter '%s' (see 'nbdkit qcow --help')", key);
  return -1;
}

/* Where numbers only give the order, close the gaps between them. */
static void
close_gaps (void)
{
  const struct parameter *p;
  size_t i, n;

  for (p = parameters; p < parameters + COUNT (parameters); ++p)
    if (p->numbered && p->last == MAX_ORDER) {
      const char **list = (const char **) *p->list;

      for (i = n = 0; i < *p->count; ++i)
        if (list[i])
          list[n++] = list[i];
      *p->count = n;
    }
}

/* Parameters that are about one image are refused with dir=. */
static int
check_directory (void)
{
  static const char one[] = "there is one image, or one directory, to serve";
  const struct {
    const char *key;
    bool given;
    const char *why;
  } refused[] = {
    { "file", options.filename != NULL, one },
    { "url", options.url != NULL, one },
    { "fd", options.fd != -1, one },
    { "info", info, "it describes one image, and file= names one" },
    { "snapshot", options.snapshot != NULL,
      "a client that wants a snapshot asks for the export FILE/SNAPSHOT" },
    { "since", options.since != NULL,
      "a client that wants a delta asks for the export FILE/OLD..NEW" },
    { "bitmap", options.bitmap != NULL,
      "a client that wants a bitmap asks for the export FILE/bitmap:NAME" },
    { "backing", options.nr_backing > 0,
      "it would be the backing file of every image (allow= lets images name "
      "their own)" },
    { "data-file", options.nr_data_files > 0,
      "it would be the data file of every image (allow= lets images name "
      "their own)" },
    { options.http.given, options.http.given != NULL,
      "it is for web servers, which the images of a directory can't reach" },
  };
  size_t i;

  for (i = 0; i < COUNT (refused); ++i)
    if (refused[i].given) {
      nbdkit_error ("%s= and dir= can't be combined: %s", refused[i].key,
                    refused[i].why);
      return -1;
    }
  return 0;
}

/* Exactly one parameter says what to serve. */
static int
check_image (void)
{
  const char *first = options.filename ? "file" : options.url ? "url" : "fd";
  const char *second = options.fd != -1 ? "fd" : "url";

  if (options.filename == NULL && options.url == NULL && options.fd == -1) {
    nbdkit_error ("you must supply [file=]FILENAME, url=URL, fd=N or "
                  "dir=DIRECTORY after the plugin name on the command line");
    return -1;
  }
  if ((options.filename != NULL) + (options.url != NULL) + (options.fd != -1)
      > 1) {
    nbdkit_error ("%s= and %s= are mutually exclusive", first, second);
    return -1;
  }
  return 0;
}

int
config_complete (void)
{
  if ((options.directory ? check_directory () : check_image ()) == -1)
    return -1;
  close_gaps ();
  qcow_options_take_environment (&options);
  return 0;
}

struct qcow_options
config_options (void)
{
  return options;
}

bool
config_info (void)
{
  return info;
}

void
config_wipe_passphrases (void)
{
  const struct parameter *p;
  size_t i;

  for (p = parameters; p < parameters + COUNT (parameters); ++p)
    if (p->count && (p->flags & READ)) {
      for (i = 0; i < *p->count; ++i)
        qcow_secret_free ((char *) (*p->list)[i]);
      *p->count = 0;
    }
}

void
config_free (void)
{
  const struct parameter *p;

  config_wipe_passphrases ();
  for (p = parameters; p < parameters + COUNT (parameters); ++p)
    if (p->count) {
      free ((void *) *p->list);
      *p->list = NULL;
      *p->count = 0;
    }
    else if (p->flags & READ) {
      qcow_secret_free ((char *) *p->text);
      *p->text = NULL;
    }
}

/* How to unpack a file and serve the image that is in it. */
#define UNPACKED_BY(filter, more)                                             \
  "unpack it first, or serve what is in it with nbdkit -U /SOCKET "           \
  "--filter=" filter " file FILE" more                                        \
  ", and give the image as url=nbd+unix:///?socket=/SOCKET"
static const char *hints[QCOW_NR_HINTS] = {
  [QCOW_HINT_FORCE_SHARE] = "stop that process, or use force-share=true if "
                            "you know better",
  [QCOW_HINT_URL] = "use url= instead of file=",
  [QCOW_HINT_ALLOW] = "if you trust it, add allow=%s, or name the file with "
                      "backing= or data-file=",
  [QCOW_HINT_BACKING] = "name the file yourself with backing%s=FILE",
  [QCOW_HINT_DATA_FILE] = "name the file yourself with data-file%s=FILE",
  [QCOW_HINT_FORMAT_RAW] = "if it is raw, use backing-format%s=raw",
  [QCOW_HINT_PASSPHRASE] = "passphrase=+FILE, or passphrase=- to be asked "
                           "for it",
  [QCOW_HINT_ITERATIONS] = "luks-iterations=%s would try all, which takes "
                           "time",
  [QCOW_HINT_S3] = "to sign requests, use url=s3://BUCKET/KEY",
  [QCOW_HINT_CAINFO] = "cainfo=FILE names authorities to trust",
  [QCOW_HINT_UNKNOWN] = "nbdkit's file plugin serves raw images",
  [QCOW_HINT_RAW] = "nbdkit-file-plugin serves it as it is",
  [QCOW_HINT_IMAGE] = "qemu-img can convert it",
  [QCOW_HINT_LUKS] = "nbdkit-luks-filter over nbdkit-file-plugin decrypts it",
  [QCOW_HINT_GZIP] = UNPACKED_BY ("gzip", ""),
  [QCOW_HINT_XZ] = UNPACKED_BY ("xz", ""),
  [QCOW_HINT_PACKED] = "unpack it first",
  [QCOW_HINT_TAR] = UNPACKED_BY ("tar", " tar-entry=ENTRY"),
};

const char *const *
config_hints (void)
{
  if (options.directory) {
    hints[QCOW_HINT_ALLOW] = "if you trust it, add allow=%s";
    hints[QCOW_HINT_BACKING] = hints[QCOW_HINT_DATA_FILE] = NULL;
    hints[QCOW_HINT_GZIP] = hints[QCOW_HINT_XZ] = hints[QCOW_HINT_TAR]
      = hints[QCOW_HINT_PACKED];
  }
  return hints;
}
