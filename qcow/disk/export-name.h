/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Export names -> views, and the list of export names.
 *
 * Names come from clients and are compared with names from the image.  Both
 * can be hostile.  Any thread may call these functions.
 */

#ifndef QCOW_DISK_EXPORT_NAME_H
#define QCOW_DISK_EXPORT_NAME_H

#include "disk/view.h"
#include "qcow.h"

/* Find a snapshot by its id, or else by its name.  'text' has 'length' bytes.
 * NULL: there is none.
 */
const struct snapshot_entry *
export_name_to_snapshot (const struct view_parts *p, const char *text,
                         size_t length);

/* Parse the older side of a delta: a snapshot; "backing"; or "layer:N", with N
 * from 1 to the number of backing files.  Returns false for anything else.
 */
bool export_name_to_old_point (const struct view_parts *p, const char *text,
                               size_t length, struct view_point *point);

/* Open the view for an export name other than "".  NULL with the error
 * reported, and errno ENOENT if there is no such export, else an errno of
 * view.h.
 */
struct qcow_view *export_name_open_view (const struct view_parts *p,
                                         const char *name);

/* As qcow_list, but without "". */
int export_names_list (const struct view_parts *p, qcow_list_fn fn,
                       void *opaque);

#endif /* QCOW_DISK_EXPORT_NAME_H */
