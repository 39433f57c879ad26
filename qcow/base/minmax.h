/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Minimum, maximum and rounding of 64-bit numbers.
 */

#ifndef QCOW_BASE_MINMAX_H
#define QCOW_BASE_MINMAX_H

#include <stdint.h>

static inline uint64_t
min64 (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static inline uint64_t
max64 (uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

/* Round down or up to a multiple of 'unit', which is a power of two.  The
 * result of round_up64 must fit 64 bits.
 */
static inline uint64_t
round_down64 (uint64_t n, uint64_t unit)
{
  return n & ~(unit - 1);
}

static inline uint64_t
round_up64 (uint64_t n, uint64_t unit)
{
  return round_down64 (n + unit - 1, unit);
}

#endif /* QCOW_BASE_MINMAX_H */
