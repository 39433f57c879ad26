/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Signatures of AWS, version 4.  See sigv4.h.
 *
 * The signature is of the hash of the request's canonical form, the time and
 * the scope (day, region, service).  Its key is derived from the secret key
 * and the scope.
 */

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "codec/digest.h"
#include "http/sigv4.h"
#include "url/percent.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define SCOPE_END "aws4_request"
#define DAY_LENGTH 8 /* of YYYYMMDD */

#define HASH_BYTES 32
#define HEX_LENGTH (2 * HASH_BYTES)

/* --- The canonical request --- */

/* Encode bytes, some of which can be encoded already, and return the end. */
static char *
encode (char *out, const char *in, size_t length, const char *keep)
{
  const char *const end = in + length;

  while (in < end) {
    const char c = percent_decode (&in);

    if (percent_is_unreserved ((unsigned char) c)
        || (c != '\0' && strchr (keep, c)))
      *out++ = c;
    else
      out = percent_encode (out, (unsigned char) c);
  }
  return out;
}

/* A parameter of the query, encoded. */
struct parameter {
  const char *name, *value;
};

static int
compare_parameters (const void *a, const void *b)
{
  const struct parameter *x = a, *y = b;
  const int r = strcmp (x->name, y->name);

  return r ? r : strcmp (x->value, y->value);
}

/* Servers take a '+' in a query for a space. */
static char *
encode_in_query (char *out, const char *in, size_t length)
{
  const char *const end = in + length;

  while (in < end) {
    const size_t n = strcspn (in, "+");
    const size_t now = n < (size_t) (end - in) ? n : (size_t) (end - in);

    out = encode (out, in, now, "");
    in += now;
    if (in < end) {
      out = percent_encode (out, ' ');
      in++;
    }
  }
  *out++ = '\0';
  return out;
}

/* The parameters of a query, sorted; their strings go to 'encoded'.  Returns
 * how many there are.
 */
static size_t
sort_query (const char *query, struct parameter *parameters, char *encoded)
{
  size_t nr = 0;

  while (*query) {
    const size_t n = strcspn (query, "&"), name = strcspn (query, "&=");

    if (n > 0) {
      struct parameter *p = &parameters[nr++];

      p->name = encoded;
      encoded = encode_in_query (encoded, query, name);
      p->value = encoded;
      encoded = encode_in_query (encoded, query + name + (name < n),
                                 n - name - (name < n));
    }
    query += n + (query[n] == '&');
  }
  qsort (parameters, nr, sizeof parameters[0], compare_parameters);
  return nr;
}

/* Write the canonical query, and return the end; NULL: out of memory. */
static char *
put_query (char *out, const char *query)
{
  const size_t length = strlen (query);
  struct parameter *parameters
    = malloc ((length / 2 + 1) * sizeof parameters[0]);
  const size_t room = 3 * length + 2;
  char *encoded = malloc (room);
  size_t nr, i;

  if (parameters && encoded) {
    nr = sort_query (query, parameters, encoded);
    for (i = 0; i < nr; ++i)
      out += sprintf (out, "%s%s=%s", i > 0 ? "&" : "", parameters[i].name,
                      parameters[i].value);
  }
  else
    out = NULL;
  free (parameters);
  secret_free_buffer (encoded, room);
  return out;
}

static int
compare_names (const struct sigv4_header *x, const struct sigv4_header *y)
{
  const size_t m = x->name_length, n = y->name_length;
  const int r = strncasecmp (x->name, y->name, m < n ? m : n);

  return r ? r : (m > n) - (m < n);
}

/* By name; equal names keep their order. */
static int
compare_headers (const void *a, const void *b)
{
  const struct sigv4_header *x = *(const struct sigv4_header *const *) a;
  const struct sigv4_header *y = *(const struct sigv4_header *const *) b;
  const int r = compare_names (x, y);

  return r ? r : (x > y) - (x < y);
}

static char *
put_name (char *out, const struct sigv4_header *h)
{
  size_t i;

  for (i = 0; i < h->name_length; ++i)
    *out++ = (char) tolower ((unsigned char) h->name[i]);
  return out;
}

/* Trim the value, and replace other white space by one space. */
static char *
put_value (char *out, const char *value)
{
  const char *const begin = out;

  for (;;) {
    const size_t space = strspn (value, " \t\n\v\f\r");
    const size_t n = strcspn (value + space, " \t\n\v\f\r");

    if (n == 0)
      return out;
    if (out > begin)
      *out++ = ' ';
    memcpy (out, value + space, n);
    out += n;
    value += space + n;
  }
}

static char *
put_headers (char *out, const struct sigv4_header *const *sorted, size_t nr)
{
  size_t i;

  for (i = 0; i < nr; ++i) {
    if (i > 0 && compare_names (sorted[i - 1], sorted[i]) == 0)
      out[-1] = ',';
    else {
      out = put_name (out, sorted[i]);
      *out++ = ':';
    }
    out = put_value (out, sorted[i]->value);
    *out++ = '\n';
  }
  return out;
}

/* Write "host;x-amz-date". */
static void
put_names (char *out, const struct sigv4_header *const *sorted, size_t nr)
{
  size_t i;

  for (i = 0; i < nr; ++i) {
    if (i > 0 && compare_names (sorted[i - 1], sorted[i]) == 0)
      continue;
    if (i > 0)
      *out++ = ';';
    out = put_name (out, sorted[i]);
  }
  *out = '\0';
}

/* An upper bound of the canonical request's size. */
static size_t
canonical_size (const struct sigv4_request *r)
{
  /* 4: percent-encoding, and '=' in the query.  8: line breaks and a NUL. */
  size_t size = strlen (r->method) + 4 * strlen (r->target)
                + strlen (r->payload_hash) + 8;
  size_t i;

  for (i = 0; i < r->nr_headers; ++i)
    size += 2 * r->headers[i].name_length + strlen (r->headers[i].value) + 3;
  return size;
}

/* A new string; NULL: out of memory. */
static char *
canonical_request (const struct sigv4_request *r,
                   const struct sigv4_header *const *sorted, const char *names)
{
  const size_t path = strcspn (r->target, "?");
  char *text = malloc (canonical_size (r)), *p = text;

  if (text == NULL)
    return NULL;
  p += sprintf (p, "%s\n", r->method);
  p = encode (p, r->target, path, "/");
  *p++ = '\n';
  p = put_query (p, r->target + path + (r->target[path] == '?'));
  if (p == NULL) {
    free (text);
    return NULL;
  }
  *p++ = '\n';
  p = put_headers (p, sorted, r->nr_headers);
  sprintf (p, "\n%s\n%s", names, r->payload_hash);
  return text;
}

/* --- Signing --- */

static void
to_hex (const uint8_t bytes[HASH_BYTES], char out[HEX_LENGTH + 1])
{
  size_t i;

  for (i = 0; i < HASH_BYTES; ++i)
    sprintf (out + 2 * i, "%02x", bytes[i]);
}

/* Replace a key by the next one of the chain. */
static int
derive (uint8_t key[DIGEST_MAX_BYTES], const char *text, size_t length)
{
  return digest_hmac (DIGEST_SHA256, key, HASH_BYTES, text, length, key);
}

/* The first key of the chain, from "AWS4" and the secret key. */
static int
first_key (const char *secret_key, const char *day,
           uint8_t key[DIGEST_MAX_BYTES])
{
  char *secret;
  int r;

  if (asprintf (&secret, "AWS4%s", secret_key) == -1) {
    errno = ENOMEM;
    return -1;
  }
  r = digest_hmac (DIGEST_SHA256, secret, strlen (secret), day, DAY_LENGTH,
                   key);
  secret_free_string (secret);
  return r;
}

static int
sign (const struct sigv4_signer *s, const char *date, const char *text,
      char signature[HEX_LENGTH + 1])
{
  uint8_t key[DIGEST_MAX_BYTES];
  int r = -1;

  if (first_key (s->secret_key, date, key) == 0
      && derive (key, s->region, strlen (s->region)) == 0
      && derive (key, s->service, strlen (s->service)) == 0
      && derive (key, SCOPE_END, strlen (SCOPE_END)) == 0
      && derive (key, text, strlen (text)) == 0) {
    to_hex (key, signature);
    r = 0;
  }
  explicit_bzero (key, sizeof key);
  return r;
}

/* The value of the header for these names and this canonical request. */
static char *
authorize (const char *canonical, const char *names,
           const struct sigv4_signer *s, const char *date)
{
  uint8_t hash[DIGEST_MAX_BYTES];
  char hex[HEX_LENGTH + 1], *scope = NULL, *text = NULL, *value = NULL;

  if (digest_two (DIGEST_SHA256, canonical, strlen (canonical), "", 0, hash)
      == -1)
    return NULL;
  to_hex (hash, hex);
  if (asprintf (&scope, "%.*s/%s/%s/" SCOPE_END, DAY_LENGTH, date, s->region,
                s->service)
      == -1)
    scope = NULL;
  if (scope
      && asprintf (&text, ALGORITHM "\n%s\n%s\n%s", date, scope, hex) == -1)
    text = NULL;
  if (text == NULL)
    errno = ENOMEM;
  else if (sign (s, date, text, hex) == 0
           && asprintf (&value,
                        ALGORITHM " Credential=%s/%s, SignedHeaders=%s, "
                                  "Signature=%s",
                        s->access_key, scope, names, hex)
                == -1) {
    value = NULL;
    errno = ENOMEM;
  }
  free (scope);
  free (text);
  return value;
}

char *
sigv4_authorization (const struct sigv4_request *request,
                     const struct sigv4_signer *signer, const char *date)
{
  const size_t nr = request->nr_headers;
  const struct sigv4_header **sorted = malloc ((nr + 1) * sizeof sorted[0]);
  char *names = malloc (canonical_size (request));
  char *canonical = NULL, *value = NULL;
  size_t i;

  if (sorted && names) {
    for (i = 0; i < nr; ++i)
      sorted[i] = &request->headers[i];
    qsort (sorted, nr, sizeof sorted[0], compare_headers);
    put_names (names, sorted, nr);
    canonical = canonical_request (request, sorted, names);
  }
  if (canonical)
    value = authorize (canonical, names, signer, date);
  else
    errno = ENOMEM;
  free (sorted);
  free (names);
  secret_free_string (canonical);
  return value;
}
