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
#include "http/url-name.h"
#include "http/url.h"
#include "image/access-refusal.h"

int
access_open_failed (const struct access *a, const struct reference *ref)
{
  const int err = errno;
  const bool moved = err == ENOENT || err == ENOTDIR;

  return error_report (
    a->hooks, err, ref->image, "can't open the %s " NAMED ": %m%s%s%s",
    ref->what, NAMED_REFERENCE (ref),
    moved ? " (if it is elsewhere now, say where with " : "",
    moved ? ref->parameter : "", moved ? "=FILE)" : "");
}

/* Write why the file is not opened.  A long list of allow= values is cut
 * short.
 */
static void
write_reason (const struct access *a, char *reason, size_t size)
{
  size_t used = 0, i;

  if (a->nr == 0) {
    snprintf (reason, size,
              "an image may come from a stranger, and what it names is opened "
              "only where that is allowed");
    return;
  }
  used = (size_t) snprintf (reason, size, "it is not covered by ");
  for (i = 0; i < a->nr; ++i) {
    const char *value = url_shown (a->allowed[i].value);
    const char *separator = i == 0 ? "" : i + 1 == a->nr ? " or " : ", ";

    if (strlen (value) > size / 2 || used > size / 2 - 64) {
      if (i == 0)
        snprintf (reason + used, size - used, "any allow=");
      else
        snprintf (reason + used, size - used, " or %zu further ones",
                  a->nr - i);
      return;
    }
    used += (size_t) snprintf (reason + used, size - used, "%sallow=%s",
                               separator, value);
  }
}

/* 'allow' is the value of allow= that would cover the file, 'note' is "" or a
 * remark about that value, and 'kind' is FILE or URL.
 */
static int
refuse (const struct access *a, const struct reference *ref,
        const char *meaning, const char *allow, const char *note,
        const char *kind)
{
  char reason[1024];

  write_reason (a, reason, sizeof reason);
  return error_report (
    a->hooks, EPERM, ref->image,
    "the image names the %s " NAMED ", which is not opened: %s.  If you trust "
    "it, add allow=%s%s, or name the file yourself with %s=%s",
    ref->what, NAMED_ARGS (ref->name, meaning), reason, allow, note,
    ref->parameter, kind);
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
  char *path = NULL, *dir = NULL;

  if (!ref->hidden)
    path = real ? strdup (real) : absolute (a, ref->path);
  if (path)
    dir = path_directory (path);
  refuse (a, ref, path ? path : reference_meaning (ref),
          path && is_in_image_dir (a, path) ? "image-dir"
          : dir                             ? dir
                                            : "DIR",
          "", "FILE");
  free (dir);
  free (path);
  errno = EPERM;
  return -1;
}

/* --- URLs --- */

/* Returns an allowed prefix that would cover the URL if both were written in
 * the same form: as s3://BUCKET/KEY, or as the http URL that this stands for.
 * NULL: there is none.
 */
static const char *
other_form (const struct access *a, const struct url *url)
{
  size_t i;

  for (i = 0; i < a->nr; ++i) {
    const char *prefix = a->allowed[i].prefix;

    if (prefix
        && (url->s3 ? url_covers (prefix, url->text)
                    : url_covers_as_s3 (prefix, url)))
      return prefix;
  }
  return NULL;
}

/* Write a remark about the two forms, or "" if there is nothing to say. */
static void
write_note (const struct access *a, const struct url *url, char *note,
            size_t size)
{
  const char *other = other_form (a, url);

  if (other)
    snprintf (note, size,
              " (allow=%s does not cover it: s3:// and http URLs are compared "
              "as they are written%s)",
              other,
              url->s3 ? "" : ", and requests to http URLs are not signed");
  else if (url->s3)
    snprintf (note, size, " (the bucket's http URL would not cover it)");
  else if (a->url_dir && url_is_s3 (a->url_dir))
    snprintf (note, size,
              " (an s3:// URL would not cover it, and requests to http URLs "
              "are not signed)");
  else
    note[0] = '\0';
}

int
access_refuse_url (const struct access *a, const struct reference *ref)
{
  const char *name = ref->url.name;
  char *dir, note[1536];

  if (a->url_dir && url_covers (a->url_dir, name))
    return refuse (a, ref, name, "image-dir", "", "URL");
  dir = url_directory (name);
  write_note (a, &ref->url, note, sizeof note);
  refuse (a, ref, name, dir ? dir : "URL", note, "URL");
  free (dir);
  errno = EPERM;
  return -1;
}
