/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the unit tests share: cmocka with TAP output, hooks that record
 * messages, temporary files, and tiny images written byte by byte.
 */

#ifndef UNIT_H
#define UNIT_H

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/format.h"
#include "hints.h"
#include "qcow/qcow.h"

/* The last message that the hooks got, and how many there were. */
static char unit_error_text[65536];
static unsigned unit_errors, unit_warnings;

static inline void
unit_on_error (void *opaque, const char *text)
{
  (void) opaque;
  snprintf (unit_error_text, sizeof unit_error_text, "%s", text);
  __atomic_add_fetch (&unit_errors, 1, __ATOMIC_RELAXED);
}

static inline void
unit_on_warning (void *opaque, const char *text)
{
  (void) opaque;
  snprintf (unit_error_text, sizeof unit_error_text, "%s", text);
  unit_warnings++;
}

static const struct qcow_hooks unit_hooks = {
  .hints = unit_hints,
  .error = unit_on_error,
  .warn = unit_on_warning,
};

static inline void
unit_forget (void)
{
  unit_error_text[0] = '\0';
  unit_errors = unit_warnings = 0;
}

static inline void
assert_said (const char *part)
{
  if (strstr (unit_error_text, part) == NULL)
    fail_msg ("expected the message '%s', got '%s'", part, unit_error_text);
}

/* cmocka 2 deprecates assert_in_range, and cmocka 1 lacks its replacement. */
#define assert_between(value, minimum, maximum)                               \
  do {                                                                        \
    const uint64_t v_ = (value), min_ = (minimum), max_ = (maximum);          \
                                                                              \
    if (v_ < min_ || v_ > max_)                                               \
      fail_msg ("%s is %" PRIu64 ", expected %" PRIu64 " to %" PRIu64,        \
                #value, v_, min_, max_);                                      \
  } while (0)

static inline void
put_be32 (uint8_t *p, uint32_t v)
{
  v = htobe32 (v);
  memcpy (p, &v, sizeof v);
}

static inline void
put_be64 (uint8_t *p, uint64_t v)
{
  v = htobe64 (v);
  memcpy (p, &v, sizeof v);
}

/* Convert hexadecimal digits to bytes.  Returns how many. */
static inline size_t
from_hex (const char *hex, uint8_t *out, size_t max)
{
  size_t n = 0;
  unsigned byte;

  for (; sscanf (hex, "%2x", &byte) == 1; hex += 2) {
    assert_true (n < max);
    out[n++] = (uint8_t) byte;
  }
  return n;
}

static inline void
assert_hex (const uint8_t *bytes, const char *hex)
{
  uint8_t wanted[1024];
  const size_t n = from_hex (hex, wanted, sizeof wanted);

  assert_memory_equal (bytes, wanted, n);
}

/* A temporary file that has only this name, and vanishes with the process. */
struct unit_file {
  int fd;
  char name[64];
};

static inline struct unit_file
unit_file_new (void)
{
  struct unit_file f;
  char template[] = "/tmp/qcow-unit.XXXXXX";

  f.fd = mkstemp (template);
  assert_true (f.fd >= 0);
  unlink (template);
  snprintf (f.name, sizeof f.name, "/proc/self/fd/%d", f.fd);
  return f;
}

static inline void
unit_write (const struct unit_file *f, const void *buf, size_t n,
            uint64_t offset)
{
  assert_int_equal (pwrite (f->fd, buf, n, (off_t) offset), (ssize_t) n);
}

static inline void
unit_write_be64 (const struct unit_file *f, uint64_t v, uint64_t offset)
{
  uint8_t b[8];

  put_be64 (b, v);
  unit_write (f, b, sizeof b, offset);
}

/* A valid header, according to the table in the specification. */
static inline void
unit_header (uint8_t h[112], uint32_t version, uint32_t cluster_bits,
             uint64_t size, uint32_t l1_size, uint64_t l1_offset)
{
  memset (h, 0, 112);
  put_be32 (h, 0x514649fb);
  put_be32 (h + 4, version);
  put_be32 (h + 20, cluster_bits);
  put_be64 (h + 24, size);
  put_be32 (h + 36, l1_size);
  put_be64 (h + 40, l1_offset);
  put_be64 (h + 48, UINT64_C (1) << cluster_bits); /* refcount table */
  put_be32 (h + 56, 1);
  if (version == 3) {
    put_be32 (h + 96, 4);
    put_be32 (h + 100, 112);
  }
}

static inline int
unit_load (void **state)
{
  (void) state;
  return qcow_load ();
}

/* The descriptors that this process has open. */
static inline unsigned
unit_count_fds (void)
{
  DIR *d = opendir ("/proc/self/fd");
  unsigned n = 0;

  assert_non_null (d);
  while (readdir (d))
    n++;
  closedir (d);
  return n;
}

/* A sleep hook: the client leaves when it is called for the fourth time. */
static unsigned unit_sleeps;

static inline int
unit_leave_at_fourth (void *opaque, unsigned ms)
{
  (void) opaque;
  (void) ms;
  return ++unit_sleeps == 4 ? -1 : 0;
}

/* The main function of a program that runs 'tests' after the group setup. */
#define UNIT_MAIN_AFTER(setup, tests)                                         \
  int main (void)                                                             \
  {                                                                           \
    cmocka_set_message_output (CM_OUTPUT_TAP);                                \
    return cmocka_run_group_tests (tests, setup, NULL);                       \
  }
#define UNIT_MAIN(tests) UNIT_MAIN_AFTER (unit_load, tests)

#endif /* UNIT_H */
