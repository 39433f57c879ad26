/* SPDX-License-Identifier: BSD-3-Clause
 *
 * URLs: taking them apart, joining names to them, and whether an allowed
 * prefix covers one.  Pure, but for url_parse, which loads libcurl
 * (libcurl.h).
 *
 * s3://BUCKET/KEY is a name of our own for an https URL; the key is taken
 * literally.  In http and https URLs what must be escaped is escaped, and
 * what is escaped stays so.
 *
 * What is secret in a URL (user name and password, the query, which may be
 * a signature) is never in its 'name', which is all that messages show.
 */

#ifndef QCOW_HTTP_URL_H
#define QCOW_HTTP_URL_H

#include <stdbool.h>

#include "base/error.h"

struct url {
  char *name;     /* without secrets and fragment: for messages, for joining
                     and for comparing */
  char *text;     /* what is asked for: http or https, without user info */
  char *origin;   /* scheme, host and port: "https://host" */
  char *host;     /* host and port, as a request says it (RFC 9110, 7.2) */
  char *user;     /* from the user info, or NULL */
  char *password; /* likewise; NULL if there is a user alone */
  bool s3;        /* was s3://… */
};

/* Where s3:// URLs lead.  The bucket may have a tenant before it, as the RADOS
 * Gateway has them, but not at Amazon's.
 */
struct url_s3 {
  const char *endpoint; /* an http or https URL, or NULL: Amazon's */
  const char *region;
};

/* Does the name begin like a URL of a kind that is supported? */
bool url_is_one (const char *name);

/* Does it begin like any URL, SCHEME://? */
bool url_looks_like_one (const char *name);

/* Take a URL apart.  The strings of *url are for url_free, also after a
 * failure.  0, or -1, the reason, and errno ENOMEM, or else EINVAL.
 */
int url_parse (const char *text, const struct url_s3 *s3, struct url *url,
               struct problem *problem);

/* The same for what may be a prefix: s3://BUCKET is one, too.  Of the result,
 * only the name is of use.
 */
int url_parse_prefix (const char *text, struct url *url,
                      struct problem *problem);

/* Is it asked for with TLS? */
bool url_is_https (const struct url *url);

/* A copy of it, without user and password.  0, or -1: out of memory. */
int url_copy (const struct url *from, struct url *to);

/* The parameters that name the same object as an http or https URL does, if it
 * is one of S3 or of a server like it: "url=s3://BUCKET/KEY ...".  A new
 * string, or NULL: it is none, or out of memory.
 */
char *url_as_s3 (const struct url *url);

/* Does what is like a URL have a query?  (In s3:// a '?' is a part of the
 * key.)
 */
bool url_has_query (const char *name);

/* Undo escapes (%41) in place.  False if some of them are control characters:
 * those stay as they are.
 */
bool url_unescape (char *s);

/* Room for what is shown of a URL. */
struct url_room {
  char text[1024];
};

/* What can be shown of a text that is meant as a URL: no user info, query and
 * fragment, nor what may be a part of these if the text is no valid URL.
 * It is written to 'room', and cut if it is too long.
 */
const char *url_hide (const char *text, struct url_room *room);

/* A name for messages, which may be a URL, or be meant as one: if it may have
 * secrets in it, url_hide, else the name itself.
 */
const char *url_show (const char *name, struct url_room *room);

/* The same, with room that lasts to the end of the caller's block. */
#define url_shown(name) url_show (name, &(struct url_room){ "" })

/* Free the strings, and wipe the secret ones.  A URL of zeros is fine. */
void url_free (struct url *url);

/* The name of a file beside the one that is called 'base', a URL's name:
 * 'file' is a relative file name, of which every byte means itself, but for
 * '/', '.' and '..'.  A new string, NULL if out of memory.
 */
char *url_join (const char *base, const char *file);

/* The same for the directory that 'base' is in. */
char *url_directory (const char *base);

/* Is 'name' (of a struct url, as 'prefix') the prefix, or below it: equal
 * to it up to the end or a '/'?
 */
bool url_covers (const char *prefix, const char *name);

/* Does the prefix s3://... cover what an http URL names, as far as its path or
 * host tells?  Only for messages: another server may have a bucket of that
 * name.
 */
bool url_covers_as_s3 (const char *prefix, const struct url *url);

/* Would a server perhaps take a part of the name's path for ".." that we
 * have not: escaped, or with other slashes?
 */
bool url_hides_dotdot (const char *name);

#endif /* QCOW_HTTP_URL_H */
