/* SPDX-License-Identifier: BSD-3-Clause
 *
 * url-name.c: tables of URLs and texts like URLs, and what messages show of
 * them.
 */

#include "tests/unit/url.h"

#include "url/url-name.h"

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

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (hide),
  cmocka_unit_test (show),
};

UNIT_MAIN (tests)
