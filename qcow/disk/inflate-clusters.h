/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The compressed clusters of a request: reading and inflating their streams,
 * and caching the inflated clusters.
 *
 * Streams that are close together are read together into a workspace.  A
 * cluster that is needed as a whole is inflated into the client's buffer and
 * not cached, since clients that read whole clusters seldom read them again.
 * Any other cluster is inflated into the cache, and a part of it is copied to
 * the client.
 *
 * A batch belongs to one thread.  Threads that need parts of the same cluster
 * share one inflation (single-flight).  No lock is held during I/O or
 * inflation.  To prevent deadlocks:
 * - the caller has nothing pinned;
 * - a thread waits for a workspace before it claims entries of the cache;
 * - it loads all that it has claimed before it waits for other threads.
 */

#ifndef QCOW_DISK_INFLATE_CLUSTERS_H
#define QCOW_DISK_INFLATE_CLUSTERS_H

#include "disk/ranges.h"
#include "disk/run.h"
#include "image/context.h"

/* The state of a job: where its cluster is inflated to, or done. */
enum inflate_state {
  INFLATE_TODO,
  INFLATE_TO_DEST,
  INFLATE_TO_CACHE,  /* the entry is claimed; then copy */
  INFLATE_TO_MEMORY, /* the workspace, as the cache is full; then copy */
  INFLATE_ELSEWHERE, /* another thread inflates it into the entry */
  INFLATE_DONE,
};

/* Part or all of one cluster. */
struct inflate_job {
  struct run run;
  uint8_t *dest; /* NULL: only into the cache */
  enum inflate_state state;
  struct cache_entry *entry; /* pinned, if TO_CACHE or ELSEWHERE */
  uint8_t *in;               /* the stream, in the workspace */
  size_t in_length;
};

/* Set nr_jobs to 0 to initialize it. */
struct inflate_batch {
  size_t nr_jobs;
  struct inflate_job jobs[RANGES_MAX];
};

/* Add a RUN_COMPRESSED, to be inflated into 'dest', or only into the cache if
 * that is NULL.  The batch must have room.
 */
static inline void
inflate_batch_add (struct inflate_batch *b, const struct run *run,
                   uint8_t *dest)
{
  b->jobs[b->nr_jobs++]
    = (struct inflate_job){ .run = *run, .dest = dest, .state = INFLATE_TODO };
}

/* Inflate all clusters and empty the batch.  If streams have to be read,
 * 'ranges' is read together with the first of them, and emptied.  It must have
 * room for one more range for each job.  0, or -1 with the error reported and
 * errno EIO, ENOMEM or ESHUTDOWN.
 */
int inflate_batch_run (struct inflate_batch *b, struct context *context,
                       struct ranges *ranges);

#endif /* QCOW_DISK_INFLATE_CLUSTERS_H */
