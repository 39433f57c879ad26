/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory for keys.  See secret.h.
 */

#include <malloc.h>
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
  /* Without it, or beyond RLIMIT_MEMLOCK, the memory is as any other: no
   * reason to refuse the image.
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

void
secret_free_string (char *secret)
{
  if (secret)
    explicit_bzero (secret, malloc_usable_size (secret));
  free (secret);
}

int
secret_lock (const void *secret, size_t length)
{
  return mlock (secret, length);
}
