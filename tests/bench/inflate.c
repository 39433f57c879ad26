/* SPDX-License-Identifier: BSD-3-Clause */

/* Decompress every compressed cluster of a QCOW2 image (version 2 or 3) with
 * libdeflate or libzstd, and print the cost: the minimum for any reader of
 * the image that uses these libraries.
 *
 *   inflate IMAGE [THREADS]
 *
 * One pread and one call of the library per cluster, always into the same
 * buffer.  It intentionally shares no code with the plugin.  The image is
 * trusted: use it with the benchmark's own images only.
 *
 * It prints one line of JSON: "seconds" is the CPU time, user and system, of
 * all threads, without reading the tables; "stored" and "inflated" are bytes
 * before and after; "failed" is the number of clusters that the library
 * rejects.
 */

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/stat.h>

#include <libdeflate.h>
#include <zstd.h>

#define OFFSET_MASK UINT64_C (0x00fffffffffffe00)
#define COMPRESSED (UINT64_C (1) << 62)
#define MAX_THREADS 64

struct cluster {
  uint64_t offset; /* In the image's file. */
  size_t length;   /* Upper bound, within the file. */
};

static int fd;
static size_t cluster_size;
static int zstd; /* else deflate */
static struct cluster *clusters;
static size_t nr_clusters;

/* The part of one thread: a contiguous range of the list, as in a copy with
 * several connections.
 */
struct part {
  pthread_t thread;
  size_t first, end;
  uint64_t stored, failed;
};

static void
read_at (void *buf, size_t length, uint64_t offset)
{
  ssize_t r = pread (fd, buf, length, (off_t) offset);

  if (r == -1)
    err (EXIT_FAILURE, "pread");
  if ((size_t) r != length)
    errx (EXIT_FAILURE, "pread: short read at %" PRIu64, offset);
}

static uint64_t
be64 (const unsigned char *p)
{
  uint64_t v = 0;

  for (int i = 0; i < 8; ++i)
    v = v << 8 | p[i];
  return v;
}

static void *
allocate (size_t size)
{
  void *p = malloc (size);

  if (p == NULL)
    err (EXIT_FAILURE, "malloc");
  return p;
}

static void
add_cluster (uint64_t entry, unsigned cluster_bits, uint64_t file_size)
{
  const unsigned shift = 62 - (cluster_bits - 8);
  const uint64_t offset = entry & ((UINT64_C (1) << shift) - 1);
  const uint64_t sectors = ((entry & ~(UINT64_C (3) << 62)) >> shift) + 1;
  uint64_t length = sectors * 512 - offset % 512;
  static size_t room;

  if (offset + length > file_size)
    length = file_size - offset;
  if (nr_clusters == room) {
    room = room ? 2 * room : 65536;
    clusters = realloc (clusters, room * sizeof *clusters);
    if (clusters == NULL)
      err (EXIT_FAILURE, "realloc");
  }
  clusters[nr_clusters++] = (struct cluster){ offset, length };
}

static void
read_tables (void)
{
  unsigned char header[112];
  struct stat st;

  if (fstat (fd, &st) == -1)
    err (EXIT_FAILURE, "fstat");
  read_at (header, sizeof header, 0);
  if (be64 (header) != UINT64_C (0x514649fb00000002)
      && be64 (header) != UINT64_C (0x514649fb00000003))
    errx (EXIT_FAILURE, "not a QCOW2 image of version 2 or 3");

  const unsigned cluster_bits = header[23];
  const size_t l1_size = be64 (header + 32) & 0xffffffff;
  const uint64_t l1_offset = be64 (header + 40);
  cluster_size = (size_t) 1 << cluster_bits;
  /* The field is valid only with this incompatible feature. */
  zstd = header[7] == 3 && header[79] & 8 && header[104] == 1;
  unsigned char *l1 = allocate (l1_size * 8);
  unsigned char *l2 = allocate (cluster_size);

  read_at (l1, l1_size * 8, l1_offset);
  for (size_t i = 0; i < l1_size; ++i) {
    const uint64_t l2_offset = be64 (l1 + 8 * i) & OFFSET_MASK;

    if (l2_offset == 0)
      continue;
    read_at (l2, cluster_size, l2_offset);
    for (size_t j = 0; j < cluster_size; j += 8) {
      const uint64_t entry = be64 (l2 + j);

      if (entry & COMPRESSED)
        add_cluster (entry, cluster_bits, (uint64_t) st.st_size);
    }
  }
  free (l2);
  free (l1);
}

/* The context of one thread. */
struct context {
  struct libdeflate_decompressor *deflate;
  ZSTD_DCtx *zstd;
};

/* Bytes between the end of the stream and of its last sector are ignored. */
static int
inflate_one (const struct context *c, const void *in, size_t in_length,
             void *out)
{
  if (zstd) {
    const size_t frame = ZSTD_findFrameCompressedSize (in, in_length);

    return !ZSTD_isError (frame)
               && ZSTD_decompressDCtx (c->zstd, out, cluster_size, in, frame)
                    == cluster_size
             ? 0
             : -1;
  }

  size_t length;

  return libdeflate_deflate_decompress_ex (c->deflate, in, in_length, out,
                                           cluster_size, NULL, &length)
               == LIBDEFLATE_SUCCESS
             && length == cluster_size
           ? 0
           : -1;
}

static void *
inflate_part (void *vp)
{
  struct part *part = vp;
  /* A compressed cluster can be longer than a cluster by a sector or two, but
   * never twice as long.
   */
  unsigned char *in = allocate (2 * cluster_size);
  unsigned char *out = allocate (cluster_size);
  const struct context context
    = { libdeflate_alloc_decompressor (), ZSTD_createDCtx () };

  if (context.deflate == NULL || context.zstd == NULL)
    errx (EXIT_FAILURE, "out of memory");
  for (size_t i = part->first; i < part->end; ++i) {
    const struct cluster *c = &clusters[i];

    if (c->length > 2 * cluster_size)
      errx (EXIT_FAILURE, "compressed cluster too long");
    read_at (in, c->length, c->offset);
    if (inflate_one (&context, in, c->length, out) == -1)
      part->failed++;
    part->stored += c->length;
  }
  libdeflate_free_decompressor (context.deflate);
  ZSTD_freeDCtx (context.zstd);
  free (out);
  free (in);
  return NULL;
}

static double
cpu_seconds (void)
{
  struct timespec ts;

  if (clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &ts) == -1)
    err (EXIT_FAILURE, "clock_gettime");
  return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

int
main (int argc, char *argv[])
{
  struct part parts[MAX_THREADS] = { 0 };
  const size_t threads = argc > 2 ? strtoul (argv[2], NULL, 10) : 1;
  uint64_t stored = 0, failed = 0;

  if (argc < 2 || threads < 1 || threads > MAX_THREADS)
    errx (EXIT_FAILURE, "usage: inflate IMAGE [THREADS]");
  fd = open (argv[1], O_RDONLY | O_CLOEXEC);
  if (fd == -1)
    err (EXIT_FAILURE, "%s", argv[1]);
  read_tables ();

  const double start = cpu_seconds ();
  for (size_t t = 0; t < threads; ++t) {
    parts[t].first = nr_clusters * t / threads;
    parts[t].end = nr_clusters * (t + 1) / threads;
    if (pthread_create (&parts[t].thread, NULL, inflate_part, &parts[t]) != 0)
      errx (EXIT_FAILURE, "pthread_create failed");
  }
  for (size_t t = 0; t < threads; ++t) {
    pthread_join (parts[t].thread, NULL);
    stored += parts[t].stored;
    failed += parts[t].failed;
  }
  printf ("{ \"seconds\": %.6f, \"clusters\": %zu, \"stored\": %" PRIu64
          ", \"inflated\": %" PRIu64 ", \"failed\": %" PRIu64 " }\n",
          cpu_seconds () - start, nr_clusters, stored,
          (uint64_t) (nr_clusters - failed) * cluster_size, failed);
  free (clusters);
  return EXIT_SUCCESS;
}
