/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one way an error is made.  See error.h.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "condition.h"
#include "error.h"

/* The object's name, and up to three other names in the text, may have
 * 4095 bytes each; escaped, they may be four times as many.
 */
#define TEXT_MAX (3 * 4096 + 1024)
#define MESSAGE_MAX (4 * 4096 + 4 * TEXT_MAX)

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

/* Append 'in' to out[len..], control characters as \xNN.  Returns the
 * new length.
 */
static size_t
append_escaped (char *out, size_t len, const char *in)
{
  const unsigned char *p = (const unsigned char *) in;
  unsigned in_character = 0;

  while (*p && len + 9 < MESSAGE_MAX) {
    unsigned n = control_length (p, &in_character);

    if (n == 0)
      out[len++] = (char) *p++;
    for (; n > 0; --n)
      len += (size_t) snprintf (&out[len], 5, "\\x%02x", *p++);
  }
  out[len] = '\0';
  return len;
}

static void
emit (void (*hook) (const char *), const char *object, const char *fmt,
      va_list args)
{
  const int saved_errno = errno;
  char text[TEXT_MAX];
  char out[MESSAGE_MAX];
  size_t len;

  if (hook == NULL)
    return;
  errno = saved_errno; /* for %m */
  vsnprintf (text, sizeof text, fmt, args);
  len = append_escaped (out, 0, object);
  len = append_escaped (out, len, ": ");
  append_escaped (out, len, text);
  hook (out);
  errno = saved_errno;
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
  emit (hooks->error, object, fmt, args);
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
  emit (hooks->warn, object, fmt, args);
  va_end (args);
}

void
error_debug (const struct qcow_hooks *hooks, const char *object,
             const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (hooks->debug, object, fmt, args);
  va_end (args);
}

int
hooks_sleep (const struct qcow_hooks *hooks, unsigned ms)
{
  const struct timespec t
    = { .tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000 };

  if (hooks->sleep)
    return hooks->sleep (ms);
  nanosleep (&t, NULL);
  return 0;
}

int
hooks_wait (const struct qcow_hooks *hooks, pthread_cond_t *cond,
            pthread_mutex_t *lock, struct timespec *look_up)
{
  int r;

  if (pthread_cond_timedwait (cond, lock, look_up) != ETIMEDOUT)
    return 0;
  pthread_mutex_unlock (lock);
  r = hooks_sleep (hooks, 0);
  *look_up = condition_deadline (HOOKS_LOOK_UP_MS);
  pthread_mutex_lock (lock);
  return r;
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
    emit (hooks->error, object, fmt, args);
    va_end (args);
  }
  if (verdict == PRINT_LAST)
    error_report (hooks, err, object,
                  "%d errors were reported, further ones will not be",
                  ERROR_FILTER_MAX);
  errno = err;
  return -1;
}
