/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What all transfers of the settings have in common.
 */

#ifndef QCOW_HTTP_EASY_H
#define QCOW_HTTP_EASY_H

#include "base/libcurl.h"
#include "http/settings.h"

/* Set an option of a handle, or make the caller return the failure. */
#define SET(easy, option, value)                                              \
  do {                                                                        \
    const CURLcode set = libcurl.easy_setopt (easy, option, value);           \
                                                                              \
    if (set != CURLE_OK)                                                      \
      return set;                                                             \
  } while (0)

/* Set up how a new handle connects, proxies and TLS, and limits of its time
 * (handle.c).
 */
CURLcode easy_set_parameters (CURL *easy, const struct http_settings *s);

#endif /* QCOW_HTTP_EASY_H */
