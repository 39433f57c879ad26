/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of the transport share.  nbd.h is the interface for others.
 *
 * Threads submit fetches.  Each becomes a request, which is split into
 * commands.  One thread, the driver, does all transfers.  Everything here
 * belongs to it, except what is marked as atomic or in the inbox.  The size
 * and the description of an object's export do not change after nbd_open.
 *
 *   object.c      opens an object; waits for fetches (base/fetch-wait.h)
 *   driver.c      takes submitted requests, and waits for events
 *   schedule.c    what an object does next: connect, send, retry, fail
 *   request.c     a request and its commands
 *   connection.c  one connection: a libnbd handle
 *   host.c        resolves the name of a host
 */

#ifndef QCOW_NBD_INTERNAL_H
#define QCOW_NBD_INTERNAL_H

#include <pthread.h>

#include "base/error.h"
#include "base/inbox.h"
#include "base/transport.h"
#include "nbd/libnbd.h"
#include "nbd/nbd.h"
#include "url/nbd-uri.h"
#include "url/redact.h"

struct nbd {
  const struct qcow_hooks *hooks;
  unsigned connections; /* of each object, at most */
  bool serving;         /* the worker thread drives; set before others run */
  int wakeup;           /* an eventfd; any thread may write to it */

  /* Constant, but tests shorten them. */
  uint64_t give_up_ms; /* while serving, retry for this long */
  uint64_t stall_ms;   /* a connection without events for so long is lost */

  struct inbox inbox; /* submitted requests; has a lock of its own */
  pthread_t worker;

  /* The rest belongs to the driver. */
  unsigned seed; /* of rand_r */
  struct nbd_object *objects;
  size_t nr_objects;
  bool ended;           /* a request has */
  struct pollfd *polls; /* room for all connections and 'wakeup' */
};

/* What the server says of an export.  All connections that are ready have the
 * same block sizes.
 */
struct nbd_export {
  uint64_t size;
  uint32_t minimum;  /* bytes of a command; a power of 2; the driver's */
  uint32_t maximum;  /* a multiple of it; the driver's */
  char *description; /* NULL: none */
  bool multi_conn;   /* the last connection's; the driver's */
  bool allocation;   /* base:allocation can be asked for */
};

struct connection {
  struct nbd_object *object;
  struct nbd_handle *handle; /* NULL: not open */
  bool ready;                /* commands can be sent */
  bool go_done;              /* the server has replied to NBD_OPT_GO */
  int go_err;                /* then: errno value */
  uint64_t progress;         /* ms: when anything last happened */
  struct command *sent;      /* in flight, the oldest first */
  struct command **sent_end; /* its last 'next' */
  unsigned nr_sent;
};

struct nbd_object {
  struct transport transport;
  struct nbd *nbd;
  struct nbd_object *next;
  char *uri;        /* secret */
  bool local_files; /* the user's URI, or with its keys: it may name files */
  struct secrets secrets;

  char host[NBD_URI_HOST_MAX]; /* to be resolved; "": there is none */
  struct host_lookup *lookup;
  uint64_t lookup_began; /* ms */

  bool known; /* 'export' is set */
  struct nbd_export export;
  bool changed; /* the server has another export now */

  struct request *requests; /* the oldest first */

  unsigned failures;      /* of connections, since a command was complete */
  uint64_t due;           /* ms: no new connection before */
  uint64_t more_due;      /* ms: no additional connection before */
  uint64_t given_up;      /* ms: when a request was; 0: not since a success */
  char why[REDACTED_MAX]; /* the last failure; "": there was none */
  struct error_filter errors;      /* of one minute */
  const struct reference *ref;     /* while it is being opened, or NULL */
  struct connection connections[]; /* nbd->connections */
};

/* A read of consecutive bytes into one piece, or a query for holes. */
struct command {
  struct command *next; /* of those in flight on a connection */
  struct request *request;
  uint64_t offset; /* in the object */
  size_t length;
  size_t piece;
  uint8_t *buf;
  uint8_t *bounce; /* where it reads whole blocks to; NULL: to 'buf' */
  struct fetch_holes found; /* by a query; 'length' is that of the list */
  bool sent;                /* in flight, or complete */
  bool alone;               /* no other was in flight when it was sent */
  uint64_t began;           /* us: when it was sent */
  int64_t cookie;           /* of libnbd; -1: it has not taken the command */
  bool over;                /* the reply has arrived, or libnbd has given up */
  int err;                  /* then: errno value */
};

struct request {
  struct inbox_item item; /* until the driver takes it */
  struct request *next;
  struct nbd_object *object;
  struct fetch *fetch; /* NULL: was cancelled, and is done */
  uint64_t length;     /* bytes of all pieces */

  size_t nr_sent;         /* commands in flight */
  size_t left;            /* commands that are not complete */
  int err;                /* not 0: the request ends when none is in flight */
  bool once;              /* no retry: another has just been given up */
  bool hit;               /* a connection was lost with commands in flight */
  unsigned failures;      /* in a row, without progress */
  uint64_t first_failure; /* ms */
  uint32_t minimum;       /* the block sizes for which it was split; ... */
  uint32_t maximum;       /* ... 0: it was not */
  size_t nr_commands;     /* 0: it only waits for a connection */
  struct command *commands;
  unsigned left_of[]; /* 'left' for each piece */
};

/* --- request.c --- */

/* A request for a fetch.  NULL: out of memory.  Any thread. */
struct request *nbd_request_new (struct nbd_object *o, struct fetch *f);

/* Split what is not complete by the server's block sizes, unless that was
 * done.  No command may be in flight if they have changed.  0, or -1: out of
 * memory.
 */
int request_split (struct request *r);

/* Free a request, and then call its fetch's 'done', unless it is done. */
void nbd_request_finish (struct request *r, int err);

/* The whole blocks that the command reads. */
void command_range (const struct command *cmd, uint64_t *offset,
                    size_t *length);

/* Store what a command has read: its request has made progress. */
void command_complete (struct command *cmd);

/* --- connection.c --- */

/* Begin to connect.  0, or -1 with the reason in o->why and errno; close it
 * then.
 */
int connection_open (struct connection *c);

/* Close it.  Its commands are not in flight any more. */
void connection_close (struct connection *c);

/* Send a command.  Results as connection_open. */
int connection_send (struct connection *c, struct command *cmd);

/* Let libnbd handle events of poll.  Results as connection_open. */
int connection_handle (struct connection *c, short revents);

/* The events to poll for. */
short connection_events (const struct connection *c);

/* Remove a command that is over from those in flight.  NULL: there is none. */
struct command *connection_take_over (struct connection *c);

/* --- schedule.c --- */

/* Add a request, or finish it if it is hopeless. */
void object_add (struct nbd_object *o, struct request *r);

/* Do what can be done without waiting. */
void object_run (struct nbd_object *o);

/* True if commands can be sent on any connection. */
bool object_has_connection (const struct nbd_object *o);

/* True if errno of a connection says that this process may not use the local
 * socket: that is mostly so until nbdkit is started again.
 */
bool object_is_denied (const struct nbd_object *o, int err);

/* After events of a connection: r is the result of connection_handle. */
void object_after_events (struct nbd_object *o, struct connection *c, int r);

/* The time until object_run has to be called again, in ms. */
uint64_t object_wait (const struct nbd_object *o);

/* Let all requests end with an errno value.  Those with commands in flight
 * wait for these.
 */
void object_end (struct nbd_object *o, int err);

/* Close all connections. */
void object_hang_up (struct nbd_object *o);

/* --- driver.c --- */

/* Drive the transfers once.  If no request ends, wait up to 'max_ms'.  Only
 * before nbd_start.
 */
void nbd_step (struct nbd *n, int max_ms);

/* Submit a fetch (transport_ops.submit). */
void nbd_submit (struct transport *t, struct fetch *f);

/* Make the driver look soon which fetches are cancelled. */
void nbd_wake (struct transport *t);

/* Close all connections.  NULL is ignored. */
void nbd_hang_up (struct nbd *n);

/* Add an object.  0, or -1 with errno ENOMEM.  Only before nbd_start. */
int nbd_add (struct nbd *n, struct nbd_object *o);
void nbd_remove (struct nbd *n, struct nbd_object *o);

#endif /* QCOW_NBD_INTERNAL_H */
