/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The access rule.  See access.h.
 *
 * A local file that an image names is opened in steps.  realpath finds the
 * real path, which must lie below an allowed directory.  openat2 opens that
 * path with O_PATH from the directory's descriptor; it does not follow links
 * or leave the directory, whatever was renamed since then.  The type of the
 * file is checked.  Then the same file is opened for reading.
 *
 * If no directory is allowed, no name from an image is passed to a system
 * call: even looking up a name can have an effect, such as a mount.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/keep-errno.h"
#include "base/open.h"
#include "base/path.h"
#include "image/access-refusal.h"
#include "image/access.h"
#include "url/nbd-uri.h"
#include "url/url-name.h"

/* --- Values of allow= --- */

static int
set_directory (struct allowed *d, const char *name,
               const struct qcow_hooks *hooks)
{
  d->real = realpath (name, NULL);
  if (d->real)
    d->fd = open (d->real, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (d->fd != -1)
    return 0;
  if (d->is_named && (errno == ENOENT || errno == ENOTDIR))
    return error_report (hooks, errno, url_shown (name),
                         "allow=%s: there is no such directory (allow takes "
                         "image-dir, the name of a directory, the beginning "
                         "of URLs, or any)",
                         url_shown (name));
  return error_report (hooks, errno, url_shown (name),
                       "allow=%s: can't open the directory: %m",
                       url_shown (name));
}

static int
set_prefix (struct allowed *d, const char *text,
            const struct qcow_hooks *hooks)
{
  struct problem problem;
  struct url url = { .name = NULL };
  int r;

  if (url_has_query (text)) {
    errno = EINVAL;
    r = problem_set (&problem, "a query can't be a part of it");
  }
  else
    r = url_parse_prefix (text, &url, &problem);
  if (r == 0) {
    d->prefix = url.name;
    url.name = NULL;
  }
  else if (errno == ENOMEM)
    r = error_no_memory (hooks, "allow=");
  else
    r = error_report (hooks, EINVAL, "allow=", "%s: %s", url_shown (text),
                      problem.text);
  url_free (&url);
  return r;
}

static int
add_allowed (struct access *a, const char *value)
{
  struct allowed *d;

  if (strcmp (value, "any") == 0) {
    a->any = true;
    return 0;
  }
  d = &a->allowed[a->nr++];
  d->value = value;
  d->fd = -1;
  d->is_named = strcmp (value, "image-dir") != 0;
  if (d->is_named)
    return url_is_one (value) ? set_prefix (d, value, a->hooks)
                              : set_directory (d, value, a->hooks);
  if (a->stated_dir)
    return set_directory (d, a->stated_dir, a->hooks);
  if (a->url_dir == NULL)
    return error_report (a->hooks, EINVAL, "allow=image-dir",
                         "the image is a file descriptor, so its directory "
                         "is not known (allow=DIR names one)");
  d->prefix = strdup (a->url_dir);
  return d->prefix ? 0 : error_no_memory (a->hooks, "allow=");
}

/* Returns -1 if out of memory. */
static int
set_image_directory (struct access *a, const struct reference *image)
{
  if (image->nameless)
    return 0;
  if (image->path == NULL) {
    a->url_dir = url_directory (image->url.name);
    return a->url_dir ? 0 : -1;
  }
  a->stated_dir = path_directory (image->path);
  if (a->stated_dir == NULL)
    return -1;
  a->real_dir = realpath (a->stated_dir, NULL);
  return 0;
}

struct access *
access_new (const char *const *allow, size_t nr, const struct reference *image,
            const struct qcow_hooks *hooks)
{
  struct access *a = calloc (1, sizeof *a + nr * sizeof a->allowed[0]);
  size_t i;

  if (a == NULL || set_image_directory (a, image) == -1) {
    free (a);
    error_no_memory (hooks, reference_meaning (image));
    return NULL;
  }
  a->hooks = hooks;
  for (i = 0; i < nr; ++i)
    if (add_allowed (a, allow[i]) == -1) {
      access_free (a);
      return NULL;
    }
  return a;
}

void
access_free (struct access *a)
{
  KEEP_ERRNO;
  size_t i;

  if (a == NULL)
    return;
  for (i = 0; i < a->nr; ++i) {
    if (a->allowed[i].fd != -1)
      close (a->allowed[i].fd);
    free (a->allowed[i].real);
    free (a->allowed[i].prefix);
  }
  free (a->stated_dir);
  free (a->real_dir);
  free (a->url_dir);
  free (a);
}

/* --- Local files --- */

/* True if at least one directory is allowed. */
static bool
has_directory (const struct access *a)
{
  size_t i;

  for (i = 0; i < a->nr; ++i)
    if (a->allowed[i].real)
      return true;
  return a->any;
}

/* Open the real path with O_PATH, from one of the allowed directories above
 * it.  *covered: there is such a directory.  *devices: allow= gives the name
 * of one, not just image-dir.
 */
static int
open_in_directories (const struct access *a, const char *real, bool *covered,
                     bool *devices)
{
  size_t i;
  int fd = -1;

  *covered = *devices = false;
  for (i = 0; i < a->nr; ++i) {
    const struct allowed *d = &a->allowed[i];
    const char *rest = d->real ? path_below (real, d->real) : NULL;

    if (rest == NULL)
      continue;
    *covered = true;
    *devices |= d->is_named;
    if (fd == -1)
      fd = open_below (d->fd, rest, RESOLVE_NO_SYMLINKS);
  }
  return fd;
}

/* Open the file of an O_PATH descriptor for reading, if its type is allowed.
 */
static int
open_for_reading (const struct access *a, const struct reference *ref, int fd,
                  bool devices)
{
  struct stat st;
  int r;

  if (fstat (fd, &st) == -1)
    return access_open_failed (a, ref);
  if (S_ISBLK (st.st_mode) && !devices)
    return error_report (a->hooks, EPERM, ref->image,
                         "the %s " NAMED " is a block device: an image may "
                         "name one only below a directory that you allow by "
                         "its name, as with allow=/dev",
                         ref->what, NAMED_REFERENCE (ref));
  if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode))
    return error_report (a->hooks, EPERM, ref->image,
                         "the %s " NAMED " is %s: an image may only name "
                         "regular files and block devices",
                         ref->what, NAMED_REFERENCE (ref),
                         S_ISDIR (st.st_mode)    ? "a directory"
                         : S_ISFIFO (st.st_mode) ? "a FIFO"
                         : S_ISCHR (st.st_mode)  ? "a character device"
                                                 : "a special file");
  r = open_again (fd);
  return r == -1 ? access_open_failed (a, ref) : r;
}

static int
open_real (const struct access *a, const struct reference *ref,
           const char *real)
{
  struct hint_room room;
  bool covered, devices;
  int fd = open_in_directories (a, real, &covered, &devices);
  int r;

  if (fd == -1 && a->any) {
    covered = true;
    fd = open (real, O_PATH | O_CLOEXEC);
  }
  if (!covered)
    return access_refuse_file (a, ref, real);
  if (fd == -1 && errno == ENOSYS)
    return error_report (
      a->hooks, EPERM, ref->image,
      "this kernel can't open the %s '%s' safely, since it "
      "has no openat2%s",
      ref->what, ref->name,
      error_hint_with (a->hooks, ref->hint, ref->hint_value, &room));
  if (fd == -1)
    return access_open_failed (a, ref);
  r = open_for_reading (a, ref, fd, devices);
  close_keeping_errno (fd);
  return r;
}

int
access_open (const struct access *a, const struct reference *ref)
{
  char *real;
  int fd;

  if (!has_directory (a))
    return access_refuse_file (a, ref, NULL);
  real = realpath (ref->path, NULL);
  if (real == NULL)
    return access_open_failed (a, ref);
  fd = open_real (a, ref, real);
  free (real);
  return fd;
}

/* --- URLs --- */

static bool
covers_url (const struct access *a, const struct reference *ref,
            bool has_remote)
{
  const char *name = ref->url.name;
  size_t i;

  /* Sockets are local: images from elsewhere need more than "any". */
  if (a->any && !(has_remote && url_is_local (name)))
    return true;
  for (i = 0; i < a->nr; ++i)
    if (a->allowed[i].prefix && url_covers (a->allowed[i].prefix, name))
      return true;
  return false;
}

int
access_check_url (const struct access *a, const struct reference *ref,
                  bool has_remote)
{
  struct hint_room room;
  const char *why;

  if (!covers_url (a, ref, has_remote))
    return access_refuse_url (a, ref);
  if (ref->url.user)
    why = "it contains a user name";
  else if (url_hides_dotdot (ref->url.name))
    why = "it contains a hidden '..' or '.'";
  else if (ref->url.nbd && nbd_uri_has_options (ref->url.text))
    why = "it says how TLS is used";
  else
    return 0;
  return error_report (
    a->hooks, EPERM, ref->image,
    "the image names the %s '%s', which is not opened, "
    "since %s%s",
    ref->what, ref->url.name, why,
    error_hint_with (a->hooks, ref->hint, ref->hint_value, &room));
}
