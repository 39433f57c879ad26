/* SPDX-License-Identifier: BSD-3-Clause
 *
 * s3://BUCKET/KEY, and the https URL that it stands for.  The key is taken
 * literally.  Pure.
 *
 * Sources: Amazon's pages "Virtual hosting of buckets" and "Bucket naming
 * rules"; for tenants Ceph's page "RGW Multi-tenancy".
 */

#ifndef QCOW_URL_S3_NAME_H
#define QCOW_URL_S3_NAME_H

#include <stdbool.h>

#include "base/error.h"

#define S3_PREFIX "s3://"
#define S3_SYNTAX "must be s3://BUCKET/KEY"

/* The server that has the objects. */
struct url_s3 {
  const char *endpoint; /* an http or https URL, or NULL: Amazon's */
  const char *region;
};

/* The URL of 'text', which begins with S3_PREFIX.  The key may be empty: that
 * is a prefix.  A new string, or NULL, the reason, and errno EINVAL or ENOMEM.
 */
char *s3_to_http (const char *text, const struct url_s3 *s3,
                  struct problem *problem);

#endif /* QCOW_URL_S3_NAME_H */
