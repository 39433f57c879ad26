/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inflate a compressed cluster.  See inflate.h.
 *
 * deflate: libdeflate is about twice as fast as zlib, but requires a complete
 * stream.  qemu accepts any stream that fills the cluster, even if it has no
 * end mark or continues.  So zlib retries each stream that libdeflate rejects.
 *
 * Conversely, libdeflate 1.14 accepts code tables in which a repeat count
 * leads beyond the end of the table; zlib and libdeflate 1.23 reject them.  No
 * check for that is worth its cost: letting zlib read the tables of the first
 * block alone (Z_TREES) takes 3.5 % of the time for inflating a cluster of 64
 * KiB.  Of 500,000 streams with one flipped bit it would reject 22, while
 * 207,000 pass all three.
 *
 * zstd: a cluster can have several frames.  Each is decoded in one step to its
 * final location, which needs no window buffer, so a hostile frame header
 * can't make the library allocate one.  As in qemu, the last frame must end
 * exactly where the cluster is full.
 */

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "codec/inflate.h"
#include "format/format.h"

struct inflater {
  struct libdeflate_decompressor *libdeflate;
  ZSTD_DCtx *zstd;
  z_stream zlib;
  bool have_zlib;
};

struct inflater *
inflater_new (void)
{
  return calloc (1, sizeof (struct inflater));
}

void
inflater_free (struct inflater *c)
{
  if (c == NULL)
    return;
  libdeflate_free_decompressor (c->libdeflate);
  ZSTD_freeDCtx (c->zstd);
  if (c->have_zlib)
    inflateEnd (&c->zlib);
  free (c);
}

static int
fail (int err)
{
  errno = err;
  return -1;
}

static int
inflate_zlib (struct inflater *c, const void *in, size_t in_len, void *out,
              size_t out_len)
{
  int r;

  if (in_len > UINT_MAX || out_len > UINT_MAX)
    return fail (EIO);
  if (!c->have_zlib) {
    memset (&c->zlib, 0, sizeof c->zlib);
    /* Raw deflate.  qemu writes and reads with a window of 4 KiB.  One of 32
     * KiB also accepts what other programs write.
     */
    if (inflateInit2 (&c->zlib, -15) != Z_OK)
      return fail (ENOMEM);
    c->have_zlib = true;
  }
  else if (inflateReset (&c->zlib) != Z_OK)
    return fail (EIO);

  c->zlib.next_in = (Bytef *) in;
  c->zlib.avail_in = (uInt) in_len;
  c->zlib.next_out = out;
  c->zlib.avail_out = (uInt) out_len;
  r = inflate (&c->zlib, Z_FINISH);
  if ((r == Z_STREAM_END || r == Z_BUF_ERROR) && c->zlib.avail_out == 0)
    return 0;
  return fail (r == Z_MEM_ERROR ? ENOMEM : EIO);
}

static int
inflate_deflate (struct inflater *c, const void *in, size_t in_len, void *out,
                 size_t out_len)
{
  if (c->libdeflate == NULL) {
    c->libdeflate = libdeflate_alloc_decompressor ();
    if (c->libdeflate == NULL)
      return fail (ENOMEM);
  }
  if (libdeflate_deflate_decompress (c->libdeflate, in, in_len, out, out_len,
                                     NULL)
      == LIBDEFLATE_SUCCESS)
    return 0;
  return inflate_zlib (c, in, in_len, out, out_len);
}

static int
inflate_zstd (struct inflater *c, const void *in, size_t in_len, void *out,
              size_t out_len)
{
  const char *p = in;
  char *q = out;

  if (c->zstd == NULL) {
    c->zstd = ZSTD_createDCtx ();
    if (c->zstd == NULL)
      return fail (ENOMEM);
  }
  while (out_len > 0) {
    const size_t frame = ZSTD_findFrameCompressedSize (p, in_len);
    size_t n;

    if (ZSTD_isError (frame) || frame == 0)
      return fail (EIO);
    n = ZSTD_decompressDCtx (c->zstd, q, out_len, p, frame);
    if (ZSTD_isError (n))
      return fail (
        ZSTD_getErrorCode (n) == ZSTD_error_memory_allocation ? ENOMEM : EIO);
    p += frame;
    in_len -= frame;
    q += n;
    out_len -= n;
  }
  return 0;
}

int
inflate_cluster (struct inflater *c, unsigned compression, const void *in,
                 size_t in_len, void *out, size_t out_len)
{
  if (compression == QCOW_COMPRESSION_ZSTD)
    return inflate_zstd (c, in, in_len, out, out_len);
  return inflate_deflate (c, in, in_len, out, out_len);
}
