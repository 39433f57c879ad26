/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Setting libcurl's easy handles up.  See handle.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/handle.h"
#include "http/sign.h"

/* A transfer that makes hardly any progress for so long is broken, or the
 * server is hostile.
 */
#define STALL_SECONDS 15L
#define STALL_BYTES_PER_SECOND 256L

#define SET(easy, option, value)                                              \
  do {                                                                        \
    const CURLcode set = curl_easy_setopt (easy, option, value);              \
                                                                              \
    if (set != CURLE_OK)                                                      \
      return set;                                                             \
  } while (0)

static CURLcode
set_tls (CURL *easy, const struct http_settings *s)
{
  SET (easy, CURLOPT_SSL_VERIFYPEER, s->options.sslverify ? 1L : 0L);
  SET (easy, CURLOPT_SSL_VERIFYHOST, s->options.sslverify ? 2L : 0L);
  if (s->options.cainfo == NULL && s->options.capath == NULL)
    return CURLE_OK; /* the system's authorities */
  /* Set both, since libcurl has a default for each. */
  SET (easy, CURLOPT_CAINFO,
       s->options.cainfo && s->options.cainfo[0] != '\0' ? s->options.cainfo
                                                         : NULL);
  SET (easy, CURLOPT_CAPATH, s->options.capath);
  return CURLE_OK;
}

static CURLcode
set_parameters (CURL *easy, const struct http_settings *s)
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
  SET (easy, CURLOPT_TIMEOUT, s->options.timeout);
  SET (easy, CURLOPT_TCP_KEEPALIVE, s->options.tcp_keepalive ? 1L : 0L);
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
      && curl_version_info (CURLVERSION_NOW)->version_num < 0x080000;

  SET (easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
  SET (easy, CURLOPT_FORBID_REUSE, fresh ? 1L : 0L);
  return CURLE_OK;
}

static bool
is_own (const struct http_settings *s, const struct url *url)
{
  return s->own.origin && strcmp (url->origin, s->own.origin) == 0;
}

static bool
is_signed (const struct http_settings *s, const struct handle_request *r)
{
  return r->object->s3 && is_own (s, r->url) && sign_is_wanted (s);
}

static CURLcode
set_credentials (CURL *easy, const struct http_settings *s,
                 const struct handle_request *r)
{
  const struct url *object = r->object;
  const bool own = is_own (s, r->url);
  const char *user = own ? s->options.user : NULL;
  const char *password = own ? s->options.password : NULL;

  if (object->user && strcmp (r->url->origin, object->origin) == 0) {
    if (object->password || user == NULL || strcmp (user, object->user) != 0)
      password = object->password;
    user = object->user;
  }
  if (is_signed (s, r))
    user = password = NULL;
  SET (easy, CURLOPT_USERNAME, user);
  SET (easy, CURLOPT_PASSWORD, password);
  SET (easy, CURLOPT_COOKIE, own ? s->options.cookie : NULL);
  return CURLE_OK;
}

/* If-Match asks for a strong comparison, which a weak ETag never passes. */
static int
add_if_match (const struct version *version, struct curl_slist **list)
{
  char header[VALIDATOR_MAX + 16];

  if (version == NULL || version->etag[0] == '\0' || version->weak)
    return 0;
  snprintf (header, sizeof header, "If-Match: %s", version->etag);
  return libcurl_append (list, header);
}

/* 0, or -1 with errno. */
static int
add_headers (const struct http_settings *s, const struct handle_request *r,
             struct curl_slist **list)
{
  const bool sign = is_signed (s, r);
  const char *const *headers = s->options.headers;
  size_t i;

  if (is_own (s, r->url))
    for (i = 0; i < s->options.nr_headers; ++i)
      if (!(sign && sign_replaces (s, headers[i]))
          && libcurl_append (list, headers[i]) == -1)
        return -1;
  if (add_if_match (r->version, list) == -1)
    return -1;
  return sign ? sign_request (s, r->url, time (NULL), list) : 0;
}

static CURLcode
set_request (CURL *easy, const struct handle_request *r)
{
  char range[64];

  snprintf (range, sizeof range, "%" PRIu64 "-%" PRIu64, r->first, r->last);
  SET (easy, CURLOPT_URL, r->url->text);
  SET (easy, CURLOPT_RANGE, range);
  SET (easy, CURLOPT_WRITEFUNCTION, r->on_body);
  SET (easy, CURLOPT_WRITEDATA, r->opaque);
  SET (easy, CURLOPT_PRIVATE, r->opaque);
  SET (easy, CURLOPT_ERRORBUFFER, r->error);
  return CURLE_OK;
}

CURLcode
handle_set_up (CURL *easy, const struct http_settings *s,
               const struct handle_request *r, struct curl_slist **headers)
{
  CURLcode code = set_parameters (easy, s);

  if (code == CURLE_OK)
    code = set_request (easy, r);
  if (code == CURLE_OK)
    code = set_reuse (easy, s, r->url);
  if (code == CURLE_OK)
    code = set_credentials (easy, s, r);
  if (code != CURLE_OK)
    return code;
  if (add_headers (s, r, headers) == -1)
    return errno == ENOMEM ? CURLE_OUT_OF_MEMORY : CURLE_AUTH_ERROR;
  SET (easy, CURLOPT_HTTPHEADER, *headers);
  return CURLE_OK;
}
