/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libcurl, loaded when the first URL is seen.
 *
 * It comes with some thirty other libraries.  Loading them takes longer than
 * opening a local image.  Once loaded it stays.
 *
 * Files that include this call libcurl's functions by their names.  Before
 * the first call, libcurl_load must have succeeded.  It must be called while
 * there is one thread only, like qcow_open.  Unit tests replace functions in
 * the table to make them fail.
 */

#ifndef QCOW_HTTP_LIBCURL_H
#define QCOW_HTTP_LIBCURL_H

/* libcurl's macros that check types would hide ours. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#include "base/error.h"

#define LIBCURL_FUNCTIONS(F)                                                  \
  F (global_init)                                                             \
  F (version_info)                                                            \
  F (free)                                                                    \
  F (slist_append)                                                            \
  F (slist_free_all)                                                          \
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

#ifdef curl_easy_setopt
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt
#endif

struct libcurl {
#define LIBCURL_POINTER(name) __typeof__ (curl_##name) *name;
  LIBCURL_FUNCTIONS (LIBCURL_POINTER)
#undef LIBCURL_POINTER
};

extern struct libcurl libcurl;

/* 0, or -1 and the reason. */
int libcurl_load (struct problem *problem);

#define curl_global_init libcurl.global_init
#define curl_version_info libcurl.version_info
#define curl_free libcurl.free
#define curl_slist_append libcurl.slist_append
#define curl_slist_free_all libcurl.slist_free_all
#define curl_url libcurl.url
#define curl_url_cleanup libcurl.url_cleanup
#define curl_url_get libcurl.url_get
#define curl_url_set libcurl.url_set
#define curl_url_strerror libcurl.url_strerror
#define curl_easy_init libcurl.easy_init
#define curl_easy_cleanup libcurl.easy_cleanup
#define curl_easy_setopt libcurl.easy_setopt
#define curl_easy_getinfo libcurl.easy_getinfo
#define curl_easy_header libcurl.easy_header
#define curl_easy_strerror libcurl.easy_strerror
#define curl_multi_init libcurl.multi_init
#define curl_multi_cleanup libcurl.multi_cleanup
#define curl_multi_setopt libcurl.multi_setopt
#define curl_multi_add_handle libcurl.multi_add_handle
#define curl_multi_remove_handle libcurl.multi_remove_handle
#define curl_multi_perform libcurl.multi_perform
#define curl_multi_info_read libcurl.multi_info_read
#define curl_multi_poll libcurl.multi_poll
#define curl_multi_wakeup libcurl.multi_wakeup
#define curl_multi_strerror libcurl.multi_strerror

/* Append a copy of the text to a list.  0, or -1 with errno ENOMEM. */
int libcurl_append (struct curl_slist **list, const char *text);

/* Wipe and free a list of headers. */
void libcurl_free_secrets (struct curl_slist *list);

#endif /* QCOW_HTTP_LIBCURL_H */
