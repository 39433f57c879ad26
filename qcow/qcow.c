/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An image with everything that belongs to it: the cache, the scratch
 * memory, the views.  See qcow.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "image.h"

struct qcow {
  struct qcow_hooks hooks;
  struct image *image;
  struct cache *cache;
  struct scratch_pool *scratches;
  bool debug_cache;
  char description[128];
};

static void
describe (struct qcow *q)
{
  const struct header *h = &q->image->header;
  const uint64_t size = image_cluster_size (q->image);

  snprintf (q->description, sizeof q->description,
            "QCOW2 version %" PRIu32 ", clusters of %" PRIu64 " %s, %s "
            "compression",
            h->version, size >= 1024 ? size / 1024 : size,
            size >= 1024 ? "KiB" : "bytes",
            h->compression == QCOW_COMPRESSION_ZSTD ? "zstd" : "zlib");
}

struct qcow *
qcow_open (const struct qcow_options *options, const struct qcow_hooks *hooks)
{
  struct qcow *q = calloc (1, sizeof *q);
  int err;

  if (q == NULL) {
    error_report (hooks, ENOMEM, options->filename, "out of memory");
    return NULL;
  }
  q->hooks = *hooks;
  q->debug_cache = options->debug_cache;
  q->image = image_open (options, &q->hooks);
  if (q->image == NULL) {
    err = errno;
    free (q);
    errno = err;
    return NULL;
  }
  q->cache = cache_new (options->cache_size, image_cluster_size (q->image));
  q->scratches = scratch_pool_new (image_cluster_size (q->image));
  if (q->cache == NULL || q->scratches == NULL) {
    error_report (&q->hooks, ENOMEM, options->filename, "out of memory");
    q->debug_cache = false;
    qcow_close (q);
    errno = ENOMEM;
    return NULL;
  }
  q->image->cache = q->cache;
  q->image->scratches = q->scratches;
  describe (q);
  return q;
}

void
qcow_close (struct qcow *q)
{
  if (q == NULL)
    return;
  if (q->debug_cache) {
    const struct cache_stats s = cache_stats (q->cache);

    error_debug (&q->hooks, q->image->name,
                 "cache: %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64
                 " waits, %" PRIu64 " evictions, %" PRIu64 " bytes, at most "
                 "%" PRIu64,
                 s.hits, s.misses, s.waits, s.evictions, s.bytes,
                 s.peak_bytes);
  }
  scratch_pool_free (q->scratches);
  cache_free (q->cache);
  image_close (q->image);
  free (q);
}

const char *
qcow_description (const struct qcow *q)
{
  return q->description;
}

struct qcow_view *
qcow_view_open (struct qcow *q, const char *name)
{
  struct qcow_view *v;

  if (name[0] != '\0') {
    error_report (&q->hooks, ENOENT, q->image->name,
                  "there is no export '%s': the only one is the default "
                  "export ''",
                  name);
    return NULL;
  }
  v = malloc (sizeof *v);
  if (v == NULL) {
    error_report (&q->hooks, ENOMEM, q->image->name, "out of memory");
    return NULL;
  }
  v->image = q->image;
  v->l1 = q->image->l1;
  v->l1_size = q->image->header.l1_size;
  v->size = q->image->header.size;
  return v;
}

void
qcow_view_close (struct qcow_view *v)
{
  free (v);
}

uint64_t
qcow_view_size (const struct qcow_view *v)
{
  return v->size;
}

uint32_t
qcow_view_cluster_size (const struct qcow_view *v)
{
  return (uint32_t) image_cluster_size (v->image);
}
