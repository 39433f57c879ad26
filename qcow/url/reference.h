/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A file that is to be opened: who names it, and what the name means.  A URL
 * is parsed once, when its reference is made (image/resolve.h).  The access
 * rule, the source and the messages use the parts.
 */

#ifndef QCOW_URL_REFERENCE_H
#define QCOW_URL_REFERENCE_H

#include <stdbool.h>
#include <stdlib.h>

#include "base/keep-errno.h"
#include "url/url.h"

struct reference {
  /* Who names the file. */
  const char *image;   /* the name of the image that does; NULL: the user */
  const char *what;    /* if an image does: "backing file", "data file" */
  enum qcow_hint hint; /* how the user can name the file instead */
  char hint_value[12]; /* its value (base/hooks.h) */

  /* The name as it is written, but fit for messages: a URL with secrets in it
   * is replaced by the name of its struct url.
   */
  char *name;

  /* What it means: a local file or a URL.  The path of a local file is joined
   * to the directory of the image that names it.
   */
  char *path;     /* NULL: it is a URL */
  struct url url; /* if path is NULL */
  bool hidden;    /* the path can contain a secret: not for messages */
  bool nameless;  /* the path is only a name for an open descriptor */
};

/* What the name means, for messages. */
static inline const char *
reference_meaning (const struct reference *ref)
{
  if (ref->path == NULL)
    return ref->url.name;
  return ref->hidden ? ref->name : ref->path;
}

/* For NAMED (base/error.h): the name as it is written, and its meaning. */
#define NAMED_REFERENCE(ref) NAMED_ARGS ((ref)->name, reference_meaning (ref))

/* Free the strings.  A reference of zeros is fine. */
static inline void
reference_free (struct reference *ref)
{
  KEEP_ERRNO;

  free (ref->name);
  free (ref->path);
  url_free (&ref->url);
}

#endif /* QCOW_URL_REFERENCE_H */
