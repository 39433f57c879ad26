/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The compressed clusters of a request.  See inflate-clusters.h.
 */

#include <errno.h>
#include <string.h>

#include "base/keep-errno.h"
#include "base/minmax.h"
#include "base/wait.h"
#include "disk/damage.h"
#include "disk/inflate-clusters.h"
#include "disk/prefetch.h"
#include "image/image.h"

/* Streams with a gap of up to this size between them are read together: a
 * system call costs more than copying this many bytes.
 */
#define MAX_GAP 4096

static struct cache_key
key_of (const struct inflate_job *job)
{
  return (struct cache_key){ job->run.host, job->run.image->id,
                             job->run.bound };
}

static bool
wants_whole_cluster (const struct inflate_job *job)
{
  return job->dest && job->run.length == image_cluster_size (job->run.image);
}

/* True if this thread inflates the cluster. */
static bool
wants_stream (const struct inflate_job *job)
{
  return job->state == INFLATE_TO_DEST || job->state == INFLATE_TO_CACHE
         || job->state == INFLATE_TO_MEMORY;
}

/* Copy the part of the inflated cluster that the job needs. */
static void
copy_out (const struct inflate_job *job, const uint8_t *cluster)
{
  const uint64_t skip
    = job->run.offset & (image_cluster_size (job->run.image) - 1);

  if (job->dest)
    memcpy (job->dest, cluster + (size_t) skip, (size_t) job->run.length);
}

/* The entry is pinned and loaded. */
static void
finish_from_cache (struct inflate_job *job, struct cache_entry *entry)
{
  copy_out (job, entry->data);
  cache_release (entry);
  job->state = INFLATE_DONE;
}

/* --- Inflating --- */

/* Returns 1; 0 if the stream is damaged but no client reads it now; or -1 with
 * the error reported.
 */
static int
inflate_to (struct workspace *w, const struct inflate_job *job, uint8_t *out)
{
  const struct image *image = job->run.image;

  if (inflate_cluster (w->inflater, image->header.compression, job->in,
                       job->in_length, out, image_cluster_bytes (image))
      == 0)
    return 1;
  if (errno == ENOMEM)
    return image_no_memory (image);
  return job->dest ? damage_report_stream (&job->run) : 0;
}

/* The stream is in memory. */
static int
inflate_job (struct workspace *w, struct inflate_job *job)
{
  uint8_t *out = job->state == INFLATE_TO_DEST    ? job->dest
                 : job->state == INFLATE_TO_CACHE ? job->entry->data
                                                  : w->out;
  const int r = inflate_to (w, job, out);

  if (r == -1)
    return -1;
  if (job->state == INFLATE_TO_CACHE && r == 0)
    cache_fail (job->entry);
  else if (job->state == INFLATE_TO_CACHE) {
    cache_fill (job->entry);
    finish_from_cache (job, job->entry);
  }
  else if (job->state == INFLATE_TO_MEMORY)
    copy_out (job, out);
  job->state = INFLATE_DONE;
  return 0;
}

/* --- Reading streams --- */

static void
prefetch_jobs (const struct inflate_batch *b, const struct workspace *w)
{
  struct ranges streams;
  size_t i;

  streams.n = 0;
  for (i = 0; i < b->nr_jobs; ++i) {
    const struct run *run = &b->jobs[i].run;

    if (wants_stream (&b->jobs[i]) && run->source->remote)
      ranges_add (&streams, run->source, run->host, run->bound, NULL);
  }
  prefetch_streams (&streams, w->in_size);
}

/* Assign space in the workspace to as many streams as fit, starting with that
 * of job 'first', and add the ranges to read into it.  Returns the first job
 * whose stream does not fit.
 */
static size_t
place_streams (struct inflate_batch *b, struct workspace *w, size_t first,
               struct ranges *ranges)
{
  struct source_range *group = NULL; /* the next stream may join it */
  struct source *source = NULL;      /* the group's */
  size_t used = 0, i;

  for (i = first; i < b->nr_jobs; ++i) {
    struct inflate_job *job = &b->jobs[i];
    const struct run *run = &job->run;
    /* (The stream begins within the file: entry.h.) */
    const size_t length
      = (size_t) min64 (run->bound, run->source->size - run->host);
    size_t skip = 0, grow = length;
    bool joins;

    if (!wants_stream (job))
      continue;
    joins = group && source == run->source
            && run->host <= group->offset + group->length + MAX_GAP;
    if (joins) {
      skip = (size_t) (run->host - group->offset);
      grow = (size_t) max64 (skip + length, group->length) - group->length;
    }
    if (grow > w->in_size - used)
      break;
    if (joins)
      group->length += grow;
    else {
      group = &ranges->list[ranges->n];
      source = run->source;
      ranges_add (ranges, source, run->host, length, w->in + used);
    }
    used += grow;
    job->in = (uint8_t *) group->buf + skip;
    job->in_length = length;
  }
  return i;
}

static int
load_streams (struct inflate_batch *b, struct workspace *w,
              struct ranges *ranges)
{
  size_t first = 0;

  prefetch_jobs (b, w);
  while (first < b->nr_jobs) {
    const size_t end = place_streams (b, w, first, ranges);
    size_t i;

    prefetch_other_sources (ranges);
    if (ranges_read (ranges) == -1)
      return -1;
    for (i = first; i < end; ++i)
      if (wants_stream (&b->jobs[i]) && inflate_job (w, &b->jobs[i]) == -1)
        return -1;
    first = end;
  }
  return 0;
}

/* --- Jobs --- */

static bool
comes_after (const struct inflate_job *a, const struct inflate_job *b)
{
  if (a->run.image != b->run.image)
    return a->run.image->id > b->run.image->id;
  return a->run.host > b->run.host;
}

/* Sort by image and host offset.  Usually the jobs are in order already. */
static void
sort_jobs (struct inflate_batch *b)
{
  size_t i, j;

  for (i = 1; i < b->nr_jobs; ++i) {
    const struct inflate_job job = b->jobs[i];

    for (j = i; j > 0 && comes_after (&b->jobs[j - 1], &job); --j)
      b->jobs[j] = b->jobs[j - 1];
    if (j < i)
      b->jobs[j] = job;
  }
}

/* Finish the jobs whose clusters are cached.  Returns how many are left. */
static size_t
serve_cached (struct inflate_batch *b, struct cache *cache)
{
  size_t i, left = 0;

  for (i = 0; i < b->nr_jobs; ++i) {
    struct cache_entry *entry = cache_peek (cache, key_of (&b->jobs[i]));

    if (entry)
      finish_from_cache (&b->jobs[i], entry);
    else
      left++;
  }
  return left;
}

/* Decide where the job's cluster is inflated to. */
static int
claim_job (struct inflate_job *job, struct cache *cache)
{
  if (wants_whole_cluster (job)) {
    job->state = INFLATE_TO_DEST;
    return 0;
  }
  switch (cache_claim (cache, key_of (job),
                       image_cluster_bytes (job->run.image), 0, &job->entry)) {
  case CACHE_READY:
    finish_from_cache (job, job->entry);
    break;
  case CACHE_MINE:
    job->state = INFLATE_TO_CACHE;
    break;
  case CACHE_BUSY:
    job->state = INFLATE_ELSEWHERE;
    break;
  case CACHE_FULL:
    job->state = job->dest ? INFLATE_TO_MEMORY : INFLATE_DONE;
    break;
  case CACHE_NO_MEMORY:
    return image_no_memory (job->run.image);
  }
  return 0;
}

static int
claim_jobs (struct inflate_batch *b, struct cache *cache)
{
  size_t i;

  for (i = 0; i < b->nr_jobs; ++i)
    if (b->jobs[i].state == INFLATE_TODO
        && claim_job (&b->jobs[i], cache) == -1)
      return -1;
  return 0;
}

/* Wait for the clusters that other threads inflate.  (Our own are all loaded.)
 * If another thread failed, the job is TODO again and *left counts it.
 * Returns 0, or -1 with errno ESHUTDOWN if our client has disconnected.
 */
static int
wait_for_others (struct inflate_batch *b, const struct qcow_hooks *hooks,
                 size_t *left)
{
  size_t i;

  *left = 0;
  for (i = 0; i < b->nr_jobs; ++i) {
    struct inflate_job *job = &b->jobs[i];

    if (job->state != INFLATE_ELSEWHERE)
      continue;
    if (cache_wait (job->entry, hooks) == 0) {
      finish_from_cache (job, job->entry);
      continue;
    }
    job->state = INFLATE_TODO;
    if (errno == ESHUTDOWN)
      return -1;
    ++*left;
  }
  /* The other thread may have failed because the server is shutting down. */
  if (*left > 0 && hooks_sleep (hooks, 0) == -1) {
    errno = ESHUTDOWN;
    return -1;
  }
  return 0;
}

/* After an error, fail our claims: other threads may wait for them. */
static void
abandon_jobs (struct inflate_batch *b)
{
  KEEP_ERRNO;
  size_t i;

  for (i = 0; i < b->nr_jobs; ++i) {
    struct inflate_job *job = &b->jobs[i];

    if (job->state == INFLATE_TO_CACHE)
      cache_fail (job->entry);
    else if (job->state == INFLATE_ELSEWHERE)
      cache_release (job->entry);
    job->state = INFLATE_DONE;
  }
}

/* --- Batches --- */

/* The image whose quota of workspaces is used (quota.h): a remote one if there
 * is one, since the workspace is in use until the server responds.
 */
static struct image *
slowest_image (const struct inflate_batch *b)
{
  size_t i;

  for (i = 0; i < b->nr_jobs; ++i)
    if (b->jobs[i].run.source->remote)
      return b->jobs[i].run.image;
  return b->jobs[0].run.image;
}

static int
run_jobs (struct inflate_batch *b, struct context *context,
          struct workspace *w, struct ranges *ranges)
{
  size_t left;

  do {
    if (claim_jobs (b, context->cache) == -1
        || load_streams (b, w, ranges) == -1
        || wait_for_others (b, context->hooks, &left) == -1) {
      abandon_jobs (b);
      return -1;
    }
  } while (left > 0);
  return 0;
}

int
inflate_batch_run (struct inflate_batch *b, struct context *context,
                   struct ranges *ranges)
{
  struct image *slowest;
  struct workspace *w;
  int r = 0;

  if (b->nr_jobs == 0)
    return 0;
  sort_jobs (b);
  if (serve_cached (b, context->cache) > 0) {
    slowest = slowest_image (b);
    w = workspace_get (context->workspaces, &slowest->workspaces,
                       context->hooks);
    if (w == NULL)
      return errno == ENOMEM ? image_no_memory (slowest) : -1;
    r = run_jobs (b, context, w, ranges);
    workspace_put (context->workspaces, &slowest->workspaces, w);
  }
  b->nr_jobs = 0;
  return r;
}
