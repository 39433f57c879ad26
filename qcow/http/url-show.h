/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What messages may show of a URL.  Pure.
 *
 * User name, password and query (which may be a signature) are secret.  So is
 * what may be a part of these in a text that is no valid URL.
 */

#ifndef QCOW_HTTP_URL_SHOW_H
#define QCOW_HTTP_URL_SHOW_H

/* Room for what is shown of a URL. */
struct url_room {
  char text[1024];
};

/* What may be shown of a text that is meant as a URL: no user info, query and
 * fragment.  It is written to 'room', and cut if it is too long.
 */
const char *url_hide (const char *text, struct url_room *room);

/* The same for a name that may be a URL or a file's: the name itself, unless
 * it may have a secret in it.
 */
const char *url_show (const char *name, struct url_room *room);

/* The same, with room that lasts to the end of the caller's block. */
#define url_shown(name) url_show (name, &(struct url_room){ "" })

#endif /* QCOW_HTTP_URL_SHOW_H */
