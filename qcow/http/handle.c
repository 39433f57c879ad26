/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Set libcurl's easy handles up, each for one request.  See internal.h.  (A
 * handle costs 1.5 microseconds.  With a new one for each request, no request
 * sees what another one was given.)
 *
 * User names, passwords, cookies, headers and keys of the options go only to
 * the origin of the user's own URL, and a login in an object's URL only to
 * that URL's origin.  A redirect to another origin gets neither.
 *
 * libcurl can sign requests to S3, too (CURLOPT_AWS_SIGV4).  But 7.88 sorts
 * headers wrongly if the name of one begins with that of another, so that
 * objects with customer-provided keys can't be read.  It also signs headers
 * that proxies change, and the path of a redirect as it is written.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/secret.h"
#include "http/easy.h"
#include "http/internal.h"
#include "http/sigv4.h"

/* A transfer that makes hardly any progress for this long is broken, or the
 * server is hostile.
 */
#define STALL_SECONDS 15L
#define STALL_BYTES_PER_SECOND 256L

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

/* SHA-256 of no bytes: the body of a GET. */
#define EMPTY_HASH                                                            \
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

#define DATE_FORMAT "%Y%m%dT%H%M%SZ"
#define DATE_SIZE 32

#define SPACES " \t\n\v\f\r"

/* --- Options --- */

/* "": no file. */
static const char *
file_or_none (const char *name)
{
  return name && name[0] != '\0' ? name : NULL;
}

/* libcurl has a default for each of the two, so if one is given, set both. */
static CURLcode
set_authorities (CURL *easy, const struct qcow_http_options *o)
{
  if (o->cainfo || o->capath) {
    SET (easy, CURLOPT_CAINFO, file_or_none (o->cainfo));
    SET (easy, CURLOPT_CAPATH, o->capath);
  }
  if (o->proxy_cainfo || o->proxy_capath) {
    SET (easy, CURLOPT_PROXY_CAINFO, file_or_none (o->proxy_cainfo));
    SET (easy, CURLOPT_PROXY_CAPATH, o->proxy_capath);
  }
  return CURLE_OK;
}

/* Not every TLS library lets libcurl choose ciphers, so set them only if the
 * user does.
 */
static CURLcode
set_tls (CURL *easy, const struct http_settings *s)
{
  const struct qcow_http_options *o = &s->options;

  SET (easy, CURLOPT_SSL_VERIFYPEER, o->sslverify ? 1L : 0L);
  SET (easy, CURLOPT_SSL_VERIFYHOST, o->sslverify ? 2L : 0L);
  SET (easy, CURLOPT_SSLVERSION, s->ssl_version);
  if (o->ssl_cipher_list)
    SET (easy, CURLOPT_SSL_CIPHER_LIST, o->ssl_cipher_list);
  if (o->tls13_ciphers)
    SET (easy, CURLOPT_TLS13_CIPHERS, o->tls13_ciphers);
  return set_authorities (easy, o);
}

CURLcode
easy_set_parameters (CURL *easy, const struct http_settings *s)
{
  SET (easy, CURLOPT_NOSIGNAL, 1L);
  SET (easy, CURLOPT_QUICK_EXIT, 1L);
  SET (easy, CURLOPT_FOLLOWLOCATION, 0L);
  SET (easy, CURLOPT_PROTOCOLS_STR, "http,https");
  /* url_parse has removed dots, and a signature covers the path as it is. */
  SET (easy, CURLOPT_PATH_AS_IS, 1L);
  SET (easy, CURLOPT_HTTP_VERSION, s->http_version);
  SET (easy, CURLOPT_PIPEWAIT,
       s->http_version > CURL_HTTP_VERSION_1_1 ? 1L : 0L);
  /* Fewer system calls than with the usual 16 KiB.  libcurl allocates it for
   * each request, and a size that malloc maps would cost more than it gains.
   */
  SET (easy, CURLOPT_BUFFERSIZE, 64L << 10);
  SET (easy, CURLOPT_CONNECTTIMEOUT, STALL_SECONDS);
  SET (easy, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES_PER_SECOND);
  SET (easy, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
  SET (easy, CURLOPT_TIMEOUT, (long) s->options.timeout);
  SET (easy, CURLOPT_TCP_KEEPALIVE, s->options.tcp_keepalive ? 1L : 0L);
  SET (easy, CURLOPT_TCP_NODELAY, s->options.tcp_nodelay ? 1L : 0L);
  SET (easy, CURLOPT_IPRESOLVE, s->ip_resolve);
  /* For all of these, NULL is libcurl's default. */
  SET (easy, CURLOPT_USERAGENT, s->options.user_agent);
  SET (easy, CURLOPT_UNIX_SOCKET_PATH, s->options.unix_socket_path);
  SET (easy, CURLOPT_RESOLVE, s->resolve);
  SET (easy, CURLOPT_PROXY, s->options.proxy);
  SET (easy, CURLOPT_PROXYUSERNAME, s->options.proxy_user);
  SET (easy, CURLOPT_PROXYPASSWORD, s->options.proxy_password);
  return set_tls (easy, s);
}

/* libcurl before 8.0 can't reuse a connection that began with HTTP/2 without
 * TLS: it would begin HTTP/2 once more.
 */
static CURLcode
set_reuse (CURL *easy, const struct http_settings *s, const struct url *url)
{
  const bool fresh
    = s->http_version == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
      && !url_is_https (url)
      && libcurl.version_info (CURLVERSION_NOW)->version_num < 0x080000;

  SET (easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
  SET (easy, CURLOPT_FORBID_REUSE, fresh ? 1L : 0L);
  return CURLE_OK;
}

bool
handle_is_own (const struct http *h, const struct url *url)
{
  const struct http_settings *s = &h->settings;

  return s->own.origin && strcmp (url->origin, s->own.origin) == 0;
}

static bool
is_called (const char *line, const char *name)
{
  const size_t n = strlen (name);

  return strncasecmp (line, name, n) == 0
         && (line[n] == ':' || line[n] == ';');
}

/* True if a request for the object to this URL is signed: there are keys, and
 * the user gives no Authorization header.
 */
static bool
is_signed (const struct http *h, const struct url *object,
           const struct url *url)
{
  size_t n, i;
  const char *const *headers = http_headers (h, &n);

  for (i = 0; i < n; ++i)
    if (is_called (headers[i], "Authorization"))
      return false;
  return h->settings.credentials.kind != CREDENTIALS_NONE && object->s3
         && handle_is_own (h, url);
}

static CURLcode
set_credentials (CURL *easy, const struct http *h, const struct url *object,
                 const struct url *url)
{
  const struct http_settings *s = &h->settings;
  const bool own = handle_is_own (h, url);
  const char *user = own ? s->options.user : NULL;
  const char *password = own ? s->options.password : NULL;

  if (object->user && strcmp (url->origin, object->origin) == 0) {
    if (object->password || user == NULL || strcmp (user, object->user) != 0)
      password = object->password;
    user = object->user;
  }
  if (is_signed (h, object, url))
    user = password = NULL;
  SET (easy, CURLOPT_USERNAME, user);
  SET (easy, CURLOPT_PASSWORD, password);
  SET (easy, CURLOPT_COOKIE, own ? http_cookie (h) : NULL);
  return CURLE_OK;
}

/* --- Signatures --- */

/* Parse a line as CURLOPT_HTTPHEADER does.  False: libcurl does not send that
 * header.
 */
static bool
parse_header (const char *line, struct sigv4_header *h)
{
  const char *end = strchr (line, ':');

  if (end) {
    h->value = end + 1 + strspn (end + 1, SPACES);
    if (h->value[0] == '\0')
      return false;
  }
  else {
    end = strchr (line, ';');
    if (end == NULL || end[1] != '\0')
      return false;
    h->value = "";
  }
  h->name = line;
  h->name_length = (size_t) (end - line);
  return h->name_length > 0;
}

/* True if signing replaces this header of the user. */
static bool
sign_replaces (const struct credentials *keys, const char *header)
{
  return is_called (header, "x-amz-date")
         || is_called (header, "x-amz-content-sha256")
         || (keys->session_token
             && is_called (header, "x-amz-security-token"));
}

/* True if proxies can change the header. */
static bool
is_changed_by_proxies (const char *line)
{
  static const char *const names[] = {
    "Accept-Encoding",   "Connection", "Expect",     "Keep-Alive", "TE",
    "Transfer-Encoding", "Upgrade",    "User-Agent", "Via",
  };
  size_t i;

  for (i = 0; i < COUNT (names); ++i)
    if (is_called (line, names[i]))
      return true;
  return strncasecmp (line, "Proxy-", 6) == 0;
}

static int
append (struct curl_slist **list, const char *name, const char *value)
{
  char *line;
  int r;

  if (asprintf (&line, "%s: %s", name, value) == -1) {
    errno = ENOMEM;
    return -1;
  }
  r = libcurl_append (list, line);
  secret_free_string (line);
  return r;
}

static bool
has_host (const struct curl_slist *list)
{
  for (; list; list = list->next)
    if (is_called (list->data, "Host"))
      return true;
  return false;
}

/* Append the headers that must be signed.  The host is one of them, so that
 * libcurl sends what is signed.
 */
static int
append_signed (const struct credentials *keys, const struct url *url,
               const char *date, struct curl_slist **list)
{
  if ((!has_host (*list) && append (list, "Host", url->host) == -1)
      || append (list, "x-amz-date", date) == -1
      || append (list, "x-amz-content-sha256", EMPTY_HASH) == -1)
    return -1;
  return keys->session_token
           ? append (list, "x-amz-security-token", keys->session_token)
           : 0;
}

/* The value of the Authorization header: a new string, or NULL and errno. */
static char *
authorization (const struct credentials *keys, const char *region,
               const struct url *url, const char *date,
               const struct curl_slist *list)
{
  const struct sigv4_signer signer = { .access_key = keys->access_key,
                                       .secret_key = keys->secret_key,
                                       .region = region,
                                       .service = "s3" };
  struct sigv4_request request = { .method = "GET",
                                   .target = url->text + strlen (url->origin),
                                   .payload_hash = EMPTY_HASH };
  const struct curl_slist *l;
  struct sigv4_header *headers;
  size_t max = 1; /* (malloc (0) may return NULL) */
  char *value;

  for (l = list; l; l = l->next)
    max++;
  headers = malloc (max * sizeof headers[0]);
  if (headers == NULL)
    return NULL;
  for (l = list; l; l = l->next)
    if (!is_changed_by_proxies (l->data)
        && parse_header (l->data, &headers[request.nr_headers]))
      request.nr_headers++;
  request.headers = headers;
  value = sigv4_authorization (&request, &signer, date);
  free (headers);
  return value;
}

/* Sign a request with the headers in the list that proxies keep, and append
 * the signature.  0, or -1 with errno ENOMEM, or EIO: see libgcrypt_reason.
 */
static int
sign (const struct credentials *keys, const char *region,
      const struct url *url, struct curl_slist **list)
{
  const time_t now = time (NULL);
  char date[DATE_SIZE], *value;
  struct tm tm;
  int r;

  if (gmtime_r (&now, &tm) == NULL
      || strftime (date, sizeof date, DATE_FORMAT, &tm) == 0) {
    errno = EIO;
    return -1;
  }
  if (append_signed (keys, url, date, list) == -1)
    return -1;
  value = authorization (keys, region, url, date, *list);
  if (value == NULL)
    return -1;
  r = append (list, "Authorization", value);
  secret_free_string (value);
  return r;
}

/* --- Headers --- */

/* If-Match requires a strong comparison, which a weak ETag never passes. */
static int
add_if_match (const struct version *version, struct curl_slist **list)
{
  char header[VALIDATOR_MAX + 16];

  if (version->etag[0] == '\0' || version->weak)
    return 0;
  snprintf (header, sizeof header, "If-Match: %s", version->etag);
  return libcurl_append (list, header);
}

/* 0, or -1 with errno. */
static int
add_headers (struct request *r)
{
  const struct http_object *o = r->object;
  const struct http_settings *s = &o->http->settings;
  const struct renewal *renewal = &o->http->renewal;
  const bool is_to_sign = is_signed (o->http, &o->own->url, &r->target->url);
  size_t n, i;
  const char *const *headers = http_headers (o->http, &n);

  if (handle_is_own (o->http, &r->target->url))
    for (i = 0; i < n; ++i)
      if (!(is_to_sign && sign_replaces (&renewal->keys, headers[i]))
          && libcurl_append (&r->headers, headers[i]) == -1)
        return -1;
  if (o->known && add_if_match (&o->version, &r->headers) == -1)
    return -1;
  if (!is_to_sign)
    return 0;
  r->generation = renewal->generation;
  return sign (&renewal->keys, s->s3.region, &r->target->url, &r->headers);
}

static CURLcode
set_request (struct request *r, curl_write_callback on_body)
{
  char range[64];

  snprintf (range, sizeof range, "%" PRIu64 "-%" PRIu64,
            r->fetch->offset + r->filled, r->fetch->offset + r->length - 1);
  SET (r->easy, CURLOPT_URL, r->target->url.text);
  SET (r->easy, CURLOPT_RANGE, range);
  SET (r->easy, CURLOPT_WRITEFUNCTION, on_body);
  SET (r->easy, CURLOPT_WRITEDATA, r);
  SET (r->easy, CURLOPT_PRIVATE, r);
  SET (r->easy, CURLOPT_ERRORBUFFER, r->error);
  return CURLE_OK;
}

bool
handle_needs_keys (const struct http_object *o)
{
  const struct url *url = &o->own->url;

  return is_signed (o->http, url, url);
}

CURLcode
handle_set_up (struct request *r, curl_write_callback on_body)
{
  const struct http *h = r->object->http;
  const struct http_settings *s = &h->settings;
  const struct url *object = &r->object->own->url, *url = &r->target->url;
  CURLcode code = easy_set_parameters (r->easy, s);

  if (code == CURLE_OK)
    code = set_request (r, on_body);
  if (code == CURLE_OK)
    code = set_reuse (r->easy, s, url);
  if (code == CURLE_OK)
    code = set_credentials (r->easy, h, object, url);
  if (code != CURLE_OK)
    return code;
  if (h->cookies) {
    SET (r->easy, CURLOPT_SHARE, h->cookies);
    SET (r->easy, CURLOPT_COOKIEFILE, ""); /* use them */
  }
  if (add_headers (r) == -1)
    return errno == ENOMEM ? CURLE_OUT_OF_MEMORY : CURLE_AUTH_ERROR;
  SET (r->easy, CURLOPT_HTTPHEADER, r->headers);
  return CURLE_OK;
}
