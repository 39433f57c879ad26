/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Loading libraries.  See library.h.
 */

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "base/library.h"

void *
library_open (const char *soname, const char *name, const char *user,
              struct problem *problem)
{
  void *library = dlopen (soname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

  if (library == NULL)
    problem_set (problem, "%s need %s, which can't be loaded: %s", user, name,
                 dlerror ());
  return library;
}

/* ISO C does not convert dlsym's result to a pointer to a function. */
int
library_look_up (void *library, const char *name, const char *function,
                 void *pointer, struct problem *problem)
{
  void *address = dlsym (library, function);

  if (address == NULL)
    return problem_set (problem, "this %s is too old: it has no %s", name,
                        function);
  memcpy (pointer, &address, sizeof address);
  return 0;
}
