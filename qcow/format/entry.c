/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The texts of faults.  See entry.h.
 */

#include <stddef.h>

#include "format/entry.h"

const char *
entry_fault_text (enum entry_fault fault)
{
  switch (fault) {
  case FAULT_NONE:
    break;
  case FAULT_L1_UNALIGNED:
    return "the L2 table is not aligned to a cluster";
  case FAULT_L1_PAST_END:
    return "the L2 table lies beyond the end of the file";
  case FAULT_UNALIGNED:
    return "the cluster is not aligned";
  case FAULT_PAST_END:
    return "the cluster lies beyond the end of the file";
  case FAULT_ZERO_IN_V2:
    return "zero flag in a version 2 image";
  case FAULT_NO_STREAM:
    return "a compressed cluster of 0 bytes";
  case FAULT_SUBCLUSTERS:
    return "contradictory subcluster bits";
  case FAULT_NOT_IN_PLACE:
    return "the cluster is not at its guest offset in the data file";
  case FAULT_NOT_DATA_FILE:
    return "a compressed cluster in an image with a data file";
  }
  return NULL;
}
