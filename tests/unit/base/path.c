/* SPDX-License-Identifier: BSD-3-Clause
 *
 * path.c: tables of file names for each function.
 */

#include "tests/unit/unit.h"

#include "base/path.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

static void
directories (void **state)
{
  static const char *const table[][2] = {
    { "a", "." },      { "", "." },          { "/", "/" },
    { "/a", "/" },     { "a/b", "a" },       { "/a/b", "/a" },
    { "a/b/", "a/b" }, { "../a/b", "../a" }, { "a//b", "a/" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (table); ++i) {
    char *got = path_directory (table[i][0]);

    assert_non_null (got);
    assert_string_equal (got, table[i][1]);
    free (got);
  }
}

static void
joined (void **state)
{
  static const char *const table[][3] = {
    { "top", "base", "base" },
    { "a/top", "base", "a/base" },
    { "/a/top", "b/base", "/a/b/base" },
    { "/a/top", "/base", "/base" },
    { "a/top", "../base", "a/../base" },
    { "a//top", "./base", "a//./base" },
    { "a/top", "", "a/" },
    { "/top", "base", "/base" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (table); ++i) {
    char *got = path_join (table[i][0], table[i][1]);

    assert_non_null (got);
    assert_string_equal (got, table[i][2]);
    free (got);
  }
}

static void
below (void **state)
{
  static const char *const table[][3] = {
    { "/a/b", "/a", "b" }, { "/a/b/c", "/a", "b/c" }, { "/a", "/a", NULL },
    { "/ab", "/a", NULL }, { "/b/a", "/a", NULL },    { "/a/b", "/", "a/b" },
    { "/", "/", NULL },    { "/a", "/a/b", NULL },    { "/", "/a", NULL },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (table); ++i) {
    const char *got = path_below (table[i][0], table[i][1]);

    if (table[i][2] == NULL)
      assert_null (got);
    else {
      assert_non_null (got);
      assert_string_equal (got, table[i][2]);
    }
  }
}

static void
normalized (void **state)
{
  static const char *const table[][2] = {
    { "/", "/" },
    { "//", "/" },
    { "/.", "/" },
    { "/..", "/" },
    { "/../..", "/" },
    { "/a", "/a" },
    { "/a/", "/a" },
    { "//a//b//", "/a/b" },
    { "/a/./b/.", "/a/b" },
    { "/a/../b", "/b" },
    { "/a/b/..", "/a" },
    { "/a/b/../../..", "/" },
    { "/../a", "/a" },
    { "/a/...", "/a/..." },
    { "/.a/..b/c..", "/.a/..b/c.." },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (table); ++i) {
    char *path = strdup (table[i][0]);

    assert_non_null (path);
    path_normalize (path);
    assert_string_equal (path, table[i][1]);
    free (path);
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (directories),
  cmocka_unit_test (joined),
  cmocka_unit_test (below),
  cmocka_unit_test (normalized),
};

UNIT_MAIN (tests)
