/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The files of a directory.  See directory-files.h.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/keep-errno.h"
#include "base/open.h"
#include "base/utf8.h"
#include "base/wait.h"
#include "format/format.h"
#include "source/directory-files.h"
#include "url/url-name.h"

/* The object of messages about the directory, while clients can see them. */
static const char object[] = "dir=";

typedef int list_fn (void *opaque, const char *name, const char *description);

/* --- Files --- */

static struct file_version
version_of (const struct stat *st)
{
  return (struct file_version){ .device = st->st_dev,
                                .inode = st->st_ino,
                                .size = st->st_size,
                                .modified = st->st_mtim,
                                .changed = st->st_ctim };
}

static bool
same_time (struct timespec a, struct timespec b)
{
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool
file_version_same (const struct file_version *a, const struct file_version *b)
{
  return a->device == b->device && a->inode == b->inode && a->size == b->size
         && same_time (a->modified, b->modified)
         && same_time (a->changed, b->changed);
}

static int
look_up_failed (const struct directory_files *f, const char *name)
{
  if (errno == ENOENT)
    return error_report (f->hooks, ENOENT, name,
                         "there is no such file in the directory");
  if (errno == EOPNOTSUPP) /* open_again */
    return error_report (f->hooks, EOPNOTSUPP, name,
                         "can't open the file: /proc is not mounted");
  if (errno == EXDEV)
    return error_report (f->hooks, EPERM, name,
                         "is a symbolic link that leads out of the directory, "
                         "so it is not served");
  return error_report (f->hooks, errno, name, "can't open the file: %m");
}

static int
refuse_type (const struct directory_files *f, const char *name, mode_t mode)
{
  return error_report (f->hooks, EINVAL, name,
                       "is %s: only regular files and block devices in the "
                       "directory itself are served",
                       S_ISDIR (mode) ? "a directory" : "a special file");
}

/* Open a file of the directory for reading.  -1 with errno, and with the error
 * reported unless 'quiet' is set.
 */
static int
open_file (const struct directory_files *f, const char *name, bool quiet,
           struct file_version *version)
{
  const int path = open_below (f->fd, name, RESOLVE_NO_MAGICLINKS);
  struct stat st;
  int fd = -1;

  if (path == -1)
    return quiet ? -1 : look_up_failed (f, name);
  if (fstat (path, &st) == -1)
    fd = quiet ? -1 : look_up_failed (f, name);
  else if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode))
    fd = quiet ? -1 : refuse_type (f, name, st.st_mode);
  else {
    *version = version_of (&st);
    fd = open_again (path);
    if (fd == -1 && !quiet)
      look_up_failed (f, name);
  }
  close_keeping_errno (path);
  return fd;
}

int
directory_files_open_one (const struct directory_files *f, const char *name,
                          struct file_version *version)
{
  return open_file (f, name, false, version);
}

/* --- The directory --- */

static int
open_failed (const char *name, const struct qcow_hooks *hooks)
{
  if (errno == ENOENT)
    return error_report (hooks, ENOENT, url_shown (name),
                         "there is no such directory");
  if (errno == ENOTDIR)
    return error_report (hooks, ENOTDIR, url_shown (name),
                         "is not a directory");
  return error_report (hooks, errno, url_shown (name),
                       "can't read the directory: %m");
}

int
directory_files_open (struct directory_files *f, const char *name,
                      const struct qcow_hooks *hooks)
{
  char *real = realpath (name, NULL);
  int probe;

  *f = (struct directory_files){ .hooks = hooks, .fd = -1 };
  if (real)
    f->fd = open (real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (real == NULL || f->fd == -1) {
    open_failed (name, hooks);
    free (real);
    return -1;
  }
  if (asprintf (&f->path, "%s/", strcmp (real, "/") == 0 ? "" : real) == -1)
    f->path = NULL;
  free (real);
  probe = open_below (f->fd, ".", 0);
  if (probe != -1)
    close_keeping_errno (probe);
  if (f->path && probe != -1)
    return 0;
  if (f->path == NULL)
    error_no_memory (hooks, name);
  else
    error_report (hooks, errno, url_shown (name),
                  "this kernel can't open files of a directory safely: "
                  "openat2: %m");
  directory_files_close (f);
  return -1;
}

void
directory_files_close (struct directory_files *f)
{
  KEEP_ERRNO;

  if (f->fd != -1)
    close (f->fd);
  f->fd = -1;
  free (f->path);
  f->path = NULL;
}

/* --- The list --- */

struct names {
  char **list;
  size_t n, room;
};

static void
names_free (struct names *names)
{
  KEEP_ERRNO;

  while (names->n > 0)
    free (names->list[--names->n]);
  free (names->list);
}

static int
names_add (struct names *names, const char *name)
{
  if (names->n == names->room) {
    const size_t room = names->room == 0 ? 64 : 2 * names->room;
    char **list = realloc (names->list, room * sizeof list[0]);

    if (list == NULL)
      return -1;
    names->list = list;
    names->room = room;
  }
  names->list[names->n] = strdup (name);
  if (names->list[names->n] == NULL)
    return -1;
  names->n++;
  return 0;
}

static int
compare_names (const void *a, const void *b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

static void
warn_of_files (struct directory_files *f)
{
  if (!__atomic_exchange_n (&f->warned, true, __ATOMIC_RELAXED))
    error_warn (f->hooks, object,
                "the directory has more than %d files, of which the others "
                "are not listed",
                DIRECTORY_FILES_MAX);
}

/* Get the names of the files, sorted.  A file system that does not know the
 * type of a file without opening it says DT_UNKNOWN.
 */
static int
get_names (struct directory_files *f, DIR *dir, struct names *names)
{
  struct dirent *entry;

  while ((errno = 0, entry = readdir (dir)) != NULL) {
    if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
      continue;
    if (names->n == DIRECTORY_FILES_MAX) {
      warn_of_files (f);
      break;
    }
    if (names_add (names, entry->d_name) == -1)
      return error_no_memory (f->hooks, object);
  }
  if (entry == NULL && errno != 0)
    return error_report (f->hooks, errno, object,
                         "can't read the directory: %m");
  if (names->n > 0)
    qsort (names->list, names->n, sizeof names->list[0], compare_names);
  return 0;
}

/* Returns false if the file is shorter, or can't be read. */
static bool
read_start (int fd, uint8_t *start, size_t length)
{
  size_t done = 0;

  while (done < length) {
    const ssize_t r = pread (fd, start + done, length - done, (off_t) done);

    if (r == 0 || (r == -1 && errno != EINTR))
      return false;
    if (r > 0)
      done += (size_t) r;
  }
  return true;
}

/* Returns 1 if the file starts like an image, and its version; 0 if it does
 * not, or can't be read; or -1 if no file could be opened now.
 */
static int
read_version (const struct directory_files *f, const char *name,
              uint32_t *version)
{
  struct file_version file;
  const int fd = open_file (f, name, true, &file);
  uint8_t start[8];
  bool is_image;

  if (fd == -1)
    return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -1 : 0;
  is_image
    = read_start (fd, start, sizeof start) && get_be32 (start) == QCOW_MAGIC;
  close (fd);
  *version = get_be32 (start + 4);
  return is_image;
}

static int
list_file (const struct directory_files *f, const char *name, list_fn *fn,
           void *opaque)
{
  char description[64];
  uint32_t version;

  switch (read_version (f, name, &version)) {
  case 0:
    return 0;
  case -1:
    return error_report (f->hooks, errno, name, "can't open the file: %m");
  }
  snprintf (description, sizeof description, "%s version %" PRIu32,
            version == 1 ? "QCOW" : "QCOW2", version);
  return fn (opaque, utf8_is_clean (name, strlen (name)) ? name : NULL,
             description);
}

static int
list_files (const struct directory_files *f, const struct names *names,
            list_fn *fn, void *opaque)
{
  size_t i;

  for (i = 0; i < names->n; ++i) {
    if (i % 64 == 0 && hooks_sleep (f->hooks, 0) == -1) {
      errno = ESHUTDOWN;
      return -1;
    }
    if (list_file (f, names->list[i], fn, opaque) == -1)
      return -1;
  }
  return 0;
}

int
directory_files_list (struct directory_files *f, list_fn *fn, void *opaque)
{
  /* Opened again, for a file offset of its own. */
  const int fd = openat (f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd == -1 ? NULL : fdopendir (fd);
  struct names names = { .n = 0 };
  struct stat st;
  int r;

  if (dir == NULL) {
    error_report (f->hooks, errno, object, "can't open the directory: %m");
    if (fd != -1)
      close (fd);
    return -1;
  }
  if (fstat (fd, &st) == 0 && st.st_nlink == 0)
    r = error_report (f->hooks, ENOENT, object, "the directory was removed");
  else
    r = get_names (f, dir, &names);
  closedir (dir);
  if (r == 0)
    r = list_files (f, &names, fn, opaque);
  names_free (&names);
  return r;
}
