/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where bytes come from: one file, local or remote, of which nothing is
 * known here but its length.
 *
 * The length is taken once, at open (of a local file after it was locked),
 * and decides alone what is a hole at the end: bytes past it read as zeros.
 * A source that later has fewer bytes was cut while being served; that is
 * EIO, never zeros.
 *
 * All functions may be called by any number of threads at once, except
 * open and close.
 */

#ifndef QCOW_SOURCE_SOURCE_H
#define QCOW_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cache.h"
#include "base/error.h"

/* Bytes [offset, offset + length) of the source, to or in 'buf'. */
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

struct source_ops {
  /* Read ranges that lie within the length taken at open, side by side if
   * that is faster.  0, or -1 with the error reported.
   */
  int (*readv) (struct source *s, const struct source_range *ranges, size_t n,
                enum source_use use);

  /* Is 'offset', which lies within the length, in a hole?  *hole says so,
   * *end is where that ends, at most the length.  It is always right to
   * say "no hole up to the end".  NULL: no holes are known.
   */
  void (*extent) (struct source *s, uint64_t offset, bool *hole,
                  uint64_t *end);

  /* These bytes, within the length, will be wanted soon; a hint.  'buf' is
   * of no meaning.
   */
  void (*prefetch) (struct source *s, const struct source_range *ranges,
                    size_t n);

  /* Pin these bytes where the cache has them in one piece, or with
   * !cached_only, fetch them to there first.  1: *pin is set; 0: not possible,
   * so the caller reads a copy; -1 with errno ESHUTDOWN: the sleep hook ended
   * the wait.  NULL: never possible.
   */
  int (*pin) (struct source *s, uint64_t offset, size_t length,
              bool cached_only, struct source_pin *pin);

  void (*close) (struct source *s);
};

struct source {
  const struct source_ops *ops;
  const struct qcow_hooks *hooks; /* outlive the source */
  char *name;                     /* as the user gave it, for messages */
  uint64_t size;                  /* bytes, <= INT64_MAX */
  uint64_t device, inode;         /* the same for the same local file */
  char *identity; /* of a remote one: secret, not for messages */
  bool remote;    /* each read takes its time, whatever it reads: fewer and
                      larger ones are better, and several at once */
};

/* Read all ranges, of data; what lies past the end of the source becomes
 * zeros.  0, or -1 with the error reported and errno EIO, ENOMEM or ESHUTDOWN.
 */
int source_readv (struct source *s, struct source_range *ranges, size_t n);

/* The same for a part of a table. */
int source_read (struct source *s, void *buf, size_t length, uint64_t offset);

/* See struct source_ops.  Beyond the end everything is a hole. */
void source_extent (struct source *s, uint64_t offset, bool *hole,
                    uint64_t *end);
/* Has the source no hole at all? */
bool source_is_solid (struct source *s);
void source_prefetch (struct source *s, struct source_range *ranges, size_t n);
int source_pin (struct source *s, uint64_t offset, size_t length,
                bool cached_only, struct source_pin *pin);
void source_close (struct source *s);

/* Are both the same file? */
bool source_same (const struct source *a, const struct source *b);

static inline int
source_no_memory (const struct source *s)
{
  return error_no_memory (s->hooks, s->name);
}

#endif /* QCOW_SOURCE_SOURCE_H */
