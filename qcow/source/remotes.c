/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transports.  See remotes.h.
 */

#include "http/http.h"
#include "nbd/nbd.h"
#include "source/remotes.h"

int
remotes_parse_url (struct remotes *r, const struct qcow_options *options,
                   const struct qcow_hooks *hooks, const char *text,
                   const char *holder, struct url *url)
{
  const struct url_s3 none = { NULL, "" };

  if (url_is_nbd (text)) {
    if (r->nbd == NULL)
      r->nbd = nbd_new (options->http.connections, hooks);
    return r->nbd ? url_take (text, &none, holder, hooks, url) : -1;
  }
  if (r->http == NULL)
    r->http = http_new (options, hooks);
  return r->http ? http_parse_url (r->http, text, holder, url) : -1;
}

struct transport *
remotes_open (struct remotes *r, struct reference *ref)
{
  struct transport *t;

  if (!ref->url.nbd)
    return http_open (r->http, &ref->url, ref);
  t = nbd_open (r->nbd, ref->url.text, ref->url.name, ref);
  url_free (&ref->url);
  return t;
}

void
remotes_hang_up (struct remotes *r)
{
  http_hang_up (r->http);
}

int
remotes_start (struct remotes *r)
{
  return http_start (r->http) == -1 ? -1 : nbd_start (r->nbd);
}

void
remotes_stop (struct remotes *r)
{
  http_stop (r->http);
  nbd_stop (r->nbd);
}

void
remotes_free (struct remotes *r)
{
  http_free (r->http);
  nbd_free (r->nbd);
  *r = (struct remotes){ .http = NULL };
}
