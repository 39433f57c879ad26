/* SPDX-License-Identifier: BSD-3-Clause
 *
 * runs -> source reads -> decrypt or inflate -> the caller's buffer.
 *
 * A request is worked off in plans of up to PLAN_RUNS runs: map them,
 * fetch what they need with one call of the source, decode.  Data goes
 * straight into the caller's buffer.  Of compressed clusters, those that
 * lie together are read together into scratch memory; one that is wanted
 * whole is inflated straight into the caller's buffer and not cached (who
 * reads whole clusters seldom comes back for them); one that is wanted in
 * part is inflated into the cache.
 *
 * Encrypted data goes straight into the caller's buffer, too, and is
 * decrypted there (decrypt.h).
 *
 * Nothing is locked during I/O, decrypting or inflating.  To exclude that two
 * threads wait for each other: scratch memory is waited for before anything is
 * claimed in the cache; all claims of a round are loaded before another
 * thread's loading is waited for; and the map's pin is dropped before any
 * of that.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/wait.h"
#include "disk/damage.h"
#include "disk/decrypt.h"
#include "disk/map.h"
#include "qcow.h"

/* Enough that a request of 2 MiB in 64 KiB clusters is one plan; it is on
 * the stack, some 10 KiB.
 */
#define PLAN_RUNS 64

/* Compressed clusters this far apart are still read together: a system
 * call costs more than copying so many bytes.
 */
#define MAX_GAP 4096

/* A prefetch is a hint, and not worth more time. */
#define PREFETCH_MS 1000

/* What is still to be done for a compressed run. */
enum job_state {
  JOB_TODO,
  JOB_DIRECT, /* inflate into dest */
  JOB_CACHE,  /* inflate into the claimed entry, then copy */
  JOB_COPY,   /* inflate into scratch, then copy: the cache is full */
  JOB_WAIT,   /* another thread inflates it into the entry */
  JOB_DONE,
};

struct job {
  struct run run;
  uint8_t *dest; /* NULL: only prefetch */
  enum job_state state;
  struct cache_entry *entry; /* if CACHE or WAIT */
  uint8_t *in;               /* the stream, once read */
  size_t in_length;
};

struct plan {
  struct context *context;
  /* sources[i] is where ranges[i] is to be read from. */
  struct source_range ranges[PLAN_RUNS];
  struct source *sources[PLAN_RUNS];
  size_t nr_ranges;
  struct decrypt_batch decrypt;
  struct job jobs[PLAN_RUNS];
  size_t nr_jobs;
  /* The same, to be told that prefetch[i] will be wanted. */
  struct source_range prefetch[PLAN_RUNS];
  struct source *prefetch_sources[PLAN_RUNS];
  size_t nr_prefetch;
  uint64_t inflate_room; /* bytes that a prefetch may still inflate */
};

static struct cache_key
key_of (const struct job *job)
{
  return (struct cache_key){ job->run.host, job->run.image->id,
                             job->run.bound };
}

/* Where in the inflated cluster the run begins. */
static size_t
in_cluster (const struct job *job)
{
  return (size_t) (job->run.offset
                   & (image_cluster_size (job->run.image) - 1));
}

static bool
whole_cluster (const struct job *job)
{
  return job->run.length == image_cluster_size (job->run.image);
}

static void
copy_out (const struct job *job, const uint8_t *cluster)
{
  if (job->dest)
    memcpy (job->dest, cluster + in_cluster (job), (size_t) job->run.length);
}

/* --- Compressed clusters --- */

/* 1: done; 0: it is damaged, but nobody wants to read it now; -1. */
static int
inflate_to (struct workspace *s, const struct job *job, uint8_t *out)
{
  const struct image *image = job->run.image;

  if (inflate_cluster (s->inflater, image->header.compression, job->in,
                       job->in_length, out, image_cluster_bytes (image))
      == 0)
    return 1;
  if (errno == ENOMEM)
    return image_no_memory (image);
  if (job->dest == NULL)
    return 0;
  return damage_report_stream (&job->run);
}

/* The stream is in memory: finish the job. */
static int
decode (struct workspace *s, struct job *job)
{
  uint8_t *out = job->state == JOB_DIRECT  ? job->dest
                 : job->state == JOB_CACHE ? job->entry->data
                                           : s->out;
  const int r = inflate_to (s, job, out);

  if (r == -1)
    return -1;
  if (job->state == JOB_CACHE && r == 0)
    cache_fail (job->entry);
  else if (job->state == JOB_CACHE) {
    cache_fill (job->entry);
    copy_out (job, out);
    cache_release (job->entry);
  }
  else if (job->state == JOB_COPY)
    copy_out (job, out);
  job->state = JOB_DONE;
  return 0;
}

/* Serve what is in the cache already.  Returns the number of jobs that
 * are left.
 */
static size_t
serve_cached (struct plan *plan)
{
  size_t i, left = 0;

  for (i = 0; i < plan->nr_jobs; ++i) {
    struct job *job = &plan->jobs[i];
    struct cache_entry *entry;

    if (job->state == JOB_DONE)
      continue;
    entry = cache_peek (plan->context->cache, key_of (job));
    if (entry) {
      copy_out (job, entry->data);
      cache_release (entry);
      job->state = JOB_DONE;
    }
    else
      left++;
  }
  return left;
}

/* Decide how each job that is left gets done. */
static int
claim_jobs (struct plan *plan)
{
  size_t i;

  for (i = 0; i < plan->nr_jobs; ++i) {
    struct job *job = &plan->jobs[i];

    if (job->state == JOB_DONE)
      continue;
    if (job->dest && whole_cluster (job)) {
      job->state = JOB_DIRECT;
      continue;
    }
    switch (cache_claim (plan->context->cache, key_of (job),
                         image_cluster_bytes (job->run.image), 0,
                         &job->entry)) {
    case CACHE_READY:
      copy_out (job, job->entry->data);
      cache_release (job->entry);
      job->state = JOB_DONE;
      break;
    case CACHE_MINE:
      job->state = JOB_CACHE;
      break;
    case CACHE_BUSY:
      job->state = JOB_WAIT;
      break;
    case CACHE_FULL:
      job->state = job->dest ? JOB_COPY : JOB_DONE;
      break;
    case CACHE_NO_MEMORY:
      return image_no_memory (job->run.image);
    }
  }
  return 0;
}

static bool
wants_stream (const struct job *job)
{
  return job->state == JOB_DIRECT || job->state == JOB_CACHE
         || job->state == JOB_COPY;
}

static bool
comes_after (const struct job *a, const struct job *b)
{
  if (a->run.image != b->run.image)
    return a->run.image->id > b->run.image->id;
  return a->run.host > b->run.host;
}

/* File by file, each in its order.  Usually they are already. */
static void
sort_jobs (struct plan *plan)
{
  size_t i, j;

  for (i = 1; i < plan->nr_jobs; ++i) {
    const struct job job = plan->jobs[i];

    for (j = i; j > 0 && comes_after (&plan->jobs[j - 1], &job); --j)
      plan->jobs[j] = plan->jobs[j - 1];
    if (j < i)
      plan->jobs[j] = job;
  }
}

static void
add_range (struct plan *plan, struct source *source, struct source_range range)
{
  plan->sources[plan->nr_ranges] = source;
  plan->ranges[plan->nr_ranges++] = range;
}

/* What is read from remote sources after others have been waited for is
 * asked for before that.
 */
static void
announce_ranges (const struct plan *plan)
{
  size_t i;

  for (i = 0; i < plan->nr_ranges; ++i)
    if (plan->sources[i]->remote) {
      struct source_range range = plan->ranges[i];

      source_prefetch (plan->sources[i], &range, 1);
    }
}

/* Read all ranges of the plan: those of one source together. */
static int
read_ranges (struct plan *plan)
{
  while (plan->nr_ranges > 0) {
    struct source *source = plan->sources[0];
    struct source_range now[PLAN_RUNS];
    size_t nr_now = 0, nr_later = 0, i;

    for (i = 0; i < plan->nr_ranges; ++i)
      if (plan->sources[i] == source)
        now[nr_now++] = plan->ranges[i];
      else {
        plan->sources[nr_later] = plan->sources[i];
        plan->ranges[nr_later++] = plan->ranges[i];
      }
    plan->nr_ranges = nr_later;
    announce_ranges (plan);
    if (source_readv (source, now, nr_now) == -1)
      return -1;
  }
  return 0;
}

/* Tell the sources what will be wanted: those of one source together. */
static void
prefetch_ranges (struct plan *plan)
{
  struct source_range now[PLAN_RUNS];
  size_t nr_now, i, j;

  for (i = 0; i < plan->nr_prefetch; i = j) {
    struct source *source = plan->prefetch_sources[i];

    nr_now = 0;
    for (j = i; j < plan->nr_prefetch && plan->prefetch_sources[j] == source;
         ++j)
      now[nr_now++] = plan->prefetch[j];
    source_prefetch (source, now, nr_now);
  }
  plan->nr_prefetch = 0;
}

/* Give the jobs from 'first' on a place in the scratch memory, as many as
 * fit, and append the ranges that fill it.  Returns the first job that has
 * no place.
 */
static size_t
place_streams (struct plan *plan, struct workspace *s, size_t first)
{
  struct source_range *group = NULL;
  size_t used = 0, i;

  for (i = first; i < plan->nr_jobs; ++i) {
    struct job *job = &plan->jobs[i];
    const uint64_t host = job->run.host;
    const uint64_t left = job->run.source->size - host; /* > 0: entry.h */
    const size_t length
      = job->run.bound < left ? job->run.bound : (size_t) left;
    size_t skip, grow;

    if (!wants_stream (job))
      continue;

    if (group && plan->sources[plan->nr_ranges - 1] == job->run.source
        && host <= group->offset + group->length + MAX_GAP) {
      skip = (size_t) (host - group->offset);
      grow = skip + length > group->length ? skip + length - group->length : 0;
      if (grow > s->in_size - used)
        break;
      job->in = (uint8_t *) group->buf + skip;
      group->length += grow;
      used += grow;
    }
    else {
      if (length > s->in_size - used || plan->nr_ranges == PLAN_RUNS)
        break;
      group = &plan->ranges[plan->nr_ranges];
      add_range (plan, job->run.source,
                 (struct source_range){ host, length, s->in + used });
      job->in = group->buf;
      used += length;
    }
    job->in_length = length;
  }
  return i;
}

static void
add_prefetch (struct plan *plan, struct source *source,
              struct source_range range)
{
  plan->prefetch_sources[plan->nr_prefetch] = source;
  plan->prefetch[plan->nr_prefetch++] = range;
}

/* If there is no room for all streams at once, remote sources can still be
 * asked for all of them.
 */
static void
announce_streams (struct plan *plan, const struct workspace *s)
{
  uint64_t sum = 0;
  size_t i;

  for (i = 0; i < plan->nr_jobs; ++i) {
    const struct run *run = &plan->jobs[i].run;

    if (!wants_stream (&plan->jobs[i]) || !run->source->remote)
      continue;
    add_prefetch (plan, run->source,
                  (struct source_range){ run->host, run->bound, NULL });
    sum += run->bound;
  }
  if (sum > s->in_size)
    prefetch_ranges (plan);
  plan->nr_prefetch = 0;
}

/* Read and inflate all jobs that want a stream, and read the plan's data
 * ranges with the first of them.
 */
static int
load_streams (struct plan *plan, struct workspace *s)
{
  size_t first = 0;

  announce_streams (plan, s);
  while (first < plan->nr_jobs) {
    const size_t end = place_streams (plan, s, first);
    size_t i;

    if (read_ranges (plan) == -1)
      return -1;
    for (i = first; i < end; ++i)
      if (wants_stream (&plan->jobs[i]) && decode (s, &plan->jobs[i]) == -1)
        return -1;
    first = end;
  }
  return 0;
}

/* Everything of our own is loaded: now wait for other threads.  What another
 * thread failed to load becomes JOB_TODO again, and *left counts it.  0, or
 * -1 with errno ESHUTDOWN if our client has left.
 */
static int
wait_for_others (struct plan *plan, size_t *left)
{
  const struct qcow_hooks *hooks = plan->context->hooks;
  size_t i;

  *left = 0;
  for (i = 0; i < plan->nr_jobs; ++i) {
    struct job *job = &plan->jobs[i];

    if (job->state != JOB_WAIT)
      continue;
    if (cache_wait (job->entry, hooks) == 0) {
      copy_out (job, job->entry->data);
      cache_release (job->entry);
      job->state = JOB_DONE;
      continue;
    }
    job->state = JOB_TODO;
    if (errno == ESHUTDOWN)
      return -1;
    ++*left;
  }
  /* The others may have failed because the server is ending. */
  if (*left > 0 && hooks_sleep (hooks, 0) == -1) {
    errno = ESHUTDOWN;
    return -1;
  }
  return 0;
}

/* After an error: nobody must wait for us for ever. */
static void
abandon_jobs (struct plan *plan)
{
  size_t i;

  for (i = 0; i < plan->nr_jobs; ++i) {
    struct job *job = &plan->jobs[i];

    if (job->state == JOB_CACHE)
      cache_fail (job->entry);
    else if (job->state == JOB_WAIT)
      cache_release (job->entry);
    job->state = JOB_DONE;
  }
}

/* Of those that the plan waits for: one on the web, if there is one. */
static struct image *
slowest_image (const struct plan *plan)
{
  size_t i;

  for (i = 0; i < plan->nr_jobs; ++i)
    if (plan->jobs[i].run.source->remote)
      return plan->jobs[i].run.image;
  return plan->jobs[0].run.image;
}

static int
do_jobs (struct plan *plan)
{
  struct image *slowest;
  struct workspace *s;
  size_t left;
  int r, err;

  sort_jobs (plan);
  if (serve_cached (plan) == 0)
    return 0;
  slowest = slowest_image (plan);
  s = workspace_get (plan->context->workspaces, &slowest->workspaces,
                     plan->context->hooks);
  if (s == NULL)
    return errno == ENOMEM ? image_no_memory (slowest) : -1;
  do {
    r = claim_jobs (plan);
    if (r == 0)
      r = load_streams (plan, s);
    if (r == 0)
      r = wait_for_others (plan, &left);
  } while (r == 0 && left > 0);
  err = errno;
  if (r == -1)
    abandon_jobs (plan);
  workspace_put (plan->context->workspaces, &slowest->workspaces, s);
  errno = err;
  return r;
}

/* --- Requests --- */

/* Is there perhaps no room for one more run? */
static bool
is_full (const struct plan *plan)
{
  return plan->nr_ranges + plan->nr_jobs + plan->nr_prefetch
           > PLAN_RUNS - DECRYPT_RANGES
         || decrypt_is_full (&plan->decrypt);
}

/* Carry out a plan and empty it. */
static int
do_plan (struct plan *plan)
{
  prefetch_ranges (plan);
  if (plan->nr_jobs > 0 && do_jobs (plan) == -1)
    return -1;
  plan->nr_jobs = 0;
  if (read_ranges (plan) == -1)
    return -1;
  return decrypt_run (&plan->decrypt);
}

static void
add_job (struct plan *plan, const struct run *run, uint8_t *dest)
{
  plan->jobs[plan->nr_jobs++]
    = (struct job){ .run = *run, .dest = dest, .state = JOB_TODO };
}

static void
add_encrypted (struct plan *plan, const struct run *run, uint8_t *dest)
{
  struct source_range ranges[DECRYPT_RANGES];
  const size_t n = decrypt_add (&plan->decrypt, run, dest, ranges);
  size_t i;

  for (i = 0; i < n; ++i)
    add_range (plan, run->source, ranges[i]);
}

/* Put a run into the plan. */
static int
plan_read (struct plan *plan, const struct run *run, uint8_t *dest)
{
  const size_t length = (size_t) run->length; /* of a request: < 4 GiB */

  switch (run->kind) {
  case RUN_HOLE:
  case RUN_ZERO:
    memset (dest, 0, length);
    return 0;
  case RUN_DATA:
    if (run->image && run->image->cipher) {
      add_encrypted (plan, run, dest);
      return 0;
    }
    add_range (plan, run->source,
               (struct source_range){ run->host, length, dest });
    return 0;
  case RUN_COMPRESSED:
    add_job (plan, run, dest);
    return 0;
  case RUN_BAD:
    break;
  }
  return damage_report_entry (run);
}

/* The same for a prefetch.  Damage is for those who read it to find. */
static void
plan_prefetch (struct plan *plan, const struct run *run)
{
  const bool inflate
    = run->kind == RUN_COMPRESSED
      && plan->inflate_room >= image_cluster_size (run->image);

  if (inflate) {
    plan->inflate_room -= image_cluster_size (run->image);
    add_job (plan, run, NULL);
  }
  else if (run->kind == RUN_DATA)
    add_prefetch (
      plan, run->source,
      (struct source_range){ run->host, (size_t) run->length, NULL });
  else if (run->kind == RUN_COMPRESSED)
    add_prefetch (plan, run->source,
                  (struct source_range){ run->host, run->bound, NULL });
}

/* Read, or prefetch if buf is NULL. */
static int
do_request (struct qcow_view *v, uint8_t *buf, uint32_t count, uint64_t offset)
{
  struct lookup lookup = LOOKUP_INIT;
  struct plan plan;
  struct map map;
  struct run run;
  int r;

  plan.context = v->context;
  plan.nr_ranges = plan.nr_jobs = plan.nr_prefetch = 0;
  decrypt_begin (&plan.decrypt);
  /* More would push out what was prefetched first. */
  plan.inflate_room = cache_capacity (v->context->cache) / 4;
  if (buf == NULL)
    lookup.deadline = monotonic_ms () + PREFETCH_MS;
  map_begin (&map, v, &lookup, offset, count);
  while ((r = map_next (&map, &run)) == 1) {
    if (buf == NULL)
      plan_prefetch (&plan, &run);
    else if (plan_read (&plan, &run, buf + (run.offset - offset)) == -1) {
      r = -1;
      break;
    }
    if (is_full (&plan)) {
      map_release (&map);
      if (do_plan (&plan) == -1) {
        r = -1;
        break;
      }
    }
    if (buf == NULL && lookup_expired (&lookup))
      break;
  }
  map_end (&map);
  return r == -1 ? -1 : do_plan (&plan);
}

int
qcow_read (struct qcow_view *v, void *buf, uint32_t count, uint64_t offset)
{
  return do_request (v, buf, count, offset);
}

int
qcow_prefetch (struct qcow_view *v, uint32_t count, uint64_t offset)
{
  return do_request (v, NULL, count, offset);
}
