/* SPDX-License-Identifier: BSD-3-Clause
 *
 * url.c: tables of URLs, what they are made of, and what must not be taken
 * for one.
 *
 * What is expected follows from RFC 3986 (6.2: equivalent URLs; 5.2.4: dots;
 * 2.1: escapes), RFC 9110 (4.2: http and https), RFC 7617 (user names) and,
 * for s3, from Amazon's pages "Virtual hosting of buckets", "Bucket naming
 * rules" and "Signature Version 4" (how a key is escaped).
 *
 * Every string that is handed over has just its length, so that the address
 * sanitizer sees every byte that is read beyond.
 */

#include "tests/unit/unit.h"

#include "http/url-path.h"
#include "http/url-s3.h"
#include "http/url-show.h"
#include "http/url.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

static const struct url_s3 amazon = { NULL, "us-east-1" };

static struct problem problem;

static int
parse (const char *text, const struct url_s3 *s3, struct url *url)
{
  char *copy = strdup (text);
  int r;

  assert_non_null (copy);
  problem.text[0] = '\0';
  r = url_parse (copy, s3, url, &problem);
  free (copy);
  if (r == -1 && problem.text[0] == '\0')
    fail_msg ("'%s': no reason", text);
  return r;
}

/* Parse what must be good. */
static void
parse_good (const char *text, const struct url_s3 *s3, struct url *url)
{
  if (parse (text, s3, url) == -1)
    fail_msg ("'%s' is refused: %s", text, problem.text);
}

static void
refused (const char *text)
{
  struct url url;

  if (parse (text, &amazon, &url) == 0)
    fail_msg ("'%s' is taken, for '%s'", text, url.text);
  url_free (&url);
}

static void
same (const char *given, const char *what, const char *is, const char *want)
{
  if ((is == NULL) != (want == NULL) || (is && want && strcmp (is, want) != 0))
    fail_msg ("'%s': the %s is '%s' instead of '%s'", given, what,
              is ? is : "(null)", want ? want : "(null)");
}

/* --- Taking apart --- */

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
take_apart (void **state)
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
  "nbd://h/x",
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

/* --- S3 --- */

struct s3_good {
  const char *given, *endpoint, *region, *name, *text, *origin;
};

#define MINIO "http://minio:9000"

/* clang-format off */
static const struct s3_good s3_goods[] = {
  { "s3://bucket/disk.qcow2", NULL, "us-east-1", "s3://bucket/disk.qcow2",
    "https://bucket.s3.us-east-1.amazonaws.com/disk.qcow2",
    "https://bucket.s3.us-east-1.amazonaws.com" },
  { "S3://bucket/a/B/c", NULL, "eu-central-1", "s3://bucket/a/B/c",
    "https://bucket.s3.eu-central-1.amazonaws.com/a/B/c",
    "https://bucket.s3.eu-central-1.amazonaws.com" },
  { "s3://my-bucket-1/k", NULL, "us-west-2", "s3://my-bucket-1/k",
    "https://my-bucket-1.s3.us-west-2.amazonaws.com/k",
    "https://my-bucket-1.s3.us-west-2.amazonaws.com" },

  /* The wildcard certificate has one level only. */
  { "s3://my.bucket/k", NULL, "eu-west-1", "s3://my.bucket/k",
    "https://s3.eu-west-1.amazonaws.com/my.bucket/k",
    "https://s3.eu-west-1.amazonaws.com" },

  /* Other servers. */
  { "s3://bucket/k", MINIO, "us-east-1", "s3://bucket/k",
    MINIO "/bucket/k", MINIO },
  { "s3://bucket/k", MINIO "/", "us-east-1", "s3://bucket/k",
    MINIO "/bucket/k", MINIO },
  { "s3://my.bucket/k", MINIO, "us-east-1", "s3://my.bucket/k",
    MINIO "/my.bucket/k", MINIO },
  { "s3://My_Bucket/k", MINIO, "us-east-1", "s3://My_Bucket/k",
    MINIO "/My_Bucket/k", MINIO },
  { "s3://bucket/k", "https://E.example.com:443/base/", "us-east-1",
    "s3://bucket/k", "https://e.example.com/base/bucket/k",
    "https://e.example.com" },
  { "s3://bucket/k", "http://[::1]:9000", "us-east-1", "s3://bucket/k",
    "http://[::1]:9000/bucket/k", "http://[::1]:9000" },

  /* Ceph's "RGW Multi-tenancy": a colon, and in the path only.  An empty tenant
   * is the one that has no name.
   */
  { "s3://tenant:bucket/k", MINIO, "x", "s3://tenant:bucket/k",
    MINIO "/tenant%3Abucket/k", MINIO },
  { "s3://:bucket/a:b", MINIO, "x", "s3://:bucket/a:b",
    MINIO "/%3Abucket/a%3Ab", MINIO },

  /* Keys are literal; all is escaped but unreserved characters and
   * slashes, with capital digits.
   */
  { "s3://bucket/a b+c&d=e;f?g#h%20i", MINIO, "x",
    "s3://bucket/a b+c&d=e;f?g#h%20i",
    MINIO "/bucket/a%20b%2Bc%26d%3De%3Bf%3Fg%23h%2520i", MINIO },
  { "s3://bucket/!'()*:@$,[]\"<>\\^`{|}", MINIO, "x",
    "s3://bucket/!'()*:@$,[]\"<>\\^`{|}",
    MINIO "/bucket/%21%27%28%29%2A%3A%40%24%2C%5B%5D%22%3C%3E%5C%5E%60%7B%7C"
          "%7D", MINIO },
  { "s3://bucket/Az09-._~", MINIO, "x", "s3://bucket/Az09-._~",
    MINIO "/bucket/Az09-._~", MINIO },
  { "s3://bucket/caf\xc3\xa9", NULL, "us-east-1", "s3://bucket/caf\xc3\xa9",
    "https://bucket.s3.us-east-1.amazonaws.com/caf%C3%A9",
    "https://bucket.s3.us-east-1.amazonaws.com" },
  { "s3://bucket//a//b", MINIO, "x", "s3://bucket//a//b",
    MINIO "/bucket//a//b", MINIO },
  { "s3://bucket/.../..a/a../.b", MINIO, "x", "s3://bucket/.../..a/a../.b",
    MINIO "/bucket/.../..a/a../.b", MINIO },
  { "s3://bucket/%2e%2e/x", MINIO, "x", "s3://bucket/%2e%2e/x",
    MINIO "/bucket/%252e%252e/x", MINIO },
  { "s3://bucket/u:p@h/x", MINIO, "x", "s3://bucket/u:p@h/x",
    MINIO "/bucket/u%3Ap%40h/x", MINIO },
};
/* clang-format on */

static void
s3 (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (s3_goods); ++i) {
    const struct s3_good *g = &s3_goods[i];
    const struct url_s3 where = { g->endpoint, g->region };
    struct url url;

    parse_good (g->given, &where, &url);
    same (g->given, "name", url.name, g->name);
    same (g->given, "text", url.text, g->text);
    same (g->given, "origin", url.origin, g->origin);
    same (g->given, "user", url.user, NULL);
    assert_true (url.s3);
    url_free (&url);
  }
}

/* "MyAWSBucket" is Amazon's own example of an old name: hosts have no case,
 * so as one it would be another bucket.
 */
static void
s3_capitals (void **state)
{
  struct url url;

  (void) state;
  parse_good ("s3://MyAWSBucket/k", &amazon, &url);
  same ("s3://MyAWSBucket/k", "name", url.name, "s3://MyAWSBucket/k");
  same ("s3://MyAWSBucket/k", "text", url.text,
        "https://s3.us-east-1.amazonaws.com/MyAWSBucket/k");
  url_free (&url);
}

static const char *const s3_bads[] = {
  "s3://",
  "s3:///",
  "s3:///key",
  "s3://bucket",
  "s3://bucket:80/key",
  "s3://u:p@bucket/key",
  "s3://u@bucket/key",
  "s3://buc ket/key",
  "s3://b\303\274cket/key",
  "s3://bucket%2e/key",
  "s3://bucket?x/key",
  "s3://bucket#x/key",
  "s3://bucket\\x/key",
  "s3://bucket\n/key",
  "s3://[::1]/key",
  "s3://./key",
  "s3://../key",
  "s3://.bucket/key",
  /* Would not come through to the server as they are. */
  "s3://bucket/.",
  "s3://bucket/..",
  "s3://bucket/./key",
  "s3://bucket/../key",
  "s3://bucket/a/../key",
  "s3://bucket/a/./key",
  "s3://bucket/a/..",
  "s3://bucket/a/.",
  "s3://bucket//../key",
};

static void
not_s3 (void **state)
{
  static const char *const tenants[]
    = { "s3://:/key",  "s3://t:/key",  "s3://t:.b/key",  "s3://t:b:c/key",
        "s3://t/:b/.", "s3://t@u:b/k", "s3://t:u@b/key", "s3://t :b/key" };
  const struct url_s3 minio = { MINIO, "x" };
  struct url url;
  size_t i;

  (void) state;
  for (i = 0; i < NR (tenants); ++i) {
    assert_int_equal (parse (tenants[i], &minio, &url), -1);
    url_free (&url);
  }
  for (i = 0; i < NR (s3_bads); ++i)
    refused (s3_bads[i]);
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

/* Amazon's "Virtual hosting of buckets", and its older endpoints. */
static void
as_s3 (void **state)
{
  static const char *const rows[][2] = {
    { "http://h:9000/b/k", "url=s3://b/k endpoint-url=http://h:9000" },
    { "https://u:p@H:443/b/a/k%20%25+?q#f",
      "url=s3://b/a/k %+ endpoint-url=https://h" },
    { "https://b.s3.eu-west-3.amazonaws.com/a/k",
      "url=s3://b/a/k region=eu-west-3" },
    { "https://s3.eu-west-3.amazonaws.com/b.c/k",
      "url=s3://b.c/k region=eu-west-3" },
    { "https://b.c.s3.eu-west-3.amazonaws.com/k",
      "url=s3://b.c/k region=eu-west-3" },
    { "https://s3.amazonaws.com/b/k", "url=s3://b/k" },
    { "https://b.s3.amazonaws.com/k", "url=s3://b/k" },
    { "https://b.s3.dualstack.eu-west-1.amazonaws.com/d/k",
      "url=s3://b/d/k region=eu-west-1" },
    { "https://b.s3-us-west-2.amazonaws.com/d/k", NULL },
    { "https://b.s3.cn-north-1.amazonaws.com.cn/d/k", NULL },
    { "http://h/t%3Ab/k", "url=s3://t:b/k endpoint-url=http://h" },
    { "https://s3.eu-west-3.amazonaws.com.evil/b/k",
      "url=s3://b/k endpoint-url=https://s3.eu-west-3.amazonaws.com.evil" },
    /* No bucket, no key, or none that s3:// can name. */
    { "http://h/k", NULL },
    { "http://h", NULL },
    { "http://h/b/", NULL },
    { "http://h/b/k/", NULL },
    { "http://h//k", NULL },
    { "http://h/b%2F/%2E%2E/k", NULL },
    { "http://h/b/k%00", NULL },
    { "http://h/b%20c/k", NULL },
    { "https://s3.eu-west-3.amazonaws.com/k", NULL },
    { "https://b.s3.eu-west-3.amazonaws.com/", NULL },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    struct url url;
    char *is;

    parse_good (rows[i][0], &amazon, &url);
    is = url_as_s3 (&url);
    same (rows[i][0], "S3 form", is, rows[i][1]);
    free (is);
    url_free (&url);
  }
}

/* --- Secrets --- */

struct hidden {
  const char *text, *shown;
};

/* clang-format off */
static const struct hidden hiddens[] = {
  { "http://h/a/b", "http://h/a/b" },
  { "http://h:8x/y", "http://h:8x/y" },
  { "http://u:SECRET@h:8x/y?q=SECRET#f", "http://h:8x/y" },
  { "https://SECRET@h/", "https://h/" },
  { "http://h/x#SECRET?SECRET", "http://h/x" },
  { "http://h?SECRET", "http://h" },
  { "https:/u:SECRET@h/x", "https:/h/x" },
  { "https:////u:SECRET@h/x", "https:////h/x" },
  { "ftp://u:SECRET@h/x?SECRET", "ftp://h/x" },
  { "s3://SECRET:SECRET@bucket/key", "s3://bucket/key" },
  { "s3://bucket", "s3://bucket" },
  /* What is not escaped. */
  { "http://u:SECRET@SECRET@h/x", "http://h/x" },
  { "http://u:SECRET/SECRET@h/x", "http://h/x" },
  { "http://u:SECRET?SECRET@h/x", "http://..." },
  { "http://u:SECRET#SECRET@h/x?y", "http://..." },
  { "http://u:SECRET?@SECRET", "http://..." },
  /* Of no use at all. */
  { "u:SECRET@h/x", "h/x" },
  { "u:SECRET@h:/x", "h:/x" },
  { "u:SECRET:/SECRET@h/x", "h/x" },
  { "u.v:/SECRET@h/x", "h/x" },
  { "/SECRET@://", "://" },
  { "http:u:SECRET@h/x", "h/x" },
  { "http://u:SECRET@", "http://..." },
  { "http://", "http://..." },
  { "?SECRET", "..." },
  { "", "..." },
  /* qemu's. */
  { "json:{\"password\":\"SECRET\"}", "json:..." },
  { "rbd:pool/image:key=SECRET", "rbd:..." },
  { "blkdebug::https://u:SECRET@h/x?SECRET", "blkdebug::h/x" },
  { "blkdebug:/a@b:https://u:SECRET@h/x?SECRET", "blkdebug:/h/x" },
  { "@:rbd:SECRET", "..." },
  { "blkdebug::json:{\"SECRET\":\"://\"}", "blkdebug:..." },
};
/* clang-format on */

static void
hide (void **state)
{
  struct url_room room;
  char longest[4096];
  size_t i;

  (void) state;
  for (i = 0; i < NR (hiddens); ++i) {
    same (hiddens[i].text, "shown form", url_hide (hiddens[i].text, &room),
          hiddens[i].shown);
    if (strstr (hiddens[i].text, "//u:SECRET")
        || url_shown (hiddens[i].text) != hiddens[i].text)
      same (hiddens[i].text, "shown name", url_shown (hiddens[i].text),
            hiddens[i].shown);
  }
  memset (longest, 'x', sizeof longest - 1);
  longest[sizeof longest - 1] = '\0';
  memcpy (longest, "http://", 7);
  assert_int_equal (strlen (url_hide (longest, &room)), sizeof room.text - 1);
}

/* What is no URL is shown as it is, and so is one without secrets. */
static void
show (void **state)
{
  static const char *const names[]
    = { "disk.qcow2",      "/a/b@c?d",         "a:b@c?d",
        "./http://u:p@h/", "http://h/x",       "https://h:8x/",
        "nbd://localhost", "C:/a@b",           "rbd:pool/image",
        "s3://bucket/key", "nbd:unix:/a/sock", "" };
  size_t i;

  (void) state;
  for (i = 0; i < NR (names); ++i)
    assert_ptr_equal (url_shown (names[i]), names[i]);
}

/* --- Joining --- */

static char *
join (const char *base, const char *file)
{
  char *b = strdup (base), *f = strdup (file), *joined;

  assert_true (b != NULL && f != NULL);
  joined = url_join (b, f);
  assert_non_null (joined);
  free (b);
  free (f);
  return joined;
}

struct joining {
  const char *base, *file, *joined;
};

/* clang-format off */
static const struct joining joinings[] = {
  { "http://h/dir/img", "b.qcow2", "http://h/dir/b.qcow2" },
  { "http://h/dir/img", "sub/b", "http://h/dir/sub/b" },
  { "http://h/dir/", "b", "http://h/dir/b" },
  { "http://h/img", "b", "http://h/b" },
  { "http://h/", "b", "http://h/b" },
  { "https://h:8443/a/b/c", "d", "https://h:8443/a/b/d" },
  { "http://[::1]:8080/a/b", "c", "http://[::1]:8080/a/c" },

  /* Dots, and beyond the root (RFC 3986, 5.4.2). */
  { "http://h/a/b/img", "./c", "http://h/a/b/c" },
  { "http://h/a/b/img", "../c", "http://h/a/c" },
  { "http://h/a/b/img", "../../c", "http://h/c" },
  { "http://h/a/b/img", "../../../c", "http://h/c" },
  { "http://h/a/b/img", "../../../../../../c", "http://h/c" },
  { "http://h/img", "../c", "http://h/c" },
  { "http://h/a/img", "b/../c", "http://h/a/c" },
  { "http://h/a/img", "b/./c", "http://h/a/b/c" },
  { "http://h/a/img", "b/../../c", "http://h/c" },
  { "http://h/a/img", "./../b/.././c", "http://h/c" },
  { "http://h/a/img", "..", "http://h/" },
  { "http://h/a/img", ".", "http://h/a/" },
  { "http://h/a/img", "b/..", "http://h/a/" },
  { "http://h/a/img", "b/.", "http://h/a/b/" },
  { "http://h/a/img", "../..", "http://h/" },
  { "http://h/a/img", "../", "http://h/" },
  { "http://h/a/img", "...", "http://h/a/..." },
  { "http://h/a/img", ".../b", "http://h/a/.../b" },
  { "http://h/a/img", "..b/c../.d", "http://h/a/..b/c../.d" },
  { "http://h/a/img", "b//c", "http://h/a/b//c" },
  { "http://h/a/img", "b//../c", "http://h/a/b/c" },
  { "http://h/a//img", "../b", "http://h/a/b" },

  /* Every byte means itself. */
  { "http://h/a/img", "#1", "http://h/a/%231" },
  { "http://h/a/img", "b?c", "http://h/a/b%3Fc" },
  { "http://h/a/img", "100%", "http://h/a/100%25" },
  { "http://h/a/img", "b c", "http://h/a/b%20c" },
  { "http://h/a/img", "%2e%2e/b", "http://h/a/%252e%252e/b" },
  { "http://h/a/img", "%2Fb", "http://h/a/%252Fb" },
  { "http://h/a/img", "b\\c", "http://h/a/b%5Cc" },
  { "http://h/a/img", "\"<>^`{|}[]", "http://h/a/%22%3C%3E%5E%60%7B%7C%7D%5B"
                                     "%5D" },
  { "http://h/a/img", "\n\x7f\x01", "http://h/a/%0A%7F%01" },
  { "http://h/a/img", "caf\xc3\xa9\xff", "http://h/a/caf%C3%A9%FF" },
  { "http://h/a/img", "Az09-._~", "http://h/a/Az09-._~" },

  /* What is escaped in the base stays so. */
  { "http://h/a%20b/img", "c", "http://h/a%20b/c" },
  { "http://h/a%2Fb/img", "../c", "http://h/c" },
  { "http://h/a%2fb/img", "c", "http://h/a%2fb/c" },

  /* Keys are literal. */
  { "s3://bucket/a/img", "b.qcow2", "s3://bucket/a/b.qcow2" },
  { "s3://bucket/img", "b c#?%20+\xc3\xa9", "s3://bucket/b c#?%20+\xc3\xa9" },
  { "s3://bucket/a b/img", "c", "s3://bucket/a b/c" },
  { "s3://bucket/a/img", "../c", "s3://bucket/c" },
  { "s3://bucket/a/img", "../../../c", "s3://bucket/c" },
  { "s3://bucket/img", "../other/c", "s3://bucket/other/c" },
  { "s3://bucket/x://y/img", "c", "s3://bucket/x://y/c" },
};
/* clang-format on */

static void
joined (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (joinings); ++i) {
    const struct joining *j = &joinings[i];
    char *is = join (j->base, j->file);
    struct url url;

    if (strcmp (is, j->joined) != 0)
      fail_msg ("'%s' beside '%s' is '%s' instead of '%s'", j->file, j->base,
                is, j->joined);
    /* And it is a name: to take it apart changes nothing, but that newer
     * versions of libcurl write escapes in upper case.
     */
    parse_good (is, &amazon, &url);
    if (strcasecmp (url.name, is) != 0)
      fail_msg ("'%s': the name is '%s'", is, url.name);
    url_free (&url);
    free (is);
  }
}

static int
hex (char c)
{
  const char *digits = "0123456789ABCDEF", *at = strchr (digits, c);

  return c != '\0' && at != NULL ? (int) (at - digits) : -1;
}

/* Each byte in the middle of a name: only what RFC 3986 allows in a path
 * comes out, and it means the byte.
 */
static void
each_byte (void **state)
{
  unsigned c;

  (void) state;
  for (c = 1; c < 256; ++c) {
    const char file[] = { 'a', (char) c, 'b', '\0' };
    char *is = join ("http://h/d/img", file), *p, decoded[8];
    size_t n = 0;

    if (c >= 0x80 || strchr (" \"#%<>?[\\]^`{|}", (int) c) || c < 0x20
        || c == 0x7f)
      assert_int_equal (strlen (is), strlen ("http://h/d/a%xxb"));
    assert_memory_equal (is, "http://h/d/a", 12);
    for (p = is + 11; *p; ++p) {
      assert_true (n < sizeof decoded - 1);
      if (*p == '%') {
        assert_true (hex (p[1]) >= 0 && hex (p[2]) >= 0);
        decoded[n++] = (char) (16 * hex (p[1]) + hex (p[2]));
        p += 2;
      }
      else
        decoded[n++] = *p;
    }
    decoded[n] = '\0';
    assert_string_equal (decoded, file);
    free (is);
  }
}

/* Whatever an image says, it is beside the image: same server, no user,
 * no query.
 */
static void
no_way_out (void **state)
{
  static const char *const bases[]
    = { "http://h/img",        "http://h/",       "https://h:8443/a/b/c",
        "http://[::1]:80/a/b", "s3://bucket/img", "s3://bucket/a/b" };
  static const char *const files[] = { "/x",
                                       "//evil/x",
                                       "///evil/x",
                                       "http://evil/",
                                       "@evil/x",
                                       ":80/x",
                                       "?x",
                                       "#x",
                                       "\\\\evil\\x",
                                       "..//evil/x",
                                       "../..//evil/x",
                                       "../../../..//@evil/x",
                                       "u:p@evil/x",
                                       "../../../../@evil" };
  size_t i, j;

  (void) state;
  for (i = 0; i < NR (bases); ++i)
    for (j = 0; j < NR (files); ++j) {
      struct url base, url;
      char *is;

      parse_good (bases[i], &amazon, &base);
      is = join (base.name, files[j]);
      parse_good (is, &amazon, &url);
      same (is, "origin", url.origin, base.origin);
      same (is, "name", url.name, is);
      same (is, "user", url.user, NULL);
      assert_null (strpbrk (url.text, "?#"));
      assert_int_equal (url.s3, base.s3);
      url_free (&base);
      url_free (&url);
      free (is);
    }
}

static void
directories (void **state)
{
  static const char *const rows[][2] = {
    { "http://h/a/b", "http://h/a/" },
    { "http://h/a/", "http://h/a/" },
    { "http://h/a", "http://h/" },
    { "http://h/", "http://h/" },
    { "http://h:8080/a/b/c", "http://h:8080/a/b/" },
    { "http://h/a%2Fb", "http://h/" },
    { "http://h/a//b", "http://h/a//" },
    { "https://[::1]/a/b", "https://[::1]/a/" },
    { "s3://bucket/k", "s3://bucket/" },
    { "s3://bucket/a/k", "s3://bucket/a/" },
    { "s3://bucket/a?b/c#d", "s3://bucket/a?b/" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    char *base = strdup (rows[i][0]), *is = url_directory (base);

    same (rows[i][0], "directory", is, rows[i][1]);
    free (base);
    free (is);
  }
}

/* --- Comparing --- */

struct covering {
  const char *prefix, *url;
  bool covers;
};

/* clang-format off */
static const struct covering coverings[] = {
  /* Cut at a '/'. */
  { "http://h/img", "http://h/img", true },
  { "http://h/img", "http://h/img/", true },
  { "http://h/img", "http://h/img/a/b", true },
  { "http://h/img", "http://h/img2", false },
  { "http://h/img", "http://h/imgs/a", false },
  { "http://h/img", "http://h/img.qcow2", false },
  { "http://h/img", "http://h/img%2Fa", false },
  { "http://h/img", "http://h/im", false },
  { "http://h/img", "http://h/", false },
  { "http://h/img", "http://h/x/img", false },
  { "http://h/img/", "http://h/img/a", true },
  { "http://h/img/", "http://h/img/", true },
  { "http://h/img/", "http://h/img", false },
  { "http://h/img/", "http://h/img2/", false },

  /* What follows the path does not count. */
  { "http://h/img", "http://h/img?q=1", true },
  { "http://h/img", "http://h/x?/img", false },
  { "http://h/img", "http://h/img#f", true },

  /* The path as it will be asked for. */
  { "http://h/img", "http://h/img/../x", false },
  { "http://h/img", "http://h/img/a/../../x", false },
  { "http://h/img", "http://h/x/../img/a", true },
  { "http://h/img", "http://h/IMG/a", false },
  { "http://h/a b", "http://h/a%20b/c", true },
  { "http://h/a%20b", "http://h/a b/c", true },

  /* Servers. */
  { "http://h", "http://h/", true },
  { "http://h", "http://h/a/b", true },
  { "http://h/", "http://h/a", true },
  { "HTTP://H:80", "http://h/a", true },
  { "http://h", "HTTP://H:80/a", true },
  { "https://h", "https://h:443/a", true },
  { "http://h", "http://h2/a", false },
  { "http://h", "http://h.evil/a", false },
  { "http://h", "http://h:8080/a", false },
  { "http://h:80", "http://h:8080/a", false },
  { "http://h:8080", "http://h/a", false },
  { "http://h:8080", "http://h:80800/a", false },
  { "http://h:443", "https://h/a", false },
  { "http://h", "https://h/a", false },
  { "https://h", "http://h/a", false },
  { "http://h", "http://h@evil/a", false },
  { "http://h", "http://h:80@evil/a", false },
  { "http://h", "http://u:p@h/a", true },
  { "http://h", "http://evil/http://h/a", false },
  { "http://[::1]", "http://[::1]/a", true },
  { "http://[::1]", "http://[::1]:8080/a", false },

  /* Buckets. */
  { "s3://b", "s3://b/k", true },
  { "S3://b", "s3://b/k", true },
  { "s3://b/", "s3://b/k", true },
  { "s3://b", "s3://bb/k", false },
  { "s3://b", "s3://b.b/k", false },
  { "s3://b/pre", "s3://b/pre/k", true },
  { "s3://b/pre", "s3://b/pre", true },
  { "s3://b/pre", "s3://b/prefix", false },
  { "s3://b/pre", "s3://b/pre?k", false },
  { "s3://b/pre/", "s3://b/pre/k", true },
  { "s3://b/a b", "s3://b/a b/k", true },
  { "s3://b/a b", "s3://b/a%20b/k", false },
  { "http://b", "s3://b/k", false },
};
/* clang-format on */

static void
covers (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (coverings); ++i) {
    const struct covering *c = &coverings[i];
    char *copy = strdup (c->prefix);
    struct url prefix, url;

    if (parse (c->url, &amazon, &url) == -1) {
      /* "http://h:80800/" */
      assert_false (c->covers);
      url_free (&url);
      free (copy);
      continue;
    }
    assert_int_equal (url_parse_prefix (copy, &prefix, &problem), 0);
    if (url_covers (prefix.name, url.name) != c->covers)
      fail_msg ("'%s' should %scover '%s'", c->prefix, c->covers ? "" : "not ",
                c->url);
    url_free (&prefix);
    url_free (&url);
    free (copy);
  }
}

/* What another form of the URL would be covered by. */
static void
covers_as_s3 (void **state)
{
  static const struct covering rows[] = {
    { "s3://b/", "http://h:9000/b/k", true },
    { "s3://b", "http://h:9000/b/a/k", true },
    { "s3://b/a b/", "http://h/b/a%20b/k", true },
    { "s3://b/a/", "https://b.s3.eu-west-3.amazonaws.com/a/k", true },
    { "s3://b/a/", "https://s3.eu-west-3.amazonaws.com/b/a/k", true },
    { "s3://b/", "http://h/bb/k", false },
    { "s3://b/a/", "http://h/b/k", false },
    { "s3://b/", "http://h/b", false },
    { "http://h/b/", "http://h/b/k", false },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    struct url url;

    parse_good (rows[i].url, &amazon, &url);
    if (url_covers_as_s3 (rows[i].prefix, &url) != rows[i].covers)
      fail_msg ("'%s' should %scover '%s'", rows[i].prefix,
                rows[i].covers ? "" : "not ", rows[i].url);
    url_free (&url);
  }
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

struct tricky {
  const char *path;
  bool is;
};

/* clang-format off */
static const struct tricky trickies[] = {
  { "/%2e%2e/x", true },
  { "/%2E%2E/x", true },
  { "/.%2e/x", true },
  { "/.%2E/x", true },
  { "/%2e./x", true },
  { "/a/%2e%2e", true },
  { "/%2e%2e", true },
  { "/a/%2e%2e/", true },
  { "/..%2fx", true },
  { "/..%2Fx", true },
  { "/a%2f..%2fx", true },
  { "/a%2f%2e%2e%2fx", true },
  { "/a%2f..", true },
  { "/..%5cx", true },
  { "/..%5Cx", true },
  { "/a%5c..%5cx", true },
  { "/a%5c%2e%2e%5cx", true },
  { "/a\\..\\x", true },
  { "/..\\x", true },
  { "/a\\..", true },
  { "/a%2f..\\x", true },
  { "/%2f..%2f", true },

  { "", false },
  { "/", false },
  { "/x", false },
  { "/a/b.qcow2", false },
  { "/.../x", false },
  { "/...", false },
  { "/....", false },
  { "/%2e%2e%2e/x", false },
  { "/..a/x", false },
  { "/a../x", false },
  { "/a..b", false },
  { "/.hidden", false },
  { "/%2ehidden", false },
  { "/a%2eb", false },
  { "/a%2fb", false },
  { "/a%5cb", false },
  { "/a\\b", false },
  { "//", false },
  { "/a//b", false },
  /* RFC 3986, 2.4: nobody must unescape twice. */
  { "/%252e%252e/x", false },
  { "/..%252fx", false },
  { "/%25%32%65%25%32%65/x", false },
  /* Not escapes. */
  { "/%", false },
  { "/%2", false },
  { "/a/%2", false },
  { "/%zz%zz/x", false },
  { "/%2g%2g/x", false },
  { "/..%", false },
  { "/..%2", false },
};
/* clang-format on */

static void
tricky (void **state)
{
  static const char *const hosts[]
    = { "http://h", "https://h:8443", "http://..", "http://[::1]" };
  size_t i, j;

  (void) state;
  for (i = 0; i < NR (trickies); ++i)
    for (j = 0; j < NR (hosts); ++j) {
      char *name;

      assert_true (asprintf (&name, "%s%s", hosts[j], trickies[i].path) != -1);
      if (url_hides_dotdot (name) != trickies[i].is)
        fail_msg ("'%s' should %sbe tricky", name,
                  trickies[i].is ? "" : "not ");
      free (name);
    }
}

/* In place, and nothing of a longer text is left behind the end. */
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
  cmocka_unit_test (take_apart),
  cmocka_unit_test (zones),
  cmocka_unit_test (hosts),
  cmocka_unit_test (not_urls),
  cmocka_unit_test (escaped_addresses),
  cmocka_unit_test (empty_host),
  cmocka_unit_test (control_characters),
  cmocka_unit_test (delimiters_in_hosts),
  cmocka_unit_test (control_characters_in_hosts),
  cmocka_unit_test (control_characters_in_user_info),
  cmocka_unit_test (s3),
  cmocka_unit_test (s3_capitals),
  cmocka_unit_test (not_s3),
  cmocka_unit_test (as_s3),
  cmocka_unit_test (hide),
  cmocka_unit_test (show),
  cmocka_unit_test (is_one),
  cmocka_unit_test (joined),
  cmocka_unit_test (each_byte),
  cmocka_unit_test (no_way_out),
  cmocka_unit_test (directories),
  cmocka_unit_test (covers),
  cmocka_unit_test (covers_as_s3),
  cmocka_unit_test (not_prefixes),
  cmocka_unit_test (tricky),
};

UNIT_MAIN (tests)
