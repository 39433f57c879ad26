/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Scripts that print headers or cookies.  See script.h.
 */

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/minmax.h"
#include "base/secret.h"
#include "http/script.h"
#include "http/settings.h"

/* A script that takes longer hangs: those that log in somewhere need seconds.
 */
#define TIMEOUT_MS 60000

/* From a failure to the retry. */
#define RETRY_MS 1000

/* A renewal is late if it begins so long after it was due: the driver looks
 * once in a second.
 */
#define LATE_MS 2000

/* A server that refuses output which arrived so recently would refuse new
 * output, too.
 */
#define NEW_MS 1000

void
script_init (struct script *s, const struct script_options *options)
{
  *s = (struct script){ .options = *options };
  error_filter_init (&s->errors);
}

/* --- Output --- */

static void
forget_output (struct script *s)
{
  secret_free (s->output, s->length);
  free (s->lines);
  s->output = NULL;
  s->lines = NULL;
  s->nr_lines = 0;
}

void
script_hang_up (struct script *s)
{
  command_free (s->command);
  s->command = NULL;
}

void
script_free (struct script *s)
{
  script_hang_up (s);
  forget_output (s);
  secrets_free (&s->now);
  secrets_free (&s->before);
  error_filter_destroy (&s->errors);
}

/* End the line at 'p' before its trailing space, and return the next one's
 * begin, or NULL.
 */
static char *
cut_line (char *p)
{
  char *end = p + strcspn (p, "\n");
  char *next = *end ? end + 1 : NULL;

  while (end > p && isspace ((unsigned char) end[-1]))
    --end;
  *end = '\0';
  return next;
}

/* Programs can print other lines than headers, which libcurl would not send
 * either.
 */
static bool
is_header (const char *line)
{
  return strpbrk (line, ":;") && !http_settings_has_line_break (line);
}

static void
add_line (struct script *s, const char *line)
{
  if (s->options.kind == SCRIPT_COOKIE)
    http_settings_cookie_secrets (&s->now, line);
  else
    http_settings_header_secrets (&s->now, line);
  s->lines[s->nr_lines++] = line;
}

/* Find the lines that count.  0, or -1 if out of memory. */
static int
split_lines (struct script *s)
{
  size_t max = 1;
  char *p, *next;

  for (p = s->output; *p; ++p)
    max += *p == '\n';
  s->lines = malloc (max * sizeof s->lines[0]);
  if (s->lines == NULL)
    return -1;
  for (p = s->output; p; p = next) {
    next = cut_line (p);
    if (s->options.kind == SCRIPT_COOKIE) {
      if (p[0] != '\0')
        add_line (s, p);
      return 0;
    }
    if (is_header (p))
      add_line (s, p);
  }
  return 0;
}

/* Copy the output.  0, or -1 and the reason. */
static int
copy_output (struct script *s, struct problem *problem)
{
  size_t length;
  const char *text = command_output (s->command, &length);

  if (memchr (text, '\0', length))
    return problem_set (problem, "its output contains a NUL byte");
  forget_output (s);
  s->length = length + 1;
  s->output = secret_new (s->length);
  if (s->output == NULL)
    return problem_set (problem, "out of memory");
  memcpy (s->output, text, length);
  secrets_free (&s->before);
  s->before = s->now;
  s->now = (struct secrets){ .n = 0 };
  return split_lines (s) == 0 ? 0 : problem_set (problem, "out of memory");
}

/* --- Running --- */

/* The run failed: retry, or give up.  'why' can belong to the command. */
static void
failed (struct script *s, const char *why, uint64_t now)
{
  const struct script_options *o = &s->options;
  char shown[REDACTED_MAX];

  redact (shown, why, o->hide, &s->now);
  script_hang_up (s);
  if (s->failures++ == 0) {
    s->retry_at = now + RETRY_MS;
    error_debug (o->hooks, o->key, "the script failed, and is retried: %s",
                 shown);
    return;
  }
  forget_output (s);
  s->failures = 0;
  s->refused = false;
  s->failed_at = now;
  error_filter_each_minute (&s->errors, now);
  error_report_once (&s->errors, 0, o->hooks, EIO, o->key,
                     "the script failed twice: %s", shown);
}

static void
succeeded (struct script *s, uint64_t now)
{
  struct problem problem;

  if (copy_output (s, &problem) == -1) {
    forget_output (s);
    failed (s, problem.text, now);
    return;
  }
  script_hang_up (s);
  s->made = s->began;
  s->arrived = now;
  s->generation++;
  s->failures = 0;
  s->failed_at = 0;
  s->refused = false;
  error_debug (s->options.hooks, s->options.key,
               "the script has printed %zu lines to send", s->nr_lines);
}

static void
start (struct script *s, uint64_t now)
{
  char iteration[32], *url;
  struct problem problem;

  s->began = now;
  snprintf (iteration, sizeof iteration, "iteration=%u", s->iteration++);
  if (asprintf (&url, "url=%s", s->options.url) == -1) {
    failed (s, "out of memory", now);
    return;
  }
  s->command
    = command_start (s->options.text, (const char *[]){ url, iteration, NULL },
                     TIMEOUT_MS, &problem);
  secret_free_string (url);
  if (s->command == NULL)
    failed (s, problem.text, now);
}

/* --- Renewing --- */

/* The age at which the output is renewed, in ms. */
static uint64_t
limit (const struct script *s)
{
  return s->options.renew > 0 ? (uint64_t) s->options.renew * 1000
                              : UINT64_MAX;
}

static bool
is_due (const struct script *s, uint64_t now)
{
  return s->output == NULL || s->refused || now - s->made >= limit (s);
}

/* Start the script, unless it runs or waits for its retry. */
static void
renew (struct script *s, uint64_t now)
{
  if (s->command || (s->failures > 0 && now < s->retry_at))
    return;
  if (s->failures == 0)
    s->may_use_old = s->output && !s->refused
                     && now - s->made <= limit (s) + limit (s) / 10 + LATE_MS;
  start (s, now);
}

enum script_state
script_want (struct script *s, uint64_t now)
{
  if (s->options.text == NULL || !is_due (s, now))
    return SCRIPT_READY;
  if (!backoff_is_recent (s->failed_at, now))
    renew (s, now);
  if (backoff_is_recent (s->failed_at, now))
    return SCRIPT_FAILED;
  return s->output && s->may_use_old ? SCRIPT_READY : SCRIPT_WAIT;
}

bool
script_step (struct script *s, bool busy, uint64_t now)
{
  const unsigned before = s->generation;

  if (s->command)
    switch (command_step (s->command)) {
    case COMMAND_RUNNING:
      break;
    case COMMAND_DONE:
      succeeded (s, now);
      break;
    case COMMAND_FAILED:
      failed (s, command_failure (s->command), now);
      break;
    }
  else if (s->failures > 0 || (busy && s->output && is_due (s, now)))
    renew (s, now);
  return s->generation != before;
}

bool
script_refused (struct script *s, unsigned generation, uint64_t now)
{
  if (s->options.text == NULL || s->options.renew == 0)
    return false;
  if (generation != s->generation)
    return true;
  if (s->command == NULL && s->failures == 0
      && (s->output == NULL || now - s->arrived < NEW_MS))
    return false;
  s->refused = true;
  s->may_use_old = false;
  return true;
}

int
script_wait_ms (const struct script *s, uint64_t now)
{
  if (s->command)
    return command_wait_ms (s->command);
  if (s->failures > 0)
    return (int) min64 (s->retry_at > now ? s->retry_at - now : 0, INT_MAX);
  return INT_MAX;
}
