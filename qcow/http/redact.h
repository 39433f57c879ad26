/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Texts of servers in messages: shortened, escaped, and never with a secret
 * in them that the user gave.  Pure.
 *
 * A server knows the secrets that it was sent, and may repeat them wherever
 * it says something.  (One that wants to can also write them in a way that
 * nobody recognizes.)
 */

#ifndef QCOW_HTTP_REDACT_H
#define QCOW_HTTP_REDACT_H

#include <stdbool.h>
#include <stddef.h>

/* Begins as zeros. */
struct secrets {
  char **list; /* in lower case */
  size_t n;
  bool incomplete; /* memory was out: every text counts as one with secrets */
};

/* Add a copy.  NULL and "" are ignored. */
void secrets_add (struct secrets *s, const char *secret);

/* The same for a user and a password, which may be NULL, and for what is
 * sent of them: "user:password" in base64.
 */
void secrets_add_login (struct secrets *s, const char *user,
                        const char *password);

/* The same for each value of a text that consists of VALUE or NAME=VALUE, with
 * any of these separators between.  Left out are very short values, and those
 * that are public in presigned URLs.
 */
void secrets_add_values (struct secrets *s, const char *text,
                         const char *separators);

/* Wipe and free them. */
void secrets_free (struct secrets *s);

/* Is a secret in the text, or a good part of one?  Upper and lower case are
 * the same, and so are characters that are escaped as in a URL (%41).
 */
bool secrets_in_text (const struct secrets *s, const char *text);

/* The most that redact writes, with the end mark. */
#define REDACTED_MAX 256

/* Write what may be shown of a text: its beginning, with \xNN for all that
 * is not clean (utf8.h), and "..." if that is not all; or that it is not
 * shown, since there is a secret of one of the two in it.
 */
void redact (char out[REDACTED_MAX], const char *text, const struct secrets *a,
             const struct secrets *b);

#endif /* QCOW_HTTP_REDACT_H */
