/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A run: a guest range that is stored in one way.  Plain data.
 */

#ifndef QCOW_DISK_RUN_H
#define QCOW_DISK_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/minmax.h"
#include "format/entry.h"

struct image;
struct source;

enum run_kind {
  RUN_HOLE,       /* not allocated in the layer; in a view: reads as zeros */
  RUN_ZERO,       /* stored as zeros */
  RUN_DATA,       /* contiguous in 'source' from 'host' on */
  RUN_COMPRESSED, /* part or all of one cluster; its stream is at 'host' */
  RUN_BAD,        /* part or all of what a damaged L1 or L2 entry maps */
};

struct run {
  enum run_kind kind;
  enum entry_fault fault; /* if BAD */
  uint64_t offset;        /* guest, bytes */
  uint64_t length;        /* bytes, > 0 */
  struct image *image;    /* that stores it; NULL: a raw file, some holes */
  struct source *source;  /* of the bytes, if DATA or COMPRESSED */
  uint64_t host;          /* bytes; if BAD: from the entry */
  uint32_t bound;         /* if COMPRESSED: the most bytes of the stream */
};

/* True if the run continues with a piece that begins at its end and has these
 * properties.
 */
static inline bool
run_joins (const struct run *run, enum run_kind kind,
           const struct source *source, uint64_t host, bool kinds_only)
{
  if (run->kind != kind)
    return false;
  switch (kind) {
  case RUN_HOLE:
  case RUN_ZERO:
    return true;
  case RUN_DATA:
    return kinds_only
           || (run->source == source && run->host + run->length == host);
  case RUN_COMPRESSED:
    return kinds_only;
  case RUN_BAD:
    break;
  }
  return false;
}

/* The part of a run that lies in [offset, end), which must overlap it. */
static inline struct run
run_cut (const struct run *run, uint64_t offset, uint64_t end)
{
  struct run part = *run;

  part.offset = offset;
  part.length = min64 (run->offset + run->length, end) - offset;
  if (run->kind == RUN_DATA)
    part.host += offset - run->offset;
  return part;
}

#endif /* QCOW_DISK_RUN_H */
