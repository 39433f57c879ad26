/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inflate a compressed cluster: raw deflate or zstd.
 *
 * An inflater holds the contexts of the libraries, which it creates when they
 * are first needed and reuses for every cluster.  One thread at a time uses
 * it.
 */

#ifndef QCOW_CODEC_INFLATE_H
#define QCOW_CODEC_INFLATE_H

#include <stddef.h>

struct inflater;

/* Returns NULL if out of memory. */
struct inflater *inflater_new (void);
void inflater_free (struct inflater *c);

/* Inflate in[0..in_len) to exactly out_len bytes.  'compression' is one of
 * QCOW_COMPRESSION_*.  Ignores input after the stream: it belongs to the next
 * cluster.  Returns 0, or -1 with errno EIO (the input does not give out_len
 * bytes; the content of 'out' is undefined) or ENOMEM.
 */
int inflate_cluster (struct inflater *c, unsigned compression, const void *in,
                     size_t in_len, void *out, size_t out_len);

#endif /* QCOW_CODEC_INFLATE_H */
