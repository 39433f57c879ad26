/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Messages about damaged parts of an image.  The guest offset shows which part
 * of the disk is lost, the host offset where to look in the file.
 *
 * Each place is reported once, and at most ERROR_FILTER_MAX places of an image
 * (error.h).  The filter has its own lock, so any thread may call these
 * functions.
 */

#ifndef QCOW_DISK_DAMAGE_H
#define QCOW_DISK_DAMAGE_H

#include "disk/run.h"

/* Report the L1 or L2 entry of a RUN_BAD.  Returns -1 with errno EIO. */
int damage_report_entry (const struct run *run);

/* Report that the stream of a RUN_COMPRESSED does not inflate to a cluster.
 * Returns -1 with errno EIO.
 */
int damage_report_stream (const struct run *run);

/* Report that libgcrypt failed to decrypt data of the image, for the reason in
 * errno.  Returns -1 with errno EIO or ENOMEM.
 */
int damage_report_decryption (struct image *image);

#endif /* QCOW_DISK_DAMAGE_H */
