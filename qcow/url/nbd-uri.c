/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What messages may show of NBD URIs.  See nbd-uri.h.
 */

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/secret.h"
#include "url/nbd-uri.h"
#include "url/percent.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

/* The parts of a URI, as pointers into it. */
struct parts {
  int scheme;                      /* length, with "://" */
  const char *user, *host, *query; /* user and host can have the same value;
                                      query: after the '?', or "" */
  int user_length, host_length;    /* host: up to the query */
};

static struct parts
split (const char *uri)
{
  const char *authority = strstr (uri, "://");
  const size_t n = strcspn (uri, "?#");
  struct parts p = { .query = uri[n] == '?' ? uri + n + 1 : "" };
  const char *at;

  authority = authority && authority < uri + n ? authority + 3 : uri;
  at = memrchr (authority, '@', strcspn (authority, "/?#"));
  p.scheme = (int) (authority - uri);
  p.user = authority;
  p.host = at ? at + 1 : authority;
  p.user_length = at ? (int) (at - authority) : 0;
  p.host_length = (int) (uri + n - p.host);
  return p;
}

/* The length of the parameter at the beginning of a query. */
static size_t
parameter_length (const char *query)
{
  return strcspn (query, "&;#");
}

/* The first parameter from q on, or NULL: there is none. */
static const char *
parameter_from (const char *q)
{
  q += strspn (q, "&;");
  return *q && *q != '#' ? q : NULL;
}

static const char *
next_parameter (const char *q)
{
  return parameter_from (q + parameter_length (q));
}

static bool
has_name (const char *parameter, const char *name)
{
  const size_t n = strlen (name);

  return strncmp (parameter, name, n) == 0 && parameter[n] == '=';
}

char *
nbd_uri_name (const char *uri)
{
  const struct parts p = split (uri);
  const size_t host = strcspn (p.host, "/?#");
  const char *socket = "";
  const char *q;
  char *name;
  int i, lower;

  for (q = parameter_from (p.query); q; q = next_parameter (q))
    if (has_name (q, "socket"))
      socket = q;
  if (asprintf (&name, "%.*s%.*s%s%s%.*s", p.scheme, uri, p.host_length,
                p.host, host == (size_t) p.host_length ? "/" : "",
                *socket ? "?" : "", (int) parameter_length (socket), socket)
      == -1)
    return NULL;
  lower = p.scheme + (int) host;
  for (i = 0; i < lower; ++i)
    name[i] = (char) tolower ((unsigned char) name[i]);
  return name;
}

/* Check one parameter of a query.  *sockets is how many came before. */
static int
check_parameter (const char *q, unsigned *sockets, struct problem *problem)
{
  static const char *const paths[]
    = { "socket", "tls-certificates", "tls-psk-file" };
  const size_t n = parameter_length (q), name = strcspn (q, "=");
  size_t i;

  if (name >= n || memchr (q, '%', name))
    return problem_set (problem, "it is not a valid URI: the query must be "
                                 "NAME=VALUE, without '%%' in the name");
  if (has_name (q, "socket") && (*sockets)++ > 0)
    return problem_set (problem, "it has more than one socket");
  for (i = 0; i < NR (paths); ++i)
    if (has_name (q, paths[i])) {
      const char *value = q + name + 1;

      /* The server leaves the directory in which it was started. */
      if (percent_decode (&value) != '/')
        return problem_set (problem, "%s= must have an absolute path",
                            paths[i]);
    }
  return 0;
}

int
nbd_uri_check (const char *uri, struct problem *problem)
{
  const struct parts p = split (uri);
  const char *q;
  unsigned sockets = 0;

  if (memchr (p.host, '%', strcspn (p.host, "/?#")))
    return problem_set (problem, "it is not a valid URI: there is a '%%' in "
                                 "the host");
  for (q = parameter_from (p.query); q; q = next_parameter (q))
    if (check_parameter (q, &sockets, problem) == -1)
      return -1;
  if (sockets == 0 && memmem (uri, (size_t) p.scheme, "+unix", 5))
    return problem_set (problem, "must have the path of the socket: "
                                 "?socket=/PATH");
  return 0;
}

bool
nbd_uri_has_options (const char *uri)
{
  const char *q;

  for (q = parameter_from (split (uri).query); q; q = next_parameter (q))
    if (!has_name (q, "socket"))
      return true;
  return false;
}

bool
nbd_uri_same_server (const char *a, const char *b)
{
  const struct parts p = split (a), q = split (b);
  const size_t n = (size_t) (p.host - a) + strcspn (p.host, "/");

  return strncmp (a, b, n) == 0 && b[n] == '/'
         && strcmp (p.query, q.query) == 0;
}

char *
nbd_uri_with_path (const char *uri, const char *name)
{
  const struct parts p = split (uri), other = split (name);
  const size_t host = strcspn (p.host, "/?#");
  const size_t path = strcspn (other.host, "/");
  char *joined;

  return asprintf (&joined, "%.*s%.*s%s", (int) (p.host - uri) + (int) host,
                   uri, other.host_length - (int) path, other.host + path,
                   p.host + p.host_length)
             == -1
           ? NULL
           : joined;
}

void
nbd_uri_host (const char *uri, char host[NBD_URI_HOST_MAX])
{
  const struct parts p = split (uri);
  const size_t n = strcspn (p.host, ":/?#");
  struct in_addr address;

  host[0] = '\0';
  if (memchr (uri, '+', (size_t) p.scheme) || *p.host == '['
      || n >= NBD_URI_HOST_MAX)
    return;
  memcpy (host, p.host, n);
  host[n] = '\0';
  if (inet_pton (AF_INET, host, &address) == 1)
    host[0] = '\0';
}

char *
nbd_uri_user (const char *uri)
{
  const struct parts p = split (uri);

  return p.user_length > 0 ? strndup (p.user, (size_t) p.user_length) : NULL;
}

static void
add (struct secrets *secrets, const char *text, size_t length)
{
  char *copy = strndup (text, length);

  if (copy)
    secrets_add (secrets, copy);
  else
    secrets->incomplete = true;
  secret_free_string (copy);
}

static bool
is_public (const char *parameter)
{
  static const char *const names[]
    = { "socket", "tls-priority", "tls-verify-peer" };
  size_t i;

  for (i = 0; i < NR (names); ++i)
    if (has_name (parameter, names[i]))
      return true;
  return false;
}

void
nbd_uri_add_secrets (const char *uri, struct secrets *secrets)
{
  const struct parts p = split (uri);
  const size_t name_length = strcspn (p.user, ":") < (size_t) p.user_length
                               ? strcspn (p.user, ":")
                               : (size_t) p.user_length;
  const char *q;

  add (secrets, p.user, name_length);
  if (name_length < (size_t) p.user_length)
    add (secrets, p.user + name_length + 1,
         (size_t) p.user_length - name_length - 1);
  for (q = parameter_from (p.query); q; q = next_parameter (q)) {
    const size_t n = parameter_length (q);
    const char *value = memchr (q, '=', n);

    if (value && !is_public (q))
      add (secrets, value + 1, (size_t) (q + n - value - 1));
  }
}
