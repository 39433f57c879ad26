/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Resolving names.  See host.h.
 */

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/host.h"

struct host_lookup {
  struct gaicb request;
  struct gaicb *list[1];
  char host[];
};

static void
lookup_free (struct host_lookup *l)
{
  if (l->request.ar_result)
    freeaddrinfo (l->request.ar_result);
  free (l);
}

int
host_lookup_step (struct host_lookup **lookup, const char *host)
{
  struct host_lookup *l = *lookup;
  int err = 0;

  if (l == NULL) {
    const size_t size = strlen (host) + 1;

    l = calloc (1, sizeof *l + size);
    if (l == NULL)
      return EAI_MEMORY;
    memcpy (l->host, host, size);
    l->request.ar_name = l->host;
    l->list[0] = &l->request;
    err = getaddrinfo_a (GAI_NOWAIT, l->list, 1, NULL);
  }
  if (err == 0)
    err = gai_error (&l->request);
  *lookup = err == EAI_INPROGRESS ? l : NULL;
  if (*lookup == NULL)
    lookup_free (l);
  return err;
}

/* While glibc's thread is at it, the memory is that thread's, for good. */
void
host_lookup_abandon (struct host_lookup **lookup)
{
  struct host_lookup *l = *lookup;

  if (l && gai_cancel (&l->request) != EAI_NOTCANCELED)
    lookup_free (l);
  *lookup = NULL;
}
