/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The paths of URLs: joining, and whether an allowed prefix covers a URL.
 * Pure.  All take the name of a struct url.
 */

#ifndef QCOW_HTTP_URL_PATH_H
#define QCOW_HTTP_URL_PATH_H

#include <stdbool.h>

/* Join 'file' to the directory of 'base'.  'file' is a relative file name, of
 * which every byte means itself, but for '/', '.' and '..'.  A new string, or
 * NULL: out of memory.
 */
char *url_join (const char *base, const char *file);

/* The directory of a URL, with the slash at its end.  A new string, or NULL:
 * out of memory.
 */
char *url_directory (const char *name);

/* Is 'name' the prefix, or below it: equal to it up to the end or a '/'? */
bool url_covers (const char *prefix, const char *name);

/* Would a server perhaps take a part of the path for ".." or "." that is
 * written otherwise: escaped, with backslashes or with parameters?
 */
bool url_hides_dotdot (const char *name);

#endif /* QCOW_HTTP_URL_PATH_H */
