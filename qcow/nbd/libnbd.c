/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Loading libnbd.  See libnbd.h.
 */

#include <stdbool.h>

#include "base/library.h"
#include "nbd/libnbd.h"

/* The library's ABI since 2019. */
#define SONAME "libnbd.so.0"
LIBRARY_NOTE ("nbd", "images on NBD servers", "suggested", SONAME);

struct libnbd libnbd;

int
libnbd_load (struct problem *problem)
{
  static bool loaded;
  void *handle;

  if (loaded)
    return 0;
  handle = library_open (SONAME, "libnbd", "NBD URIs", problem);
  if (handle == NULL)
    return -1;
#define LOOK_UP(name)                                                         \
  if (library_look_up (handle, "libnbd", "nbd_" #name, &libnbd.name, problem) \
      == -1)                                                                  \
    return -1;
  LIBNBD_FUNCTIONS (LOOK_UP)
#undef LOOK_UP
  loaded = true;
  return 0;
}

const char *
libnbd_version (void)
{
  struct nbd_handle *nbd = libnbd.create ();
  const char *version = NULL;

  if (nbd)
    version = libnbd.get_version (nbd); /* static */
  libnbd.close (nbd);
  return version;
}
