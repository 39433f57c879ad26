/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Messages.  Each starts with the name of the object that it is about, and
 * goes to a hook of the module's user once.  Errors also set errno.
 *
 * The lowest function that knows the object reports an error; its callers only
 * return -1.
 *
 * Servers send the last error to clients (nbdkit 1.42), which must not learn
 * the paths of the server's files.  So while serving, errors and warnings name
 * a file or a URL by the last component of its path (in an NBD URI: of the
 * export, or of the socket if the export is empty).  Debug messages always
 * have the whole path.
 *
 * These functions escape all bytes that are not clean text (utf8.h), so a name
 * from a file can't control a terminal or forge a line of a log.
 *
 * Only struct error_filter has state, with a lock of its own.
 */

#ifndef QCOW_BASE_ERROR_H
#define QCOW_BASE_ERROR_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/hooks.h"

/* For formats of messages: the name of a file as the user or an image spells
 * it and, if it differs, the file it refers to in parentheses.
 */
#define NAMED "'%s'%s%s%s"
#define NAMED_ARGS(name, meaning)                                             \
  (name), strcmp (name, meaning) == 0 ? "" : " (",                            \
    strcmp (name, meaning) == 0 ? "" : (meaning),                             \
    strcmp (name, meaning) == 0 ? "" : ")"

/* For formats of messages: " (HINT)", or nothing if the user of the module has
 * no text for this hint.
 */
#define HINT "%s%s%s"
#define HINT_ARGS(hooks, hint)                                                \
  error_hint (hooks, hint)[0] == '\0' ? "" : " (", error_hint (hooks, hint),  \
    error_hint (hooks, hint)[0] == '\0' ? "" : ")"

/* Return the text of a hint, or "" if there is none. */
const char *error_hint (const struct qcow_hooks *hooks, enum qcow_hint hint);

/* A hint with its value, for "%s" in a message: " (HINT)", or "". */
struct hint_room {
  char text[PATH_MAX + 512];
};
const char *error_hint_with (const struct qcow_hooks *hooks,
                             enum qcow_hint hint, const char *value,
                             struct hint_room *room);

/* Why a pure function refused its input.  The caller reports it with the name
 * of the object.
 */
struct problem {
  char text[1024];
};

/* Write the reason and return -1. */
int problem_set (struct problem *problem, const char *fmt, ...)
  __attribute__ ((format (printf, 2, 3)));

/* The same, with errno EINVAL. */
int problem_invalid (struct problem *problem, const char *fmt, ...)
  __attribute__ ((format (printf, 2, 3)));

/* The reason "out of memory", with errno ENOMEM; returns -1. */
int problem_no_memory (struct problem *problem);

/* Room for a short name. */
struct name_room {
  char text[256];
};

/* Return the name of another file or URL for the text of an error or warning:
 * the whole name, or while serving its last component.  (Not needed for
 * 'object'.)  The result can be in 'room'.
 */
const char *error_shorten (const struct qcow_hooks *hooks, const char *name,
                           struct name_room *room);

/* The same, with room that lasts to the end of the caller's block. */
#define error_name(hooks, name)                                               \
  error_shorten (hooks, name, &(struct name_room){ "" })

/* Report "OBJECT: TEXT" through the error hook, set errno to 'err' and return
 * -1.
 */
int error_report (const struct qcow_hooks *hooks, int err, const char *object,
                  const char *fmt, ...)
  __attribute__ ((format (printf, 4, 5)));

/* Report "out of memory" with errno ENOMEM, and return -1. */
int error_no_memory (const struct qcow_hooks *hooks, const char *object);

/* Report a warning or a debug message.  Keep errno. */
void error_warn (const struct qcow_hooks *hooks, const char *object,
                 const char *fmt, ...) __attribute__ ((format (printf, 3, 4)));
void error_debug (const struct qcow_hooks *hooks, const char *object,
                  const char *fmt, ...)
  __attribute__ ((format (printf, 3, 4)));

/* Limits the messages about an object to one for each place, and to
 * ERROR_FILTER_MAX in all: a client that retries, or an image with a million
 * damaged clusters, must not fill a disk with messages.
 */
#define ERROR_FILTER_MAX 64

struct error_filter {
  pthread_mutex_t lock;
  uint64_t minute; /* see error_filter_each_minute */
  unsigned count;
  uint64_t seen[ERROR_FILTER_MAX];
};

void error_filter_init (struct error_filter *filter);
void error_filter_destroy (struct error_filter *filter);

/* Like error_report, but report nothing if 'place', a number that identifies
 * what is wrong, or ERROR_FILTER_MAX other places were reported before.
 */
int error_report_once (struct error_filter *filter, uint64_t place,
                       const struct qcow_hooks *hooks, int err,
                       const char *object, const char *fmt, ...)
  __attribute__ ((format (printf, 6, 7)));

/* True if nothing was reported for this place, and no more than
 * ERROR_FILTER_MAX places: for messages that error_report_once can't give.
 */
bool error_filter_is_new (struct error_filter *filter, uint64_t place);

/* Forget all places, unless the last call was in the same minute: for errors
 * that come and go.  'now' is monotonic_ms ().
 */
void error_filter_each_minute (struct error_filter *filter, uint64_t now);

#endif /* QCOW_BASE_ERROR_H */
