/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where requests go: the URL of an object, or where the server has redirected
 * to, with the secrets that messages must not show.
 *
 * A target does not change.  The object and its requests share it, and all of
 * them belong to the driver thread, so it has no lock.
 */

#ifndef QCOW_HTTP_TARGET_H
#define QCOW_HTTP_TARGET_H

#include "http/redact.h"
#include "http/url.h"

struct target {
  unsigned references;
  struct url url;
  struct secrets secrets; /* of the URL, and of the one that led here */
};

/* A target with one reference, which takes over *url's strings.  'original' is
 * the object's own target; NULL: this is it.  Returns NULL if out of memory:
 * then the strings stay the caller's.
 */
struct target *target_new (struct url *url, const struct target *original);

/* One more reference to it. */
struct target *target_share (struct target *t);

/* Give up a reference.  NULL is ignored. */
void target_release (struct target *t);

#endif /* QCOW_HTTP_TARGET_H */
