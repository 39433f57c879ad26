/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names that are URLs, or that look like one: of which kind they are, their
 * paths, and what messages may show of them.  Pure.
 *
 * User name, password and query (which can be a signature) are secret.  So is
 * any part of an invalid URL that could be one of these.
 */

#ifndef QCOW_URL_URL_NAME_H
#define QCOW_URL_URL_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* Undo escapes (%41) in place.  Escaped control characters stay as they are;
 * then the result is false.
 */
bool url_unescape (char *s);

/* --- Kinds --- */

/* True if the name starts like a URL of a supported scheme. */
bool url_is_one (const char *name);
bool url_is_web (const char *name); /* http, https or s3 */
bool url_is_s3 (const char *name);
bool url_is_nbd (const char *name); /* nbd, nbds, nbd+unix, nbds+unix, ... */

/* True if the URL leads to a socket of this machine: nbd+unix, nbd+vsock. */
bool url_is_local (const char *name);

/* True if it starts like any URL, SCHEME://. */
bool url_looks_like_one (const char *name);

/* The length of the beginning that could be a scheme. */
size_t url_scheme_length (const char *name);

/* True if a name that is like a URL has a query.  (In s3:// a '?' is a part of
 * the key.  In an NBD URI a socket follows it, which is no secret.)
 */
bool url_has_query (const char *name);

/* --- Paths of URLs: all take the name of a struct url --- */

/* (The path of an NBD URI is the name of the export.) */

/* Join 'file' to the directory of 'base'.  'file' is a relative file name, and
 * taken literally except for '/', '.' and '..'.  A new string, or NULL: out of
 * memory.
 */
char *url_join (const char *base, const char *file);

/* The directory of a URL, with the slash at its end.  A new string, or NULL:
 * out of memory.
 */
char *url_directory (const char *name);

/* True if 'name' is 'prefix', or continues it after a '/'.  In NBD URIs both
 * must have the same socket.
 */
bool url_covers (const char *prefix, const char *name);

/* True if a server might read a part of the path as "." or "..", however it is
 * written: escaped, with backslashes or with parameters.
 */
bool url_hides_dotdot (const char *name);

/* --- What messages show --- */

/* Room for what is shown of a URL. */
struct url_room {
  char text[1024];
};

/* What messages may show of a text that is meant as a URL: no user info, query
 * or fragment.  It is written to 'room', and truncated if it is too long.
 */
const char *url_hide (const char *text, struct url_room *room);

/* The same for the name of a URL or a file: the name itself, unless it can
 * contain a secret.
 */
const char *url_show (const char *name, struct url_room *room);

/* The same, with room that lasts to the end of the caller's block. */
#define url_shown(name) url_show (name, &(struct url_room){ "" })

#endif /* QCOW_URL_URL_NAME_H */
