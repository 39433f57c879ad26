/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Loading libcurl.  See libcurl.h.
 */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/libcurl.h"
#include "base/library.h"

/* The library's ABI since 2006, in all its builds. */
#define SONAME "libcurl.so.4"
LIBRARY_NOTE ("url", "images at http, https and s3 URLs", "recommended",
              SONAME);

struct libcurl libcurl;

int
libcurl_load (struct problem *problem)
{
  static bool loaded;
  void *handle;

  if (loaded)
    return 0;
  handle = library_open (SONAME, "libcurl", "URLs", problem);
  if (handle == NULL)
    return -1;
#define LOOK_UP(name)                                                         \
  if (library_look_up (handle, "libcurl", "curl_" #name, &libcurl.name,       \
                       problem)                                               \
      == -1)                                                                  \
    return -1;
  LIBCURL_FUNCTIONS (LOOK_UP)
#undef LOOK_UP
  if (libcurl.global_init (CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return problem_set (problem, "libcurl can't be initialized");
  loaded = true;
  return 0;
}

int
libcurl_append (struct curl_slist **list, const char *text)
{
  struct curl_slist *longer = libcurl.slist_append (*list, text);

  if (longer == NULL) {
    errno = ENOMEM;
    return -1;
  }
  *list = longer;
  return 0;
}

void
libcurl_free_secrets (struct curl_slist *list)
{
  struct curl_slist *l;

  for (l = list; l; l = l->next)
    explicit_bzero (l->data, strlen (l->data));
  libcurl.slist_free_all (list);
}
