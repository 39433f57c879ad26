/* SPDX-License-Identifier: BSD-3-Clause
 *
 * qemu's image locks, for a reader.  See lock.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "source/lock.h"

/* The bytes that qemu locks as a reader: it uses "consistent read", and does
 * not share "write" and "resize".
 */
static const off_t our_bytes[] = { 100, 201, 203 };

/* The bytes that a writer locks: it uses "write", uses "resize", or does not
 * share "consistent read".
 */
static const off_t writer_bytes[] = { 101, 103, 200 };

/* l_pid must be 0 for OFD locks. */
static struct flock
one_byte (short type, off_t byte)
{
  return (struct flock){
    .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
  };
}

static bool
not_supported (int err)
{
  return err == ENOLCK || err == EOPNOTSUPP || err == EINVAL || err == ENOSYS;
}

static int
in_use (const char *name, const struct qcow_hooks *hooks)
{
  return error_report (hooks, EBUSY, name,
                       "the image is open for writing in another process, "
                       "so its content may change at any time" HINT,
                       HINT_ARGS (hooks, QCOW_HINT_FORCE_SHARE));
}

static int
failed (const char *name, const struct qcow_hooks *hooks)
{
  if (not_supported (errno)) {
    error_warn (hooks, name,
                "can't lock the image against writers: %m (is it on a "
                "network file system?)");
    return 0;
  }
  /* EAGAIN or EACCES: another process holds a real write lock. */
  if (errno == EAGAIN || errno == EACCES)
    return in_use (name, hooks);
  return error_report (hooks, errno, name, "can't lock the image: %m");
}

int
lock_image (int fd, const char *name, const struct qcow_hooks *hooks)
{
  size_t i;

  for (i = 0; i < sizeof our_bytes / sizeof our_bytes[0]; ++i) {
    struct flock lock = one_byte (F_RDLCK, our_bytes[i]);

    if (fcntl (fd, F_OFD_SETLK, &lock) == -1)
      return failed (name, hooks);
  }

  /* Query after locking: a writer that comes later sees our locks.  Query for
   * a write lock, because a query for a read lock ignores read locks.
   */
  for (i = 0; i < sizeof writer_bytes / sizeof writer_bytes[0]; ++i) {
    struct flock lock = one_byte (F_WRLCK, writer_bytes[i]);

    if (fcntl (fd, F_OFD_GETLK, &lock) == -1)
      return failed (name, hooks);
    if (lock.l_type != F_UNLCK)
      return in_use (name, hooks);
  }
  return 0;
}
