/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The smaller of two numbers.
 */

#ifndef QCOW_BASE_MINMAX_H
#define QCOW_BASE_MINMAX_H

#include <stdint.h>

static inline uint64_t
min64 (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

#endif /* QCOW_BASE_MINMAX_H */
