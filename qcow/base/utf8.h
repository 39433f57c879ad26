/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names that come from files: may they be shown to people?  Pure.
 */

#ifndef QCOW_BASE_UTF8_H
#define QCOW_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Valid UTF-8 (RFC 3629) without control characters (U+0000 to U+001F,
 * U+007F to U+009F).
 */
bool utf8_is_clean (const char *text, size_t length);

/* Copy as much of a text as fits into a buffer of 'max' bytes, all that is
 * not clean as \xNN, and an end mark.
 */
void utf8_escape (char *out, size_t max, const char *text, size_t length);

#endif /* QCOW_BASE_UTF8_H */
