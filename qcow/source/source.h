/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A source: the bytes of one local or remote file, without knowledge of their
 * meaning.
 *
 * The length is taken once, when the source is opened (for a local file, after
 * it is locked).  It alone decides where the file ends: bytes past it read as
 * zeros.  If a source turns out to have fewer bytes, it was truncated while
 * being served: that is EIO, never zeros.
 *
 * Any number of threads may call these functions at once, except those that
 * open or close a source.  A source holds no lock during I/O.
 */

#ifndef QCOW_SOURCE_SOURCE_H
#define QCOW_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cache.h"
#include "base/error.h"

/* The bytes [offset, offset + length) of the source, and where to read them
 * to.
 */
struct source_range {
  uint64_t offset;
  size_t length;
  void *buf;
};

/* What a read is for.  Clients read data in streams, which a remote source
 * reads ahead into the cache.  A table is read once, into memory that the
 * caller keeps, so a remote source does not cache it.
 */
enum source_use { SOURCE_TABLE, SOURCE_DATA };

/* Bytes of a source in the cache, valid while the caller pins them. */
struct source_pin {
  struct cache_entry *entry; /* for cache_release */
  const uint8_t *data;
};

struct source;

/* What each kind of source implements.  All ranges lie within the length: the
 * functions below ensure that, and describe the operations.
 */
struct source_ops {
  int (*readv) (struct source *s, const struct source_range *ranges, size_t n,
                enum source_use use);

  /* "No hole up to the end" is always correct.  NULL has this effect. */
  bool (*extent) (struct source *s, uint64_t offset, bool cached_only,
                  bool *hole, uint64_t *end);

  void (*prefetch) (struct source *s, const struct source_range *ranges,
                    size_t n);

  /* NULL: pinning is never possible. */
  int (*pin) (struct source *s, uint64_t offset, size_t length,
              bool cached_only, struct source_pin *pin);

  void (*close) (struct source *s);
};

/* Constant once open. */
struct source {
  const struct source_ops *ops;
  const struct qcow_hooks *hooks; /* outlive the source */
  char *name;                     /* the path or URL, for messages */
  uint64_t size;                  /* bytes, <= INT64_MAX */
  uint64_t device, inode;         /* identify a local file */
  uint64_t allocated;             /* bytes of disk space that a local file
                                     takes; 0 for a block device */
  bool nameless; /* a descriptor: the name is made up, no directory is known */
  char *identity; /* identifies a remote object: secret, never in messages */
  bool remote;    /* each read takes a round trip: a few large reads in
                      parallel are better than many small ones */
};

/* Read ranges of data, in parallel if that is faster.  Bytes past the end
 * become zeros.  Changes the ranges.  Returns 0, or -1 with errno EIO or
 * ENOMEM and the error reported, or ESHUTDOWN if the sleep hook ended a wait;
 * then the content of the buffers is undefined.
 */
int source_read_data (struct source *s, struct source_range *ranges, size_t n);

/* The same for one range of a table. */
int source_read_table (struct source *s, void *buf, size_t length,
                       uint64_t offset);

/* Set *hole if 'offset' lies in a hole of the file, which reads as zeros and
 * takes no space.  Set *end to where that hole or data ends, > offset.
 * Everything past the end of the file is a hole up to UINT64_MAX.  False if
 * 'cached_only' is set and the server has to be asked.
 */
bool source_extent (struct source *s, uint64_t offset, bool cached_only,
                    bool *hole, uint64_t *end);

/* True if the source is known to have no hole.  Asks no server. */
bool source_is_solid (struct source *s);

/* A hint that these bytes will be read soon.  Never waits.  Ignores 'buf', and
 * changes the ranges.
 */
void source_prefetch (struct source *s, struct source_range *ranges, size_t n);

/* Pin these bytes in the cache if it has them in one piece.  Unless
 * 'cached_only' is set, fetch them to the cache first, and wait for that.
 * Returns 1 if *pin is set: the caller then releases pin->entry.  Returns 0 if
 * pinning is not possible: the caller then reads a copy.  Returns -1 with
 * errno ESHUTDOWN if the sleep hook ended the wait.
 */
int source_pin (struct source *s, uint64_t offset, size_t length,
                bool cached_only, struct source_pin *pin);

/* Close a source.  No other call may be in progress, and nothing may be
 * pinned.  NULL is ignored.  Keeps errno.
 */
void source_close (struct source *s);

/* True if both are the same file, or the same remote object. */
bool source_same (const struct source *a, const struct source *b);

static inline int
source_no_memory (const struct source *s)
{
  return error_no_memory (s->hooks, s->name);
}

#endif /* QCOW_SOURCE_SOURCE_H */
