/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Write JSON (RFC 8259) to a stream, indented like qemu-img's.
 *
 * The output is valid whatever bytes a string has: control characters are
 * escaped, and each byte that is not part of a UTF-8 character becomes U+FFFD.
 * Nothing is kept in memory, so the length of the output has no limit.  The
 * caller checks the stream for errors at the end (ferror).
 */

#ifndef QCOW_BASE_JSON_H
#define QCOW_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Starts as { .out = STREAM }. */
struct json {
  FILE *out;
  unsigned depth; /* open objects and arrays */
  bool begun;     /* the innermost one has a member */
};

/* All functions write a member of the innermost open object or array.  'key'
 * is plain ASCII that needs no escapes, or NULL in an array and at the top.
 */
void json_begin (struct json *j, const char *key, char bracket);
void json_end (struct json *j, char bracket);
void json_string (struct json *j, const char *key, const char *text);
void json_text (struct json *j, const char *key, const char *text,
                size_t length);
void json_number (struct json *j, const char *key, uint64_t value);
void json_bool (struct json *j, const char *key, bool value);

#endif /* QCOW_BASE_JSON_H */
