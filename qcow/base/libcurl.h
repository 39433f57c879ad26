/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libcurl, loaded when the first URL is seen.
 *
 * It depends on some thirty libraries.  Loading them takes longer than opening
 * a local image.  Once loaded it stays.
 *
 * Other files call libcurl's functions through the table 'libcurl'.  Before
 * the first call, libcurl_load must have succeeded.  Like qcow_open, it is
 * called while there is only one thread.  Unit tests replace functions in the
 * table to make them fail.
 */

#ifndef QCOW_BASE_LIBCURL_H
#define QCOW_BASE_LIBCURL_H

#include <curl/curl.h>

#include "base/error.h"

#define LIBCURL_FUNCTIONS(F)                                                  \
  F (global_init)                                                             \
  F (version_info)                                                            \
  F (free)                                                                    \
  F (slist_append)                                                            \
  F (slist_free_all)                                                          \
  F (share_init)                                                              \
  F (share_setopt)                                                            \
  F (share_cleanup)                                                           \
  F (url)                                                                     \
  F (url_cleanup)                                                             \
  F (url_get)                                                                 \
  F (url_set)                                                                 \
  F (url_strerror)                                                            \
  F (easy_init)                                                               \
  F (easy_cleanup)                                                            \
  F (easy_setopt)                                                             \
  F (easy_getinfo)                                                            \
  F (easy_header)                                                             \
  F (easy_strerror)                                                           \
  F (multi_init)                                                              \
  F (multi_cleanup)                                                           \
  F (multi_setopt)                                                            \
  F (multi_add_handle)                                                        \
  F (multi_remove_handle)                                                     \
  F (multi_perform)                                                           \
  F (multi_info_read)                                                         \
  F (multi_poll)                                                              \
  F (multi_wakeup)                                                            \
  F (multi_strerror)

struct libcurl {
#define LIBCURL_POINTER(name) __typeof__ (curl_##name) *name;
  LIBCURL_FUNCTIONS (LIBCURL_POINTER)
#undef LIBCURL_POINTER
};

extern struct libcurl libcurl;

/* 0, or -1 and the reason. */
int libcurl_load (struct problem *problem);

/* Append a copy of the text to a list.  0, or -1 with errno ENOMEM. */
int libcurl_append (struct curl_slist **list, const char *text);

/* Wipe and free a list of headers. */
void libcurl_free_secrets (struct curl_slist *list);

#endif /* QCOW_BASE_LIBCURL_H */
