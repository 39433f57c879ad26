/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Targets of requests.  See internal.h.
 */

#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

static void
add_url (struct secrets *s, const struct url *url)
{
  secrets_add_login (s, url->user, url->password);
  if (url_has_query (url->text))
    secrets_add_values (s, strchr (url->text, '?') + 1, "&");
}

struct target *
target_new (struct url *url, const struct target *previous)
{
  struct target *t = calloc (1, sizeof *t);
  size_t i;

  if (t == NULL)
    return NULL;
  for (i = 0; previous && i < previous->secrets.n; ++i)
    secrets_add (&t->secrets, previous->secrets.list[i]);
  add_url (&t->secrets, url);
  if (t->secrets.incomplete) {
    secrets_free (&t->secrets);
    free (t);
    return NULL;
  }
  t->references = 1;
  t->url = *url;
  *url = (struct url){ .name = NULL };
  return t;
}

struct target *
target_share (struct target *t)
{
  t->references++;
  return t;
}

void
target_release (struct target *t)
{
  if (t == NULL || --t->references > 0)
    return;
  url_free (&t->url);
  secrets_free (&t->secrets);
  free (t);
}
