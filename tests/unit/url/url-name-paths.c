/* SPDX-License-Identifier: BSD-3-Clause
 *
 * url-name.c: tables of joined names (RFC 3986, 5.2.4: dots), directories,
 * covered URLs, and hidden dots.
 */

#include "tests/unit/url.h"

#include "url/url-name.h"

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
  { "nbd://h/", "x", "nbd://h/x" },
  { "nbd://h:1/a/top", "x y", "nbd://h:1/a/x%20y" },
  { "nbd://h/a/top", "../x", "nbd://h/x" },
  { "nbd+unix:///top?socket=/a/b", "x", "nbd+unix:///x?socket=/a/b" },
  { "nbd+unix:///?socket=/a/../b", "../x", "nbd+unix:///x?socket=/a/../b" },

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
  { "nbd://h", "nbd://h/x", true },
  { "NBD://H/", "nbd://h/x", true },
  { "nbd://h/x", "nbd://h/xy", false },
  { "nbd://h/x", "nbd://h/x/y", true },
  { "nbd://h", "nbd://h:10809/x", false },
  { "nbd://h", "nbds://h/x", false },
  { "nbd://h", "nbd://user@h/x?tls-psk-file=/f", true },
  { "nbd+unix:///?socket=/s", "nbd+unix:///x?socket=/s", true },
  { "nbd+unix:///x/?socket=/s", "nbd+unix:///x/y?socket=/s", true },
  { "nbd+unix:///x/?socket=/s", "nbd+unix:///xy?socket=/s", false },
  { "nbd+unix:///?socket=/s", "nbd+unix:///x?socket=/s2", false },
  { "nbd+unix:///?socket=/s", "nbd+unix:///x?socket=/s/t", false },
  { "nbd+vsock://2/", "nbd+vsock://2/x", true },
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

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (joined),     cmocka_unit_test (each_byte),
  cmocka_unit_test (no_way_out), cmocka_unit_test (directories),
  cmocka_unit_test (covers),     cmocka_unit_test (tricky),
};

UNIT_MAIN (tests)
