/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The public interface of the module qcow/: open an image, open a view of
 * it, read, ask for extents, close.  With base/hooks.h and base/options.h,
 * which it includes, this is all that a user of the module needs.
 *
 * The module knows nothing of nbdkit.  What it has to say goes through
 * struct qcow_hooks; functions that fail have already said why, set
 * errno and return -1 or NULL.
 *
 * Threads: qcow_load, qcow_open, qcow_after_fork and qcow_close are called
 * by one thread while no other uses the image.  Everything between them may be
 * called by any number of threads at once, on the same view or on others.
 */

#ifndef QCOW_QCOW_H
#define QCOW_QCOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hooks.h"
#include "base/options.h"

struct qcow;

/* The version of libcurl, or NULL if there is none, so that URLs can't be
 * served.  Loads it.
 */
const char *qcow_curl_version (void);

/* Once, before anything else.  0, or -1: what was found of libgcrypt is too
 * old.
 */
int qcow_load (void);

/* Move a text that was allocated with malloc into memory that is in no core
 * dump and, if the system allows that, not swapped out.  NULL if out of
 * memory; the text is wiped and freed in any case.
 */
char *qcow_secret (char *text);

/* Wipe and free what qcow_secret returned.  NULL is ignored. */
void qcow_secret_free (char *secret);

/* Open an image and all files that it needs: take qemu's locks, read and
 * check headers, L1 tables, and the snapshot table.  Copies the hooks and what
 * it needs of the options.  The caller closes the result.  No thread of the
 * module exists when this returns, so the process may fork then, and must
 * call qcow_after_fork in any case.
 *
 * On failure, returns NULL with errno ENOENT, EACCES etc. from opening a
 * file, else EINVAL (not an image that can be served), EPERM (names a file
 * that is not allowed), EACCES (encrypted, and no passphrase fits), EIO, EBUSY
 * (held by a writer) or ENOMEM.
 */
struct qcow *qcow_open (const struct qcow_options *options,
                        const struct qcow_hooks *hooks);
void qcow_close (struct qcow *q);

/* Call this once after the last fork, before anything is read.  It repeats
 * what does not survive a fork, such as locks of memory, and starts the
 * threads that the image's sources need (none if all are local files).
 * Returns 0, or -1 with the error reported and errno; then nothing may be
 * read.
 */
int qcow_after_fork (struct qcow *q);

/* Called for each view that a client may ask for by name, deltas aside:
 * "", the snapshots, and the bitmaps.  A name is valid UTF-8 without control
 * characters, or NULL: a view that has no such name, or none that leads to it.
 * The description is for people.  Both are valid during the call.  Returns 0,
 * or -1 with errno to end the list.
 */
typedef int (*qcow_list_fn) (void *opaque, const char *name,
                             const char *description);

/* 0, or -1 if the function said so, or with errno ENOMEM. */
int qcow_list (struct qcow *q, qcow_list_fn fn, void *opaque);

/* What one client sees.  "" names the default view.  Any other name is a
 * snapshot's id; or its name if no id is like that; or bitmap:NAME; or
 * OLD..NEW, where OLD is a snapshot, "backing" or "layer:N", and NEW a
 * snapshot or nothing, for the active layer.  On failure, NULL and errno
 * (ENOENT: no such view; else as qcow_open).
 */
struct qcow_view *qcow_view_open (struct qcow *q, const char *name);
void qcow_view_close (struct qcow_view *v);

/* One line about the view, for people: "QCOW2 version 3, …".  Valid until
 * qcow_view_close.
 */
const char *qcow_view_description (const struct qcow_view *v);

/* Virtual size in bytes, any number from 0 to INT64_MAX. */
uint64_t qcow_view_size (const struct qcow_view *v);

/* The size of the pieces in which the top layer is stored: a power of two,
 * 512 bytes to 2 MiB.
 */
uint32_t qcow_view_cluster_size (const struct qcow_view *v);

/* Read 'count' bytes at 'offset' into buf; the range lies in the view.
 * 0, or -1 with errno EIO or ENOMEM; then the content of buf is
 * undefined.  A damaged cluster fails only the reads that touch it.
 */
int qcow_read (struct qcow_view *v, void *buf, uint32_t count,
               uint64_t offset);

/* Get ready for a read of this range: L2 slices and inflated clusters go
 * into the cache, the kernel is told to read the data.  Fails like
 * qcow_read, damaged clusters aside.
 */
int qcow_prefetch (struct qcow_view *v, uint32_t count, uint64_t offset);

enum qcow_extent {
  QCOW_EXTENT_DATA,      /* stored, or damaged: a read will tell */
  QCOW_EXTENT_ZERO,      /* has a place in the image, a hole of the file */
  QCOW_EXTENT_HOLE_ZERO, /* reads as zeros, takes no space */
  QCOW_EXTENT_UNCHANGED, /* of a delta or a bitmap: reads as in the older
                            state, whatever that is */
};

/* Called for each extent, ascending and without gaps or overlaps.
 * Returns 0, or -1 with errno to end the walk.
 */
typedef int (*qcow_extent_fn) (void *opaque, uint64_t offset, uint64_t length,
                               enum qcow_extent kind);

/* Report the extents of a range that lies in the view: the longest runs
 * of one kind, clipped to the range, from 'offset' on.  May stop before
 * the range's end (after QCOW_MAX_EXTENTS), but not before the first
 * extent is complete; 'one' stops right after that.  Only after a second all
 * that is known by then is reported, if it is something.  No data is read.
 * 0, or -1 with errno EIO or ENOMEM.
 */
int qcow_extents (struct qcow_view *v, uint32_t count, uint64_t offset,
                  bool one, qcow_extent_fn fn, void *opaque);

/* nbdkit 1.32 makes one system call for each extent it sends, some 3 us,
 * so this bounds one reply to about half a second; qemu-nbd's own bound
 * is the same (1 MiB of 8-byte extents).
 */
#define QCOW_MAX_EXTENTS 131072

#endif /* QCOW_QCOW_H */
