/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shell commands.  See command.h.
 *
 * A command is over when the shell has exited, not when its output ends: a
 * process that it leaves in the background can keep the output open.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/command.h"
#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/monotonic.h"
#include "base/secret.h"
#include "base/utf8.h"

/* Room for the first line of standard error. */
#define LINE_MAX_BYTES 200

/* How often to look whether the shell has exited; and if nothing else shows
 * that, since its output has ended.
 */
#define POLL_MS 100
#define POLL_AFTER_END_MS 5

/* Of the standard error, in one step.  The rest waits. */
#define STEP_BYTES (64U << 10)

struct command {
  pid_t pid; /* 0: reaped */
  enum command_state state;
  int out, err; /* pipes; -1: closed */
  unsigned timeout_ms;
  uint64_t deadline; /* monotonic_ms () */

  char *output; /* COMMAND_OUTPUT_MAX + 1 bytes */
  size_t length;

  char line[LINE_MAX_BYTES]; /* the beginning of standard error */
  size_t line_length;
  struct problem problem;
};

/* --- Starting --- */

static bool
is_same_variable (const char *a, const char *b)
{
  const size_t n = strcspn (a, "=");

  return strncmp (a, b, n) == 0 && b[n] == '=';
}

/* True if one of the strings sets the same variable as 'a'. */
static bool
is_replaced (const char *a, const char *const *environment)
{
  for (; *environment; ++environment)
    if (is_same_variable (a, *environment))
      return true;
  return false;
}

/* An array of pointers to others' strings, which NULL ends.  NULL: out of
 * memory.
 */
static char **
join_environments (const char *const *more)
{
  size_t max = 1, n = 0, i;
  char **joined;

  for (i = 0; environ && environ[i]; ++i)
    max++;
  for (i = 0; more[i]; ++i)
    max++;
  joined = malloc (max * sizeof joined[0]);
  if (joined == NULL)
    return NULL;
  for (i = 0; environ && environ[i]; ++i)
    if (!is_replaced (environ[i], more))
      joined[n++] = environ[i];
  for (i = 0; more[i]; ++i)
    joined[n++] = (char *) more[i]; /* (posix_spawn does not write to it) */
  joined[n] = NULL;
  return joined;
}

/* The descriptors are closed on exec.  Only the end for reading does not
 * block: the command expects a usual pipe.
 */
static int
new_pipe (int fds[2])
{
  if (pipe2 (fds, O_CLOEXEC) == -1) {
    fds[0] = fds[1] = -1;
    return -1;
  }
  return fcntl (fds[0], F_SETFL, O_NONBLOCK);
}

static void
close_pipe (int *fd)
{
  if (*fd >= 0)
    close (*fd);
  *fd = -1;
}

/* The worker threads block all signals, and servers ignore some.  A process
 * group of its own allows to kill the command with its children.
 */
static int
set_attributes (posix_spawnattr_t *attr)
{
  const short flags
    = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP;
  sigset_t none, all;
  int err;

  sigemptyset (&none);
  sigfillset (&all);
  err = posix_spawnattr_setflags (attr, flags);
  if (err == 0)
    err = posix_spawnattr_setsigmask (attr, &none);
  if (err == 0)
    err = posix_spawnattr_setsigdefault (attr, &all);
  return err == 0 ? posix_spawnattr_setpgroup (attr, 0) : err;
}

/* "": commands run in the current directory. */
static char directory[PATH_MAX];

void
command_set_directory (void)
{
  if (directory[0] == '\0' && getcwd (directory, sizeof directory) == NULL)
    directory[0] = '\0';
}

/* A server that has changed its user may not be allowed to go there. */
static bool
can_use_directory (void)
{
  return directory[0] != '\0'
         && faccessat (AT_FDCWD, directory, X_OK, AT_EACCESS) == 0;
}

/* Not all libraries close their descriptors on exec: libcurl 7.88 does not. */
static int
set_files (posix_spawn_file_actions_t *files, int out, int err)
{
  int r = 0;

  if (can_use_directory ())
    r = posix_spawn_file_actions_addchdir_np (files, directory);
  if (r == 0)
    r = posix_spawn_file_actions_addopen (files, 0, "/dev/null", O_RDONLY, 0);
  if (r == 0)
    r = posix_spawn_file_actions_adddup2 (files, out, 1);
  if (r == 0)
    r = posix_spawn_file_actions_adddup2 (files, err, 2);
  return r == 0 ? posix_spawn_file_actions_addclosefrom_np (files, 3) : r;
}

/* Returns 0 or an errno value, as posix_spawn does. */
static int
spawn (pid_t *pid, const char *script, char **environment, int out, int err)
{
  char *const args[] = { (char *) "sh", (char *) "-c", (char *) script, NULL };
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attr;
  int r = posix_spawnattr_init (&attr);

  if (r != 0)
    return r;
  r = posix_spawn_file_actions_init (&files);
  if (r == 0) {
    r = set_attributes (&attr);
    if (r == 0)
      r = set_files (&files, out, err);
    if (r == 0)
      r = posix_spawn (pid, "/bin/sh", &files, &attr, args, environment);
    posix_spawn_file_actions_destroy (&files);
  }
  posix_spawnattr_destroy (&attr);
  return r;
}

/* 0 or an errno value. */
static int
start (struct command *c, const char *script, const char *const *environment)
{
  int out[2] = { -1, -1 }, err[2] = { -1, -1 };
  char **joined = join_environments (environment);
  int r = joined ? 0 : ENOMEM;

  if (r == 0 && (new_pipe (out) == -1 || new_pipe (err) == -1))
    r = errno;
  if (r == 0)
    r = spawn (&c->pid, script, joined, out[1], err[1]);
  if (r != 0)
    c->pid = 0; /* (undefined after a failure) */
  free (joined);
  close_pipe (&out[1]);
  close_pipe (&err[1]);
  c->out = out[0];
  c->err = err[0];
  return r;
}

struct command *
command_start (const char *script, const char *const *environment,
               unsigned timeout_ms, struct problem *problem)
{
  struct command *c = calloc (1, sizeof *c);
  int r = ENOMEM;

  if (c) {
    c->out = c->err = -1;
    c->timeout_ms = timeout_ms;
    c->deadline = monotonic_ms () + timeout_ms;
    c->output = secret_new (COMMAND_OUTPUT_MAX + 1);
    if (c->output)
      r = start (c, script, environment);
  }
  if (r == 0)
    return c;
  command_free (c);
  errno = r;
  problem_set (problem, "can't start /bin/sh: %m");
  errno = r;
  return NULL;
}

/* --- Waiting --- */

size_t
command_fds (const struct command *c, int fds[COMMAND_NR_FDS])
{
  size_t n = 0;

  if (c->out >= 0)
    fds[n++] = c->out;
  if (c->err >= 0)
    fds[n++] = c->err;
  return n;
}

int
command_wait_ms (const struct command *c)
{
  const uint64_t now = monotonic_ms (),
                 poll = c->out < 0 && c->err < 0 ? POLL_AFTER_END_MS : POLL_MS;

  if (c->state != COMMAND_RUNNING)
    return 0;
  return (int) min64 (poll, c->deadline > now ? c->deadline - now : 0);
}

/* --- Reading --- */

/* Read up to 'max' > 0 bytes.  0: there is nothing now, or never again; then
 * *fd is closed.
 */
static size_t
read_some (int *fd, char *buf, size_t max)
{
  ssize_t n;

  if (*fd < 0)
    return 0;
  do
    n = read (*fd, buf, max);
  while (n == -1 && errno == EINTR);
  if (n > 0)
    return (size_t) n;
  if (n == 0 || errno != EAGAIN)
    close_pipe (fd);
  return 0;
}

/* One byte more than may be is enough to see that it is too much. */
static void
read_output (struct command *c)
{
  size_t n;

  while (c->length <= COMMAND_OUTPUT_MAX
         && (n = read_some (&c->out, c->output + c->length,
                            COMMAND_OUTPUT_MAX + 1 - c->length))
              > 0)
    c->length += n;
}

/* Keep the beginning, without empty lines before it.  Read on, so that the
 * command does not wait.
 */
static void
read_error (struct command *c)
{
  char buf[4096];
  size_t n, total = 0, i;

  while (total < STEP_BYTES
         && (n = read_some (&c->err, buf, sizeof buf)) > 0) {
    total += n;
    for (i = 0; i < n && c->line_length < sizeof c->line; ++i)
      if (c->line_length > 0 || strchr (" \t\r\n", buf[i]) == NULL)
        c->line[c->line_length++] = buf[i];
  }
  explicit_bzero (buf, sizeof buf);
}

/* --- The end --- */

/* (posix_spawn returns when the shell is the leader of its group.) */
static void
kill_all (const struct command *c)
{
  kill (-c->pid, SIGKILL);
}

/* The length of the first line. */
static size_t
first_line (const char *text, size_t length)
{
  size_t n = 0;

  while (n < length && text[n] != '\n' && text[n] != '\0')
    n++;
  while (n > 0 && strchr (" \t\r", text[n - 1]))
    n--;
  return n;
}

/* Fail: with this reason, and with the first line of standard error. */
__attribute__ ((format (printf, 2, 3))) static enum command_state
fail (struct command *c, const char *fmt, ...)
{
  char line[LINE_MAX_BYTES * 4 + 1], reason[128];
  va_list args;

  va_start (args, fmt);
  vsnprintf (reason, sizeof reason, fmt, args);
  va_end (args);
  utf8_escape (line, sizeof line, c->line,
               first_line (c->line, c->line_length));
  problem_set (&c->problem, "%s%s%s", reason, line[0] ? ": " : "", line);
  c->state = COMMAND_FAILED;
  return c->state;
}

/* Reap the shell, if it has exited or 'options' allow to wait for that.
 * Returns false if it runs.  *status is -1 if it is lost.
 */
static bool
reap (struct command *c, int options, int *status)
{
  pid_t pid;

  do
    pid = waitpid (c->pid, status, options);
  while (pid == -1 && errno == EINTR);
  if (pid == 0)
    return false;
  if (pid == -1)
    *status = -1;
  c->pid = 0;
  return true;
}

static enum command_state
stop (struct command *c)
{
  int status;

  kill_all (c);
  reap (c, 0, &status);
  if (c->length > COMMAND_OUTPUT_MAX)
    return fail (c, "its output is longer than %u bytes", COMMAND_OUTPUT_MAX);
  return fail (c, "it did not end within %u seconds",
               (c->timeout_ms + 999) / 1000);
}

static enum command_state
end (struct command *c, int status)
{
  if (status == -1)
    return fail (c, "its exit status is unknown, since this process was "
                    "started with SIGCHLD ignored");
  if (WIFSIGNALED (status))
    return fail (c, "killed by signal %d", WTERMSIG (status));
  if (WEXITSTATUS (status) != 0)
    return fail (c, "exit status %d", WEXITSTATUS (status));
  c->output[c->length] = '\0';
  c->state = COMMAND_DONE;
  return c->state;
}

enum command_state
command_step (struct command *c)
{
  int status = 0;
  bool over;

  if (c->state != COMMAND_RUNNING)
    return c->state;
  /* Before reading: what the shell has written is in the pipes then. */
  over = reap (c, WNOHANG, &status);
  read_output (c);
  read_error (c);
  if (over && c->length <= COMMAND_OUTPUT_MAX)
    return end (c, status);
  if (over)
    return fail (c, "its output is longer than %u bytes", COMMAND_OUTPUT_MAX);
  if (c->length > COMMAND_OUTPUT_MAX || monotonic_ms () >= c->deadline)
    return stop (c);
  return COMMAND_RUNNING;
}

const char *
command_output (const struct command *c, size_t *length)
{
  *length = c->length;
  return c->output;
}

const char *
command_failure (const struct command *c)
{
  return c->problem.text;
}

void
command_free (struct command *c)
{
  KEEP_ERRNO;
  int status;

  if (c == NULL)
    return;
  if (c->pid > 0) {
    kill_all (c);
    reap (c, 0, &status);
  }
  close_pipe (&c->out);
  close_pipe (&c->err);
  secret_free (c->output, COMMAND_OUTPUT_MAX + 1);
  explicit_bzero (c, sizeof *c);
  free (c);
}
