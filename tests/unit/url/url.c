/* SPDX-License-Identifier: BSD-3-Clause
 *
 * url.c: tables of URLs and their parts, and of texts that are no URLs.
 *
 * The expected parts follow from RFC 3986 (6.2: equivalent URLs; 2.1:
 * escapes), RFC 9110 (4.2: http and https) and RFC 7617 (user names).
 */

#include "tests/unit/url.h"

struct good {
  const char *given, *name, *text, *origin, *user, *password;
};

#define PLAIN(given, name, origin)                                            \
  {                                                                           \
    given, name, name, origin, NULL, NULL                                     \
  }

/* clang-format off */
static const struct good goods[] = {
  PLAIN ("http://example.com/a/b.qcow2", "http://example.com/a/b.qcow2",
         "http://example.com"),
  PLAIN ("https://example.com/a", "https://example.com/a",
         "https://example.com"),

  /* 6.2.2.1: scheme and host in any case, the path not. */
  PLAIN ("HTTP://EXAMPLE.Com/Path/X", "http://example.com/Path/X",
         "http://example.com"),
  PLAIN ("hTTpS://H/", "https://h/", "https://h"),

  /* 6.2.3: the default port, no port, no path. */
  PLAIN ("http://h:80/x", "http://h/x", "http://h"),
  PLAIN ("http://h:0080/x", "http://h/x", "http://h"),
  PLAIN ("https://h:443/x", "https://h/x", "https://h"),
  PLAIN ("http://h:443/x", "http://h:443/x", "http://h:443"),
  PLAIN ("https://h:80/x", "https://h:80/x", "https://h:80"),
  PLAIN ("http://h:8080/x", "http://h:8080/x", "http://h:8080"),
  PLAIN ("http://h:65535/x", "http://h:65535/x", "http://h:65535"),
  PLAIN ("http://h:/x", "http://h/x", "http://h"),
  PLAIN ("http://h", "http://h/", "http://h"),
  PLAIN ("http://h:8080", "http://h:8080/", "http://h:8080"),

  /* Queries are asked for, but may be secret. */
  { "http://h/x?sig=a%2Bb&c=d", "http://h/x", "http://h/x?sig=a%2Bb&c=d",
    "http://h", NULL, NULL },
  { "http://h/x?a=1?b=/../c", "http://h/x", "http://h/x?a=1?b=/../c",
    "http://h", NULL, NULL },
  { "http://h?q=1", "http://h/", "http://h/?q=1", "http://h", NULL, NULL },
  { "https://h:443/?q=1", "https://h/", "https://h/?q=1", "https://h", NULL,
    NULL },

  /* Fragments are not the server's business. */
  PLAIN ("http://h/x#part", "http://h/x", "http://h"),
  PLAIN ("http://h/x#?q=1", "http://h/x", "http://h"),
  PLAIN ("http://h/x#/../y", "http://h/x", "http://h"),
  PLAIN ("http://h/x#", "http://h/x", "http://h"),
  PLAIN ("http://h#@evil/x", "http://h/", "http://h"),
  { "http://h/x?q=1#part", "http://h/x", "http://h/x?q=1", "http://h", NULL,
    NULL },

  /* User names. */
  { "http://u:p@h/x", "http://h/x", "http://h/x", "http://h", "u", "p" },
  { "http://u@h/x", "http://h/x", "http://h/x", "http://h", "u", NULL },
  { "http://u:@h/x", "http://h/x", "http://h/x", "http://h", "u", "" },
  { "http://u:p:q@h/x", "http://h/x", "http://h/x", "http://h", "u", "p:q" },
  { "http://u%40v:p%3A%2F%25@h/x", "http://h/x", "http://h/x", "http://h",
    "u@v", "p:/%" },
  { "https://User:Pass@H:443/x?s=1#f", "https://h/x", "https://h/x?s=1",
    "https://h", "User", "Pass" },
  { "http://u;x=y:p@h/x", "http://h/x", "http://h/x", "http://h", "u;x=y",
    "p" },
  PLAIN ("http://h/x@y:z", "http://h/x@y:z", "http://h"),
  { "http://h/?u:p@evil/", "http://h/", "http://h/?u:p@evil/", "http://h",
    NULL, NULL },

  /* What must be escaped is, what is escaped stays so. */
  PLAIN ("http://h/a b", "http://h/a%20b", "http://h"),
  PLAIN ("http://h/a%20b", "http://h/a%20b", "http://h"),
  PLAIN ("http://h/a%2Fb%23%3F", "http://h/a%2Fb%23%3F", "http://h"),
  PLAIN ("http://h/a+b!$&'()*,;=:@-._~", "http://h/a+b!$&'()*,;=:@-._~",
         "http://h"),

  /* 5.2.4, 6.2.2.3 */
  PLAIN ("http://h/./a/../b", "http://h/b", "http://h"),
  PLAIN ("http://h/../../x", "http://h/x", "http://h"),
  PLAIN ("http://h/a/..", "http://h/", "http://h"),
  PLAIN ("http://h/a/.", "http://h/a/", "http://h"),
  PLAIN ("http://h/.../..a/a..", "http://h/.../..a/a..", "http://h"),
  PLAIN ("http://h//a//b", "http://h//a//b", "http://h"),

  /* Addresses. */
  PLAIN ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x",
         "http://127.0.0.1:8080"),
  PLAIN ("http://[::1]/x", "http://[::1]/x", "http://[::1]"),
  PLAIN ("http://[::1]:80/x", "http://[::1]/x", "http://[::1]"),
  PLAIN ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443/x",
         "https://[2001:db8::1]:8443"),
  { "https://u:p@[::1]:443/x", "https://[::1]/x", "https://[::1]/x",
    "https://[::1]", "u", "p" },
};
/* clang-format on */

static void
parts (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (goods); ++i) {
    const struct good *g = &goods[i];
    struct url url;

    parse_good (g->given, &amazon, &url);
    same (g->given, "name", url.name, g->name);
    same (g->given, "text", url.text, g->text);
    same (g->given, "origin", url.origin, g->origin);
    same (g->given, "user", url.user, g->user);
    same (g->given, "password", url.password, g->password);
    assert_false (url.s3);
    url_free (&url);
    assert_null (url.name);
    assert_null (url.password);
    url_free (&url);
  }
}

/* RFC 6874: the zone is a part of the address. */
static void
zones (void **state)
{
  struct url url;

  (void) state;
  parse_good ("http://[fe80::1%25eth0]:8080/x", &amazon, &url);
  same ("zone", "text", url.text, "http://[fe80::1%25eth0]:8080/x");
  same ("zone", "origin", url.origin, "http://[fe80::1%25eth0]:8080");
  url_free (&url);
  /* Addresses have no case, names of interfaces do. */
  parse_good ("http://[FE80::1%25Eth0]/x", &amazon, &url);
  same ("zone", "name", url.name, "http://[fe80::1%25Eth0]/x");
  url_free (&url);
}

/* RFC 9110, 7.2: the Host header has the host and the port, as an HTTP URL has
 * them: no default port (4.2.3), no zone (RFC 6874, 4).
 */
static void
hosts (void **state)
{
  static const char *const rows[][2] = {
    { "http://h/x", "h" },
    { "http://H.Example:80/x", "h.example" },
    { "https://h:443/x?q#f", "h" },
    { "http://h:443", "h:443" },
    { "https://u:p@h:80/x", "h:80" },
    { "http://127.0.0.1:9000/x", "127.0.0.1:9000" },
    { "http://[2001:DB8::1]/x", "[2001:db8::1]" },
    { "http://[2001:db8::1]:80/x", "[2001:db8::1]" },
    { "http://[2001:db8::1]:8080/x", "[2001:db8::1]:8080" },
    { "http://[fe80::1%25eth0]:8080/x", "[fe80::1]:8080" },
    { "s3://bucket/key", "bucket.s3.us-east-1.amazonaws.com" },
    { "s3://my.bucket/key", "s3.us-east-1.amazonaws.com" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    struct url url;

    parse_good (rows[i][0], &amazon, &url);
    same (rows[i][0], "host", url.host, rows[i][1]);
    url_free (&url);
  }
}

static const char *const bads[] = {
  /* Other things. */
  "",
  "h/x",
  "/x",
  "x",
  "//h/x",
  "http",
  "http:",
  "http:/h/x",
  "http:h",
  "http//h/x",
  "file:///etc/passwd",
  "ftp://h/x",
  "httpx://h/x",
  "https+unix://h/x",
  "shttp://h/x",
  " http://h/x",
  "\thttp://h/x",
  "s3:bucket/key",
  "s3:/bucket/key",
  /* No host. */
  "http://",
  "https://",
  "http:////h/x",
  "http://?q",
  "http://#f",
  "http://:80/x",
  "http://u:p@/x",
  "http://u:p@:80/x",
  "http://@/x",
  /* Not a host. */
  "http://a b/x",
  "http://<h>/x",
  "http://h\\x/y",
  "http://h{x}/y",
  "http://[fe80::1%25eth 0]/x",
  "http://[fe80::1%25eth\"0]/x",
  "http://[fe80::1%25<eth0>]/x",
  "http://[::1/x",
  "http://::1]/x",
  "http://[]/x",
  "http://[::g]/x",
  "http://[h]/x",
  "http://[::1]x/y",
  "http://[1:2:3:4:5:6:7:8:9]/x",
  /* Not a port. */
  "http://h:65536/x",
  "http://h:8x/y",
  "http://h:-1/x",
  "http://h: 80/x",
  "http://h:80:80/x",
  "http://h:4294967376/x",
  "http://h:18446744073709551696/x",
  "http://[::1]:65536/x",
};

static void
not_urls (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (bads); ++i)
    refused (bads[i]);
}

/* Without its escape 1%2e3 is 1.3, which is the address 1.0.0.3.  libcurl 7.88
 * finds that out when it connects, so the host is refused; libcurl 8.23 says
 * it at once, and the name has it.
 */
static void
escaped_addresses (void **state)
{
  static const struct {
    const char *given, *name;
  } urls[] = {
    { "http://1%2e3/x", "http://1.0.0.3/x" },
    { "http://u:p@0x7f%2E1:80/x", "http://127.0.0.1/x" },
  };
  struct url url;
  size_t i;

  (void) state;
  for (i = 0; i < NR (urls); ++i) {
    if (parse (urls[i].given, &amazon, &url) == 0) {
      same (urls[i].given, "name", url.name, urls[i].name);
      same (urls[i].given, "text", url.text, urls[i].name);
    }
    url_free (&url);
  }
}

/* RFC 9110, 4.2.1: "a recipient that processes such a URI reference MUST
 * reject it as invalid".  It would be taken for a host that is called like
 * the directory.
 */
static void
empty_host (void **state)
{
  (void) state;
  refused ("http:///images/disk.qcow2");
  refused ("https:///images/disk.qcow2");
}

static void
control_characters (void **state)
{
  static const char *const places[]
    = { "http://h/a%cb",    "http://h/%c",    "http://h/a?b%cc",
        "http://h/a#b%cc",  "http://h%c/a",   "http://h:80%c/a",
        "http://u%c:p@h/a", "http://u:%c@h/", "https://h/a%c",
        "http://[::1]%c/x" };
  unsigned c;
  size_t i;

  (void) state;
  for (c = 1; c <= 0x7f; ++c)
    if (c < 0x20 || c == 0x7f)
      for (i = 0; i < NR (places); ++i) {
        const char *at = strstr (places[i], "%c");
        char text[64];

        snprintf (text, sizeof text, "%.*s%c%s", (int) (at - places[i]),
                  places[i], (int) c, at + 2);
        refused (text);
      }
}

/* What is escaped in a host's name must not become a delimiter or a control
 * character: refused, or still escaped.
 */
static void
still_escaped (const char *host)
{
  struct url url;
  char text[64];

  snprintf (text, sizeof text, "http://%s/x", host);
  if (parse (text, &amazon, &url) == 0 && strcasecmp (url.text, text) != 0)
    fail_msg ("'%s' becomes '%s'", text, url.text);
  url_free (&url);
}

static void
delimiters_in_hosts (void **state)
{
  static const char *const hosts[]
    = { "h%2fevil", "h%2Fevil", "h%40evil", "h%3a80",  "h%23evil",
        "h%3fevil", "h%00evil", "h%0aevil", "h%0d%0a", "h%20evil",
        "%2fevil",  "h%5cevil", "%5bevil" };
  size_t i;

  (void) state;
  for (i = 0; i < NR (hosts); ++i)
    still_escaped (hosts[i]);
}

static void
control_characters_in_hosts (void **state)
{
  (void) state;
  still_escaped ("h%01");
  still_escaped ("h%1fx");
  still_escaped ("h%7fx");
}

/* RFC 7617, 2: user name and password can't have control characters.  To
 * go on without them would be to ask as somebody else.
 */
static void
control_characters_in_user_info (void **state)
{
  (void) state;
  refused ("http://u%0aser:password@h/x");
  refused ("http://user:pass%0Aword@h/x");
  refused ("http://user:pass%00word@h/x");
}

static void
is_one (void **state)
{
  static const char *const yes[] = { "http://",  "http://h", "HTTPS://h/x",
                                     "s3://b/k", "S3://",    "https://" };
  static const char *const no[]
    = { "",         "http",      "http:/h",      "http:h", "httpx://h",
        "/http://", "./http://", "ftp://h",      "s3:/b",  "s3",
        "s33://b",  "file:///x", "json:http://h" };
  size_t i;

  (void) state;
  for (i = 0; i < NR (yes); ++i)
    if (!url_is_one (yes[i]))
      fail_msg ("'%s' is one", yes[i]);
  for (i = 0; i < NR (no); ++i)
    if (url_is_one (no[i]))
      fail_msg ("'%s' is not one", no[i]);
}

static void
not_prefixes (void **state)
{
  static const char *const rows[] = {
    "",        "/images",    "http://",        "http:h",        "ftp://h",
    "s3://",   "s3:///k",    "s3://b/../k",    "s3://b\n",      "http://h\n",
    "s3://..", "s3://b:1:2", "http://h:65536", "http://u:p@/x", "s3://u@b"
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    char *copy = strdup (rows[i]);
    struct url url;

    problem.text[0] = '\0';
    if (url_parse_prefix (copy, &url, &problem) == 0)
      fail_msg ("'%s' is taken, for '%s'", rows[i], url.name);
    assert_string_not_equal (problem.text, "");
    url_free (&url);
    free (copy);
  }
}

/* In place; nothing of a longer text is left behind the end. */
static void
unescape (void **state)
{
  char text[] = "p%61ss%2fwor%64", control[] = "a%0ab%20";

  (void) state;
  assert_true (url_unescape (text));
  assert_memory_equal (text, "pass/word\0\0\0\0\0\0", sizeof text);
  assert_false (url_unescape (control));
  assert_memory_equal (control, "a%0ab \0\0", sizeof control);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (unescape),
  cmocka_unit_test (parts),
  cmocka_unit_test (zones),
  cmocka_unit_test (hosts),
  cmocka_unit_test (not_urls),
  cmocka_unit_test (escaped_addresses),
  cmocka_unit_test (empty_host),
  cmocka_unit_test (control_characters),
  cmocka_unit_test (delimiters_in_hosts),
  cmocka_unit_test (control_characters_in_hosts),
  cmocka_unit_test (control_characters_in_user_info),
  cmocka_unit_test (is_one),
  cmocka_unit_test (not_prefixes),
};

UNIT_MAIN (tests)
