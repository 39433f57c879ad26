/* SPDX-License-Identifier: BSD-3-Clause
 *
 * credentials-reply.c and json.c: the responses of AWS's services as their
 * pages document them, and malformed and hostile ones.
 *
 * Every text that is handed over has just its length, so that the address
 * sanitizer sees every byte that is read beyond.
 */

#include <errno.h>

#include "tests/unit/unit.h"

#include "http/credentials-reply.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

static int
take (const char *text, char kind, struct credentials *c,
      struct problem *problem)
{
  char *copy = strdup (text);
  int r;

  assert_non_null (copy);
  snprintf (problem->text, sizeof problem->text, "none");
  errno = 0;
  r = kind == 'x' ? credentials_from_xml (copy, c, problem)
                  : credentials_from_json (copy, kind == 'v', c, problem);
  free (copy);
  return r;
}

/* NULL: there is none. */
static void
check_string (const char *got, const char *wanted)
{
  if (wanted == NULL)
    assert_null (got);
  else {
    assert_non_null (got);
    assert_string_equal (got, wanted);
  }
}

/* --- Times --- */

static void
times (void **state)
{
  /* Seconds: date -u -d TEXT +%s */
  static const struct {
    const char *text;
    int64_t seconds;
  } rows[] = {
    { "1970-01-01T00:00:00Z", 0 },
    { "2019-11-09T13:34:41Z", 1573306481 },
    { "2024-02-29T23:59:59Z", 1709251199 },
    { "2030-01-02T03:04:05.678Z", 1893553445 },
    { "2030-01-02T03:04:05z", 1893553445 },
    { "2030-01-02T03:04:05+00:00", 1893553445 },
    { "2030-01-02T03:04:05+02:00", 1893546245 },
    { "2030-01-02T03:04:05-0130", 1893558845 },
  };
  static const char *const bad[] = {
    "",
    "2030",
    "2030-01-02",
    "2030-01-02T03:04:05",
    "2030-01-02 03:04:05Z",
    "2030-01-02T03:04Z",
    "2030-13-02T03:04:05Z",
    "2030-00-02T03:04:05Z",
    "2030-01-32T03:04:05Z",
    "2030-01-02T24:04:05Z",
    "2030-01-02T03:60:05Z",
    "2030-01-02T03:04:61Z",
    "2030-01-02T03:04:05.Z",
    "2030-01-02T03:04:05Zx",
    "2030-01-02T03:04:05+",
    "2030-01-02T03:04:05+1",
    "2030-01-02T03:04:05+25:00",
    "2030-01-02T03:04:05+01:60",
    "2030-01-02T03:04:05+01:00x",
    "1969-12-31T23:59:59Z",
    "-030-01-02T03:04:05Z",
    "20300-01-02T03:04:05Z",
    "1893553445",
  };
  int64_t seconds;
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    assert_true (credentials_parse_time (rows[i].text, &seconds));
    assert_int_equal (seconds, rows[i].seconds);
  }
  for (i = 0; i < NR (bad); ++i)
    assert_false (credentials_parse_time (bad[i], &seconds));
}

/* --- Good responses --- */

/* The examples of AWS's documentation, shortened. */
#define METADATA                                                              \
  "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"x\",\n"                \
  "  \"Type\" : \"AWS-HMAC\",\n  \"AccessKeyId\" : \"ASIA\",\n"               \
  "  \"SecretAccessKey\" : \"a/b+c\",\n  \"Token\" : \"t==\",\n"              \
  "  \"Expiration\" : \"2030-01-02T03:04:05Z\"\n}\n"
#define STS                                                                   \
  "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>"      \
  "<SubjectFromWebIdentityToken>x</SubjectFromWebIdentityToken>"              \
  "<Credentials>\n <SessionToken>t==</SessionToken>"                          \
  "<SecretAccessKey> a/b+c\n</SecretAccessKey>"                               \
  "<Expiration>2030-01-02T03:04:05Z</Expiration>"                             \
  "<AccessKeyId>ASIA</AccessKeyId></Credentials>"                             \
  "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
#define KEYS "\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"a/b+c\""

static void
good (void **state)
{
  static const struct {
    char kind; /* json, versioned json, xml */
    const char *text, *token;
    int64_t expires;
  } rows[] = {
    { 'j', METADATA, "t==", 1893553445 },
    { 'x', STS, "t==", 1893553445 },
    { 'j', "{" KEYS "}", NULL, INT64_MAX },
    { 'v', "{\"Version\":1," KEYS "}", NULL, INT64_MAX },
    { 'v', "{" KEYS ",\"SessionToken\":\"t\",\"Version\": 1 }", "t",
      INT64_MAX },
    { 'j', " {" KEYS ",\"Token\":null,\"Expiration\":null} ", NULL,
      INT64_MAX },
    { 'j', "{" KEYS ",\"Token\":\"\"}", NULL, INT64_MAX },
    /* Members of no interest, and of all kinds. */
    { 'j',
      "{\"a\":{\"AccessKeyId\":\"NO\",\"b\":[1,{}]},\"c\":[\"]}\"],\"d\":-1e+"
      "9,"
      "\"e\":true,\"f\":\"\\u0041\\\"\"," KEYS "}",
      NULL, INT64_MAX },
    { 'j',
      "{\"AccessKeyId\":\"NO\",\"AccessKeyId\":\"ASIA\","
      "\"SecretAccessKey\":\"a\\/b+c\"}",
      NULL, INT64_MAX },
    { 'x',
      "<AccessKeyId>NO</AccessKeyId><Credentials><AccessKeyId>ASIA"
      "</AccessKeyId><SecretAccessKey>a/b+c</SecretAccessKey></Credentials>"
      "<SessionToken>NO</SessionToken>",
      NULL, INT64_MAX },
  };
  struct problem problem;
  struct credentials c;
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    assert_int_equal (take (rows[i].text, rows[i].kind, &c, &problem), 0);
    check_string (c.access_key, "ASIA");
    check_string (c.secret_key, "a/b+c");
    check_string (c.session_token, rows[i].token);
    assert_int_equal (c.expires, rows[i].expires);
    credentials_free (&c);
  }
}

/* --- Bad responses --- */

#define NO_KEY "the response has no AccessKeyId"
#define NO_SECRET "the response has no SecretAccessKey"
#define BAD_KEY "a key in the response is not valid"
#define BAD_JSON "the response is not valid JSON"
#define NO_OBJECT "the response is not a JSON object"
#define NO_VERSION "the response has no Version of 1"
#define BAD_TIME "the response has an Expiration that is no time"

static void
bad (void **state)
{
  static const struct {
    char kind;
    const char *text, *why;
  } rows[] = {
    { 'j', "", NO_OBJECT },
    { 'j', "S3CRET", NO_OBJECT },
    { 'j', "[" KEYS "]", NO_OBJECT },
    { 'j', "{", BAD_JSON },
    { 'j', "{}", NO_KEY },
    { 'j', "{} x", BAD_JSON },
    { 'j', "{" KEYS, BAD_JSON },
    { 'j', "{" KEYS ",}", BAD_JSON },
    { 'j', "{" KEYS "}}", BAD_JSON },
    { 'j', "{," KEYS "}", BAD_JSON },
    { 'j', "{\"a\" 1}", BAD_JSON },
    { 'j', "{\"a\":}", BAD_JSON },
    { 'j', "{\"a\":\"", BAD_JSON },
    { 'j', "{\"a\":\"\\", BAD_JSON },
    { 'j', "{\"a\":\"\\\"", BAD_JSON },
    { 'j', "{\"a\":\"\n\"}", BAD_JSON },
    { 'j', "{\"a\":[}]}", BAD_JSON },
    { 'j', "{\"a\":[\"", BAD_JSON },
    { 'j', "{\"a\":{", BAD_JSON },
    { 'j', "{a:1}", BAD_JSON },
    { 'j', "{\"AccessKeyId\":\"S3CRET\"}", NO_SECRET },
    { 'j', "{\"SecretAccessKey\":\"S3CRET\"}", NO_KEY },
    { 'j', "{\"accesskeyid\":\"A\",\"SecretAccessKey\":\"S3CRET\"}", NO_KEY },
    { 'j', "{\"AccessKeyId\":1,\"SecretAccessKey\":\"S3CRET\"}", BAD_KEY },
    { 'j', "{\"AccessKeyId\":[],\"SecretAccessKey\":\"S3CRET\"}", BAD_KEY },
    { 'j', "{\"AccessKeyId\":\"A\\u0041\",\"SecretAccessKey\":\"x\"}",
      BAD_KEY },
    { 'j', "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"x y\"}", BAD_KEY },
    { 'j', "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"x\\r\\nX: y\"}",
      BAD_KEY },
    { 'j', "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"\303\251\"}",
      BAD_KEY },
    { 'j', "{" KEYS ",\"Expiration\":\"S3CRET\"}", BAD_TIME },
    { 'j', "{" KEYS ",\"Expiration\":\"\"}", BAD_TIME },
    { 'j', "{" KEYS ",\"Expiration\":1893553445}", BAD_KEY },
    { 'j',
      "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"S3CRET\"}",
      "the response has the code AssumeRoleUnauthorizedAccess" },
    { 'j', "{\"Code\":\"a b S3CRET\"}",
      "the response has the code of an error" },
    { 'v', "{" KEYS "}", NO_VERSION },
    { 'v', "{\"Version\":2," KEYS "}", NO_VERSION },
    { 'v', "{\"Version\":\"1\"," KEYS "}", NO_VERSION },
    { 'v', "{\"Version\":11," KEYS "}", NO_VERSION },
    { 'x', "", NO_KEY },
    { 'x', "S3CRET", NO_KEY },
    { 'x', "<AccessKeyId>A</AccessKeyId>", NO_KEY },
    { 'x', "<Credentials>", NO_KEY },
    { 'x', "<Credentials></Credentials>", NO_KEY },
    { 'x', "<Credentials><AccessKeyId></Credentials></AccessKeyId>", NO_KEY },
    { 'x', "<Credentials><AccessKeyId>A</AccessKeyId></Credentials>",
      NO_SECRET },
    { 'x',
      "<Credentials><AccessKeyId>A&amp;</AccessKeyId><SecretAccessKey>x"
      "</SecretAccessKey></Credentials>",
      BAD_KEY },
    { 'x',
      "<Credentials><AccessKeyId><b>A</b></AccessKeyId><SecretAccessKey>x"
      "</SecretAccessKey></Credentials>",
      BAD_KEY },
    { 'x',
      "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>x\\y"
      "</SecretAccessKey></Credentials>",
      BAD_KEY },
    { 'x',
      "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>x"
      "</SecretAccessKey><Expiration>soon</Expiration></Credentials>",
      BAD_TIME },
  };
  struct problem problem;
  struct credentials c;
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    assert_int_equal (take (rows[i].text, rows[i].kind, &c, &problem), -1);
    assert_int_equal (errno, EINVAL);
    assert_string_equal (problem.text, rows[i].why);
    assert_null (c.access_key);
    assert_null (c.secret_key);
    assert_null (c.session_token);
  }
}

/* A key of this length, in JSON. */
static char *
long_key (size_t length)
{
  static const char begin[] = "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"";
  char *text = malloc (sizeof begin + length + 8);

  assert_non_null (text);
  strcpy (text, begin);
  memset (text + strlen (begin), 'x', length);
  strcpy (text + strlen (begin) + length, "\"}");
  return text;
}

static void
long_keys (void **state)
{
  struct problem problem;
  struct credentials c;
  char *text = long_key (16384);

  (void) state;
  assert_int_equal (take (text, 'j', &c, &problem), 0);
  assert_int_equal (strlen (c.secret_key), 16384);
  credentials_free (&c);
  free (text);
  text = long_key (16385);
  assert_int_equal (take (text, 'j', &c, &problem), -1);
  assert_string_equal (problem.text, BAD_KEY);
  free (text);
}

static void
deep (void **state)
{
  struct problem problem;
  struct credentials c;
  char text[1000];
  unsigned depth;

  (void) state;
  for (depth = 64; depth <= 65; ++depth) {
    char *p = stpcpy (text, "{" KEYS ",\"a\":");

    memset (p, '[', depth);
    memset (p + depth, ']', depth);
    strcpy (p + 2 * depth, "}");
    assert_int_equal (take (text, 'j', &c, &problem), depth == 64 ? 0 : -1);
    credentials_free (&c);
  }
}

/* --- Codes --- */

static void
codes (void **state)
{
  static const struct {
    const char *text, *code;
  } rows[] = {
    { "", "" },
    { "S3CRET", "" },
    { "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>",
      "AccessDenied" },
    { "<Code>S3CRET S3CRET</Code>", "" },
    { "<Code>S3CRET", "" },
    { "{\"code\":\"AccessDenied\",\"message\":\"S3CRET\"}", "AccessDenied" },
    { "{\"Code\":\"Failed\"}", "Failed" },
    { "{\"Code\":1}", "" },
    { "{\"Code\":\"a\\\"b\"}", "" },
    { "{\"Code\":\"ThisIsTooLongForIt\"}", "" },
  };
  char out[16];
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    char *copy = strdup (rows[i].text);

    assert_non_null (copy);
    credentials_error_code (copy, out, sizeof out);
    assert_string_equal (out, rows[i].code);
    free (copy);
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (times), cmocka_unit_test (good),
  cmocka_unit_test (bad),   cmocka_unit_test (long_keys),
  cmocka_unit_test (deep),  cmocka_unit_test (codes),
};

UNIT_MAIN (tests)
