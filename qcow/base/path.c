/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Operations on the names of local files.  See path.h.
 */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"

char *
path_directory (const char *name)
{
  const char *slash = strrchr (name, '/');

  if (slash == NULL)
    return strdup (".");
  return slash == name ? strdup ("/")
                       : strndup (name, (size_t) (slash - name));
}

char *
path_join (const char *holder, const char *name)
{
  const char *slash = strrchr (holder, '/');
  const size_t dir
    = slash && name[0] != '/' ? (size_t) (slash - holder) + 1 : 0;
  const size_t length = strlen (name) + 1;
  char *path = malloc (dir + length);

  if (path) {
    memcpy (path, holder, dir);
    memcpy (path + dir, name, length);
  }
  return path;
}

const char *
path_below (const char *path, const char *directory)
{
  const size_t n = strlen (directory);

  if (strcmp (directory, "/") == 0)
    return path[1] != '\0' ? path + 1 : NULL;
  if (strncmp (path, directory, n) != 0 || path[n] != '/')
    return NULL;
  return path + n + 1;
}

void
path_normalize (char *path)
{
  char *end = path; /* of the result */
  const char *p = path;

  while (*p) {
    const size_t n = strcspn (p + 1, "/"); /* of the next component */

    if (n == 2 && memcmp (p + 1, "..", 2) == 0)
      while (end > path && *--end != '/')
        ;
    else if (n > 0 && !(n == 1 && p[1] == '.')) {
      memmove (end, p, n + 1);
      end += n + 1;
    }
    p += n + 1;
  }
  if (end == path)
    *end++ = '/';
  *end = '\0';
}
