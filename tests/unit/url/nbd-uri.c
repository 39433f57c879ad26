/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-uri.c: what messages may show of NBD URIs.
 */

#include "tests/unit/unit.h"

#include "url/nbd-uri.h"
#include "url/url-name.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

static void
schemes (void **state)
{
  static const struct {
    const char *uri;
    bool is_nbd;
  } rows[] = {
    { "nbd://h", true },
    { "nbds://h/x", true },
    { "nbd+unix:///?s=", true },
    { "nbds+unix:///", true },
    { "nbd+vsock://1", true },
    { "nbds+vsock:///x", true },
    { "NBD://h", true },
    { "nbd:unix:/x", false },
    { "nbd:h:10809", false },
    { "nbd+ssh://h/", false },
    { "http://h/", false },
    { "nbd", false },
    { "", false },
    { "/nbd://x", false },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i)
    if (url_is_nbd (rows[i].uri) != rows[i].is_nbd)
      fail_msg ("%s", rows[i].uri);
}

static void
names (void **state)
{
  static const struct {
    const char *uri, *name;
  } rows[] = {
    { "nbd://h", "nbd://h/" },
    { "nbd://h:1/a/b", "nbd://h:1/a/b" },
    { "NBDS://Alice@Host/X?tls-psk-file=/f", "nbds://host/X" },
    { "nbds://a:b@c@h?x", "nbds://h/" },
    { "nbd://h/a@b", "nbd://h/a@b" },
    { "nbd://[FE80::1]:1/x", "nbd://[fe80::1]:1/x" },
    { "nbd+unix:///x?socket=/s", "nbd+unix:///x?socket=/s" },
    { "NBD+UNIX:///X?socket=/S", "nbd+unix:///X?socket=/S" },
    { "nbd+unix://?socket=/s", "nbd+unix:///?socket=/s" },
    { "nbd+unix:///?a=b&socket=/s;c=d", "nbd+unix:///?socket=/s" },
    { "nbd+unix:///?xsocket=/s", "nbd+unix:///" },
    { "nbd+unix://u@/?socket=/u@s#f", "nbd+unix:///?socket=/u@s" },
    { "nbd+unix:///#?socket=/s", "nbd+unix:///" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    char *name = nbd_uri_name (rows[i].uri);

    assert_string_equal (name, rows[i].name);
    free (name);
  }
}

/* What an image names gets the user's login for that server only. */
static void
logins (void **state)
{
  static const struct {
    const char *own, *of_image, *result; /* NULL: it is another server */
  } rows[] = {
    { "nbds://alice@h/top?tls-psk-file=/f", "nbds://h/dir/base",
      "nbds://alice@h/dir/base?tls-psk-file=/f" },
    { "nbds://a@b@h:1?x=y#f", "nbds://h:1", "nbds://a@b@h:1/?x=y#f" },
    { "nbds://alice@H/top", "NBDS://h/a@b#f", "nbds://alice@H/a@b" },
    { "nbds://alice@h/", "nbd://h/", NULL },
    { "nbds://alice@h/", "nbds://h:10809/", NULL },
    { "nbds://alice@h/", "nbds://h.evil/", NULL },
    { "nbds://alice@h.evil/", "nbds://h/", NULL },
    { "nbds://alice@h/", "nbds+unix:///?socket=/s", NULL },
    { "nbds+unix://alice@/top?socket=/s&tls-psk-file=/f",
      "nbds+unix:///base?socket=/s",
      "nbds+unix://alice@/base?socket=/s&tls-psk-file=/f" },
    { "nbds+unix://alice@/top?socket=/s", "nbds+unix:///top?socket=/s2",
      NULL },
    { "nbds+unix://alice@/top?socket=/s", "nbds+unix:///top", NULL },
    { "nbd+unix:///top?socket=/s", "nbd+unix:///b/c?socket=/s",
      "nbd+unix:///b/c?socket=/s" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    char *own = nbd_uri_name (rows[i].own);
    char *name = nbd_uri_name (rows[i].of_image), *result;
    const bool same = rows[i].result != NULL;

    if (nbd_uri_same_server (own, name) != same
        || nbd_uri_same_server (name, own) != same)
      fail_msg ("%s and %s", own, name);
    result = nbd_uri_with_path (rows[i].own, name);
    if (same)
      assert_string_equal (result, rows[i].result);
    free (result);
    free (own);
    free (name);
  }
}

static void
hosts (void **state)
{
  static const struct {
    const char *uri, *host;
  } rows[] = {
    { "nbd://h", "h" },
    { "nbds://u@h.example:10809/x?y", "h.example" },
    { "nbd://", "" },
    { "nbd:///x", "" },
    { "nbd://192.0.2.1:1", "" },
    { "nbd://192.0.2.example", "192.0.2.example" },
    { "nbd://[::1]:1", "" },
    { "nbd+unix://h/?socket=x", "" },
    { "nbds+vsock://2", "" },
  };
  char host[NBD_URI_HOST_MAX], uri[2 * NBD_URI_HOST_MAX];
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    nbd_uri_host (rows[i].uri, host);
    assert_string_equal (host, rows[i].host);
  }
  snprintf (uri, sizeof uri, "nbd://%0*d", NBD_URI_HOST_MAX, 1);
  nbd_uri_host (uri, host);
  assert_string_equal (host, "");
}

static void
secret_parts (void **state)
{
  static const char *const hidden[]
    = { "the user alice", "bob%and", "/etc/keys.psk", "unheard-of",
        "bob%25and" };
  static const char *const shown[]
    = { "/run/socket", "connect: host: refused", "an export", "false" };
  struct secrets secrets = { .n = 0 };
  size_t i;

  (void) state;
  nbd_uri_add_secrets (
    "nbds+unix://alice:bob%25and@host/export?socket=/run/socket"
    "&tls-psk-file=/etc/keys.psk;tls-verify-peer=false"
    "&new=unheard-of&empty=&none",
    &secrets);
  for (i = 0; i < NR (hidden); ++i)
    if (!secrets_in_text (&secrets, hidden[i]))
      fail_msg ("%s is shown", hidden[i]);
  for (i = 0; i < NR (shown); ++i)
    if (secrets_in_text (&secrets, shown[i]))
      fail_msg ("%s is hidden", shown[i]);
  secrets_free (&secrets);

  nbd_uri_add_secrets ("nbd://host/export", &secrets);
  assert_int_equal (secrets.n, 0);
}

/* What libnbd could understand differently is refused.  'options' is whether
 * there is more than the socket.
 */
static void
checks (void **state)
{
  static const struct {
    const char *uri, *why; /* why: NULL: it is good */
    bool options;
  } rows[] = {
    { "nbd://h", NULL, false },
    { "nbd://h/a%20b", NULL, false },
    { "nbds://u%40@h/?tls-psk-file=/f", NULL, true },
    { "nbds://h/?tls-psk-file=%2Ff&tls-verify-peer=false", NULL, true },
    { "nbd+unix:///x?socket=/s", NULL, false },
    { "nbd+unix:///x?&socket=%2Fs;", NULL, false },
    { "nbd+unix:///x?tls-priority=x&socket=/s", NULL, true },
    { "nbd+unix:///x", "path of the socket", false },
    { "nbd+unix:///x?a=b", "path of the socket", true },
    { "nbd+unix:///x#?socket=/s", "path of the socket", false },
    { "nbd+unix:///x?socket=s", "socket= must have an absolute", false },
    { "nbd+unix:///x?socket=", "socket= must have an absolute", false },
    { "nbd+unix:///x?socket", "NAME=VALUE", true },
    { "nbd+unix:///x?socket=/s&s%6Fcket=/t", "without '%'", true },
    { "nbd+unix:///x?s%6Fcket=/t", "without '%'", true },
    { "nbd+unix:///x?socket=/s&socket=/t", "more than one socket", false },
    { "nbd+unix:///x?socket=/s;socket=/t", "more than one socket", false },
    { "nbds://h/?tls-certificates=d", "tls-certificates= must have", true },
    { "nbds://h/?tls-psk-file=f", "tls-psk-file= must have", true },
    { "nbd://h%2e/x", "in the host", false },
  };
  struct problem problem;
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    const int r = nbd_uri_check (rows[i].uri, &problem);

    if ((r == 0) != (rows[i].why == NULL)
        || (r == -1 && !strstr (problem.text, rows[i].why)))
      fail_msg ("%s: %s", rows[i].uri, r == -1 ? problem.text : "good");
    if (nbd_uri_has_options (rows[i].uri) != rows[i].options)
      fail_msg ("%s: options", rows[i].uri);
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (checks), cmocka_unit_test (schemes),
  cmocka_unit_test (names),  cmocka_unit_test (logins),
  cmocka_unit_test (hosts),  cmocka_unit_test (secret_parts),
};

UNIT_MAIN (tests)
