/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redact.c: what a server says is shown, unless it repeats a secret in one
 * of the ways in which it knows it; whatever it is, it is short and clean.
 *
 * What base64 makes of logins follows from RFC 4648 and was computed with
 * coreutils' base64.
 */

#include "tests/unit/unit.h"

#include "base/utf8.h"
#include "url/redact.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])
#define HIDDEN "(not shown: it contains a secret)"

static const struct secrets nothing;

static void
shown_or_not (void **state)
{
  static const struct {
    const char *text;
    bool hidden;
  } rows[] = {
    { "", false },
    { "\"d41d8cd98f00b204e9800998ecf8427e\"", false },
    { "Wed, 21 Oct 2015 07:28:00 GMT", false },
    { "bytes 0-99/1234", false },
    { "Connection timed out after 15001 milliseconds", false },

    /* The password, "pa ss%wo/rd", anywhere and in any case. */
    { "pa ss%wo/rd", true },
    { "\"pa ss%wo/rd\"", true },
    { "xxpa ss%wo/rdxx", true },
    { "PA SS%WO/RD", true },
    { "http://h/pa%20ss%25wo%2frd", true },
    { "http://h/pa%20ss%25wo%2Frd", true },
    { "http://h/%70%61 ss%wo/rd", true },
    /* Cut off before or behind, so that eight characters are left. */
    { "pa ss%wo", true },
    { "ss%wo/rd", true },
    { "a ss%wo/", true },
    { "ss%wo/r", false },
    /* me:pa ss%wo/rd */
    { "Basic bWU6cGEgc3Mld28vcmQ=", true },
    { "bWU6cGEgc3Mld28vcmQ", true },
    { "bwu6cgeg", true },
    { "bWU6cGE", false },

    /* The user, "me", is in many words. */
    { "me", true },
    { "who is me?", true },
    { "user=ME,", true },
    { "somebody", false },
    { "name, time, me1", false },

    /* A cookie. */
    { "session=s3cr3t; b=2; long=abcdefghijkl", true },
    { "s3cr3t", true },
    { "your s3cr3ts", true },
    { "s3cr3", false },
    { "session", false },
    { "b=2", false },
    { "xxdefghijkl", true },

    /* A query with escapes. */
    { "sig=a%2Bb%2fc=d", true },
    { "a%2Bb%2fc", true },
    { "a+b/c=d", true },
    { "b/c=d", false },

    /* A short secret, "42". */
    { "42", true },
    { "x=42", true },
    { "1421", false },
  };
  struct secrets a = { .list = NULL }, b = { .list = NULL };
  char out[REDACTED_MAX];
  size_t i;

  (void) state;
  secrets_add_login (&a, "me", "pa ss%wo/rd");
  secrets_add_values (&a, "session=s3cr3t; b=2; long=abcdefghijkl", "; ");
  secrets_add_values (&b, "sig=a%2Bb%2fc=d&x=y", "&");
  secrets_add (&b, "42");
  secrets_add (&b, "");
  secrets_add (&b, NULL);
  secrets_add_values (&b, NULL, "&");
  secrets_add_login (&b, NULL, NULL);
  for (i = 0; i < NR (rows); ++i) {
    redact (out, rows[i].text, &a, &b);
    if (strcmp (out, rows[i].hidden ? HIDDEN : rows[i].text) != 0)
      fail_msg ("'%s' becomes '%s'", rows[i].text, out);
    redact (out, rows[i].text, &b, &a);
    assert_int_equal (strcmp (out, HIDDEN) == 0, rows[i].hidden);
    assert_int_equal (secrets_in_text (&a, rows[i].text)
                        || secrets_in_text (&b, rows[i].text),
                      rows[i].hidden);
    redact (out, rows[i].text, &nothing, &nothing);
    assert_string_equal (out, rows[i].text);
  }
  secrets_free (&a);
  secrets_free (&b);
  assert_int_equal (a.n, 0);
  redact (out, "s3cr3t", &a, &b);
  assert_string_equal (out, "s3cr3t");
}

/* What presigned URLs have beside their signature is in many messages. */
static void
presigned (void **state)
{
  static const struct {
    const char *text;
    bool hidden;
  } rows[] = {
    { "Could not resolve host: bucket.s3.eu-west-3.amazonaws.com", false },
    { "SignatureDoesNotMatch", false },
    { "InvalidAccessKeyId", false },
    { "https is not supported", false },
    { "0123456789abcdef", true },
    { "X-Amz-Signature=9876543210", true },
    { "t0ken", true },
  };
  struct secrets s = { .list = NULL };
  char out[REDACTED_MAX];
  size_t i;

  (void) state;
  secrets_add_values (
    &s,
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20300101%2F"
    "eu-west-3%2Fs3%2Faws4_request&x-amz-signedheaders=host&spr=https&"
    "AWSAccessKeyId=t0ken&X-Amz-Signature=9876543210abc0123456789abcdef",
    "&");
  for (i = 0; i < NR (rows); ++i) {
    redact (out, rows[i].text, &s, &nothing);
    if (strcmp (out, rows[i].hidden ? HIDDEN : rows[i].text) != 0)
      fail_msg ("'%s' becomes '%s'", rows[i].text, out);
  }
  secrets_free (&s);
}

/* RFC 4648, 10: the three ways in which base64 ends. */
static void
logins (void **state)
{
  static const struct {
    const char *user, *password, *sent;
  } rows[] = {
    { "f", "oobar", "Zjpvb2Jhcg==" },
    { "fo", "obar", "Zm86b2Jhcg==" },
    { "Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==" },
    { "test", "123\xc2\xa3", "dGVzdDoxMjPCow==" },
    { "\xff\xfe", "\xfb\xff", "//46+/8=" },
    { "user", NULL, "dXNlcjo=" },
    { NULL, "password", "OnBhc3N3b3Jk" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    struct secrets s = { .list = NULL };
    char text[64];

    secrets_add_login (&s, rows[i].user, rows[i].password);
    snprintf (text, sizeof text, "Basic %s", rows[i].sent);
    if (!secrets_in_text (&s, text))
      fail_msg ("'%s' is not recognized", text);
    secrets_free (&s);
  }
}

static void
short_and_clean (void **state)
{
  static const char *const ends[]
    = { "", "\n", "\x1b[2J", "\xff", "\xc3\xa4", "\xf0\x9f\x98\x80", "\\" };
  char text[3000], out[REDACTED_MAX], escaped[4 * sizeof text];
  size_t length, i;

  (void) state;
  for (length = 0; length < sizeof text - 8; length += length < 300 ? 1 : 97)
    for (i = 0; i < NR (ends); ++i) {
      memset (text, i % 2 ? 'x' : '\t', length);
      strcpy (text + length, ends[i]);
      memset (out, 0xee, sizeof out);
      redact (out, text, &nothing, &nothing);
      utf8_escape (escaped, sizeof escaped, text, strlen (text));
      assert_true (memchr (out, '\0', sizeof out) != NULL);
      assert_true (utf8_is_clean (out, strlen (out)));
      if (strlen (escaped) < sizeof out)
        assert_string_equal (out, escaped);
      else {
        assert_true (strlen (out) >= sizeof out - 8);
        assert_string_equal (out + strlen (out) - 3, "...");
        assert_memory_equal (out, escaped, strlen (out) - 3);
      }
    }
}

/* A secret at any place of a long text, of which only the beginning would be
 * shown.
 */
static void
long_texts (void **state)
{
  struct secrets s = { .list = NULL };
  char text[3000], out[REDACTED_MAX];
  size_t at;

  (void) state;
  secrets_add (&s, "S3CRET-S3CRET");
  for (at = 0; at < sizeof text - 20; ++at) {
    memset (text, '-', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    memcpy (text + at, "s3cret-s3cret", 13);
    redact (out, text, &s, &nothing);
    assert_null (strcasestr (out, "s3cret-"));
    if (at < REDACTED_MAX)
      assert_string_equal (out, HIDDEN);
  }
  secrets_free (&s);
}

/* Without memory for a secret, nothing is shown. */
static void
incomplete (void **state)
{
  const struct secrets s = { .incomplete = true };
  char out[REDACTED_MAX];

  (void) state;
  redact (out, "x", &s, &nothing);
  assert_string_equal (out, HIDDEN);
  redact (out, "x", &nothing, &s);
  assert_string_equal (out, HIDDEN);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (shown_or_not), cmocka_unit_test (presigned),
  cmocka_unit_test (logins),       cmocka_unit_test (short_and_clean),
  cmocka_unit_test (long_texts),   cmocka_unit_test (incomplete),
};

UNIT_MAIN (tests)
