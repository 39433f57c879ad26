/* SPDX-License-Identifier: BSD-3-Clause
 *
 * base/command.c: output, failures, limits, and that nothing is left behind.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/unit/unit.h"

#include "base/command.h"
#include "base/monotonic.h"

#define LONG_MS 20000

static const char *const nothing[] = { NULL };

static struct command *
start_with (const char *script, const char *const *environment,
            unsigned timeout_ms)
{
  struct problem problem;
  struct command *c
    = command_start (script, environment, timeout_ms, &problem);

  assert_non_null (c);
  return c;
}

static struct command *
start (const char *script)
{
  return start_with (script, nothing, LONG_MS);
}

/* The loop of a driver thread. */
static enum command_state
drive (struct command *c)
{
  enum command_state state;

  while ((state = command_step (c)) == COMMAND_RUNNING) {
    struct pollfd polls[COMMAND_NR_FDS];
    int fds[COMMAND_NR_FDS];
    size_t n = command_fds (c, fds), i;

    for (i = 0; i < n; ++i)
      polls[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
    poll (polls, (nfds_t) n, command_wait_ms (c));
  }
  assert_int_equal (command_wait_ms (c), 0);
  assert_int_equal (command_step (c), state);
  return state;
}

static void
assert_output (struct command *c, const char *expected)
{
  size_t length;

  if (drive (c) != COMMAND_DONE)
    fail_msg ("the command failed: %s", command_failure (c));
  assert_string_equal (command_output (c, &length), expected);
  assert_int_equal (length, strlen (expected));
  command_free (c);
}

static void
assert_fails (struct command *c, const char *expected)
{
  assert_int_equal (drive (c), COMMAND_FAILED);
  assert_string_equal (command_failure (c), expected);
  command_free (c);
}

static void
output (void **state)
{
  const char *const environment[]
    = { "QCOW_UNIT_A=new", "url=http://example.com/a?b=c'd", NULL };

  (void) state;
  assert_output (start ("echo one; sleep 0.1; printf two"), "one\ntwo");
  assert_output (start ("cat"), ""); /* no standard input */
  assert_output (start ("echo ignored >&2; echo out"), "out\n");
  setenv ("QCOW_UNIT_A", "old", 1);
  setenv ("QCOW_UNIT_AB", "stays", 1);
  assert_output (start_with ("echo $QCOW_UNIT_A $QCOW_UNIT_AB \"$url\"",
                             environment, LONG_MS),
                 "new stays http://example.com/a?b=c'd\n");
  assert_string_equal (getenv ("QCOW_UNIT_A"), "old");
}

/* A library can have left a descriptor open on exec. */
static void
inherited (void **state)
{
  const int fd = open ("/dev/null", O_RDONLY);

  (void) state;
  assert_true (fd > 2);
  assert_output (start ("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ");
  close (fd);
}

/* Servers change their directory. */
static void
where (void **state)
{
  char *here = getcwd (NULL, 0), expected[PATH_MAX + 1];

  (void) state;
  assert_non_null (here);
  snprintf (expected, sizeof expected, "%s\n", here);
  command_set_directory ();
  assert_int_equal (chdir ("/"), 0);
  command_set_directory ();
  assert_output (start ("pwd -P"), expected);
  assert_int_equal (chdir (here), 0);
  free (here);
}

static void
failures (void **state)
{
  (void) state;
  assert_fails (start ("exit 3"), "exit status 3");
  assert_fails (start ("echo out; echo; echo ' no token  '; "
                       "printf '\\n  \\n no token \\r\\nmore' >&2; exit 1"),
                "exit status 1: no token");
  assert_fails (start ("printf '\\033[1m\\000rest' >&2; exit 1"),
                "exit status 1: \\x1b[1m");
  assert_fails (start ("kill -9 $$"), "killed by signal 9");
  /* It does not wait for a reader of so much. */
  assert_fails (start ("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 2"),
                "exit status 2: "
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

static void
limits (void **state)
{
  uint64_t began = monotonic_ms ();
  struct command *c = start ("head -c 65536 /dev/zero");
  size_t length;

  (void) state;
  assert_int_equal (drive (c), COMMAND_DONE);
  command_output (c, &length);
  assert_int_equal (length, COMMAND_OUTPUT_MAX);
  command_free (c);
  assert_fails (start ("head -c 65537 /dev/zero"),
                "its output is longer than 65536 bytes");
  assert_fails (start ("cat /dev/zero"),
                "its output is longer than 65536 bytes");
  assert_fails (start_with ("echo asking >&2; sleep 60", nothing, 300),
                "it did not end within 1 seconds: asking");
  assert_fails (start_with ("exec >&- 2>&-; sleep 60", nothing, 300),
                "it did not end within 1 seconds");
  assert_true (monotonic_ms () - began < LONG_MS);
}

/* The shell's end counts, not the end of its output. */
static void
background (void **state)
{
  const uint64_t began = monotonic_ms ();

  (void) state;
  assert_output (start ("sleep 5 & echo out"), "out\n");
  assert_output (start ("echo out; exec >&- 2>&-; sleep 0.1"), "out\n");
  assert_true (monotonic_ms () - began < 4000);
}

/* Freeing a command ends it and its children, and reaps it. */
static void
cancelled (void **state)
{
  struct unit_file f = unit_file_new ();
  const unsigned before = unit_count_fds ();
  char script[256];
  struct command *c;
  pid_t pids[2] = { 0, 0 };
  char text[64] = "";
  int i;

  (void) state;
  snprintf (script, sizeof script,
            "sleep 60 & echo $$ $! > /proc/%d/fd/%d; wait", getpid (), f.fd);
  c = start (script);
  for (i = 0; i < 200 && strchr (text, '\n') == NULL; ++i) {
    assert_int_equal (command_step (c), COMMAND_RUNNING);
    usleep (10000);
    assert_true (pread (f.fd, text, sizeof text - 1, 0) >= 0);
  }
  assert_int_equal (sscanf (text, "%d %d", &pids[0], &pids[1]), 2);
  errno = EBADF;
  command_free (c);
  assert_int_equal (errno, EBADF);
  assert_int_equal (kill (pids[0], 0), -1);
  /* The child belongs to init now: dead, but perhaps not reaped. */
  for (i = 0; i < 200 && kill (pids[1], 0) == 0; ++i) {
    snprintf (script, sizeof script, "grep -q '^State:.Z' /proc/%d/status",
              pids[1]);
    if (system (script) == 0)
      break;
    usleep (10000);
  }
  assert_true (i < 200);
  command_free (NULL);
  assert_int_equal (unit_count_fds (), before);
  assert_int_equal (waitpid (-1, NULL, WNOHANG), -1);
  close (f.fd);
}

/* A thread that blocks signals, in a server that ignores some, does not pass
 * that on.
 */
static void
signals (void **state)
{
  sigset_t all, old;

  (void) state;
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  signal (SIGPIPE, SIG_IGN);
  assert_fails (start ("echo before >&2; kill -TERM $$; sleep 9"),
                "killed by signal 15: before");
  assert_fails (start ("kill -PIPE $$; sleep 9"), "killed by signal 13");
  signal (SIGPIPE, SIG_DFL);
  pthread_sigmask (SIG_SETMASK, &old, NULL);

  signal (SIGCHLD, SIG_IGN);
  assert_fails (start ("echo out"),
                "its exit status is unknown, since this process was started "
                "with SIGCHLD ignored");
  signal (SIGCHLD, SIG_DFL);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (output),    cmocka_unit_test (inherited),
  cmocka_unit_test (where),     cmocka_unit_test (failures),
  cmocka_unit_test (limits),    cmocka_unit_test (background),
  cmocka_unit_test (cancelled), cmocka_unit_test (signals),
};

UNIT_MAIN (tests)
