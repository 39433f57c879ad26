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

#include <stdint.h>

#include "base/error.h"

/* A note in the ELF file that tells packagers which library is loaded, since
 * it is not in the dynamic section.  The format is the UAPI Group's "ELF
 * dlopen metadata".  All arguments are string literals; 'priority' is
 * "required", "recommended" or "suggested".  For use once in each file that
 * calls library_open.
 */
#define LIBRARY_NOTE(feature, description, priority, soname)                  \
  LIBRARY_NOTE_JSON (                                                         \
    "[{\"feature\":\"" feature "\",\"description\":\"" description            \
    "\",\"priority\":\"" priority "\",\"soname\":[\"" soname "\"]}]")

/* The linker keeps sections of notes, and 'used' makes the compiler keep the
 * variable.
 */
#define LIBRARY_NOTE_JSON(json)                                               \
  static const struct {                                                       \
    uint32_t name_size, json_size, type;                                      \
    char name[4], text[sizeof (json)];                                        \
  } library_note                                                              \
    __attribute__ ((used, section (".note.dlopen"), aligned (4)))             \
    = { 4, sizeof (json), 0x407c0c0a, "FDO", json }

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
