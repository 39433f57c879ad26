/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: any text as what a server answers, first to a request of which
 * nothing is known, and then, if that was good, to one for the same object.
 * A line for each field, empty if the server does not send it: status,
 * Content-Range, Content-Encoding, Content-Length, ETag, Last-Modified; again
 * for the second answer; then the body.  Before all that, offset and length
 * of the request.
 */

#include "tests/fuzz/fuzz.h"

#include "http/response.h"

enum { RANGE, ENCODING, LENGTH, ETAG, MODIFIED, FIELDS };

static struct guarded field_areas[FIELDS], body_area, code_area;

#define MAX_INPUT 65536

static uint64_t
take_decimal (struct input *in)
{
  char *line = take_line (in);
  const uint64_t n = strtoull (line, NULL, 10);

  free (line);
  return n;
}

/* The next answer; each string ends just before a page that can't be
 * touched.
 */
static struct response
take_response (struct input *in)
{
  struct response a = { .status = (long) (take_decimal (in) % 1000) };
  const char *fields[FIELDS];
  unsigned i;

  for (i = 0; i < FIELDS; ++i) {
    char *line = take_line (in);

    fields[i] = line[0] ? (const char *) guarded_copy (&field_areas[i], AT_END,
                                                       line, strlen (line) + 1)
                        : NULL;
    free (line);
  }
  a.content_range = fields[RANGE];
  a.content_encoding = fields[ENCODING];
  a.content_length = fields[LENGTH];
  a.etag = fields[ETAG];
  a.last_modified = fields[MODIFIED];
  return a;
}

static void
check_version (const struct version *v)
{
  MUST (memchr (v->etag, '\0', sizeof v->etag));
  MUST (memchr (v->last_modified, '\0', sizeof v->last_modified));
}

/* Judge the next answer.  True if it was good. */
static bool
judge (struct input *in, uint64_t offset, uint64_t length,
       const struct version *known, struct version *seen)
{
  const struct response a = take_response (in);
  struct problem problem;
  uint64_t good = 0;
  enum verdict verdict;
  uint64_t first, last, total;

  no_problem (&problem);
  verdict = response_judge (&a, offset, length, known, seen, &good, &problem);
  if (verdict == VERDICT_CHANGED || verdict == VERDICT_NONSENSE)
    must_have_reason (&problem);
  MUST (response_status_text (a.status));
  MUST (known || verdict != VERDICT_CHANGED);
  MUST (!known || verdict != VERDICT_EMPTY);
  if (verdict != VERDICT_GOOD)
    return false;
  check_version (seen);
  MUST (good > 0 && good <= length);
  /* All of it was said by the server, and of the same object. */
  MUST (a.content_range
        && response_content_range (a.content_range, &first, &last, &total));
  MUST (first == offset && last >= first && last < total);
  MUST (good - 1 <= last - first);
  MUST (known == NULL ? total <= INT64_MAX && seen->size == total
                      : total == UINT64_MAX || total == known->size);
  return true;
}

static void
check_s3_code (const struct input *in, enum side side)
{
  const uint8_t *body = guarded_copy (&body_area, side, in->p, in->left);
  const size_t max = 1 + in->left % 64;
  char *code = (char *) guarded_place (&code_area, side, max);
  size_t n;

  response_s3_code ((const char *) body, in->left, code, max);
  MUST (memchr (code, '\0', max));
  n = strlen (code);
  MUST (strspn (code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                      "abcdefghijklmnopqrstuvwxyz")
        == n);
  MUST (n == 0 || memmem (body, in->left, code, n));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input in = { data, size };
  struct version known, seen;
  uint64_t offset, length;
  enum side side;
  unsigned i;

  if (body_area.start == NULL) {
    for (i = 0; i < FIELDS; ++i)
      field_areas[i] = guarded_new (MAX_INPUT + 1);
    body_area = guarded_new (MAX_INPUT);
    code_area = guarded_new (64);
  }
  if (size > MAX_INPUT)
    return 0;
  offset = take_decimal (&in) & INT64_MAX;
  length = take_decimal (&in) & INT64_MAX;
  if (length == 0)
    length = 1;
  if (judge (&in, offset, length, NULL, &known)) {
    /* Nobody asks for what lies beyond the end. */
    offset %= known.size;
    if (length > known.size - offset)
      length = known.size - offset;
    judge (&in, offset, length, &known, &seen);
  }
  for (side = AT_END; side < SIDES; ++side)
    check_s3_code (&in, side);
  return 0;
}
