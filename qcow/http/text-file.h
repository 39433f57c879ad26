/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Small files with secrets: AWS's configuration, and tokens.
 */

#ifndef QCOW_HTTP_TEXT_FILE_H
#define QCOW_HTTP_TEXT_FILE_H

#include <stddef.h>

/* The most that text_file_read reads. */
#define TEXT_FILE_MAX (1U << 20)

/* Read a file, without waiting for the writer of a pipe.  A new string, which
 * secret_free_string wipes; NULL bytes end it.  NULL with errno; EFBIG: it is
 * longer than TEXT_FILE_MAX.
 */
char *text_file_read (const char *path);

/* A new string: the path with "~/" replaced by the home directory, and made
 * absolute, since the server leaves the directory in which it was started.
 * 'home' can be NULL.  NULL with errno.
 */
char *text_file_path (const char *path, const char *home);

#endif /* QCOW_HTTP_TEXT_FILE_H */
