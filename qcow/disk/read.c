/* SPDX-License-Identifier: BSD-3-Clause
 *
 * runs -> reads of sources -> decryption or inflation -> the client's buffer.
 *
 * The runs of a request are added to a plan: ranges to read, clusters to
 * inflate, sectors to decrypt.  Whenever the plan is full, and at the end, it
 * is executed and emptied.  Data is read directly into the client's buffer,
 * and encrypted data is decrypted there.  See inflate-clusters.h for
 * compressed clusters.
 *
 * A plan belongs to one thread.  The map pins nothing while a plan is
 * executed, since that can wait for other threads.
 */

#include <string.h>

#include "disk/damage.h"
#include "disk/decrypt.h"
#include "disk/inflate-clusters.h"
#include "disk/map.h"
#include "disk/prefetch.h"
#include "qcow.h"

/* On the stack, some 15 KiB.  Only the counts are initialized, since most
 * requests are small.
 */
struct plan {
  struct context *context;
  struct ranges ranges;
  struct inflate_batch inflate;
  struct decrypt_batch decrypt;
};

static void
plan_begin (struct plan *plan, struct context *context)
{
  plan->context = context;
  plan->ranges.n = 0;
  plan->inflate.nr_jobs = 0;
  plan->decrypt.nr_steps = plan->decrypt.nr_edges = 0;
}

/* True if one more run may not fit.  (Each job can add a range when it is
 * executed.)
 */
static bool
plan_is_full (const struct plan *plan)
{
  return plan->ranges.n + plan->inflate.nr_jobs
           > RANGES_MAX - DECRYPT_MAX_RANGES
         || plan->decrypt.nr_edges > DECRYPT_EDGES - 2;
}

/* Add a run, to be read into 'dest'.  Returns 0, or -1 with the error reported
 * if the run is damaged.
 */
static int
plan_add (struct plan *plan, const struct run *run, uint8_t *dest)
{
  const size_t length = (size_t) run->length; /* of a request: < 4 GiB */

  switch (run->kind) {
  case RUN_HOLE:
  case RUN_ZERO:
    memset (dest, 0, length);
    return 0;
  case RUN_DATA:
    if (run->image && run->image->cipher)
      decrypt_batch_add (&plan->decrypt, run, dest, &plan->ranges);
    else
      ranges_add (&plan->ranges, run->source, run->host, length, dest);
    return 0;
  case RUN_COMPRESSED:
    inflate_batch_add (&plan->inflate, run, dest);
    return 0;
  case RUN_BAD:
    break;
  }
  return damage_report_entry (run);
}

/* Execute the plan and empty it. */
static int
plan_run (struct plan *plan)
{
  if (inflate_batch_run (&plan->inflate, plan->context, &plan->ranges) == -1)
    return -1;
  /* (No ranges are left if they were read with the first streams.) */
  prefetch_other_sources (&plan->ranges);
  if (ranges_read (&plan->ranges) == -1)
    return -1;
  return decrypt_batch_run (&plan->decrypt);
}

int
qcow_read (struct qcow_view *v, void *buf, uint32_t count, uint64_t offset)
{
  struct lookup lookup = LOOKUP_INIT;
  struct plan plan;
  struct map map;
  struct run run;
  int r;

  plan_begin (&plan, v->context);
  map_begin (&map, v, &lookup, offset, count);
  while ((r = map_next (&map, &run)) == 1) {
    r = plan_add (&plan, &run, (uint8_t *) buf + (run.offset - offset));
    if (r == 0 && plan_is_full (&plan)) {
      map_release (&map);
      r = plan_run (&plan);
    }
    if (r == -1)
      break;
  }
  map_end (&map);
  return r == -1 ? -1 : plan_run (&plan);
}

static int
execute_prefetch (struct prefetch_batch *p, struct plan *plan)
{
  prefetch_run (p);
  return plan_run (plan);
}

/* The plan has only clusters to inflate into the cache. */
int
qcow_prefetch (struct qcow_view *v, uint32_t count, uint64_t offset)
{
  struct lookup lookup = LOOKUP_INIT;
  struct prefetch_batch prefetch;
  struct plan plan;
  struct map map;
  struct run run;
  int r;

  lookup.deadline = monotonic_ms () + PREFETCH_MS;
  prefetch_begin (&prefetch, v->context->cache);
  plan_begin (&plan, v->context);
  map_begin (&map, v, &lookup, offset, count);
  while ((r = map_next (&map, &run)) == 1) {
    if (prefetch_add (&prefetch, &run))
      inflate_batch_add (&plan.inflate, &run, NULL);
    if (prefetch.ranges.n == RANGES_MAX || plan_is_full (&plan)) {
      map_release (&map);
      r = execute_prefetch (&prefetch, &plan);
    }
    if (r == -1 || lookup_expired (&lookup))
      break;
  }
  map_end (&map);
  return r == -1 ? -1 : execute_prefetch (&prefetch, &plan);
}
