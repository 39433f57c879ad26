/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Operations on the names of local files.  They work on strings alone and
 * access no file.
 */

#ifndef QCOW_BASE_PATH_H
#define QCOW_BASE_PATH_H

/* Return the directory part of a name, without the slash at its end, or "." if
 * there is none: a new string, or NULL if out of memory.
 */
char *path_directory (const char *name);

/* Join a relative name to the directory part of 'holder', both as they are
 * written (as qemu does).  An absolute name stays as it is.  Returns a new
 * string, or NULL if out of memory.
 */
char *path_join (const char *holder, const char *name);

/* Return the part of a path below a directory, both as they are written, or
 * NULL if the path does not lie below it.  The directory does not end with a
 * slash, unless it is "/".
 */
const char *path_below (const char *path, const char *directory);

/* Remove "//", "." and ".." from an absolute path in place.  The result names
 * another file if ".." follows a symbolic link.
 */
void path_normalize (char *path);

#endif /* QCOW_BASE_PATH_H */
