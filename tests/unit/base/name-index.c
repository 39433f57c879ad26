/* SPDX-License-Identifier: BSD-3-Clause
 *
 * name-index.c: tables of names, and the numbers that are found for them.
 */

#include "tests/unit/unit.h"

#include "base/name-index.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

/* A name with its length, so that it may hold a NUL. */
#define NAME(text) text, sizeof (text) - 1

struct name {
  const char *text;
  size_t length;
};

static struct name_index *
make_index (const struct name *names, unsigned n)
{
  struct name_index *index = name_index_new (n);
  unsigned i;

  assert_non_null (index);
  for (i = 0; i < n; ++i)
    name_index_set (index, i, names[i].text, names[i].length);
  name_index_sort (index);
  return index;
}

static void
finds_the_lowest_number (void **state)
{
  static const struct name names[] = {
    { NAME ("b") },    { NAME ("a") },    { NAME ("b") },
    { NAME ("") },     { NAME ("ab") },   { NAME ("a\0") },
    { NAME ("a\0b") }, { NAME ("\xff") }, { NAME ("a") },
  };
  static const struct {
    struct name name;
    int number;
  } table[] = {
    { { NAME ("a") }, 1 },       { { NAME ("b") }, 0 },
    { { NAME ("") }, 3 },        { { NAME ("ab") }, 4 },
    { { NAME ("a\0") }, 5 },     { { NAME ("a\0b") }, 6 },
    { { NAME ("\xff") }, 7 },    { { NAME ("c") }, -1 },
    { { NAME ("aa") }, -1 },     { { NAME ("a\0a") }, -1 },
    { { NAME ("abc") }, -1 },    { { NAME ("\xfe") }, -1 },
    { { NAME ("\xff\0") }, -1 },
  };
  struct name_index *index = make_index (names, NR (names));
  size_t i;

  (void) state;
  for (i = 0; i < NR (table); ++i)
    assert_int_equal (
      name_index_find (index, table[i].name.text, table[i].name.length),
      table[i].number);
  name_index_free (index);
}

static void
finds_nothing_in_an_empty_index (void **state)
{
  struct name_index *index = make_index (NULL, 0);

  (void) state;
  assert_int_equal (name_index_find (index, "", 0), -1);
  assert_int_equal (name_index_find (index, "a", 1), -1);
  name_index_free (index);
  name_index_free (NULL);
}

/* Many unsorted names. */
static void
finds_all (void **state)
{
  enum { N = 1000 };
  static char texts[N][8];
  static struct name names[N];
  struct name_index *index;
  int i;

  (void) state;
  for (i = 0; i < N; ++i) {
    names[i].text = texts[i];
    names[i].length = (size_t) sprintf (texts[i], "%d", i * 7919 % N);
  }
  index = make_index (names, N);
  for (i = 0; i < N; ++i)
    assert_int_equal (name_index_find (index, names[i].text, names[i].length),
                      i);
  name_index_free (index);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (finds_the_lowest_number),
  cmocka_unit_test (finds_nothing_in_an_empty_index),
  cmocka_unit_test (finds_all),
};

UNIT_MAIN (tests)
