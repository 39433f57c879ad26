/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The thread that drives all transfers of an image.  http.h has the functions
 * that start and stop it.
 */

#ifndef QCOW_HTTP_DRIVER_H
#define QCOW_HTTP_DRIVER_H

#include <pthread.h>

#include "base/quota.h"
#include "http/libcurl.h"
#include "http/request.h"

struct http {
  struct request_context context;
  CURLM *multi; /* any thread may call curl_multi_wakeup */

  pthread_mutex_t lock;
  struct request *submitted;      /* under the lock; the first one first */
  struct request **submitted_end; /* under the lock; its last 'next' */
  bool stop;                      /* under the lock */
  pthread_t worker;

  /* The rest belongs to the thread that drives. */
  struct request *requests; /* the oldest first */
  struct origin *origins;
  struct quota connections; /* of active requests */
  unsigned failures;        /* of libcurl itself, in a row */
};

/* Drive the transfers until one is over, or for at most 'max_ms'.  Only before
 * http_start.
 */
void driver_step (struct http *h, int max_ms);

/* Submit a fetch (transport_ops.submit).  Not before http_start. */
void driver_submit (struct transport *t, struct fetch *f);

/* Make the fetches fail with ESHUTDOWN soon, unless they are done. */
void driver_cancel (struct http *h, struct fetch *fetches, size_t n);

/* The origin of that name.  NULL: out of memory.  Only before http_start. */
struct origin *driver_origin (struct http *h, const char *name);

#endif /* QCOW_HTTP_DRIVER_H */
