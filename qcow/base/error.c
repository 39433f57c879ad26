/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Messages.  See error.h.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/keep-errno.h"
#include "base/utf8.h"

/* Shorter messages are on the stack.  Longer ones, with names of up to 4095
 * bytes, are on the heap, since stacks may be small (128 KiB with musl).
 */
#define SHORT_MESSAGE 512

typedef void (*message_hook) (void *opaque, const char *text);

/* Pass "OBJECT: TEXT" to the hook in one line.  If there is no memory for a
 * long message, pass the beginning of TEXT.
 */
static void
pass_on (message_hook hook, void *opaque, const char *object, const char *text)
{
  const size_t object_length = strlen (object), text_length = strlen (text);
  const size_t prefix = utf8_escape (NULL, 0, object, object_length);
  const size_t size
    = prefix + 2 + utf8_escape (NULL, 0, text, text_length) + 1;
  char bytes[SHORT_MESSAGE], *allocated = NULL, *all = bytes;

  if (size > sizeof bytes)
    all = allocated = malloc (size);
  if (all) {
    utf8_escape (all, size, object, object_length);
    all[prefix] = ':';
    all[prefix + 1] = ' ';
    utf8_escape (all + prefix + 2, size - prefix - 2, text, text_length);
  }
  else
    utf8_escape (bytes, sizeof bytes, text, text_length);
  hook (opaque, all ? all : bytes);
  free (allocated);
}

static void
emit (message_hook hook, void *opaque, const char *object, const char *fmt,
      va_list args)
{
  KEEP_ERRNO;
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
  pass_on (hook, opaque, object, whole ? whole : bytes);
  free (whole);
}

/* The length of the name of an NBD URI without the socket, which follows the
 * path: SCHEME://HOST/EXPORT?socket=/PATH.  0: there is none.
 */
static size_t
length_without_socket (const char *name)
{
  const size_t scheme = strcspn (name, ":/"), n = strcspn (name, "?");

  return strncmp (name, "nbd", 3) == 0 && name[n] == '?'
             && strncmp (name + scheme, "://", 3) == 0
           ? n
           : 0;
}

const char *
error_shorten (const struct qcow_hooks *hooks, const char *name,
               struct name_room *room)
{
  const size_t n = length_without_socket (name);
  const char *slash;

  if (!hooks->serving)
    return name;
  slash = memrchr (name, '/', n);
  if (slash && slash + 1 < name + n) {
    snprintf (room->text, sizeof room->text, "%.*s",
              (int) (name + n - slash - 1), slash + 1);
    return room->text;
  }
  slash = strrchr (name, '/');
  if (slash == NULL)
    return name;
  return slash[1] != '\0' ? slash + 1 : "the URL";
}

const char *
error_hint (const struct qcow_hooks *hooks, enum qcow_hint hint)
{
  return hooks->hints && hooks->hints[hint] ? hooks->hints[hint] : "";
}

const char *
error_hint_with (const struct qcow_hooks *hooks, enum qcow_hint hint,
                 const char *value, struct hint_room *room)
{
  const char *text = error_hint (hooks, hint);
  const char *place = strstr (text, "%s");

  if (place)
    snprintf (room->text, sizeof room->text, " (%.*s%s%s)",
              (int) (place - text), text, value, place + 2);
  else
    snprintf (room->text, sizeof room->text, "%s%s%s", text[0] ? " (" : "",
              text, text[0] ? ")" : "");
  return room->text;
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
problem_invalid (struct problem *problem, const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  vsnprintf (problem->text, sizeof problem->text, fmt, args);
  va_end (args);
  errno = EINVAL;
  return -1;
}

int
problem_no_memory (struct problem *problem)
{
  problem_set (problem, "out of memory");
  errno = ENOMEM;
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

/* Print a message, print it and announce that it is the last one, or print
 * nothing.
 */
enum filter_result { PRINT, PRINT_LAST, SILENT };

static enum filter_result
filter_place (struct error_filter *filter, uint64_t place)
{
  enum filter_result result = SILENT;
  unsigned i;

  pthread_mutex_lock (&filter->lock);
  for (i = 0; i < filter->count; ++i)
    if (filter->seen[i] == place)
      break;
  if (i == filter->count && i < ERROR_FILTER_MAX) {
    filter->seen[filter->count++] = place;
    result = filter->count == ERROR_FILTER_MAX ? PRINT_LAST : PRINT;
  }
  pthread_mutex_unlock (&filter->lock);
  return result;
}

bool
error_filter_is_new (struct error_filter *filter, uint64_t place)
{
  return filter_place (filter, place) != SILENT;
}

void
error_filter_each_minute (struct error_filter *filter, uint64_t now)
{
  const uint64_t minute = now / 60000;

  pthread_mutex_lock (&filter->lock);
  if (filter->minute != minute)
    filter->count = 0;
  filter->minute = minute;
  pthread_mutex_unlock (&filter->lock);
}

int
error_report_once (struct error_filter *filter, uint64_t place,
                   const struct qcow_hooks *hooks, int err, const char *object,
                   const char *fmt, ...)
{
  const int saved_errno = errno; /* for %m; locking may change it */
  const enum filter_result result = filter_place (filter, place);
  va_list args;

  errno = saved_errno;
  if (result != SILENT) {
    va_start (args, fmt);
    emit (hooks->error, hooks->opaque, error_name (hooks, object), fmt, args);
    va_end (args);
  }
  if (result == PRINT_LAST)
    error_report (hooks, err, object,
                  "too many errors (%d): further errors are not reported",
                  ERROR_FILTER_MAX);
  errno = err;
  return -1;
}
