/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shared by the fuzzers: memory between guard pages, checks, and numbers and
 * lines taken from the input.
 *
 * The sanitizers check memory accesses of qcow/, but not of libraries that
 * were built without them; the guard pages catch those, too.
 *
 * To be included by the only source file of a fuzzer.
 */

#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Limit freed memory that stays poisoned: the default of 256 MiB is the whole
 * memory limit of a fuzzer.
 */
const char *__asan_default_options (void);

const char *
__asan_default_options (void)
{
  return "quarantine_size_mb=16";
}

/* Unlike assert, this does not depend on NDEBUG. */
#define MUST(condition)                                                       \
  do                                                                          \
    if (!(condition)) {                                                       \
      fprintf (stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__,             \
               #condition);                                                   \
      abort ();                                                               \
    }                                                                         \
  while (0)

/* --- Memory --- */

/* Whole pages, between two inaccessible pages. */
struct guarded {
  uint8_t *start, *end;
};

static inline struct guarded
guarded_new (size_t size)
{
  const size_t page = (size_t) sysconf (_SC_PAGESIZE);
  const size_t inner = (size + page - 1) / page * page;
  uint8_t *p = mmap (NULL, inner + 2 * page, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  MUST (p != MAP_FAILED);
  MUST (mprotect (p + page, inner, PROT_READ | PROT_WRITE) == 0);
  return (struct guarded){ p + page, p + page + inner };
}

/* The position of an object: accesses beyond its end are caught AT_END, those
 * before its start AT_START.
 */
enum side { AT_END, AT_START, SIDES };

static inline uint8_t *
guarded_place (const struct guarded *g, enum side side, size_t size)
{
  MUST (size <= (size_t) (g->end - g->start));
  return side == AT_END ? g->end - size : g->start;
}

static inline uint8_t *
guarded_copy (const struct guarded *g, enum side side, const void *from,
              size_t size)
{
  uint8_t *p = guarded_place (g, side, size);

  if (size > 0)
    memcpy (p, from, size);
  return p;
}

/* --- Error messages --- */

/* Before a call: erase the message of an earlier one. */
static inline void
no_problem (struct problem *problem)
{
  memset (problem->text, 'x', sizeof problem->text);
}

static inline void
must_have_reason (const struct problem *problem)
{
  const size_t n = strnlen (problem->text, sizeof problem->text);

  MUST (n > 0 && n < sizeof problem->text);
}

/* --- The input --- */

struct input {
  const uint8_t *p;
  size_t left;
};

/* Big-endian, as in images; 0 at the end of the input. */
static inline uint64_t
take_number (struct input *in, unsigned bytes)
{
  uint64_t n = 0;

  for (; bytes > 0; --bytes) {
    n = n << 8 | (in->left > 0 ? *in->p : 0);
    if (in->left > 0) {
      in->p++;
      in->left--;
    }
  }
  return n;
}

/* The next line, or the rest, as a new string; a NUL ends it. */
static inline char *
take_line (struct input *in)
{
  const uint8_t *newline
    = in->left > 0 ? memchr (in->p, '\n', in->left) : NULL;
  const size_t n = newline ? (size_t) (newline - in->p) : in->left;
  char *line = strndup (in->left > 0 ? (const char *) in->p : "", n);

  MUST (line);
  in->p += newline ? n + 1 : n;
  in->left -= newline ? n + 1 : n;
  return line;
}

#endif /* FUZZ_H */
