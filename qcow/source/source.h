/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A source: the bytes of one local or remote file.  It knows nothing of
 * their meaning.
 *
 * The length is taken once, at open (of a local file after it is locked).  It
 * alone decides where the file ends: bytes past it read as zeros.  A source
 * that turns out to have fewer bytes was truncated while being served: that
 * is EIO, never zeros.
 *
 * All functions but open and close may be called by any number of threads at
 * once.  A source holds no lock during I/O.
 */

#ifndef QCOW_SOURCE_SOURCE_H
#define QCOW_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cache.h"
#include "base/error.h"

/* The bytes [offset, offset + length) of the source, to be read to 'buf'. */
struct source_range {
  uint64_t offset;
  size_t length;
  void *buf;
};

/* What a read is for: clients read data in streams, which a remote source
 * caches and reads ahead of; a table is read once, into memory that the caller
 * keeps, and is not cached besides.
 */
enum source_use { SOURCE_TABLE, SOURCE_DATA };

/* Bytes of a source in the cache, for as long as the caller pins them. */
struct source_pin {
  struct cache_entry *entry; /* for cache_release */
  const uint8_t *data;
};

struct source;

/* What each kind of source implements.  All ranges lie within the length; the
 * functions below see to that.  See there for what the operations do.
 */
struct source_ops {
  int (*readv) (struct source *s, const struct source_range *ranges, size_t n,
                enum source_use use);

  /* It is always correct to say "no hole up to the end".  NULL: does so. */
  void (*extent) (struct source *s, uint64_t offset, bool *hole,
                  uint64_t *end);

  void (*prefetch) (struct source *s, const struct source_range *ranges,
                    size_t n);

  /* NULL: never possible. */
  int (*pin) (struct source *s, uint64_t offset, size_t length,
              bool cached_only, struct source_pin *pin);

  void (*close) (struct source *s);
};

/* Constant once open. */
struct source {
  const struct source_ops *ops;
  const struct qcow_hooks *hooks; /* outlive the source */
  char *name;                     /* as the user gave it, for messages */
  uint64_t size;                  /* bytes, <= INT64_MAX */
  uint64_t device, inode;         /* of a local file: equal for the same one */
  char *identity; /* of a remote one the same: secret, never in messages */
  bool remote;    /* each read takes a round trip: a few large ones in
                      parallel are better than many small ones */
};

/* Read the ranges, of data, in parallel if that is faster.  Bytes past the end
 * become zeros.  Changes the ranges.  0, or -1 with errno EIO or ENOMEM and
 * the error reported, or ESHUTDOWN if the sleep hook ended a wait; then the
 * content of the buffers is undefined.
 */
int source_readv (struct source *s, struct source_range *ranges, size_t n);

/* The same for a table or a part of one. */
int source_read (struct source *s, void *buf, size_t length, uint64_t offset);

/* *hole: whether 'offset' lies in a hole of the file, which reads as zeros and
 * takes no space.  *end: where that hole or data ends, > offset.  Everything
 * past the end of the file is a hole up to UINT64_MAX.
 */
void source_extent (struct source *s, uint64_t offset, bool *hole,
                    uint64_t *end);

/* True if the source is known to have no hole. */
bool source_is_solid (struct source *s);

/* A hint: these bytes will be wanted soon.  Never waits.  'buf' is ignored,
 * and the ranges are changed.
 */
void source_prefetch (struct source *s, struct source_range *ranges, size_t n);

/* Pin these bytes where the cache has them in one piece; unless 'cached_only',
 * fetch them to there first, and wait for that.  1: *pin is set, and the
 * caller releases pin->entry; 0: not possible, so the caller reads a copy; -1
 * with errno ESHUTDOWN: the sleep hook ended the wait.
 */
int source_pin (struct source *s, uint64_t offset, size_t length,
                bool cached_only, struct source_pin *pin);

/* NULL is ignored.  No other call may be in progress, nothing be pinned. */
void source_close (struct source *s);

/* True if both are the same file, or the same remote object. */
bool source_same (const struct source *a, const struct source *b);

static inline int
source_no_memory (const struct source *s)
{
  return error_no_memory (s->hooks, s->name);
}

#endif /* QCOW_SOURCE_SOURCE_H */
