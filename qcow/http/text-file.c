/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Small files with secrets.  See text-file.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/keep-errno.h"
#include "base/secret.h"
#include "http/text-file.h"

#define FIRST_SIZE 8192

/* Double the buffer; the old one is wiped. */
static char *
grow (char *text, size_t *size)
{
  char *longer = malloc (2 * *size);

  if (longer)
    memcpy (longer, text, *size);
  secret_free_buffer (text, *size);
  *size *= 2;
  return longer;
}

static char *
read_all (int fd)
{
  size_t size = FIRST_SIZE, n = 0;
  char *text = malloc (size);

  while (text) {
    const ssize_t r = read (fd, text + n, size - 1 - n);

    if (r == 0) {
      text[n] = '\0';
      return text;
    }
    if (r == -1 && errno == EINTR)
      continue;
    if (r > 0)
      n += (size_t) r;
    if (r == -1 || n > TEXT_FILE_MAX) {
      const int err = r == -1 ? errno : EFBIG;

      secret_free_buffer (text, size);
      errno = err;
      return NULL;
    }
    if (n == size - 1)
      text = grow (text, &size);
  }
  errno = ENOMEM;
  return NULL;
}

static void
close_file (int fd)
{
  KEEP_ERRNO;

  close (fd);
}

char *
text_file_read (const char *path)
{
  const int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  char *text;

  if (fd == -1)
    return NULL;
  text = read_all (fd);
  close_file (fd);
  return text;
}

char *
text_file_path (const char *path, const char *home)
{
  char *here = NULL, *absolute;

  if (path[0] == '~' && path[1] == '/' && home) {
    here = strdup (home);
    path += 2;
  }
  else if (path[0] == '/')
    return strdup (path);
  else
    here = realpath (".", NULL);
  if (here == NULL)
    return NULL;
  if (asprintf (&absolute, "%s/%s", here, path) == -1) {
    absolute = NULL;
    errno = ENOMEM;
  }
  free (here);
  return absolute;
}
