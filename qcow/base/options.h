/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The options of an image.  Public: qcow.h includes it.
 *
 * Call qcow_options_init, then set members.  Strings and lists belong to the
 * caller (qcow_open says for how long they must stay valid).
 */

#ifndef QCOW_BASE_OPTIONS_H
#define QCOW_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For s3:// URLs.  NULL: not set. */
struct qcow_s3_options {
  const char *access_key, *secret_key, *session_token;
  const char *endpoint_url, *region;
};

/* Where the clients of AWS look for keys, and what they find there: the values
 * of their environment variables.  NULL: not set.
 */
struct qcow_aws_options {
  const char *home; /* for ~/.aws/config and ~/.aws/credentials */
  const char *config_file, *credentials_file;
  const char *profile;
  const char *web_identity_token_file, *role_arn, *role_session_name;
  const char *sts_endpoint_url;
  const char *container_relative_uri, *container_full_uri;
  const char *container_token, *container_token_file;
  const char *metadata_endpoint;
};

/* For web servers.  Names and meanings are those of nbdkit's curl plugin.
 * NULL: the default.
 */
struct qcow_http_options {
  /* The name of a parameter for web servers that the user has set, or NULL.
   * If set, but the other options allow no URL, opening the image fails.
   */
  const char *given;

  const char *user, *password, *cookie;
  const char *cookiefile; /* "": there are none at the start */
  const char *cookiejar;
  const char *const *headers;
  size_t nr_headers;

  /* Shell scripts that print the cookie or the headers, and after how many
   * seconds they run again; 0: never.
   */
  const char *cookie_script, *header_script;
  unsigned cookie_script_renew, header_script_renew;

  const char *cainfo, *capath;
  const char *proxy, *proxy_user, *proxy_password;
  const char *proxy_cainfo, *proxy_capath;
  const char *protocols, *http_version, *ipresolve;
  const char *ssl_version, *ssl_cipher_list, *tls13_ciphers;
  const char *user_agent, *unix_socket_path;
  const char *const *resolve;
  size_t nr_resolve;
  unsigned connections; /* at once; default 16 */
  unsigned timeout;     /* seconds for one attempt of a request; 0: none */
  bool sslverify;       /* default true */
  bool followlocation;  /* default true */
  bool tcp_keepalive;
  bool tcp_nodelay; /* default true */

  /* 's3' is for this image: it is an error if it is malformed, or if its keys
   * are not used.  's3_defaults', for example from the environment, supply
   * what 's3' lacks; keys only if 's3' has none, since they belong together,
   * and if there is no 'profile'.  What both lack can be in the files of
   * 'aws'.  Without keys, requests are not signed.
   */
  struct qcow_s3_options s3, s3_defaults;
  const char *profile;    /* in the files; NULL: aws.profile, or "default" */
  bool instance_metadata; /* keys can be in the metadata of the instance */
  struct qcow_aws_options aws;
};

struct qcow_options {
  /* Set exactly one of these: a local file or block device; an http, https or
   * s3 URL; a descriptor of a file or block device, > 2, which qcow_open
   * duplicates.  (Members of 'backing' and 'data_files' can be files or URLs.)
   * If both are set, 'filename' is the name of the descriptor's file.
   */
  const char *filename;
  const char *url;
  int fd; /* default -1: none */

  /* Instead of an image: a directory of images (directory.h). */
  const char *directory;

  uint64_t cache_size; /* bytes for lookup tables, inflated clusters, and
                          data of remote files; default 64 MiB */
  struct qcow_http_options http;

  /* What names inside images may refer to: "image-dir", "any", a directory or
   * the prefix of a URL (image/access.h).
   */
  const char *const *allow;
  size_t nr_allow;

  /* [i] is for layer i + 1 of the chain (the top is layer 0): its file, which
   * the layer above need not name, and its format, "raw" or "qcow".  Where
   * there is none or NULL, the layer above decides.
   *
   * If there is one format, and backing_formats_numbered is false, it also
   * counts for all layers for which no format is recorded.
   *
   * *_numbered: each value belongs to a number that the user wrote.  Then
   * messages show it.
   */
  const char *const *backing;
  size_t nr_backing;
  bool backing_numbered;
  const char *const *backing_formats;
  size_t nr_backing_formats;
  bool backing_formats_numbered;

  /* [i] is for the i-th layer, from 0, of those that have a data file; or if
   * data_files_numbered, for layer i.  Where there is none or NULL, the layer
   * decides.
   */
  const char *const *data_files;
  size_t nr_data_files;
  bool data_files_numbered;

  /* Serve only one view, as the default view: a snapshot (id or name); what
   * changed since a snapshot, "backing" or "layer:N", up to that snapshot or
   * the active layer; the active layer with a dirty bitmap.  NULL: not set.
   */
  const char *snapshot, *since, *bitmap;

  /* For encrypted layers.  A LUKS layer tries all of them.  The n-th layer
   * with the old AES encryption uses the n-th, or the last one if there are
   * fewer.  "" is a valid passphrase.
   */
  const char *const *passphrases;
  size_t nr_passphrases;
  uint64_t luks_iterations; /* limit for one passphrase (image/luks.h);
                               default 64 million */

  bool force_share;   /* serve even though a writer holds the image */
  bool no_page_cache; /* evict what was read of local files */
  bool debug_runs;    /* a debug message for each run of each request */
  bool debug_cache;   /* cache statistics when the image is closed */
  bool debug_http;    /* a debug message for each request to a web server */
};

/* The most layers below the top.  (qemu has no limit, and hangs if the files
 * form a loop.)
 */
#define QCOW_MAX_DEPTH 256

#define QCOW_DEFAULT_CACHE_SIZE (UINT64_C (64) << 20)
#define QCOW_DEFAULT_CONNECTIONS 16
#define QCOW_DEFAULT_LUKS_ITERATIONS (UINT64_C (64) * 1000 * 1000)

/* Set all members to their defaults: those given above, else NULL, 0 or false.
 */
void qcow_options_init (struct qcow_options *options);

/* Set http.s3_defaults and http.aws from the environment variables that AWS's
 * clients obey.  The strings are those of the environment.
 */
void qcow_options_take_environment (struct qcow_options *options);

/* The object of messages that are about the options, not about any image: the
 * file's name or a parameter's.
 */
const char *qcow_options_object (const struct qcow_options *options);

#endif /* QCOW_BASE_OPTIONS_H */
