/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The scripts of cookie-script= and header-script=, as one.  See internal.h.
 */

#include <limits.h>

#include "base/monotonic.h"
#include "base/secret.h"
#include "http/internal.h"

static void
add_all (struct secrets *to, const struct secrets *from)
{
  size_t i;

  for (i = 0; i < from->n; ++i)
    secrets_add (to, from->list[i]);
  to->incomplete |= from->incomplete;
}

/* Collect what messages must not show.  Requests in flight can have the
 * previous output.
 */
static void
collect_secrets (struct http *h)
{
  size_t i;

  secrets_free (&h->secrets);
  /* (The renewal of keys has lists of its own.) */
  h->secrets = (struct secrets){ .more = h->settings.secrets.more };
  add_all (&h->secrets, &h->settings.secrets);
  for (i = 0; i < NR_SCRIPTS; ++i) {
    add_all (&h->secrets, &h->scripts[i].now);
    add_all (&h->secrets, &h->scripts[i].before);
  }
}

void
scripts_begin (struct http *h)
{
  const struct http_settings *settings = &h->settings;
  const struct script_options cookie = {
    .hooks = h->hooks,
    .kind = SCRIPT_COOKIE,
    .key = "cookie-script=",
    .text = settings->options.cookie_script,
    .url = settings->own_text,
    .renew = settings->options.cookie_script_renew,
    .hide = &h->secrets,
  };
  struct script_options headers = cookie;

  headers.kind = SCRIPT_HEADERS;
  headers.key = "header-script=";
  headers.text = settings->options.header_script;
  headers.renew = settings->options.header_script_renew;
  script_init (&h->scripts[COOKIE_SCRIPT], &cookie);
  script_init (&h->scripts[HEADER_SCRIPT], &headers);
  collect_secrets (h);
}

void
scripts_hang_up (struct http *h)
{
  size_t i;

  for (i = 0; i < NR_SCRIPTS; ++i)
    script_hang_up (&h->scripts[i]);
}

/* (A fork has ended the lock of the memory.) */
void
scripts_start (struct http *h)
{
  size_t i;

  for (i = 0; i < NR_SCRIPTS; ++i)
    if (h->scripts[i].output)
      (void) secret_lock (h->scripts[i].output, h->scripts[i].length);
}

void
scripts_end (struct http *h)
{
  size_t i;

  for (i = 0; i < NR_SCRIPTS; ++i)
    script_free (&h->scripts[i]);
  secrets_free (&h->secrets);
}

enum script_state
scripts_want (struct http *h)
{
  const uint64_t now = monotonic_ms ();
  enum script_state all = SCRIPT_READY;
  size_t i;

  for (i = 0; i < NR_SCRIPTS; ++i) {
    const enum script_state state = script_want (&h->scripts[i], now);

    all = state > all ? state : all;
  }
  return all;
}

void
scripts_step (struct http *h)
{
  const uint64_t now = monotonic_ms ();
  bool any = false;
  size_t i;

  for (i = 0; i < NR_SCRIPTS; ++i)
    any |= script_step (&h->scripts[i], h->requests != NULL, now);
  if (any)
    collect_secrets (h);
}

unsigned
scripts_fds (const struct http *h, struct curl_waitfd fds[SCRIPTS_NR_FDS])
{
  unsigned n = 0;
  size_t i, k;

  for (i = 0; i < NR_SCRIPTS; ++i)
    if (h->scripts[i].command) {
      int list[COMMAND_NR_FDS];
      const size_t count = command_fds (h->scripts[i].command, list);

      for (k = 0; k < count; ++k)
        fds[n++]
          = (struct curl_waitfd){ .fd = list[k], .events = CURL_WAIT_POLLIN };
    }
  return n;
}

int
scripts_wait_ms (const struct http *h)
{
  const uint64_t now = monotonic_ms ();
  int wait = INT_MAX;
  size_t i;

  for (i = 0; i < NR_SCRIPTS; ++i) {
    const int ms = script_wait_ms (&h->scripts[i], now);

    wait = ms < wait ? ms : wait;
  }
  return wait;
}

const char *
scripts_waited_for (const struct http *h)
{
  const struct script *s = &h->scripts[COOKIE_SCRIPT];

  return s->command || s->failures > 0 ? "cookie-script= has not ended"
                                       : "header-script= has not ended";
}

void
scripts_note_use (const struct http *h, unsigned generations[NR_SCRIPTS])
{
  size_t i;

  for (i = 0; i < NR_SCRIPTS; ++i)
    generations[i] = h->scripts[i].generation;
}

bool
scripts_refused (struct http *h, const unsigned generations[NR_SCRIPTS])
{
  const uint64_t now = monotonic_ms ();
  bool retry = false;
  size_t i;

  for (i = 0; i < NR_SCRIPTS; ++i)
    retry |= script_refused (&h->scripts[i], generations[i], now);
  return retry;
}

const char *
http_cookie (const struct http *h)
{
  const struct script *s = &h->scripts[COOKIE_SCRIPT];

  if (s->options.text == NULL)
    return h->settings.options.cookie;
  return s->nr_lines > 0 ? s->lines[0] : NULL;
}

const char *const *
http_headers (const struct http *h, size_t *n)
{
  const struct script *s = &h->scripts[HEADER_SCRIPT];

  if (s->options.text) {
    *n = s->nr_lines;
    return s->lines;
  }
  *n = h->settings.options.nr_headers;
  return h->settings.options.headers;
}
