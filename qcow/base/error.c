/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one way an error is made.  See error.h.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* A message of this length needs no memory.  Longer ones, with names of up to
 * 4095 bytes, go to the heap: threads may have small stacks (128 KiB with
 * musl).
 */
#define SHORT_MESSAGE 512

/* Control characters, which a terminal would obey: those of ASCII, and the
 * C1 set, U+0080 to U+009F, which is 0xc2 0x80 to 0xc2 0x9f in UTF-8 and
 * single bytes elsewhere.  A byte of that range that continues another
 * UTF-8 character is no control character.  Returns how many bytes at p
 * are one, 0 to 2; *in_character counts the continuation bytes to come.
 */
static unsigned
control_length (const unsigned char *p, unsigned *in_character)
{
  if (*p < 0x20 || *p == 0x7f) {
    *in_character = 0;
    return 1;
  }
  if (*p >= 0x80 && *p <= 0xbf && *in_character > 0) {
    --*in_character;
    return 0;
  }
  *in_character = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc2 ? 1 : 0;
  if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) {
    *in_character = 0;
    return 2;
  }
  return *p >= 0x80 && *p <= 0x9f;
}

/* Text that is being written.  As with snprintf, what has no room is only
 * counted.
 */
struct text {
  char *bytes;
  size_t size;
  size_t length; /* of all of it, without the NUL */
};

static bool
is_cut (const struct text *t)
{
  return t->length >= t->size;
}

/* Append 'n' bytes, all of them or none. */
static void
append (struct text *t, const char *bytes, size_t n)
{
  t->length += n;
  if (is_cut (t))
    return;
  memcpy (t->bytes + t->length - n, bytes, n);
  t->bytes[t->length] = '\0';
}

/* Append 'in', control characters as \xNN. */
static void
append_escaped (struct text *t, const char *in)
{
  const unsigned char *p = (const unsigned char *) in;
  unsigned in_character = 0;
  char escaped[5];

  while (*p) {
    unsigned n = control_length (p, &in_character);

    if (n == 0)
      append (t, (const char *) p++, 1);
    for (; n > 0; --n) {
      snprintf (escaped, sizeof escaped, "\\x%02x", *p++);
      append (t, escaped, 4);
    }
  }
}

static void
write_message (struct text *t, const char *object, const char *text)
{
  t->length = 0;
  if (object) {
    append_escaped (t, object);
    append (t, ": ", 2);
  }
  append_escaped (t, text);
}

typedef void (*message_hook) (void *opaque, const char *text);

/* Give the hook "OBJECT: TEXT" in one line.  If that is long and there is no
 * memory for it, the beginning of TEXT alone.
 */
static void
say (message_hook hook, void *opaque, const char *object, const char *text)
{
  char bytes[SHORT_MESSAGE] = "";
  struct text t = { bytes, sizeof bytes, 0 };
  char *whole = NULL;

  write_message (&t, object, text);
  if (is_cut (&t)) {
    whole = malloc (t.length + 1);
    if (whole)
      t = (struct text){ whole, t.length + 1, 0 };
    write_message (&t, whole ? object : NULL, text);
  }
  hook (opaque, t.bytes);
  free (whole);
}

static void
emit (message_hook hook, void *opaque, const char *object, const char *fmt,
      va_list args)
{
  const int saved_errno = errno; /* for %m */
  char bytes[SHORT_MESSAGE] = "";
  char *whole = NULL;
  va_list again;
  int length;

  if (hook == NULL)
    return;
  va_copy (again, args);
  length = vsnprintf (bytes, sizeof bytes, fmt, args);
  if (length >= (int) sizeof bytes) {
    whole = malloc ((size_t) length + 1);
    errno = saved_errno;
    if (whole)
      vsnprintf (whole, (size_t) length + 1, fmt, again);
  }
  va_end (again);
  say (hook, opaque, object, whole ? whole : bytes);
  free (whole);
  errno = saved_errno;
}

const char *
error_name (const struct qcow_hooks *hooks, const char *name)
{
  const char *slash = hooks->serving ? strrchr (name, '/') : NULL;

  if (slash == NULL)
    return name;
  return slash[1] != '\0' ? slash + 1 : "the URL";
}

int
problem_set (struct problem *problem, const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  vsnprintf (problem->text, sizeof problem->text, fmt, args);
  va_end (args);
  return -1;
}

int
error_report (const struct qcow_hooks *hooks, int err, const char *object,
              const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (hooks->error, hooks->opaque, error_name (hooks, object), fmt, args);
  va_end (args);
  errno = err;
  return -1;
}

int
error_no_memory (const struct qcow_hooks *hooks, const char *object)
{
  return error_report (hooks, ENOMEM, object, "out of memory");
}

void
error_warn (const struct qcow_hooks *hooks, const char *object,
            const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (hooks->warn, hooks->opaque, error_name (hooks, object), fmt, args);
  va_end (args);
}

void
error_debug (const struct qcow_hooks *hooks, const char *object,
             const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (hooks->debug, hooks->opaque, object, fmt, args);
  va_end (args);
}

void
error_filter_init (struct error_filter *filter)
{
  memset (filter, 0, sizeof *filter);
  pthread_mutex_init (&filter->lock, NULL);
}

void
error_filter_destroy (struct error_filter *filter)
{
  pthread_mutex_destroy (&filter->lock);
}

/* What to do with a message about 'place': print it, print it as the
 * last one, or neither.
 */
enum verdict { PRINT, PRINT_LAST, SILENT };

static enum verdict
judge (struct error_filter *filter, uint64_t place)
{
  enum verdict verdict = SILENT;
  unsigned i;

  pthread_mutex_lock (&filter->lock);
  for (i = 0; i < filter->count; ++i)
    if (filter->seen[i] == place)
      break;
  if (i == filter->count && i < ERROR_FILTER_MAX) {
    filter->seen[filter->count++] = place;
    verdict = filter->count == ERROR_FILTER_MAX ? PRINT_LAST : PRINT;
  }
  pthread_mutex_unlock (&filter->lock);
  return verdict;
}

int
error_report_once (struct error_filter *filter, uint64_t place,
                   const struct qcow_hooks *hooks, int err, const char *object,
                   const char *fmt, ...)
{
  const int saved_errno = errno; /* locking may change it, %m needs it */
  const enum verdict verdict = judge (filter, place);
  va_list args;

  errno = saved_errno;
  if (verdict != SILENT) {
    va_start (args, fmt);
    emit (hooks->error, hooks->opaque, error_name (hooks, object), fmt, args);
    va_end (args);
  }
  if (verdict == PRINT_LAST)
    error_report (hooks, err, object,
                  "%d errors were reported, further ones will not be",
                  ERROR_FILTER_MAX);
  errno = err;
  return -1;
}
