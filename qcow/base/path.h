/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names of local files, as texts.  Pure: no file is looked at.
 */

#ifndef QCOW_BASE_PATH_H
#define QCOW_BASE_PATH_H

/* The directory part of a name, without the slash at its end: "." if there is
 * none.  A new string, or NULL: out of memory.
 */
char *path_directory (const char *name);

/* Join a relative name to the directory part of 'holder', as both are written
 * (qemu).  An absolute name stays as it is.  A new string, or NULL: out of
 * memory.
 */
char *path_join (const char *holder, const char *name);

/* The part of a path below a directory, as both are written.  (No slash may
 * follow the directory.)  NULL if the path does not lie below it.
 */
const char *path_below (const char *path, const char *directory);

/* Remove "//", "." and ".." from an absolute path in place.  The result names
 * another file where ".." follows a symbolic link.
 */
void path_normalize (char *path);

#endif /* QCOW_BASE_PATH_H */
