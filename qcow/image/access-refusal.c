/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Messages about files that the access rule does not allow: what the name
 * means, and which parameters would open the file.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"
#include "image/access-refusal.h"
#include "url/url-name.h"
#include "url/url.h"

int
access_open_failed (const struct access *a, const struct reference *ref)
{
  const int err = errno;
  const bool moved = err == ENOENT || err == ENOTDIR;
  struct hint_room room;

  if (err == EOPNOTSUPP) /* open_again */
    return error_report (a->hooks, err, ref->image,
                         "can't open the %s " NAMED ": /proc is not mounted",
                         ref->what, NAMED_REFERENCE (ref));
  return error_report (
    a->hooks, err, ref->image, "can't open the %s " NAMED ": %m%s", ref->what,
    NAMED_REFERENCE (ref),
    moved ? error_hint_with (a->hooks, ref->hint, ref->hint_value, &room)
          : "");
}

/* 'allow' is the value of allow= that would cover the file.  'note' is "" or a
 * remark about the values that there are.
 */
static int
refuse (const struct access *a, const struct reference *ref,
        const char *meaning, const char *allow, const char *note)
{
  struct hint_room room;

  return error_report (
    a->hooks, EPERM, ref->image,
    "the image names the %s " NAMED ", which is not opened, since %s%s%s",
    ref->what, NAMED_ARGS (ref->name, meaning),
    a->nr == 0 ? "files that an image names must be allowed"
               : "no allowed place contains it",
    note, error_hint_with (a->hooks, QCOW_HINT_ALLOW, allow, &room));
}

/* --- Local files --- */

/* The absolute path of the file, derived from the text alone, so it is wrong
 * where ".." follows a symbolic link.  A new string, or NULL if it is not
 * known.
 */
static char *
absolute (const struct access *a, const char *path)
{
  const char *rest = path;
  char *dir, *name = NULL;

  /* Replace the image's directory by its real path. */
  if (a->real_dir && strcmp (a->stated_dir, ".") == 0 && path[0] != '/')
    dir = strdup (a->real_dir);
  else if (a->real_dir && path_below (path, a->stated_dir)) {
    dir = strdup (a->real_dir);
    rest = path_below (path, a->stated_dir);
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

/* True if allow=image-dir would cover the file.  (It does not cover block
 * devices.)
 */
static bool
is_in_image_dir (const struct access *a, const char *path)
{
  return a->real_dir && path_below (path, a->real_dir)
         && strncmp (path, "/dev/", 5) != 0;
}

int
access_refuse_file (const struct access *a, const struct reference *ref,
                    const char *real)
{
  char *path = real ? strdup (real) : absolute (a, ref->path), *dir = NULL;
  const char *meaning = reference_meaning (ref);

  if (path && !ref->hidden) {
    dir = path_directory (path);
    meaning = path;
  }
  refuse (a, ref, meaning,
          path && is_in_image_dir (a, path) ? "image-dir"
          : dir                             ? dir
                                            : "DIR",
          "");
  free (dir);
  free (path);
  errno = EPERM;
  return -1;
}

/* --- URLs --- */

/* True if a value of allow= is an s3:// URL and this one is not, or the
 * reverse: they may well mean the same object.
 */
static bool
is_other_form (const struct access *a, const struct url *url)
{
  size_t i;

  for (i = 0; i < a->nr && !url->nbd; ++i) {
    const char *prefix = a->allowed[i].prefix;

    if (prefix && url_is_web (prefix) && url_is_s3 (prefix) != url->s3)
      return true;
  }
  return false;
}

int
access_refuse_url (const struct access *a, const struct reference *ref)
{
  const char *name = ref->url.name, *note = "";
  char *dir;

  if (a->any && url_is_local (name))
    note = "; allow=any covers no sockets for images at URLs";
  else if (is_other_form (a, &ref->url))
    note = "; s3:// and http URLs are compared as they are written";
  if (a->url_dir && url_covers (a->url_dir, name))
    return refuse (a, ref, name, "image-dir", note);
  dir = url_directory (name);
  refuse (a, ref, name, dir ? dir : "URL", note);
  free (dir);
  errno = EPERM;
  return -1;
}
