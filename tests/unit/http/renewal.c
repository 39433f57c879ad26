/* SPDX-License-Identifier: BSD-3-Clause
 *
 * renewal.c: the states of keys that a command prints: before, while and after
 * it runs; rejected by the server; not renewed in time.  (Servers as sources,
 * and a copy meanwhile: renewal.t.)
 */

#include <time.h>

#include "tests/unit/unit.h"

#include "base/monotonic.h"
#include "http/renewal.h"

/* What the command does is in this file: a line of the shell. */
static char script[] = "/tmp/qcow-renewal.XXXXXX";
static char command[64];

static void
write_script (const char *fmt, ...)
{
  FILE *f = fopen (script, "w");
  va_list args;

  assert_non_null (f);
  va_start (args, fmt);
  vfprintf (f, fmt, args);
  va_end (args);
  assert_int_equal (fclose (f), 0);
}

/* Print keys that expire in so many seconds. */
static void
print_keys (const char *access_key, int seconds)
{
  const time_t end = time (NULL) + seconds;
  char text[64];

  strftime (text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime (&end));
  write_script ("echo '{\"Version\":1,\"AccessKeyId\":\"%s\","
                "\"SecretAccessKey\":\"S3CRETS3CRET\",\"Expiration\":\"%s\"}'",
                access_key, text);
}

static int
make_script (void **state)
{
  const int fd = mkstemp (script);

  assert_true (fd >= 0);
  close (fd);
  snprintf (command, sizeof command, ". %s", script);
  return unit_load (state);
}

static int
remove_script (void **state)
{
  (void) state;
  return unlink (script);
}

static void
begin (struct renewal *r, struct http_settings *settings)
{
  struct problem problem;

  assert_int_equal (libcurl_load (&problem), 0);
  unit_forget ();
  memset (r, 0, sizeof *r);
  memset (settings, 0, sizeof *settings);
  settings->hooks = &unit_hooks;
  settings->credentials.kind = CREDENTIALS_PROCESS;
  settings->credentials.process = command;
  assert_int_equal (renewal_init (r, settings), 0);
}

static void
end (struct renewal *r, struct http_settings *settings)
{
  renewal_free (r);
  secrets_free (&settings->secrets);
}

/* Begin a renewal if one is due, whatever the delay, and let it end. */
static void
run (struct renewal *r)
{
  unsigned i;

  assert_null (renewal_begin (r, monotonic_ms () + 60000));
  for (i = 0; r->command && i < 10000; ++i) {
    const struct timespec pause = { .tv_nsec = 1000000 };

    nanosleep (&pause, NULL);
    renewal_step (r);
  }
  assert_null (r->command);
}

static void
fixed (void **state)
{
  struct http_settings settings = { .hooks = &unit_hooks };
  struct renewal r = { .settings = NULL };

  (void) state;
  settings.credentials.kind = CREDENTIALS_FIXED;
  settings.s3.access_key = "AKID";
  settings.s3.secret_key = "secret";
  assert_int_equal (renewal_init (&r, &settings), 0);
  assert_int_equal (renewal_state (&r, 0), RENEWAL_READY);
  assert_string_equal (r.keys.access_key, "AKID");
  assert_null (r.keys.session_token);
  assert_false (renewal_reject (&r, r.generation));
  assert_int_equal (renewal_state (&r, 0), RENEWAL_READY);
  assert_null (renewal_begin (&r, monotonic_ms ()));
  assert_null (r.command);
  assert_int_equal (renewal_wait_ms (&r, 0, 1000), 1000);
  end (&r, &settings);
}

static void
renewed (void **state)
{
  struct http_settings settings;
  struct renewal r;

  (void) state;
  begin (&r, &settings);
  print_keys ("ONE", 3600);
  run (&r);
  assert_int_equal (r.generation, 0); /* nobody wants keys */
  assert_int_equal (renewal_state (&r, 0), RENEWAL_WAITING);
  run (&r);
  assert_int_equal (renewal_state (&r, 0), RENEWAL_READY);
  assert_string_equal (r.keys.access_key, "ONE");
  assert_true (secrets_in_text (&settings.secrets, "key S3CRETS3CRET"));
  /* Five minutes before the end. */
  assert_between ((uint64_t) (r.renew_at - time (NULL)), 3200, 3300);
  run (&r);
  assert_int_equal (r.generation, 1);
  r.renew_at = time (NULL);
  print_keys ("TWO", 100);
  run (&r);
  assert_int_equal (r.generation, 2);
  assert_string_equal (r.keys.access_key, "TWO");
  /* Half of it. */
  assert_between ((uint64_t) (r.renew_at - time (NULL)), 40, 51);
  end (&r, &settings);
}

static void
rejected (void **state)
{
  struct http_settings settings;
  struct renewal r;

  (void) state;
  begin (&r, &settings);
  print_keys ("ONE", 3600);
  renewal_state (&r, 0);
  run (&r);
  assert_true (renewal_reject (&r, 1));
  assert_int_equal (renewal_state (&r, 0), RENEWAL_WAITING);
  /* Not at once: the server may reject all. */
  assert_null (renewal_begin (&r, monotonic_ms ()));
  assert_null (r.command);
  print_keys ("TWO", 3600);
  run (&r);
  assert_int_equal (renewal_state (&r, 2), RENEWAL_READY);
  assert_string_equal (r.keys.access_key, "TWO");
  /* A late response to a request that the old keys have signed. */
  assert_true (renewal_reject (&r, 1));
  assert_int_equal (renewal_state (&r, 2), RENEWAL_READY);
  end (&r, &settings);
}

static void
fails_at_start (void **state)
{
  struct http_settings settings;
  struct renewal r;
  char why[512];
  unsigned i;

  (void) state;
  begin (&r, &settings);
  write_script ("echo no luck >&2; exit 7");
  for (i = 0; i < 3; ++i) {
    assert_int_equal (renewal_state (&r, 0), RENEWAL_WAITING);
    run (&r);
  }
  assert_int_equal (renewal_state (&r, 0), RENEWAL_FAILED);
  renewal_failure (&r, why, sizeof why);
  assert_string_equal (why, "there are no keys to sign with: "
                            "credential_process: exit status 7: no luck");
  print_keys ("ONE", 3600);
  run (&r);
  assert_int_equal (renewal_state (&r, 0), RENEWAL_READY);
  end (&r, &settings);
}

static void
fails_while_serving (void **state)
{
  struct http_settings settings;
  struct renewal r;
  char why[512];
  unsigned i;

  (void) state;
  begin (&r, &settings);
  print_keys ("ONE", 3600);
  renewal_state (&r, 0);
  run (&r);
  r.serving = true;
  r.renew_at = time (NULL);
  print_keys ("OLD", -10);
  for (i = 0; i < 10; ++i) {
    run (&r);
    assert_int_equal (renewal_state (&r, 0), RENEWAL_READY);
  }
  assert_int_equal (unit_warnings, 1);
  /* They expire: requests wait until 45 seconds after the first failure. */
  r.keys.expires = time (NULL) - 1;
  assert_int_equal (renewal_state (&r, 0), RENEWAL_WAITING);
  r.first_failure -= 45000;
  run (&r);
  assert_int_equal (renewal_state (&r, 0), RENEWAL_FAILED);
  renewal_failure (&r, why, sizeof why);
  assert_string_equal (why, "the keys have expired, and could not be renewed: "
                            "credential_process sends keys that have expired");
  assert_int_equal (unit_warnings, 1);
  end (&r, &settings);
}

static void
cancelled (void **state)
{
  struct curl_waitfd fds[RENEWAL_NR_FDS];
  struct http_settings settings;
  struct renewal r;

  (void) state;
  begin (&r, &settings);
  write_script ("sleep 1000");
  renewal_state (&r, 0);
  assert_int_equal (renewal_fds (&r, fds), 0);
  assert_null (renewal_begin (&r, monotonic_ms ()));
  assert_non_null (r.command);
  assert_true (renewal_fds (&r, fds) > 0);
  assert_int_equal (renewal_state (&r, 0), RENEWAL_WAITING);
  renewal_cancel (&r);
  assert_null (r.command);
  end (&r, &settings);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (fixed),
  cmocka_unit_test (renewed),
  cmocka_unit_test (rejected),
  cmocka_unit_test (fails_at_start),
  cmocka_unit_test (fails_while_serving),
  cmocka_unit_test (cancelled),
};

int
main (void)
{
  cmocka_set_message_output (CM_OUTPUT_TAP);
  return cmocka_run_group_tests (tests, make_script, remove_script);
}
