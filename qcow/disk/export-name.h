/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What clients ask for by name -> views, and the list of names.
 *
 * Names come from clients, who may be anybody, and are compared with names
 * from the image, which may come from anybody.
 */

#ifndef QCOW_DISK_EXPORT_NAME_H
#define QCOW_DISK_EXPORT_NAME_H

#include "disk/view.h"
#include "qcow.h"

/* A snapshot by its id or name; 'length' bytes of text. */
const struct snapshot_entry *
export_name_to_snapshot (const struct view_parts *p, const char *text,
                         size_t length);

/* What may stand on the older side of a delta: a snapshot; "backing";
 * "layer:N" with N from 1 to the number of backing files.
 */
bool export_name_to_old_point (const struct view_parts *p, const char *text,
                               size_t length, struct view_point *point);

/* Open the view that an export name means; not "".  NULL with the error
 * reported, and errno ENOENT if there is none.
 */
struct qcow_view *export_name_open_view (const struct view_parts *p,
                                         const char *name);

/* See qcow_list; without "". */
int export_names_list (const struct view_parts *p, qcow_list_fn fn,
                       void *opaque);

#endif /* QCOW_DISK_EXPORT_NAME_H */
