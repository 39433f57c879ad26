/* SPDX-License-Identifier: BSD-3-Clause
 *
 * URLs of the schemes http, https and s3, and their parts.  libcurl parses
 * them; url_parse loads it.  Also NBD URIs, which libnbd parses when they are
 * opened.  All else is pure.
 *
 * s3://BUCKET/KEY stands for an https URL (s3-name.h).  In http and https URLs
 * characters that must be escaped are escaped, and escapes stay as they are.
 *
 * The secrets of a URL (user name and password; the query, which can be a
 * signature) are never in its 'name', which is all that messages show.
 */

#ifndef QCOW_URL_URL_H
#define QCOW_URL_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "url/s3-name.h"
#include "url/url-name.h"

struct url {
  char *name;     /* without secrets and fragment: for messages, for joining
                     and for comparing */
  char *text;     /* what is requested: http or https, without user info */
  char *origin;   /* scheme, host and port: "https://host" */
  char *host;     /* host and port, as in the Host header (RFC 9110, 7.2) */
  char *user;     /* from the user info, or NULL */
  char *password; /* likewise; NULL if there is a user alone */
  bool s3;        /* was s3://... */
  bool nbd;       /* an NBD URI: 'text' is all of it; no host, no password */
};

/* Parse a URL.  The caller calls url_free, also on failure.  0, or -1, the
 * reason, and errno ENOMEM, or else EINVAL.
 */
int url_parse (const char *text, const struct url_s3 *s3, struct url *url,
               struct problem *problem);

/* The same for a prefix of URLs, which may be s3://BUCKET.  Only the name of
 * the result is meaningful.
 */
int url_parse_prefix (const char *text, struct url *url,
                      struct problem *problem);

/* Copy a URL.  The caller calls url_free, also on failure.  0, or -1 with
 * errno ENOMEM.
 */
int url_copy (const struct url *from, struct url *to);

/* Parse a URL, and report why if that fails: then *url has nothing to free.
 * 'holder' is the image that names the URL, or "": the message begins with it.
 * 0, or -1 and errno as url_parse.
 */
int url_take (const char *text, const struct url_s3 *s3, const char *holder,
              const struct qcow_hooks *hooks, struct url *url);

/* True if a request for it uses TLS. */
bool url_is_https (const struct url *url);

/* Free the strings, and wipe the secret ones.  A URL of zeros is fine. */
void url_free (struct url *url);

#endif /* QCOW_URL_URL_H */
