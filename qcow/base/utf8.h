/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Text from files and servers: check whether it is clean, so that a terminal
 * or a log can show it, and escape it.  Pure.
 *
 * Clean text is valid UTF-8 (RFC 3629) without control characters (U+0000 to
 * U+001F, U+007F to U+009F).
 */

#ifndef QCOW_BASE_UTF8_H
#define QCOW_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Return the length of the clean character that the text starts with, or 0 if
 * there is none.
 */
size_t utf8_clean_character (const char *text, size_t length);

bool utf8_is_clean (const char *text, size_t length);

/* Copy a text to a buffer of 'max' bytes, with \xNN for each byte that is not
 * part of a clean character, and add a NUL.  If the buffer is too small, cut
 * the copy between two characters; if max is 0, write nothing.  Returns the
 * length of the uncut copy without the NUL.
 */
size_t utf8_escape (char *out, size_t max, const char *text, size_t length);

#endif /* QCOW_BASE_UTF8_H */
