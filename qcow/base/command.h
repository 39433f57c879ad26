/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Run a shell command without waiting for it.
 *
 * The caller's loop polls the command's descriptors, and calls command_step
 * when one is readable, and when command_wait_ms () has passed.  No function
 * here waits for the command, except command_free, which kills it first.
 *
 * The output is secret: it is in memory from secret.h, and no message contains
 * it.
 *
 * No locking: one thread at a time uses a command.  A command is a child of
 * the process that starts it: free it before a fork whose child goes on.
 */

#ifndef QCOW_BASE_COMMAND_H
#define QCOW_BASE_COMMAND_H

#include <stddef.h>

#include "base/error.h"

/* Bytes of output; a command that writes more fails. */
#define COMMAND_OUTPUT_MAX (64U << 10)

#define COMMAND_NR_FDS 2

struct command;

enum command_state {
  COMMAND_RUNNING,
  COMMAND_DONE,   /* exit status 0: see command_output */
  COMMAND_FAILED, /* see command_failure */
};

/* Let all commands run in the directory that is current now, if that is still
 * possible: servers change it later.  Only the first call counts.  Call it
 * before there are threads.
 */
void command_set_directory (void);

/* Start "/bin/sh -c SCRIPT" with /dev/null as its standard input, and no other
 * descriptors but its output.
 * 'environment' are strings NAME=VALUE that NULL ends: they are added to this
 * process's environment, or replace what is there.  The caller keeps the
 * strings.  After 'timeout_ms' > 0 the command is killed, and fails.  NULL
 * with the reason and errno.
 */
struct command *command_start (const char *script,
                               const char *const *environment,
                               unsigned timeout_ms, struct problem *problem);

/* Write the descriptors to poll for reading to 'fds', and return how many
 * there are.  command_step closes a descriptor at its end.
 */
size_t command_fds (const struct command *c, int fds[COMMAND_NR_FDS]);

/* Call command_step after this many milliseconds at the latest. */
int command_wait_ms (const struct command *c);

/* Read what there is, and look whether the command is over.  Processes that it
 * leaves in the background are not waited for.
 */
enum command_state command_step (struct command *c);

/* What a DONE command has written to its standard output, and a NUL.  Valid
 * until command_free.
 */
const char *command_output (const struct command *c, size_t *length);

/* Why the command FAILED: "exit status 1: TEXT", where TEXT is the first line
 * of its standard error.  The text is clean (utf8.h), and valid until
 * command_free.
 */
const char *command_failure (const struct command *c);

/* Wipe the output and free the command.  If it is RUNNING, kill it and its
 * children.  NULL is ignored.  Keeps errno.
 */
void command_free (struct command *c);

#endif /* QCOW_BASE_COMMAND_H */
