/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Texts of servers in messages: shortened, escaped, and without the user's
 * secrets.  Pure.
 *
 * A server knows the secrets that it was sent, and can repeat them in any
 * text.  (A hostile server can disguise them so that they are not found.)
 */

#ifndef QCOW_URL_REDACT_H
#define QCOW_URL_REDACT_H

#include <stdbool.h>
#include <stddef.h>

/* Starts as zeros. */
struct secrets {
  char **list; /* in lower case */
  size_t n;
  bool incomplete; /* out of memory: every text counts as one with secrets */
  const struct secrets *more; /* a list that counts, too, or NULL */
};

/* Add a copy.  NULL and "" are ignored. */
void secrets_add (struct secrets *s, const char *secret);

/* Add a user and a password, which may be NULL, and their form in a request:
 * "user:password" in base64.
 */
void secrets_add_login (struct secrets *s, const char *user,
                        const char *password);

/* Split a text at any of the separators, and add the value of each VALUE or
 * NAME=VALUE.  Very short values are ignored, and those that are public in
 * presigned URLs.
 */
void secrets_add_values (struct secrets *s, const char *text,
                         const char *separators);

/* Wipe and free them. */
void secrets_free (struct secrets *s);

/* True if a secret is in the text, or a large part of one, in any case, and
 * also with escapes of URLs (%41).
 */
bool secrets_in_text (const struct secrets *s, const char *text);

/* The most that redact writes, with the NUL. */
#define REDACTED_MAX 256

/* Write what messages may show of a text: its beginning, escaped (utf8.h),
 * with "..." if it is longer; or a placeholder if it contains a secret of 'a'
 * or 'b'.  These may be NULL.
 */
void redact (char out[REDACTED_MAX], const char *text, const struct secrets *a,
             const struct secrets *b);

#endif /* QCOW_URL_REDACT_H */
