/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The public interface of the module qcow/: open an image, open views of it,
 * read them, list their extents.  It includes base/hooks.h and base/options.h;
 * a user of the module needs no other header.
 *
 * The module does not depend on nbdkit.  It passes messages to struct
 * qcow_hooks.  A function that fails reports the error there, sets errno and
 * returns -1 or NULL.
 *
 * Threads: call qcow_load, qcow_open, qcow_after_fork and qcow_close while no
 * other thread uses the image.  Between qcow_after_fork and qcow_close, any
 * number of threads may call the other functions at once, on the same view or
 * on different ones.
 */

#ifndef QCOW_QCOW_H
#define QCOW_QCOW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/hooks.h"
#include "base/options.h"

struct qcow;
struct qcow_shared;

/* Load libcurl and return its version, or NULL if it can't be loaded; then
 * URLs can't be served.
 */
const char *qcow_curl_version (void);

/* The same for libnbd, and NBD URIs. */
const char *qcow_nbd_version (void);

/* Call this once, before any other function.  Returns 0, or -1 if libgcrypt is
 * too old.
 */
int qcow_load (void);

/* Move a string that malloc allocated to memory that is never in a core dump
 * and, if the system allows that, not swapped out.  Wipes and frees the
 * string, also on failure.  Returns NULL if out of memory.
 */
char *qcow_secret (char *text);

/* Wipe and free a string that qcow_secret returned.  NULL is ignored. */
void qcow_secret_free (char *secret);

/* Open an image and all files that it needs: take qemu's locks, and read and
 * check headers, L1 tables and the snapshot table.  Copies the hooks.  The
 * strings and lists of the options, except the passphrases, must stay valid
 * until the caller calls qcow_close.  No thread of the module exists when this
 * returns, so the process can fork.  Whether it forks or not, it must call
 * qcow_after_fork before it reads.
 *
 * On failure, returns NULL with errno EINVAL (not an image that can be
 * served), EPERM (the image names a file that is not allowed), EACCES
 * (encrypted, and no passphrase fits), EIO, EBUSY (a writer has locked it),
 * ENOMEM, ESHUTDOWN (the sleep hook ended a wait for a server), or ENOENT,
 * EACCES etc. from opening a file.
 */
struct qcow *qcow_open (const struct qcow_options *options,
                        const struct qcow_hooks *hooks);
void qcow_close (struct qcow *q);

/* Write a summary of the image that the options name to 'out', as JSON with
 * the field names of 'qemu-img info --output=json'.  Opens no file that the
 * image names, and needs no passphrase; options for these are ignored, and so
 * are those that select a view.  All other checks are those of qcow_open.
 * Creates no threads.  Returns 0, or -1 with errno as qcow_open.  The caller
 * checks 'out' for errors of its own.
 */
int qcow_print_info (const struct qcow_options *options,
                     const struct qcow_hooks *hooks, FILE *out);

/* What several images can share: one cache, one pool of working memory, one
 * limit for L1 tables, one copy of the hooks.  Takes cache_size, force_share,
 * no_page_cache and the debug flags from the options.  Returns NULL with errno
 * ENOMEM and the error reported.
 */
struct qcow_shared *qcow_shared_new (const struct qcow_options *options,
                                     const struct qcow_hooks *hooks);

/* Call this once after the last fork, before any image is opened. */
void qcow_shared_after_fork (struct qcow_shared *shared);

/* All its images must be closed.  NULL is ignored. */
void qcow_shared_free (struct qcow_shared *shared);

/* Like qcow_open, but any thread may call this, and qcow_close for the image
 * when no other thread uses it.  Do not call qcow_after_fork.  Nothing can be
 * at a URL.  The options are used during the call only.
 */
struct qcow *qcow_open_shared (struct qcow_shared *shared,
                               const struct qcow_options *options);

/* Call this once after the last fork, before any read.  It renews what a fork
 * ends, for example memory locks, and starts the threads that the image's
 * sources need (none if all are local files).  Returns 0, or -1 with errno and
 * the error reported; then do not read.
 */
int qcow_after_fork (struct qcow *q);

/* qcow_list calls this for the default view (""), each snapshot and each
 * bitmap, but not for deltas.  The name is valid UTF-8 without control
 * characters, or NULL if no such name opens this view.  The description is for
 * people.  Both are valid during the call.  Return 0, or -1 with errno to end
 * the list.
 */
typedef int (*qcow_list_fn) (void *opaque, const char *name,
                             const char *description);

/* Returns 0, or -1 with errno if 'fn' returned -1 or memory is exhausted. */
int qcow_list (struct qcow *q, qcow_list_fn fn, void *opaque);

/* Open a view for one client.  "" is the default view.  Any other name is, in
 * this order, a snapshot's id; a snapshot's name; bitmap:NAME; or OLD..NEW,
 * where OLD is a snapshot, "backing" or "layer:N", and NEW is a snapshot or
 * empty, for the active layer.  Returns NULL on failure, with errno ENOENT if
 * there is no such view, else EINVAL, EIO, ENOMEM or ESHUTDOWN.
 */
struct qcow_view *qcow_view_open (struct qcow *q, const char *name);
void qcow_view_close (struct qcow_view *v);

/* Return one line about the view, for people: "QCOW2 version 3, …".  Valid
 * until qcow_view_close.
 */
const char *qcow_view_description (const struct qcow_view *v);

/* Return the virtual size in bytes, from 0 to INT64_MAX. */
uint64_t qcow_view_size (const struct qcow_view *v);

/* Return the cluster size of the top layer in bytes: a power of two, from 512
 * to 2 MiB.
 */
uint32_t qcow_view_cluster_size (const struct qcow_view *v);

/* Read 'count' bytes at 'offset' into buf.  The range must lie in the view.
 * Returns 0, or -1 with errno EIO, ENOMEM, or ESHUTDOWN if the sleep hook
 * ended a wait; then the content of buf is undefined.  A damaged cluster fails
 * only reads that include it.
 */
int qcow_read (struct qcow_view *v, void *buf, uint32_t count,
               uint64_t offset);

/* Prepare a read of this range: load L2 slices and inflated clusters into the
 * cache, and begin to read the data.  Fails like qcow_read, but ignores
 * damaged clusters.
 */
int qcow_prefetch (struct qcow_view *v, uint32_t count, uint64_t offset);

enum qcow_extent {
  QCOW_EXTENT_DATA,      /* stored, or damaged (reads fail) */
  QCOW_EXTENT_ZERO,      /* allocated in the image, but a hole of its file */
  QCOW_EXTENT_HOLE_ZERO, /* reads as zeros and takes no space */
  QCOW_EXTENT_UNCHANGED, /* in a delta or with a bitmap: not changed since
                            the older state */
};

/* qcow_extents calls this for each extent, in ascending order without gaps or
 * overlaps.  Return 0, or -1 with errno to stop.
 */
typedef int (*qcow_extent_fn) (void *opaque, uint64_t offset, uint64_t length,
                               enum qcow_extent kind);

/* Report the extents of a range, which must lie in the view: the longest runs
 * of one kind from 'offset' on, clipped to the range.  Stops after the first
 * extent if 'one' is set, else after QCOW_MAX_EXTENTS.  Also stops one second
 * after it started, once it has found something: the last extent can then be
 * longer than reported.  Reads tables, but no data.  Fails like qcow_read.
 */
int qcow_extents (struct qcow_view *v, uint32_t count, uint64_t offset,
                  bool one, qcow_extent_fn fn, void *opaque);

/* nbdkit 1.32 makes one system call of about 3 us for each extent that it
 * sends, so sending a reply takes at most half a second.  qemu-nbd has the
 * same limit (1 MiB of 8-byte extents).
 */
#define QCOW_MAX_EXTENTS 131072

#endif /* QCOW_QCOW_H */
