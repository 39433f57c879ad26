/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Safe ways to open local files.  See open.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/keep-errno.h"
#include "base/open.h"

int
open_below (int directory, const char *name, uint64_t resolve)
{
  const struct open_how how = {
    .flags = O_PATH | O_CLOEXEC,
    .resolve = RESOLVE_BENEATH | resolve,
  };
  int fd, tries = 100;

  /* EAGAIN: the kernel can't tell whether ".." left the directory, because
   * something was renamed meanwhile.
   */
  do
    fd = (int) syscall (SYS_openat2, directory, name, &how, sizeof how);
  while (fd == -1 && errno == EAGAIN && --tries > 0);
  return fd;
}

/* O_NONBLOCK, so that open does not wait for the writer of a FIFO. */
int
open_again (int fd)
{
  char self[64];
  int own;

  snprintf (self, sizeof self, "/proc/self/fd/%d", fd);
  own = open (self, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  /* A file that was removed can still be opened in this way. */
  if (own == -1 && errno == ENOENT)
    errno = EOPNOTSUPP;
  return own;
}

void
close_keeping_errno (int fd)
{
  KEEP_ERRNO;

  close (fd);
}
