/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Libraries that are loaded on first use, since loading them takes longer than
 * opening a local image.
 *
 * A library is never unloaded: threads of its own can still run when the
 * plugin is unloaded.
 */

#ifndef QCOW_BASE_LIBRARY_H
#define QCOW_BASE_LIBRARY_H

#include "base/error.h"

/* Load a library, for dlsym.  'user' is what needs it: "URLs".  Returns NULL
 * with the reason in *problem.
 */
void *library_open (const char *soname, const char *name, const char *user,
                    struct problem *problem);

/* Store the address of a function in *pointer, a pointer to a function.  0, or
 * -1 with the reason in *problem.
 */
int library_look_up (void *library, const char *name, const char *function,
                     void *pointer, struct problem *problem);

#endif /* QCOW_BASE_LIBRARY_H */
