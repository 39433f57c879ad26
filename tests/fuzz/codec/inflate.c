/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: the input is the compression and the cluster size (1 byte) and a
 * compressed cluster.  The output must not exceed the cluster, must depend
 * only on the input, and must fill the cluster on success.
 */

#include "tests/fuzz/fuzz.h"

#include "codec/inflate.h"
#include "format/format.h"

/* Larger clusters would test nothing new. */
#define MAX_CLUSTER_BITS 16
#define MAX_INPUT (2U << MAX_CLUSTER_BITS)

static struct guarded in_area, out_area;

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static struct inflater *inflater;
  static uint8_t other[1U << MAX_CLUSTER_BITS];
  struct input in = { data, size };
  const unsigned what = (unsigned) take_number (&in, 1);
  const unsigned compression
    = what & 1 ? QCOW_COMPRESSION_ZSTD : QCOW_COMPRESSION_DEFLATE;
  const size_t cluster
    = (size_t) 1 << (QCOW_MIN_CLUSTER_BITS
                     + (what >> 1)
                         % (MAX_CLUSTER_BITS - QCOW_MIN_CLUSTER_BITS + 1));
  int results[SIDES];
  enum side side;

  if (inflater == NULL) {
    inflater = inflater_new ();
    MUST (inflater);
    in_area = guarded_new (MAX_INPUT);
    out_area = guarded_new (sizeof other);
  }
  if (in.left == 0 || in.left > MAX_INPUT)
    return 0;

  for (side = AT_END; side < SIDES; ++side) {
    const uint8_t *stream = guarded_copy (&in_area, side, in.p, in.left);
    uint8_t *out = guarded_place (&out_area, side, cluster);

    /* A byte that is not written has another value each time. */
    memset (out, side == AT_END ? 0x55 : 0xaa, cluster);
    results[side]
      = inflate_cluster (inflater, compression, stream, in.left, out, cluster);
    if (side == AT_END)
      memcpy (other, out, cluster);
    else if (results[side] == 0)
      MUST (memcmp (other, out, cluster) == 0);
  }
  MUST (results[AT_END] == results[AT_START]);
  return 0;
}
