/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one way an error is made: a text with the object's name in it,
 * given to the user's hook once, and errno.
 *
 * Servers send the last error on to clients (nbdkit 1.42), who must not learn
 * how the server's files are called, beyond what makes a message clear.  So
 * while serving, errors and warnings name a file, or a URL, by the last
 * component of its path.  Debug messages always have all of it.
 *
 * An error is reported at the lowest place that knows the object; every
 * caller above it only passes -1 on.  Control characters are escaped
 * here, so no name from a file can play with a terminal or a log.
 * Nothing here keeps state but struct error_filter, which locks itself.
 */

#ifndef QCOW_BASE_ERROR_H
#define QCOW_BASE_ERROR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/hooks.h"

/* For formats of messages: a file as the user or an image names it, and in
 * brackets what that means where it is something else.
 */
#define NAMED "'%s'%s%s%s"
#define NAMED_ARGS(name, meaning)                                             \
  (name), strcmp (name, meaning) == 0 ? "" : " (",                            \
    strcmp (name, meaning) == 0 ? "" : (meaning),                             \
    strcmp (name, meaning) == 0 ? "" : ")"

/* For formats of messages: " (HINT)", or nothing if the user has no words for
 * this hint.
 */
#define HINT "%s%s%s"
#define HINT_ARGS(hooks, hint)                                                \
  error_hint (hooks, hint)[0] == '\0' ? "" : " (", error_hint (hooks, hint),  \
    error_hint (hooks, hint)[0] == '\0' ? "" : ")"

/* Returns "" if there is no text. */
const char *error_hint (const struct qcow_hooks *hooks, enum qcow_hint hint);

/* Why a pure function refused its input.  The caller puts the file's
 * name in front.
 */
struct problem {
  char text[1024];
};

/* Write the reason, return -1. */
int problem_set (struct problem *problem, const char *fmt, ...)
  __attribute__ ((format (printf, 2, 3)));

/* The name of a file or URL for the text of an error or warning: all of it, or
 * while serving its last component.  (The object's name is taken care of.)
 */
const char *error_name (const struct qcow_hooks *hooks, const char *name);

/* Report "OBJECT: TEXT" through the error hook, set errno to err (an
 * errno value; EIO for everything that a client may see) and return -1.
 */
int error_report (const struct qcow_hooks *hooks, int err, const char *object,
                  const char *fmt, ...)
  __attribute__ ((format (printf, 4, 5)));

/* The same when memory is out: ENOMEM. */
int error_no_memory (const struct qcow_hooks *hooks, const char *object);

/* The same for a warning or a debug message; errno is kept. */
void error_warn (const struct qcow_hooks *hooks, const char *object,
                 const char *fmt, ...) __attribute__ ((format (printf, 3, 4)));
void error_debug (const struct qcow_hooks *hooks, const char *object,
                  const char *fmt, ...)
  __attribute__ ((format (printf, 3, 4)));

/* Decides which of many errors of one object are worth a message: each
 * place once, and at most ERROR_FILTER_MAX places, since a client that
 * retries, or an image with a million bad clusters, must not fill a disk
 * with messages.
 */
#define ERROR_FILTER_MAX 64

struct error_filter {
  pthread_mutex_t lock;
  unsigned count;
  uint64_t seen[ERROR_FILTER_MAX];
};

void error_filter_init (struct error_filter *filter);
void error_filter_destroy (struct error_filter *filter);

/* Like error_report, but silent if 'place' (any number that identifies
 * what is wrong) was reported before or too much was.
 */
int error_report_once (struct error_filter *filter, uint64_t place,
                       const struct qcow_hooks *hooks, int err,
                       const char *object, const char *fmt, ...)
  __attribute__ ((format (printf, 6, 7)));

#endif /* QCOW_BASE_ERROR_H */
