/* SPDX-License-Identifier: BSD-3-Clause
 *
 * s3-name.c and url.c: tables of s3:// URLs and the https URLs that they
 * stand for, and of the reverse.
 *
 * The expected URLs follow from Amazon's pages "Virtual hosting of buckets",
 * "Bucket naming rules" and "Signature Version 4" (escapes in a key).
 */

#include "tests/unit/url.h"

#include "url/url.h"

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

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (s3),
  cmocka_unit_test (s3_capitals),
  cmocka_unit_test (not_s3),
};

UNIT_MAIN (tests)
