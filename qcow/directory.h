/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A directory of images, each of which is opened when a client asks for it.
 * Public.
 *
 * An image is shared by its clients and closed a few seconds after the last
 * one has left.  All images share one cache, one pool of working memory and
 * one limit for tables in memory (struct qcow_shared).  An image that can't be
 * opened affects only the clients that ask for it.
 *
 * Each client gets the file that has the name when the client comes.  If that
 * file was replaced or changed meanwhile, clients that came earlier keep the
 * old one.
 *
 * Threads: as in qcow.h, with the functions here in place of qcow_open,
 * qcow_after_fork, qcow_list, qcow_view_open and qcow_close.
 */

#ifndef QCOW_DIRECTORY_H
#define QCOW_DIRECTORY_H

#include "qcow.h"

struct qcow_directory;

/* Open options->directory, and the directories that the options allow.  No
 * image is opened.  Copies the hooks.  The options' strings and lists,
 * including the passphrases, must stay valid until the caller calls
 * qcow_directory_close.  Options that are for one image, or for web servers,
 * are ignored.  NULL with the error reported and errno.
 */
struct qcow_directory *qcow_directory_open (const struct qcow_options *options,
                                            const struct qcow_hooks *hooks);

/* All views must be closed.  NULL is ignored. */
void qcow_directory_close (struct qcow_directory *d);

/* Call this once after the last fork.  It locks the passphrases in memory
 * again, and starts a thread that closes images without clients.  Returns 0,
 * or -1 with errno and the error reported.
 */
int qcow_directory_after_fork (struct qcow_directory *d);

/* List the files that start like a QCOW image, in the order of their names.
 * Does not open them as images, so some may not be valid.  Returns 0, or -1
 * with errno: 'fn' returned -1, ESHUTDOWN, or else with the error reported.
 */
int qcow_directory_list (struct qcow_directory *d, qcow_list_fn fn,
                         void *opaque);

/* Open a view for one client: FILE, or FILE/NAME, where NAME is as for
 * qcow_view_open.  qcow_view_close closes it.  NULL with the error reported
 * and errno as for qcow_open and qcow_view_open.
 */
struct qcow_view *qcow_directory_view_open (struct qcow_directory *d,
                                            const char *name);

#endif /* QCOW_DIRECTORY_H */
