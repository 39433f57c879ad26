/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Messages about damaged parts of an image.  See damage.h.
 */

#include <errno.h>
#include <inttypes.h>

#include "base/minmax.h"
#include "codec/libgcrypt.h"
#include "disk/damage.h"
#include "image/image.h"

/* The error filter's number for a place.  It includes the fault, because two
 * views of an image can be damaged differently at the same guest offset.
 */
static uint64_t
place_of (const struct run *run, uint64_t offset)
{
  return offset ^ (run->host * UINT64_C (0x9e3779b97f4a7c15) + run->fault);
}

static int
report_cluster (const struct run *run, const char *what)
{
  struct image *image = run->image;
  const uint64_t cluster
    = round_down64 (run->offset, image_cluster_size (image));

  return error_report_once (&image->damage, place_of (run, cluster),
                            image->context->hooks, EIO, image->name,
                            "damaged cluster at guest offset 0x%" PRIx64
                            ", host offset 0x%" PRIx64 ": %s",
                            cluster, run->host, what);
}

/* One message for everything that the L2 table would map. */
static int
report_table (const struct run *run)
{
  struct image *image = run->image;
  const uint64_t bytes = UINT64_C (1) << header_l1_shift (&image->header);
  const uint64_t start = round_down64 (run->offset, bytes);

  return error_report_once (&image->damage, place_of (run, start),
                            image->context->hooks, EIO, image->name,
                            "damaged L1 entry for guest offset 0x%" PRIx64
                            " to 0x%" PRIx64 ", host offset 0x%" PRIx64 ": %s",
                            start, start + (bytes - 1), run->host,
                            entry_fault_text (run->fault));
}

int
damage_report_entry (const struct run *run)
{
  if (run->fault == FAULT_L1_UNALIGNED || run->fault == FAULT_L1_PAST_END)
    return report_table (run);
  return report_cluster (run, entry_fault_text (run->fault));
}

int
damage_report_stream (const struct run *run)
{
  return report_cluster (run, "the compressed data does not decompress to one "
                              "cluster");
}

int
damage_report_decryption (struct image *image)
{
  if (errno == ENOMEM)
    return image_no_memory (image);
  return error_report_once (
    &image->damage, UINT64_MAX, image->context->hooks, EIO, image->name,
    "libgcrypt failed to decrypt: %s", libgcrypt_reason ());
}
