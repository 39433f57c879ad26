/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A local file or block device.
 *
 * Reads are plain preads into the caller's buffers, ranges in turn.  The
 * image is never mapped into memory: a file that shrinks must be an error
 * and not SIGBUS.
 *
 * Holes: lseek is asked as seldom as possible.  Most images are solid, so
 * the first question is asked from offset 0, and nothing below the first
 * hole is asked again; after that the last answer is remembered.  Both
 * are under the lock, which is never held during a system call.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "source.h"

struct source_file {
  struct source source;
  int fd;
  struct error_filter errors;

  pthread_mutex_t lock; /* for what follows */
  bool asked;           /* solid_end is known */
  uint64_t solid_end;   /* no hole in [0, solid_end) */
  bool hole;            /* [start, end) is a hole, or has none */
  uint64_t start, end;
};

static int
read_range (struct source_file *f, const struct source_range *range)
{
  char *buf = range->buf;
  uint64_t offset = range->offset;
  size_t left = range->length;

  while (left > 0) {
    const ssize_t r = pread (f->fd, buf, left, (off_t) offset);

    if (r == -1) {
      if (errno == EINTR)
        continue;
      return error_report_once (
        &f->errors, offset, f->source.hooks, EIO, f->source.name,
        "read of %zu bytes at offset %" PRIu64 ": %m", left, offset);
    }
    if (r == 0)
      /* One message, wherever it is noticed. */
      return error_report_once (&f->errors, UINT64_MAX, f->source.hooks, EIO,
                                f->source.name,
                                "the file was cut while being served: it had "
                                "%" PRIu64 " bytes, now it ends at or before "
                                "%" PRIu64,
                                f->source.size, offset);
    buf += r;
    offset += (uint64_t) r;
    left -= (size_t) r;
  }
  return 0;
}

static int
file_readv (struct source *s, const struct source_range *ranges, size_t n)
{
  struct source_file *f = (struct source_file *) s;
  size_t i;

  for (i = 0; i < n; ++i)
    if (read_range (f, &ranges[i]) == -1)
      return -1;
  return 0;
}

/* Ask the kernel.  Where it can't tell, there is no hole. */
static void
seek_extent (const struct source_file *f, uint64_t offset, bool *hole,
             uint64_t *end)
{
  const off_t data = lseek (f->fd, (off_t) offset, SEEK_DATA);
  off_t next;

  *hole = false;
  *end = f->source.size;
  if (data == -1) {
    *hole = errno == ENXIO; /* no data up to the end */
    return;
  }
  if ((uint64_t) data > offset) {
    *hole = true;
    if ((uint64_t) data < *end)
      *end = (uint64_t) data;
    return;
  }
  next = lseek (f->fd, (off_t) offset, SEEK_HOLE);
  if (next != -1 && (uint64_t) next > offset && (uint64_t) next < *end)
    *end = (uint64_t) next;
}

/* An answer from what is remembered. */
static bool
remembered_extent (struct source_file *f, uint64_t offset, bool *hole,
                   uint64_t *end)
{
  bool known = true;

  pthread_mutex_lock (&f->lock);
  if (f->asked && offset < f->solid_end) {
    *hole = false;
    *end = f->solid_end;
  }
  else if (offset >= f->start && offset < f->end) {
    *hole = f->hole;
    *end = f->end;
  }
  else
    known = false;
  pthread_mutex_unlock (&f->lock);
  return known;
}

static void
file_extent (struct source *s, uint64_t offset, bool *hole, uint64_t *end)
{
  struct source_file *f = (struct source_file *) s;
  bool asked;

  pthread_mutex_lock (&f->lock);
  asked = f->asked;
  pthread_mutex_unlock (&f->lock);
  if (!asked) {
    bool hole0;
    uint64_t end0;

    seek_extent (f, 0, &hole0, &end0);
    pthread_mutex_lock (&f->lock);
    f->asked = true;
    f->solid_end = hole0 ? 0 : end0;
    pthread_mutex_unlock (&f->lock);
  }

  if (remembered_extent (f, offset, hole, end))
    return;
  seek_extent (f, offset, hole, end);
  pthread_mutex_lock (&f->lock);
  f->hole = *hole;
  f->start = offset;
  f->end = *end;
  pthread_mutex_unlock (&f->lock);
}

static void
file_prefetch (struct source *s, uint64_t offset, uint64_t length)
{
  const struct source_file *f = (const struct source_file *) s;

  (void) posix_fadvise (f->fd, (off_t) offset, (off_t) length,
                        POSIX_FADV_WILLNEED);
}

static void
file_close (struct source *s)
{
  struct source_file *f = (struct source_file *) s;

  if (f->fd >= 0)
    close (f->fd);
  pthread_mutex_destroy (&f->lock);
  error_filter_destroy (&f->errors);
  free (f->source.name);
  free (f);
}

static const struct source_ops file_ops = {
  .readv = file_readv,
  .extent = file_extent,
  .prefetch = file_prefetch,
  .close = file_close,
};

/* Set source.size, or refuse what is neither a file nor a disk. */
static int
find_size (struct source_file *f)
{
  const char *name = f->source.name;
  const struct qcow_hooks *hooks = f->source.hooks;
  struct stat st;
  uint64_t bytes;

  if (fstat (f->fd, &st) == -1)
    return error_report (hooks, errno, name, "fstat: %m");
  if (S_ISREG (st.st_mode)) {
    f->source.size = (uint64_t) st.st_size;
    return 0;
  }
  if (S_ISBLK (st.st_mode)) {
    if (ioctl (f->fd, BLKGETSIZE64, &bytes) == -1)
      return error_report (hooks, errno, name,
                           "can't get the size of the block device: %m");
    f->source.size = bytes;
    return 0;
  }
  return error_report (hooks, EINVAL, name,
                       "is %s: only regular files and block devices can be "
                       "served",
                       S_ISDIR (st.st_mode)    ? "a directory"
                       : S_ISFIFO (st.st_mode) ? "a FIFO"
                       : S_ISCHR (st.st_mode)  ? "a character device"
                       : S_ISSOCK (st.st_mode) ? "a socket"
                                               : "a special file");
}

struct source *
source_file_open (const char *filename, bool force_share,
                  const struct qcow_hooks *hooks)
{
  struct source_file *f = calloc (1, sizeof *f);
  int err;

  if (f == NULL || (f->source.name = strdup (filename)) == NULL) {
    free (f);
    error_report (hooks, ENOMEM, filename, "out of memory");
    return NULL;
  }
  f->source.ops = &file_ops;
  f->source.hooks = hooks;
  error_filter_init (&f->errors);
  pthread_mutex_init (&f->lock, NULL);

  /* O_NONBLOCK: a FIFO must be refused, not waited for. */
  f->fd = open (filename, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (f->fd == -1)
    error_report (hooks, errno, filename, "can't open the image: %m");
  else if (find_size (f) == 0
           && (force_share || lock_image (f->fd, filename, hooks) == 0))
    return &f->source;

  err = errno;
  file_close (&f->source);
  errno = err;
  return NULL;
}
