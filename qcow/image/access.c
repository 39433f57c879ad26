/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rule of what may be opened because an image names it.  See access.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/keep-errno.h"
#include "base/path.h"
#include "http/url-path.h"
#include "http/url-s3.h"
#include "http/url-show.h"
#include "image/access.h"

/* An allowed directory, or URLs with an allowed beginning. */
struct directory {
  const char *value; /* of allow= */
  int fd;            /* O_PATH; -1: not open */
  char *real;        /* where it really is; NULL: it is not a directory */
  bool is_named;     /* by the user, and not as image-dir */
  char *prefix;      /* a URL's name; NULL: it is a directory */
};

struct access {
  const struct qcow_hooks *hooks;
  bool any;
  char *stated_dir; /* the directory part of the image's name, or URL */
  char *image_dir;  /* where that really is, or a URL; NULL: not known */
  size_t nr;
  struct directory directories[];
};

static int
open_directory (struct directory *d, const char *name,
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
bad_prefix (const char *name, const char *why, const struct qcow_hooks *hooks)
{
  return error_report (hooks, EINVAL, "allow=", "%s: %s", url_shown (name),
                       why);
}

static int
take_prefix (struct directory *d, const char *name,
             const struct qcow_hooks *hooks)
{
  struct problem problem;
  struct url url;

  if (url_has_query (name))
    return bad_prefix (name, "a query can't be a part of it", hooks);
  if (url_parse_prefix (name, &url, &problem) == 0)
    d->prefix = strdup (url.name);
  else if (errno != ENOMEM) {
    url_free (&url);
    return bad_prefix (name, problem.text, hooks);
  }
  url_free (&url);
  return d->prefix ? 0 : error_no_memory (hooks, "allow=");
}

static int
add_allowed (struct access *f, const char *value, bool image_is_url)
{
  struct directory *d;

  if (strcmp (value, "any") == 0) {
    f->any = true;
    return 0;
  }
  d = &f->directories[f->nr++];
  d->value = value;
  d->fd = -1;
  d->is_named = strcmp (value, "image-dir") != 0;
  if (d->is_named)
    return url_is_one (value) ? take_prefix (d, value, f->hooks)
                              : open_directory (d, value, f->hooks);
  if (!image_is_url)
    return open_directory (d, f->stated_dir, f->hooks);
  d->prefix = strdup (f->stated_dir);
  return d->prefix ? 0 : error_no_memory (f->hooks, "allow=");
}

struct access *
access_new (const char *const *allow, size_t nr, const struct reference *image,
            const struct qcow_hooks *hooks)
{
  struct access *f = calloc (1, sizeof *f + nr * sizeof f->directories[0]);
  size_t i;

  if (f)
    f->stated_dir = image->path ? path_directory (image->path)
                                : url_directory (image->url.name);
  if (f == NULL || f->stated_dir == NULL) {
    free (f);
    error_no_memory (hooks, reference_meaning (image));
    return NULL;
  }
  f->hooks = hooks;
  f->image_dir
    = image->path ? realpath (f->stated_dir, NULL) : strdup (f->stated_dir);
  for (i = 0; i < nr; ++i)
    if (add_allowed (f, allow[i], image->path == NULL) == -1) {
      KEEP_ERRNO;

      access_free (f);
      return NULL;
    }
  return f;
}

void
access_free (struct access *f)
{
  size_t i;

  if (f == NULL)
    return;
  for (i = 0; i < f->nr; ++i) {
    if (f->directories[i].fd >= 0)
      close (f->directories[i].fd);
    free (f->directories[i].real);
    free (f->directories[i].prefix);
  }
  free (f->stated_dir);
  free (f->image_dir);
  free (f);
}

static int
can_not_open (const struct access *f, const struct reference *ref)
{
  const int err = errno;
  const bool moved = err == ENOENT || err == ENOTDIR;

  return error_report (
    f->hooks, err, ref->image, "can't open the %s " NAMED ": %m%s%s%s",
    ref->what, NAMED_REFERENCE (ref),
    moved ? " (if it is elsewhere now, say where with " : "",
    moved ? ref->parameter : "", moved ? "=FILE)" : "");
}

/* The absolute name of the file that an image names.  It may be wrong where
 * ".." follows a symbolic link.  A new string, or NULL.
 */
static char *
absolute (const struct access *f, const char *path)
{
  const size_t n = strlen (f->stated_dir);
  const bool in_cwd = strcmp (f->stated_dir, ".") == 0 && path[0] != '/';
  const char *rest = path;
  char *dir = NULL, *name = NULL;

  if (f->image_dir && f->image_dir[0] == '/'
      && (in_cwd
          || (strncmp (path, f->stated_dir, n) == 0 && path[n] == '/'))) {
    dir = strdup (f->image_dir);
    rest = in_cwd ? path : path + n;
  }
  else
    dir = path[0] == '/' ? strdup ("") : getcwd (NULL, 0);
  if (dir == NULL || asprintf (&name, "%s/%s", dir, rest) == -1)
    name = NULL;
  free (dir);
  if (name)
    path_normalize (name);
  return name;
}

/* --- What is not allowed --- */

/* Why: nothing is allowed, or what is allowed does not cover it.  Many values
 * of allow= are not all listed.
 */
static void
write_reason (const struct access *f, char *reason, size_t size)
{
  size_t used = 0, i;

  if (f->nr == 0) {
    snprintf (reason, size,
              "an image may come from a stranger, and what it names is opened "
              "only where that is allowed");
    return;
  }
  used = (size_t) snprintf (reason, size, "it is not covered by ");
  for (i = 0; i < f->nr; ++i) {
    const char *value = url_shown (f->directories[i].value);
    const char *separator = i == 0 ? "" : i + 1 == f->nr ? " or " : ", ";

    if (strlen (value) > size / 2 || used > size / 2 - 64) {
      if (i == 0)
        snprintf (reason + used, size - used, "any allow=");
      else
        snprintf (reason + used, size - used, " or %zu further ones",
                  f->nr - i);
      return;
    }
    used += (size_t) snprintf (reason + used, size - used, "%sallow=%s",
                               separator, value);
  }
}

static void
report_not_allowed (const struct access *f, const struct reference *ref,
                    const char *meaning, const char *allow, const char *note,
                    const char *what)
{
  char reason[1024];

  write_reason (f, reason, sizeof reason);
  error_report (f->hooks, EPERM, ref->image,
                "the image names the %s " NAMED ", which is not opened: %s.  "
                "If you trust it, add allow=%s%s, or name the file yourself "
                "with %s=%s",
                ref->what, NAMED_ARGS (ref->name, meaning), reason, allow,
                note, ref->parameter, what);
}

/* Tell what the name means, and the parameter that would allow it.  'real' is
 * where the file really is, or NULL if that was not looked up.
 */
static int
not_allowed (const struct access *f, const struct reference *ref,
             const char *real)
{
  char *path = ref->hidden ? NULL
               : real      ? strdup (real)
                           : absolute (f, ref->path);
  char *dir = path ? path_directory (path) : NULL;
  /* It is not enough for a block device. */
  const bool in_image_dir = path && f->image_dir && f->image_dir[0] == '/'
                            && path_below (path, f->image_dir)
                            && strncmp (path, "/dev/", 5) != 0;

  report_not_allowed (f, ref, path ? path : reference_meaning (ref),
                      in_image_dir ? "image-dir"
                      : dir        ? dir
                                   : "DIR",
                      "", "FILE");
  free (dir);
  free (path);
  errno = EPERM;
  return -1;
}

/* Open a place below a directory to look at it: whatever is there now, the
 * kernel does not follow a link nor leave the directory.
 */
static int
open_below (const struct directory *d, const char *rest)
{
  const struct open_how how = {
    .flags = O_PATH | O_CLOEXEC,
    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
  };

  return (int) syscall (SYS_openat2, d->fd, rest, &how, sizeof how);
}

/* 'fd' was only opened to be looked at: open what it is, if it is of the
 * right type.
 */
static int
open_for_reading (const struct access *f, const struct reference *ref, int fd,
                  bool devices)
{
  char self[64];
  struct stat st;
  int r;

  if (fstat (fd, &st) == -1)
    return can_not_open (f, ref);
  if (S_ISBLK (st.st_mode) && !devices)
    return error_report (f->hooks, EPERM, ref->image,
                         "the %s " NAMED " is a block device: an image may "
                         "name one only below a directory that you allow by "
                         "its name, as with allow=/dev",
                         ref->what, NAMED_REFERENCE (ref));
  if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode))
    return error_report (f->hooks, EPERM, ref->image,
                         "the %s " NAMED " is %s: an image may only name "
                         "regular files and block devices",
                         ref->what, NAMED_REFERENCE (ref),
                         S_ISDIR (st.st_mode)    ? "a directory"
                         : S_ISFIFO (st.st_mode) ? "a FIFO"
                         : S_ISCHR (st.st_mode)  ? "a character device"
                                                 : "a special file");
  snprintf (self, sizeof self, "/proc/self/fd/%d", fd);
  r = open (self, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  return r == -1 ? can_not_open (f, ref) : r;
}

/* Open the real path from one of the allowed directories that it lies
 * below; *covered says whether there is one, *devices whether it is one
 * that the user named.
 */
static int
open_in_directories (const struct access *f, const char *real, bool *covered,
                     bool *devices)
{
  size_t i;
  int fd = -1;

  *covered = *devices = false;
  for (i = 0; i < f->nr; ++i) {
    const struct directory *d = &f->directories[i];
    const char *rest = d->real ? path_below (real, d->real) : NULL;

    if (rest == NULL)
      continue;
    *covered = true;
    *devices |= d->is_named;
    if (fd == -1)
      fd = open_below (d, rest);
  }
  return fd;
}

static bool
covers_directories (const struct access *f)
{
  size_t i;

  for (i = 0; i < f->nr; ++i)
    if (f->directories[i].real)
      return true;
  return f->any;
}

/* Open the real path; 'covered' and 'devices' as above. */
static int
open_real (const struct access *f, const struct reference *ref,
           const char *real)
{
  bool covered, devices;
  int fd = open_in_directories (f, real, &covered, &devices);
  int r, err;

  if (fd == -1 && f->any) {
    covered = true;
    fd = open (real, O_PATH | O_CLOEXEC);
  }
  if (!covered)
    return not_allowed (f, ref, real);
  if (fd == -1 && errno == ENOSYS)
    return error_report (f->hooks, EPERM, ref->image,
                         "this kernel can't open the %s '%s' safely (it has "
                         "no openat2): name the file yourself with %s=FILE",
                         ref->what, ref->name, ref->parameter);
  if (fd == -1)
    return can_not_open (f, ref);
  r = open_for_reading (f, ref, fd, devices);
  err = errno;
  close (fd);
  errno = err;
  return r;
}

int
access_open (const struct access *f, const struct reference *ref)
{
  char *real;
  int fd, err;

  /* Even a look at a name can have an effect, such as a mount. */
  if (!covers_directories (f))
    return not_allowed (f, ref, NULL);
  real = realpath (ref->path, NULL);
  if (real == NULL)
    return can_not_open (f, ref);
  fd = open_real (f, ref, real);
  err = errno;
  free (real);
  errno = err;
  return fd;
}

static bool
covers_url (const struct access *f, const char *name)
{
  size_t i;

  if (f->any)
    return true;
  for (i = 0; i < f->nr; ++i)
    if (f->directories[i].prefix
        && url_covers (f->directories[i].prefix, name))
      return true;
  return false;
}

/* An allowed prefix that would cover the URL, were it written in the other
 * form: as s3://BUCKET/KEY, or as the http URL that this stands for.  Or NULL.
 */
static const char *
other_form (const struct access *f, const struct url *url)
{
  size_t i;

  for (i = 0; i < f->nr; ++i) {
    const char *prefix = f->directories[i].prefix;

    if (prefix
        && (url->s3 ? url_covers (prefix, url->text)
                    : url_covers_as_s3 (prefix, url)))
      return prefix;
  }
  return NULL;
}

/* What to know of the two forms, as a part of a message. */
static void
note_forms (const struct access *f, const struct url *url, char *out,
            size_t max)
{
  const char *other = other_form (f, url);

  if (other)
    snprintf (out, max,
              " (allow=%s does not cover it: s3:// and http URLs are compared "
              "as they are written%s)",
              other,
              url->s3 ? "" : ", and requests to http URLs are not signed");
  else if (url->s3)
    snprintf (out, max, " (the bucket's http URL would not cover it)");
  else if (f->image_dir && strncmp (f->image_dir, "s3:", 3) == 0)
    snprintf (out, max,
              " (an s3:// URL would not cover it, and requests to http URLs "
              "are not signed)");
  else
    out[0] = '\0';
}

static int
url_not_allowed (const struct access *f, const struct reference *ref)
{
  const char *name = ref->url.name;
  char *dir = url_directory (name), note[1536];
  const bool in_image_dir = f->image_dir && url_covers (f->image_dir, name);

  note_forms (f, &ref->url, note, sizeof note);
  report_not_allowed (f, ref, name,
                      in_image_dir ? "image-dir"
                      : dir        ? dir
                                   : "URL",
                      in_image_dir ? "" : note, "URL");
  free (dir);
  errno = EPERM;
  return -1;
}

int
access_check_url (const struct access *f, const struct reference *ref)
{
  const char *why;

  if (!covers_url (f, ref->url.name))
    return url_not_allowed (f, ref);
  if (ref->url.user)
    why = "there is a user name in it";
  else if (url_hides_dotdot (ref->url.name))
    why = "there is a '..' or '.' hidden in it";
  else
    return 0;
  return error_report (f->hooks, EPERM, ref->image,
                       "the image names the %s '%s', which is not opened: "
                       "%s.  If you trust it, name it yourself with %s=URL",
                       ref->what, ref->url.name, why, ref->parameter);
}
