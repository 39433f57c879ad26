/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A local file or block device.  See file.h.
 *
 * Reads are plain preads into the caller's buffers, one range after the other.
 * The image is never mapped into memory: if a file shrinks, that must be an
 * error and not SIGBUS.
 *
 * Pages: with SOURCE_FILE_NO_PAGE_CACHE, what was read is evicted.
 *
 * Holes: lseek finds each fragment of the file once, the one at offset 0 first
 * (source_is_solid), because most images have no hole.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fragments.h"
#include "base/minmax.h"
#include "base/open.h"
#include "source/evict.h"
#include "source/file.h"
#include "source/lock.h"
#include "source/source.h"
#include "url/url-name.h"

/* 24 KiB. */
#define MAX_FRAGMENTS 1024

/* How far to look back for the start of a fragment, since offsets do not
 * always ascend from call to call.
 */
#define LOOK_BACK (UINT64_C (16) << 20)

/* The unit of st_blocks (inode(7)). */
#define ST_BLOCK_BYTES 512

struct source_file {
  struct source source;
  int fd;
  struct error_filter errors;
  struct fragments fragments;
  struct evict *evict; /* NULL: leave the page cache alone */
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
        "can't read %zu bytes at 0x%" PRIx64 ": %m", left, offset);
    }
    if (r == 0)
      /* All reads share one place, so this is reported once. */
      return error_report_once (
        &f->errors, UINT64_MAX, f->source.hooks, EIO, f->source.name,
        "the file was truncated while being served: its "
        "size was %" PRIu64 " bytes and is now at most "
        "%" PRIu64,
        f->source.size, offset);
    buf += r;
    offset += (uint64_t) r;
    left -= (size_t) r;
  }
  if (f->evict)
    evict_after_read (f->evict, range->offset, range->length);
  return 0;
}

static int
file_readv (struct source *s, const struct source_range *ranges, size_t n,
            enum source_use use)
{
  struct source_file *f = (struct source_file *) s;
  size_t i;

  (void) use;

  for (i = 0; i < n; ++i)
    if (read_range (f, &ranges[i]) == -1)
      return -1;
  return 0;
}

/* Get the fragment at 'offset' from the kernel.  It is no hole if the kernel
 * can't tell, or if the file was truncated there while being served: a client
 * that reads it must get an error.
 */
static struct fragment
seek_fragment (const struct source_file *f, uint64_t offset)
{
  struct fragment found = { offset, f->source.size, false };
  const off_t data = lseek (f->fd, (off_t) offset, SEEK_DATA);
  off_t next;

  if (data == -1) {
    /* ENXIO: there is no data up to the current end of the file. */
    found.hole
      = errno == ENXIO && lseek (f->fd, 0, SEEK_END) >= (off_t) f->source.size;
    return found;
  }
  if ((uint64_t) data > offset) {
    found.hole = true;
    next = data;
  }
  else
    next = lseek (f->fd, (off_t) offset, SEEK_HOLE);
  if (next != -1 && (uint64_t) next > offset && (uint64_t) next < found.end)
    found.end = (uint64_t) next;
  return found;
}

static bool
file_extent (struct source *s, uint64_t offset, bool cached_only, bool *hole,
             uint64_t *end)
{
  struct source_file *f = (struct source_file *) s;
  struct fragment found;
  uint64_t from;

  (void) cached_only;

  if (!fragments_find (&f->fragments, offset, &found, &from)) {
    if (offset - from > LOOK_BACK)
      from = round_down64 (offset, LOOK_BACK);
    found = seek_fragment (f, from);
    if (found.end <= offset)
      found = seek_fragment (f, offset);
    fragments_add (&f->fragments, &found, 1);
  }
  *hole = found.hole;
  *end = found.end;
  return true;
}

static void
file_prefetch (struct source *s, const struct source_range *ranges, size_t n)
{
  const struct source_file *f = (const struct source_file *) s;
  size_t i;

  for (i = 0; i < n; ++i)
    (void) posix_fadvise (f->fd, (off_t) ranges[i].offset,
                          (off_t) ranges[i].length, POSIX_FADV_WILLNEED);
}

static void
file_close (struct source *s)
{
  struct source_file *f = (struct source_file *) s;

  if (f->evict)
    evict_destroy (f->evict);
  free (f->evict);
  close (f->fd);
  fragments_destroy (&f->fragments);
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

/* Refuse everything but regular files and block devices.  Store the identity
 * of the file.
 */
static int
check_type (struct source_file *f)
{
  const char *name = f->source.name;
  const struct qcow_hooks *hooks = f->source.hooks;
  struct stat st;

  if (fstat (f->fd, &st) == -1)
    return error_report (hooks, errno, name, "fstat: %m");
  f->source.device = st.st_dev;
  f->source.inode = st.st_ino;
  if (S_ISREG (st.st_mode) || S_ISBLK (st.st_mode))
    return 0;
  return error_report (hooks, EINVAL, name,
                       "is %s: only regular files and block devices can be "
                       "served",
                       S_ISDIR (st.st_mode)    ? "a directory"
                       : S_ISFIFO (st.st_mode) ? "a FIFO"
                       : S_ISCHR (st.st_mode)  ? "a character device"
                       : S_ISSOCK (st.st_mode) ? "a socket"
                                               : "a special file");
}

/* Take the length.  Call this after locking, if the file is locked: before, a
 * writer could change the length.
 */
static int
take_length (struct source_file *f)
{
  const char *name = f->source.name;
  const struct qcow_hooks *hooks = f->source.hooks;
  struct stat st;

  if (fstat (f->fd, &st) == -1)
    return error_report (hooks, errno, name, "fstat: %m");
  f->source.allocated = (uint64_t) st.st_blocks * ST_BLOCK_BYTES;
  if (S_ISREG (st.st_mode))
    f->source.size = (uint64_t) st.st_size;
  else if (ioctl (f->fd, BLKGETSIZE64, &f->source.size) == -1)
    return error_report (hooks, errno, name,
                         "can't get the size of the block device: %m");
  return 0;
}

/* Only properties that can't change, the type and the inode, may be taken
 * before the lock.
 */
static int
lock_and_measure (struct source_file *f, unsigned flags)
{
  if (check_type (f) == -1)
    return -1;
  if (!(flags & SOURCE_FILE_FORCE_SHARE)
      && lock_image (f->fd, f->source.name, f->source.hooks) == -1)
    return -1;
  return take_length (f);
}

/* Closes the file if out of memory. */
static struct source *
start_evicting (struct source_file *f)
{
  f->evict = malloc (sizeof *f->evict);
  if (f->evict) {
    evict_init (f->evict, f->fd, f->source.size);
    return &f->source;
  }
  source_no_memory (&f->source);
  source_close (&f->source);
  return NULL;
}

struct source *
source_file_from_fd (int fd, const char *filename, unsigned flags,
                     const struct qcow_hooks *hooks)
{
  struct source_file *f = calloc (1, sizeof *f);

  if (f == NULL || (f->source.name = strdup (filename)) == NULL) {
    free (f);
    close (fd);
    error_no_memory (hooks, filename);
    return NULL;
  }
  f->fd = fd;
  f->source.ops = &file_ops;
  f->source.hooks = hooks;
  error_filter_init (&f->errors);
  fragments_init (&f->fragments, MAX_FRAGMENTS);
  if (lock_and_measure (f, flags) == 0) {
    if (flags & SOURCE_FILE_NO_PAGE_CACHE)
      return start_evicting (f);
    return &f->source;
  }

  source_close (&f->source);
  return NULL;
}

/* Refuse descriptors that can't be read. */
static int
check_descriptor (int fd, const char *name, const struct qcow_hooks *hooks)
{
  const int flags = fcntl (fd, F_GETFL);

  if (flags == -1)
    return error_report (hooks, errno, name,
                         "the file descriptor is not open: %m");
  if (flags & O_PATH)
    return error_report (hooks, EINVAL, name,
                         "the file descriptor was opened with O_PATH, so "
                         "it can't be read");
  if ((flags & O_ACCMODE) == O_WRONLY)
    return error_report (hooks, EINVAL, name,
                         "the file descriptor is open only for writing");
  return 0;
}

struct source *
source_file_from_descriptor (int fd, const char *name, bool nameless,
                             unsigned flags, const struct qcow_hooks *hooks)
{
  struct source *source;
  int own;

  if (check_descriptor (fd, name, hooks) == -1)
    return NULL;
  own = open_again (fd);
  if (own == -1)
    own = fcntl (fd, F_DUPFD_CLOEXEC, 0);
  if (own == -1) {
    error_report (hooks, errno, name,
                  "can't duplicate the file descriptor: %m");
    return NULL;
  }
  source = source_file_from_fd (own, name, flags, hooks);
  if (source)
    source->nameless = nameless;
  return source;
}

struct source *
source_file_open (const char *filename, unsigned flags,
                  const struct qcow_hooks *hooks)
{
  /* O_NONBLOCK, so that open does not wait for the writer of a FIFO. */
  const int fd = open (filename, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

  if (fd == -1) {
    error_report (hooks, errno, url_shown (filename),
                  "can't open the file: %m");
    return NULL;
  }
  return source_file_from_fd (fd, filename, flags, hooks);
}
