/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A script of the user that prints headers or cookies: when it runs, and what
 * it has printed.
 *
 * The script runs when the first request needs its output, and again when the
 * output is too old, or when a server has refused it.  If it fails, it is
 * retried once.  Nothing here waits: the driver polls the script's
 * descriptors, and calls script_step.
 *
 * While a renewal runs, requests use the old output, unless it was refused, or
 * the renewal began late because there were no requests.
 *
 * The output is secret: it is wiped, and in no message.  No locking: one
 * thread at a time uses a script.
 */

#ifndef QCOW_HTTP_SCRIPT_H
#define QCOW_HTTP_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/command.h"
#include "base/error.h"
#include "url/redact.h"

enum script_kind {
  SCRIPT_COOKIE,  /* the first line is the value of a Cookie header */
  SCRIPT_HEADERS, /* each line is a header */
};

/* What script_init sets.  Everything is the caller's, and must stay valid. */
struct script_options {
  const struct qcow_hooks *hooks;
  enum script_kind kind;
  const char *key;            /* of the parameter, for messages */
  const char *text;           /* for /bin/sh; NULL: there is no script */
  const char *url;            /* the value of $url */
  unsigned renew;             /* seconds; 0: never */
  const struct secrets *hide; /* what messages must not show */
};

struct script {
  struct script_options options;
  struct command *command; /* it runs; NULL: it does not */
  unsigned iteration;      /* runs so far: the value of $iteration */
  uint64_t began;          /* ms: when the last run began */
  unsigned failures;       /* of this renewal: 0 or 1 */
  uint64_t retry_at;       /* ms; if there was a failure */
  uint64_t failed_at;      /* ms: when the retry failed, too; 0: it has not */
  bool refused;            /* a server has refused the output */
  bool may_use_old;        /* while this renewal runs */
  struct error_filter errors;

  /* The output.  NULL: there is none yet. */
  char *output; /* of 'length' bytes, from secret_new */
  size_t length;
  const char **lines; /* those that count; they are in 'output' */
  size_t nr_lines;
  uint64_t made;              /* ms: when the run began that printed it … */
  uint64_t arrived;           /* … and when it ended */
  unsigned generation;        /* of the output: 1, 2 ... */
  struct secrets now, before; /* in this output, and in the previous one */
};

void script_init (struct script *s, const struct script_options *options);

/* Kill the script if it runs, and wipe its output. */
void script_free (struct script *s);

/* Kill the script if it runs: call this before a fork. */
void script_hang_up (struct script *s);

enum script_state {
  SCRIPT_READY,  /* there is output, or no script */
  SCRIPT_WAIT,   /* it runs, or will be retried */
  SCRIPT_FAILED, /* it has failed just now, with a message */
};

/* A request needs the output now.  Starts the script if it has to run. */
enum script_state script_want (struct script *s, uint64_t now);

/* Go on.  'busy': there are requests.  Then the output is renewed in time.
 * True if there is new output.
 */
bool script_step (struct script *s, bool busy, uint64_t now);

/* A server has refused a request with the output of this generation.  True if
 * the request should be retried: there is other output now, or there will be.
 */
bool script_refused (struct script *s, unsigned generation, uint64_t now);

/* Call script_step after this many milliseconds at the latest, or when one of
 * the command's descriptors is readable.
 */
int script_wait_ms (const struct script *s, uint64_t now);

#endif /* QCOW_HTTP_SCRIPT_H */
