/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A directory of images.  See directory.h.
 *
 * Locking: the lock guards the list of images and all of their members but
 * 'image', which is constant once it is loaded.  It is not held while an image
 * is opened or closed.  A thread that needs an image which another thread is
 * opening waits for it (single-flight).
 *
 * Invariants under the lock: each image in the list is in use, or READY, idle
 * and the current file of its name.  'nr_idle' counts the latter.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/keep-errno.h"
#include "base/monotonic.h"
#include "base/once.h"
#include "base/open.h"
#include "base/secret.h"
#include "base/wait.h"
#include "base/worker.h"
#include "directory.h"
#include "disk/layer.h"
#include "image/access.h"
#include "image/backing-format.h"
#include "image/l1.h"
#include "source/directory-files.h"
#include "url/url-name.h"

/* Programs often connect again at once, but an image without clients should
 * not keep its locks, its memory or its file system in use for long.
 */
#define IDLE_MS 2000
#define MAX_IDLE 4

/* If tables take more, idle images are closed before another is opened. */
#define IDLE_L1_BYTES (QCOW_MAX_L1_MEMORY / 4)

struct shared_image {
  struct view_owner owner; /* of the clients' views; the first member */
  struct qcow_directory *directory;
  struct qcow *image; /* NULL: not loaded */
  struct file_version version;
  unsigned uses; /* clients, and threads that open the image or wait for it */
  bool replaced; /* the name means another file now */
  struct once load;
  uint64_t idle_since; /* monotonic, in ms; if uses is 0 */
  struct shared_image *next;
  char name[]; /* of the file in the directory */
};

struct qcow_directory {
  struct qcow_shared *shared;
  struct qcow_options options; /* for all images */
  struct access *access;       /* likewise */
  struct directory_files files;

  pthread_mutex_t lock;
  struct shared_image *images;
  unsigned nr_idle;

  /* The thread that closes idle images. */
  pthread_t closer;
  bool has_closer, stopping;
  pthread_cond_t idle; /* an image became idle, or 'stopping' was set */
};

static const struct qcow_hooks *
hooks_of (const struct qcow_directory *d)
{
  return &d->shared->hooks;
}

/* --- Closing images --- */

/* Under the lock. */
static void
unlink_image (struct qcow_directory *d, struct shared_image *image)
{
  struct shared_image **p = &d->images;

  while (*p != image)
    p = &(*p)->next;
  *p = image->next;
  image->next = NULL;
}

/* Under the lock: take idle images out of the list: all that became idle at
 * 'until' or earlier, and others as long as there are more than 'most'.  The
 * caller closes them without the lock.
 */
static struct shared_image *
take_idle (struct qcow_directory *d, uint64_t until, unsigned most)
{
  struct shared_image *taken = NULL, *image, *oldest;

  for (;;) {
    oldest = NULL;
    for (image = d->images; image; image = image->next)
      if (image->uses == 0
          && (oldest == NULL || image->idle_since < oldest->idle_since))
        oldest = image;
    if (oldest == NULL || (oldest->idle_since > until && d->nr_idle <= most))
      return taken;
    unlink_image (d, oldest);
    d->nr_idle--;
    oldest->next = taken;
    taken = oldest;
  }
}

static void
close_images (struct shared_image *list)
{
  KEEP_ERRNO;

  while (list) {
    struct shared_image *image = list;

    list = image->next;
    qcow_close (image->image);
    once_destroy (&image->load);
    free (image);
  }
}

/* Under the lock: drop a use.  Returns the images that the caller closes
 * without the lock.
 */
static struct shared_image *
drop_use (struct qcow_directory *d, struct shared_image *image)
{
  if (--image->uses > 0)
    return NULL;
  if (image->load.state != ONCE_READY || image->replaced) {
    unlink_image (d, image);
    return image;
  }
  image->idle_since = monotonic_ms ();
  d->nr_idle++;
  pthread_cond_signal (&d->idle);
  return take_idle (d, 0, MAX_IDLE);
}

static void
put_image (struct shared_image *image)
{
  struct qcow_directory *d = image->directory;
  struct shared_image *closed;

  pthread_mutex_lock (&d->lock);
  closed = drop_use (d, image);
  pthread_mutex_unlock (&d->lock);
  close_images (closed);
}

static void
release_view (struct view_owner *owner)
{
  put_image ((struct shared_image *) owner);
}

/* Under the lock: how long until the first idle image is due, in ms. */
static long
ms_to_next (const struct qcow_directory *d, uint64_t now)
{
  const struct shared_image *image;
  uint64_t ms = IDLE_MS;

  for (image = d->images; image; image = image->next)
    if (image->uses == 0 && image->idle_since + IDLE_MS - now < ms)
      ms = image->idle_since + IDLE_MS - now;
  return (long) ms;
}

static void *
close_idle (void *opaque)
{
  struct qcow_directory *d = opaque;

  pthread_mutex_lock (&d->lock);
  while (!d->stopping) {
    const uint64_t now = monotonic_ms ();
    struct shared_image *closed
      = take_idle (d, now < IDLE_MS ? 0 : now - IDLE_MS, MAX_IDLE);
    struct timespec due;

    if (closed) {
      pthread_mutex_unlock (&d->lock);
      close_images (closed);
      pthread_mutex_lock (&d->lock);
    }
    else if (d->nr_idle == 0)
      pthread_cond_wait (&d->idle, &d->lock);
    else {
      due = monotonic_deadline (ms_to_next (d, now));
      pthread_cond_timedwait (&d->idle, &d->lock, &due);
    }
  }
  pthread_mutex_unlock (&d->lock);
  return NULL;
}

/* --- Opening images --- */

/* Under the lock: find the image of a file, and add a use.  An image of
 * another file that had the name is for its present clients only; it is added
 * to *closed if it has none.
 */
static struct shared_image *
find_image (struct qcow_directory *d, const char *name,
            const struct file_version *version, struct shared_image **closed)
{
  struct shared_image *image, *next, *found = NULL;

  for (image = d->images; image; image = next) {
    next = image->next;
    if (image->replaced || image->load.state == ONCE_FAILED
        || strcmp (image->name, name) != 0)
      continue;
    if (file_version_same (&image->version, version))
      found = image;
    else {
      image->replaced = true;
      if (image->uses == 0) {
        unlink_image (d, image);
        d->nr_idle--;
        image->next = *closed;
        *closed = image;
      }
    }
  }
  if (found && found->uses++ == 0)
    d->nr_idle--;
  return found;
}

/* Under the lock: add an image, which the caller loads.  NULL if out of
 * memory.
 */
static struct shared_image *
add_image (struct qcow_directory *d, const char *name,
           const struct file_version *version)
{
  const size_t length = strlen (name) + 1;
  struct shared_image *image = calloc (1, sizeof *image + length);

  if (image == NULL)
    return NULL;
  image->owner.release = release_view;
  image->directory = d;
  image->version = *version;
  image->uses = 1;
  once_begin (&image->load);
  memcpy (image->name, name, length);
  image->next = d->images;
  d->images = image;
  return image;
}

/* Close the idle images if they could keep another one from being opened. */
static void
make_room (struct qcow_directory *d)
{
  struct shared_image *closed;

  if (l1_tables_bytes (d->shared->context.l1_tables) <= IDLE_L1_BYTES)
    return;
  pthread_mutex_lock (&d->lock);
  closed = take_idle (d, 0, 0);
  pthread_mutex_unlock (&d->lock);
  close_images (closed);
}

/* Returns 0, or an errno value with the error reported. */
static int
load_image (struct shared_image *image, int fd)
{
  struct qcow_directory *d = image->directory;
  struct qcow_options options = d->options;
  char *path;

  make_room (d);
  if (asprintf (&path, "%s%s", d->files.path, image->name) == -1) {
    error_no_memory (hooks_of (d), image->name);
    return ENOMEM;
  }
  options.filename = path;
  options.fd = fd;
  image->image = qcow_open_shared (d->shared, &options);
  free (path);
  return image->image ? 0 : errno != 0 ? errno : EIO;
}

/* Under the lock, which is released meanwhile. */
static int
load_or_wait (struct shared_image *image, bool mine, int fd)
{
  struct qcow_directory *d = image->directory;
  int err;

  if (!mine)
    return once_wait (&image->load, &d->lock, hooks_of (d));
  pthread_mutex_unlock (&d->lock);
  err = load_image (image, fd);
  pthread_mutex_lock (&d->lock);
  once_end (&image->load, err);
  return err;
}

/* Get the image of an open file.  NULL with the error reported and errno. */
static struct shared_image *
get_image (struct qcow_directory *d, const char *name, int fd,
           const struct file_version *version)
{
  struct shared_image *image, *closed;
  bool mine;
  int err;

  do {
    closed = NULL;
    pthread_mutex_lock (&d->lock);
    image = find_image (d, name, version, &closed);
    mine = image == NULL;
    if (mine)
      image = add_image (d, name, version);
    pthread_mutex_unlock (&d->lock);
    close_images (closed); /* first, since it uses memory and descriptors */
    if (image == NULL) {
      error_no_memory (hooks_of (d), name);
      return NULL;
    }

    pthread_mutex_lock (&d->lock);
    err = load_or_wait (image, mine, fd);
    closed = err == 0 ? NULL : drop_use (d, image);
    pthread_mutex_unlock (&d->lock);
    close_images (closed);
    if (err == 0)
      return image;
    /* The other thread's client disconnected.  Retry unless ours did, too. */
  } while (!mine && err == ESHUTDOWN && hooks_sleep (hooks_of (d), 0) == 0);

  /* The thread that opened the image reported the reason to its own client. */
  errno = err;
  if (!mine && err != ESHUTDOWN)
    error_report (hooks_of (d), err, name, "can't open the image: %m");
  return NULL;
}

/* --- Clients --- */

static struct qcow_view *
open_view (struct qcow_directory *d, const char *file, const char *rest)
{
  struct file_version version;
  struct shared_image *image;
  struct qcow_view *view;
  const int fd = directory_files_open_one (&d->files, file, &version);

  if (fd == -1)
    return NULL;
  image = get_image (d, file, fd, &version);
  close_keeping_errno (fd);
  if (image == NULL)
    return NULL;
  view = qcow_view_open (image->image, rest);
  if (view)
    view->owner = &image->owner;
  else
    put_image (image);
  return view;
}

struct qcow_view *
qcow_directory_view_open (struct qcow_directory *d, const char *name)
{
  const size_t length = strcspn (name, "/");
  const char *rest = name + length + (name[length] == '/');
  struct qcow_view *view;
  char *file;

  if (length == 0 || name[0] == '.'
      || (name[length] == '/' && rest[0] == '\0')) {
    error_report (hooks_of (d), ENOENT, name[0] == '\0' ? "export ''" : name,
                  "there is no such export: a directory of images is served, "
                  "so exports are FILE or FILE/NAME, and FILE does not begin "
                  "with a dot");
    return NULL;
  }
  file = strndup (name, length);
  if (file == NULL) {
    error_no_memory (hooks_of (d), name);
    return NULL;
  }
  view = open_view (d, file, rest);
  free (file);
  return view;
}

int
qcow_directory_list (struct qcow_directory *d, qcow_list_fn fn, void *opaque)
{
  return directory_files_list (&d->files, fn, opaque);
}

/* --- The directory --- */

static int
check_options (const struct qcow_options *options,
               const struct qcow_hooks *hooks)
{
  size_t i;

  for (i = 0; i < options->nr_allow; ++i)
    if (url_is_one (options->allow[i]))
      return error_report (hooks, EINVAL, url_shown (options->allow[i]),
                           "allow=%s: the images of a directory can't reach "
                           "URLs",
                           url_shown (options->allow[i]));
  return backing_format_check_options (options, hooks, options->directory);
}

/* The rule is made once, because nbdkit changes its directory and user. */
static int
make_access (struct qcow_directory *d)
{
  const struct qcow_options *options = &d->options;
  struct reference any_image = { .path = d->files.path };

  d->access
    = access_new (options->allow, options->nr_allow, &any_image, hooks_of (d));
  d->shared->context.access = d->access;
  return d->access ? 0 : -1;
}

struct qcow_directory *
qcow_directory_open (const struct qcow_options *options,
                     const struct qcow_hooks *hooks)
{
  struct qcow_directory *d;

  if (check_options (options, hooks) == -1)
    return NULL;
  d = calloc (1, sizeof *d);
  if (d == NULL) {
    error_no_memory (hooks, options->directory);
    return NULL;
  }
  pthread_mutex_init (&d->lock, NULL);
  monotonic_cond_init (&d->idle);
  d->options = *options;
  d->files.fd = -1;
  d->shared = qcow_shared_new (options, hooks);
  if (d->shared
      && directory_files_open (&d->files, options->directory, hooks_of (d))
           == 0
      && make_access (d) == 0)
    return d;
  qcow_directory_close (d);
  return NULL;
}

/* A fork ends memory locks. */
static void
lock_passphrases (const struct qcow_options *options)
{
  size_t i;

  for (i = 0; i < options->nr_passphrases; ++i)
    (void) secret_lock (options->passphrases[i],
                        strlen (options->passphrases[i]) + 1);
}

int
qcow_directory_after_fork (struct qcow_directory *d)
{
  qcow_shared_after_fork (d->shared);
  lock_passphrases (&d->options);
  d->has_closer = worker_start (&d->closer, close_idle, d) == 0;
  return d->has_closer ? 0
                       : error_report (hooks_of (d), errno,
                                       "dir=", "can't start a thread: %m");
}

static void
stop_closer (struct qcow_directory *d)
{
  if (!d->has_closer)
    return;
  pthread_mutex_lock (&d->lock);
  d->stopping = true;
  pthread_cond_signal (&d->idle);
  pthread_mutex_unlock (&d->lock);
  pthread_join (d->closer, NULL);
}

void
qcow_directory_close (struct qcow_directory *d)
{
  KEEP_ERRNO;

  if (d == NULL)
    return;
  stop_closer (d);
  close_images (d->images);
  access_free (d->access);
  directory_files_close (&d->files);
  qcow_shared_free (d->shared);
  pthread_cond_destroy (&d->idle);
  pthread_mutex_destroy (&d->lock);
  free (d);
}
