/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory for keys.  See secret.h.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/keep-errno.h"
#include "base/secret.h"

void *
secret_new (size_t length)
{
  void *p = mmap (NULL, length, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (p == MAP_FAILED)
    return NULL;
  /* Failures are ignored: a system without support, or with a low
   * RLIMIT_MEMLOCK, is no reason to refuse the image.
   */
  (void) madvise (p, length, MADV_DONTDUMP);
  (void) secret_lock (p, length);
  return p;
}

void
secret_free (void *secret, size_t length)
{
  KEEP_ERRNO;

  if (secret == NULL)
    return;
  explicit_bzero (secret, length);
  munmap (secret, length);
}

int
secret_lock (const void *secret, size_t length)
{
  return mlock (secret, length);
}

void
secret_free_buffer (void *buffer, size_t length)
{
  if (buffer)
    explicit_bzero (buffer, length);
  free (buffer);
}

void
secret_free_string (char *string)
{
  if (string)
    secret_free_buffer (string, strlen (string));
}
