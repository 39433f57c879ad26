/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inflating one compressed cluster: raw deflate or zstd.
 *
 * A codec holds the libraries' contexts, made when first needed and used
 * again for every cluster; one thread at a time uses it.
 */

#ifndef QCOW_CODEC_INFLATE_H
#define QCOW_CODEC_INFLATE_H

#include <stddef.h>

struct inflater;

/* NULL if out of memory. */
struct inflater *inflater_new (void);
void inflater_free (struct inflater *c);

/* Inflate in[0..in_len) into exactly out_len bytes.  'compression' is one
 * of QCOW_COMPRESSION_*.  What is left of the input is ignored: it belongs
 * to the next cluster.  0, or -1 with errno EIO (the input does not give
 * out_len bytes; out is undefined) or ENOMEM.
 */
int inflate_cluster (struct inflater *c, unsigned compression, const void *in,
                     size_t in_len, void *out, size_t out_len);

#endif /* QCOW_CODEC_INFLATE_H */
