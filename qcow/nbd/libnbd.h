/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libnbd, loaded when the first NBD URI is seen.
 *
 * It depends on GnuTLS and libxml2.  Once loaded it stays.
 *
 * Other files call libnbd's functions through the table 'libnbd'.  Before the
 * first call, libnbd_load must have succeeded.  Like qcow_open, it is called
 * while there is only one thread.  Unit tests replace functions in the table
 * to make them fail.
 */

#ifndef QCOW_NBD_LIBNBD_H
#define QCOW_NBD_LIBNBD_H

#include <libnbd.h>

#include "base/error.h"

/* All of these are in libnbd 1.14. */
#define LIBNBD_FUNCTIONS(F)                                                   \
  F (create)                                                                  \
  F (close)                                                                   \
  F (get_error)                                                               \
  F (get_version)                                                             \
  F (get_errno)                                                               \
  F (set_opt_mode)                                                            \
  F (set_full_info)                                                           \
  F (add_meta_context)                                                        \
  F (set_uri_allow_transports)                                                \
  F (set_uri_allow_local_file)                                                \
  F (get_strict_mode)                                                         \
  F (set_strict_mode)                                                         \
  F (set_pread_initialize)                                                    \
  F (aio_connect_uri)                                                         \
  F (aio_opt_go)                                                              \
  F (aio_pread)                                                               \
  F (aio_block_status)                                                        \
  F (aio_command_completed)                                                   \
  F (aio_disconnect)                                                          \
  F (aio_get_fd)                                                              \
  F (aio_get_direction)                                                       \
  F (aio_notify_read)                                                         \
  F (aio_notify_write)                                                        \
  F (aio_is_negotiating)                                                      \
  F (aio_is_ready)                                                            \
  F (aio_is_dead)                                                             \
  F (aio_is_closed)                                                           \
  F (get_size)                                                                \
  F (get_block_size)                                                          \
  F (get_export_description)                                                  \
  F (get_structured_replies_negotiated)                                       \
  F (can_multi_conn)                                                          \
  F (can_meta_context)

struct libnbd {
#define LIBNBD_POINTER(name) __typeof__ (nbd_##name) *name;
  LIBNBD_FUNCTIONS (LIBNBD_POINTER)
#undef LIBNBD_POINTER
};

extern struct libnbd libnbd;

/* 0, or -1 and the reason. */
int libnbd_load (struct problem *problem);

/* The version, or NULL if out of memory.  libnbd must be loaded. */
const char *libnbd_version (void);

#endif /* QCOW_NBD_LIBNBD_H */
