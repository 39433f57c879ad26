/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where bytes come from: one file, of which nothing is known here but
 * its length.
 *
 * The length is taken once, at open, and decides alone what is a hole at
 * the end: bytes past it read as zeros.  A source that later has fewer
 * bytes was cut while being served; that is EIO, never zeros.
 *
 * All functions may be called by any number of threads at once, except
 * open and close.
 */

#ifndef QCOW_SOURCE_H
#define QCOW_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* Bytes [offset, offset + length) of the source, to or in 'buf'. */
struct source_range {
  uint64_t offset;
  size_t length;
  void *buf;
};

struct source;

struct source_ops {
  /* Read ranges that lie within the length taken at open.  0, or -1 with
   * the error reported.
   */
  int (*readv) (struct source *s, const struct source_range *ranges, size_t n);

  /* Is 'offset', which lies within the length, in a hole?  *hole says so,
   * *end is where that ends, at most the length.  It is always right to
   * say "no hole up to the end".  NULL: no holes are known.
   */
  void (*extent) (struct source *s, uint64_t offset, bool *hole,
                  uint64_t *end);

  /* These bytes will be wanted soon; a hint. */
  void (*prefetch) (struct source *s, uint64_t offset, uint64_t length);

  void (*close) (struct source *s);
};

struct source {
  const struct source_ops *ops;
  const struct qcow_hooks *hooks; /* outlive the source */
  char *name;                     /* as the user gave it, for messages */
  uint64_t size;                  /* bytes, <= INT64_MAX */
  uint64_t device, inode;         /* the same for the same file */
};

/* Read all ranges; what lies past the end of the source becomes zeros.
 * 0, or -1 with the error reported and errno EIO.
 */
int source_readv (struct source *s, struct source_range *ranges, size_t n);
int source_read (struct source *s, void *buf, size_t length, uint64_t offset);

/* See struct source_ops.  Beyond the end everything is a hole. */
void source_extent (struct source *s, uint64_t offset, bool *hole,
                    uint64_t *end);
/* Has the source no hole at all? */
bool source_is_solid (struct source *s);
void source_prefetch (struct source *s, uint64_t offset, uint64_t length);
void source_close (struct source *s);

/* A local regular file or block device, opened read-only and, unless
 * force_share, with qemu's locks (lock.h).  The caller closes it.  NULL
 * with the error reported; errno as qcow_open.
 */
struct source *source_file_open (const char *filename, bool force_share,
                                 const struct qcow_hooks *hooks);

/* The same for a file that is already open; 'fd' belongs to the source
 * from now on, also on failure.
 */
struct source *source_file_from_fd (int fd, const char *filename,
                                    bool force_share,
                                    const struct qcow_hooks *hooks);

#endif /* QCOW_SOURCE_H */
