/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The members of a JSON object (RFC 8259).  Pure.
 */

#ifndef QCOW_HTTP_JSON_MEMBERS_H
#define QCOW_HTTP_JSON_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>

enum json_kind {
  JSON_STRING,
  JSON_WORD, /* a number, true, false or null */
  JSON_NESTED,
};

/* A member of an object.  The texts are parts of the input: of a string what
 * is between its quotes, with its escapes.
 */
struct json_member {
  const char *name, *value;
  size_t name_length, value_length;
  enum json_kind kind;
};

/* Set *p to the position of the first member.  False: the text is no object.
 */
bool json_members_begin (const char *text, const char **p);

/* Take the next member.  1, or 0 at the end of the object and of the text, or
 * -1 if the text is malformed.
 */
int json_members_next (const char **p, struct json_member *m);

/* True if that is the member's name. */
bool json_member_is (const struct json_member *m, const char *name);

#endif /* QCOW_HTTP_JSON_MEMBERS_H */
