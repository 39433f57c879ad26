/* SPDX-License-Identifier: BSD-3-Clause
 *
 * For LD_PRELOAD in nbdkit: run the shell command $BEFORE_LOCK just before the
 * server takes its first lock on a file (lock.h), with the file's name in
 * $LOCKED.  After the command, everything that the server read from the file
 * before can be out of date.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The first byte that a reader locks. */
#define FIRST_BYTE 100

static void
run_command (int fd)
{
  const char *command = getenv ("BEFORE_LOCK");
  char link[64], name[4096], text[8192];
  ssize_t length;

  snprintf (link, sizeof link, "/proc/self/fd/%d", fd);
  length = readlink (link, name, sizeof name - 1);
  if (command == NULL || length == -1)
    abort ();
  name[length] = '\0';
  snprintf (text, sizeof text, "unset LD_PRELOAD; LOCKED='%s'; %s", name,
            command);
  if (system (text) != 0)
    abort ();
}

static int
intercept (const char *function, int fd, int cmd, void *argument)
{
  int (*next) (int, int, ...)
    = (int (*) (int, int, ...)) dlsym (RTLD_NEXT, function);
  const struct flock *lock = argument;

  if (cmd == F_OFD_SETLK && lock->l_start == FIRST_BYTE)
    run_command (fd);
  return next (fd, cmd, argument);
}

int
fcntl (int fd, int cmd, ...)
{
  va_list args;
  void *argument;

  va_start (args, cmd);
  argument = va_arg (args, void *);
  va_end (args);
  return intercept ("fcntl", fd, cmd, argument);
}

/* Programs with 64-bit file offsets call this. */
int
fcntl64 (int fd, int cmd, ...)
{
  va_list args;
  void *argument;

  va_start (args, cmd);
  argument = va_arg (args, void *);
  va_end (args);
  return intercept ("fcntl64", fd, cmd, argument);
}
