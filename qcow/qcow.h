/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The public interface of the module qcow/: open an image, open a view of
 * it, read, ask for extents, close.  With base/hooks.h and base/options.h,
 * which it includes, this is all that a user of the module needs.
 *
 * The module knows nothing of nbdkit.  Messages go through struct qcow_hooks.
 * A function that fails reports the error through them, sets errno and returns
 * -1 or NULL.
 *
 * Threads: call qcow_load, qcow_open, qcow_after_fork and qcow_close while no
 * other thread uses the image.  Between qcow_after_fork and qcow_close, any
 * number of threads may call the other functions at once, on the same view or
 * on others.
 */

#ifndef QCOW_QCOW_H
#define QCOW_QCOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hooks.h"
#include "base/options.h"

struct qcow;

/* Load libcurl and return its version.  NULL: there is no libcurl, so URLs
 * can't be served.
 */
const char *qcow_curl_version (void);

/* Call this once, before anything else.  Returns 0, or -1 if libgcrypt is too
 * old.
 */
int qcow_load (void);

/* Move a string of malloc into memory that is never in a core dump and, if the
 * system allows that, not swapped out.  Wipes and frees the string in any
 * case.  Returns NULL if out of memory.
 */
char *qcow_secret (char *text);

/* Wipe and free what qcow_secret returned.  NULL is ignored. */
void qcow_secret_free (char *secret);

/* Open an image and all files that it needs: take qemu's locks, read and
 * check headers, L1 tables, and the snapshot table.  Copies the hooks.  The
 * strings and lists of the options, except the passphrases, must stay valid
 * until qcow_close, which the caller calls.  No thread of the
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

/* qcow_list calls this for each view that a client can open by name, except
 * deltas: "", the snapshots, and the bitmaps.  The name is valid UTF-8 without
 * control characters, or NULL if the view has no such name or the name opens
 * another view.  The description is for people.  Both are valid during the
 * call.  Return 0, or -1 with errno to end the list.
 */
typedef int (*qcow_list_fn) (void *opaque, const char *name,
                             const char *description);

/* Returns 0, or -1 with errno if 'fn' returned -1 or memory is out. */
int qcow_list (struct qcow *q, qcow_list_fn fn, void *opaque);

/* Open what one client sees.  "" is the default view.  Any other name is, in
 * this order, a snapshot's id; a snapshot's name; bitmap:NAME; or OLD..NEW,
 * where OLD is a snapshot, "backing" or "layer:N", and NEW is a snapshot or
 * empty, for the active layer.  Returns NULL on failure, with errno ENOENT if
 * there is no such view, else as qcow_open.
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

/* Read 'count' bytes at 'offset' into buf.  The range must lie in the view.
 * Returns 0, or -1 with errno EIO or ENOMEM; then the content of buf is
 * undefined.  A damaged cluster fails only the reads that touch it.
 */
int qcow_read (struct qcow_view *v, void *buf, uint32_t count,
               uint64_t offset);

/* Prepare a read of this range: load L2 slices and inflated clusters into the
 * cache, and advise the kernel to read the data.  Fails as qcow_read does, but
 * ignores damaged clusters.
 */
int qcow_prefetch (struct qcow_view *v, uint32_t count, uint64_t offset);

enum qcow_extent {
  QCOW_EXTENT_DATA,      /* stored, or damaged (a read will fail then) */
  QCOW_EXTENT_ZERO,      /* allocated in the image, but a hole of its file */
  QCOW_EXTENT_HOLE_ZERO, /* reads as zeros and takes no space */
  QCOW_EXTENT_UNCHANGED, /* in a delta or with a bitmap: the same as in the
                            older state */
};

/* qcow_extents calls this for each extent, in ascending order without gaps or
 * overlaps.  Return 0, or -1 with errno to stop.
 */
typedef int (*qcow_extent_fn) (void *opaque, uint64_t offset, uint64_t length,
                               enum qcow_extent kind);

/* Report the extents of a range, which must lie in the view: the longest runs
 * of one kind, clipped to the range, from 'offset' on.  With 'one', stop after
 * the first.  Else stop before the range's end after QCOW_MAX_EXTENTS.  After
 * a second, stop wherever the walk is, if it has found anything: the last
 * extent may be longer then than reported.  Reads tables, but no data. Returns
 * 0, or -1 with errno EIO or ENOMEM.
 */
int qcow_extents (struct qcow_view *v, uint32_t count, uint64_t offset,
                  bool one, qcow_extent_fn fn, void *opaque);

/* nbdkit 1.32 makes one system call of some 3 us for each extent it sends, so
 * sending a reply takes at most half a second.  qemu-nbd has the same bound (1
 * MiB of 8-byte extents).
 */
#define QCOW_MAX_EXTENTS 131072

#endif /* QCOW_QCOW_H */
