/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Loading libcurl.  See libcurl.h.
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "url/libcurl.h"

/* The library's ABI since 2006, in all its builds. */
#define SONAME "libcurl.so.4"

struct libcurl libcurl;

/* ISO C does not convert dlsym's result to a pointer to a function. */
static bool
look_up (void *handle, const char *symbol, void *pointer)
{
  void *address = dlsym (handle, symbol);

  memcpy (pointer, &address, sizeof address);
  return address != NULL;
}

int
libcurl_load (struct problem *problem)
{
  static bool loaded;
  void *handle;

  if (loaded)
    return 0;
  /* libcurl's resolver thread can still run when the plugin is unloaded. */
  handle = dlopen (SONAME, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == NULL)
    return problem_set (problem,
                        "URLs need libcurl, which can't be loaded: "
                        "%s",
                        dlerror ());
#define LOOK_UP(name)                                                         \
  if (!look_up (handle, "curl_" #name, &libcurl.name))                        \
    return problem_set (problem, "this libcurl is too old: it has no "        \
                                 "curl_" #name);
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
