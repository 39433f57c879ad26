/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sigv4.c: the signatures that AWS publishes.
 *
 * Of "service": the aws-sig-v4-test-suite, by the names of its directories
 * (its paths are given here as they are sent, so percent-encoded).  Of "s3":
 * "Examples: Signature Calculations" of "Signature Calculations for the
 * Authorization Header" in the API reference of Amazon S3.
 */

#include "tests/unit/unit.h"

#include "http/sigv4.h"
#include "url/percent.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

#define EMPTY                                                                 \
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct sigv4_signer suite_signer
  = { "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1",
      "service" };
static const struct sigv4_signer s3_signer
  = { "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
      "us-east-1", "s3" };

struct vector {
  const char *name, *method, *target;
  const char *headers[6]; /* "Name:value" */
  const char *payload;    /* its hash; NULL: there is none */
  const char *names, *signature;
};

/* clang-format off */
#define HOST "Host:example.amazonaws.com", "X-Amz-Date:20150830T123600Z"
#define UNRESERVED \
  "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define TOKEN \
  "X-Amz-Security-Token:AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4" \
  "x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkP" \
  "pKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDv" \
  "p75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz" \
  "+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

static const struct vector suite[] = {
  { "get-vanilla", "GET", "/", { HOST }, NULL, "host;x-amz-date",
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
  { "get-vanilla-query", "GET", "/?", { HOST }, NULL, "host;x-amz-date",
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
  { "get-vanilla-empty-query-key", "GET", "/?Param1=value1", { HOST }, NULL,
    "host;x-amz-date",
    "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb" },
  { "get-vanilla-query-order-key", "GET", "/?Param1=value2&Param1=Value1",
    { HOST }, NULL, "host;x-amz-date",
    "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1" },
  { "get-vanilla-query-order-value", "GET", "/?Param1=value2&Param1=value1",
    { HOST }, NULL, "host;x-amz-date",
    "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694" },
  { "get-vanilla-query-order-key-case", "GET",
    "/?Param2=value2&Param1=value1", { HOST }, NULL, "host;x-amz-date",
    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500" },
  { "get-vanilla-query-order-encoded", "GET",
    "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", { HOST }, NULL,
    "host;x-amz-date",
    "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac" },
  { "get-vanilla-query-unreserved", "GET", "/?" UNRESERVED "=" UNRESERVED,
    { HOST }, NULL, "host;x-amz-date",
    "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197" },
  { "get-vanilla-utf8-query", "GET", "/?\xe1\x88\xb4=bar", { HOST }, NULL,
    "host;x-amz-date",
    "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04" },
  { "get-utf8", "GET", "/%E1%88%B4", { HOST }, NULL, "host;x-amz-date",
    "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85" },
  { "get-unreserved", "GET", "/" UNRESERVED, { HOST }, NULL,
    "host;x-amz-date",
    "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f" },
  { "get-space", "GET", "/example%20space/", { HOST }, NULL,
    "host;x-amz-date",
    "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741" },
  { "get-slashes-unnormalized", "GET", "//example//", { HOST }, NULL,
    "host;x-amz-date",
    "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5" },
  { "get-header-key-duplicate", "GET", "/",
    { "Host:example.amazonaws.com", "My-Header1:value2", "My-Header1:value2",
      "My-Header1:value1", "X-Amz-Date:20150830T123600Z" }, NULL,
    "host;my-header1;x-amz-date",
    "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea" },
  { "get-header-value-order", "GET", "/",
    { HOST, "My-Header1:value4", "My-Header1:value1", "My-Header1:value3",
      "My-Header1:value2" }, NULL,
    "host;my-header1;x-amz-date",
    "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01" },
  { "get-header-value-trim", "GET", "/",
    { HOST, "My-Header1: value1", "My-Header2: \"a   b   c\"" }, NULL,
    "host;my-header1;my-header2;x-amz-date",
    "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736" },
  { "post-vanilla", "POST", "/", { HOST }, NULL, "host;x-amz-date",
    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
  { "post-vanilla-query", "POST", "/?Param1=value1", { HOST }, NULL,
    "host;x-amz-date",
    "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11" },
  { "post-header-key-sort", "POST", "/", { HOST, "My-Header1:value1" }, NULL,
    "host;my-header1;x-amz-date",
    "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c" },
  { "post-header-value-case", "POST", "/", { HOST, "My-Header1:VALUE1" }, NULL,
    "host;my-header1;x-amz-date",
    "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d" },
  { "post-sts-header-before", "POST", "/", { HOST, TOKEN }, NULL,
    "host;x-amz-date;x-amz-security-token",
    "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead" },
  { "post-x-www-form-urlencoded", "POST", "/",
    { "Content-Type:application/x-www-form-urlencoded", HOST },
    "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
    "content-type;host;x-amz-date",
    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a" },
};

#define BUCKET "Host:examplebucket.s3.amazonaws.com", \
               "x-amz-date:20130524T000000Z"
#define PUT_HASH \
  "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

static const struct vector s3[] = {
  { "GET Object", "GET", "/test.txt",
    { BUCKET, "Range:bytes=0-9", "x-amz-content-sha256:" EMPTY }, NULL,
    "host;range;x-amz-content-sha256;x-amz-date",
    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
  { "PUT Object", "PUT", "/test$file.text",
    { BUCKET, "Date:Fri, 24 May 2013 00:00:00 GMT",
      "x-amz-storage-class:REDUCED_REDUNDANCY",
      "x-amz-content-sha256:" PUT_HASH },
    PUT_HASH, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
  { "GET Bucket Lifecycle", "GET", "/?lifecycle",
    { BUCKET, "x-amz-content-sha256:" EMPTY }, NULL,
    "host;x-amz-content-sha256;x-amz-date",
    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
  { "Get Bucket (List Objects)", "GET", "/?max-keys=2&prefix=J",
    { BUCKET, "x-amz-content-sha256:" EMPTY }, NULL,
    "host;x-amz-content-sha256;x-amz-date",
    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
};
/* clang-format on */

static char *
authorize (const struct vector *v, const char *target,
           const struct sigv4_signer *signer, const char *date)
{
  struct sigv4_header headers[NR (v->headers)];
  struct sigv4_request request
    = { .method = v->method,
        .headers = headers,
        .payload_hash = v->payload ? v->payload : EMPTY };
  char *copy = strdup (target), *value;
  size_t n = 0;

  /* In memory of just its length, for the address sanitizer. */
  request.target = copy;
  for (; n < NR (v->headers) && v->headers[n]; ++n) {
    const char *colon = strchr (v->headers[n], ':');

    headers[n].name = v->headers[n];
    headers[n].name_length = (size_t) (colon - v->headers[n]);
    headers[n].value = colon + 1;
  }
  request.nr_headers = n;
  value = sigv4_authorization (&request, signer, date);
  assert_non_null (value);
  free (copy);
  return value;
}

static void
check (const struct vector *v, const char *target,
       const struct sigv4_signer *signer, const char *date)
{
  char wanted[512], *value = authorize (v, target, signer, date);

  snprintf (wanted, sizeof wanted,
            "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, "
            "SignedHeaders=%s, Signature=%s",
            signer->access_key, date, signer->region, signer->service,
            v->names, v->signature);
  if (strcmp (value, wanted) != 0)
    fail_msg ("%s (%s): '%s' instead of '%s'", v->name, target, value, wanted);
  free (value);
}

static void
test_suite (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (suite); ++i)
    check (&suite[i], suite[i].target, &suite_signer, "20150830T123600Z");
}

static void
documented (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < NR (s3); ++i)
    check (&s3[i], s3[i].target, &s3_signer, "20130524T000000Z");
}

/* The server encodes what it has decoded, so all ways to write a byte have one
 * signature.
 */
static void
other_encodings (void **state)
{
  (void) state;
  check (&s3[1], "/test%24file.text", &s3_signer, "20130524T000000Z");
  check (&s3[1], "/%74es%74$file%2etext", &s3_signer, "20130524T000000Z");
  check (&s3[1], "/%74es%74%24file%2Etext", &s3_signer, "20130524T000000Z");
  check (&s3[2], "/?lifecycle=", &s3_signer, "20130524T000000Z");
  check (&s3[2], "/?&lifecycle&", &s3_signer, "20130524T000000Z");
  check (&s3[3], "/?prefix=%4a&max%2dkeys=2", &s3_signer, "20130524T000000Z");
}

/* What differs has another signature. */
static void
differs (void **state)
{
  static const char *const targets[]
    = { "/a",      "/a/",    "//a",      "/./a",    "/a/..",  "/a%25",
        "/%2525a", "/a%",    "/a%2",     "/a%g0",   "/a%00",  "/a?",
        "/a%3F",   "/a?b",   "/a?b=",    "/a?=b",   "/a?b=c", "/a?b=%3D",
        "/a?b==",  "/a?b=+", "/a?b=%20", "/a?b=%2B" };
  /* Pairs of one meaning. */
  static const char *const same[][2] = { { "/a", "/a?" },
                                         { "/a%25", "/a%" },
                                         { "/a?b", "/a?b=" },
                                         { "/a?b=%3D", "/a?b==" },
                                         { "/a?b=+", "/a?b=%20" } };
  char *values[NR (targets)];
  size_t i, j, k;

  (void) state;
  for (i = 0; i < NR (targets); ++i)
    values[i]
      = authorize (&suite[0], targets[i], &s3_signer, "20130524T000000Z");
  for (i = 0; i < NR (targets); ++i)
    for (j = 0; j < i; ++j) {
      bool wanted = false;

      for (k = 0; k < NR (same); ++k)
        wanted |= strcmp (same[k][0], targets[j]) == 0
                  && strcmp (same[k][1], targets[i]) == 0;
      if ((strcmp (values[i], values[j]) == 0) != wanted)
        fail_msg ("'%s' and '%s' should%s have the same signature", targets[j],
                  targets[i], wanted ? "" : " not");
    }
  for (i = 0; i < NR (targets); ++i)
    free (values[i]);
}

/* Thousands of parameters, of all bytes: within memory, and soon. */
static void
long_queries (void **state)
{
  enum { LENGTH = 200000 };
  static const char *const units[]
    = { "&",     "=",    "+",   "%",   "a&", "+&",
        "\xff&", "%ff&", "b=&", "&&=", "%2", "a=+&" };
  char *target = malloc (LENGTH + 16);
  size_t i;

  (void) state;
  for (i = 0; i < NR (units); ++i) {
    char *end = target + sprintf (target, "/?");

    while (end < target + LENGTH)
      end += sprintf (end, "%s", units[i]);
    free (authorize (&suite[0], target, &suite_signer, "20150830T123600Z"));
  }
  free (target);
}

/* Each byte there and back. */
static void
percent (void **state)
{
  unsigned c;

  (void) state;
  for (c = 0; c < 256; ++c) {
    char text[4], wanted[4];
    const char *p = text;

    *percent_encode (text, (unsigned char) c) = '\0';
    snprintf (wanted, sizeof wanted, "%%%02X", c);
    assert_string_equal (text, wanted);
    assert_int_equal ((unsigned char) percent_decode (&p), c);
    assert_ptr_equal (p, text + 3);
    assert_int_equal (percent_is_unreserved ((unsigned char) c),
                      c != 0 && strchr (UNRESERVED, (int) c) != NULL);
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (test_suite),      cmocka_unit_test (documented),
  cmocka_unit_test (other_encodings), cmocka_unit_test (differs),
  cmocka_unit_test (long_queries),    cmocka_unit_test (percent),
};

UNIT_MAIN (tests)
