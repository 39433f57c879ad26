/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A transport fetches the bytes of one opened remote object by one protocol.
 * Its users, source/remote.c and source/blocks.c, never ask by which.
 *
 * A transport knows nothing of blocks, caches or clients.  It retries where
 * that may help, and delivers only bytes of the version of the object that it
 * saw first.
 *
 * All operations but 'close' may be called by any number of threads at once.
 * A transport starts no thread before serving starts: the server may fork.
 */

#ifndef QCOW_BASE_TRANSPORT_H
#define QCOW_BASE_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fragments.h"

/* Where a part of the bytes goes. */
struct fetch_piece {
  uint8_t *buf;
  size_t length; /* bytes, > 0 */
};

/* Which of the 'length' > 0 bytes from the fetch's offset on lie in holes, and
 * read as zeros.
 */
struct fetch_holes {
  uint64_t length; /* <= FETCH_HOLES_MAX */

  /* The result, for the caller to free: the fragments from the offset on, or
   * from a little before.  They can end earlier or later.
   */
  struct fragment *list;
  size_t n;
};

/* The protocol has 32 bits for it. */
#define FETCH_HOLES_MAX (UINT64_C (2) << 30)

/* The bytes from 'offset' on, as many as the pieces hold together.  They lie
 * within the object.  The transport uses the fetch and its pieces from when it
 * is submitted until 'done' is called.
 */
struct fetch {
  uint64_t offset;
  struct fetch_piece *pieces;
  size_t nr_pieces; /* > 0 */

  /* Not NULL: there are no pieces, and no bytes are fetched.  Only if the
   * transport has_holes.
   */
  struct fetch_holes *holes;

  /* Any thread may call these, without a lock held.  They must not wait.
   * 'piece_done' is called once for each piece that is complete; NULL: not
   * wanted.  'done' is the last call: 'err' is 0 if all pieces are complete,
   * else an errno value, and the transport has reported the error if it is
   * worth a message.
   */
  void (*piece_done) (struct fetch *f, size_t piece);
  void (*done) (struct fetch *f, int err);

  /* For the transport alone (base/fetch-wait.h). */
  void *waiter;
  bool cancel;
};

struct transport;

struct transport_ops {
  /* Begin a fetch; 'done' tells how it ends, perhaps before this returns.
   * Only once serving has started.
   */
  void (*submit) (struct transport *t, struct fetch *f);

  /* Fetch n ranges, n > 0, in parallel, and wait for all of them.  Sets their
   * 'done'.  Before serving starts the calling thread does the transfers.
   * 0, or -1 with the error reported and errno EIO, ENOMEM, ENOENT or EACCES
   * (the server says so), or ESHUTDOWN: the sleep hook has ended the wait, and
   * the fetches are cancelled.
   * Whatever it returns, nothing writes to the pieces afterwards.
   */
  int (*fetch_all) (struct transport *t, struct fetch *fetches, size_t n);

  /* Free the transport.  All fetches must be done. */
  void (*close) (struct transport *t);
};

/* Constant once open, except 'prefix' and 'latency'.  'close' frees the
 * strings; the source borrows them.
 */
struct transport {
  const struct transport_ops *ops;
  char *name;     /* for messages */
  char *identity; /* equal for equal objects; secret, never in messages */
  uint64_t size;  /* bytes, <= INT64_MAX */

  /* The object's first bytes, if they came with the size; else NULL.  The
   * source caches and frees them, and sets NULL; else 'close' frees them.
   */
  uint8_t *prefix;
  size_t prefix_length;

  bool has_holes; /* the server says where holes are */
  bool cheap;     /* a request costs little besides its round trip */

  bool slow_start; /* the user was told that opening it takes long */

  /* The time in which the server began to respond, in us: the shortest, or an
   * average that prefers short ones; starts as UINT64_MAX; atomic.  (On i386 a
   * uint64_t in a structure is aligned to 4 bytes only.  Across two cache
   * lines it would not be atomic, and clang calls libatomic for it: hence
   * _Alignas.)
   */
  _Alignas(8) uint64_t latency;
};

/* Keep the shortest time of a response.  Only the thread that does the
 * transfers.
 */
static inline void
transport_note_latency (struct transport *t, uint64_t us)
{
  if (us < t->latency)
    __atomic_store_n (&t->latency, us, __ATOMIC_RELAXED);
}

/* A server that responds this quickly is near. */
#define TRANSPORT_NEAR_US 1000

/* True if a round trip takes so little time that avoiding one gains nothing.
 * This may change while the transport is in use.
 */
static inline bool
transport_is_near (const struct transport *t)
{
  return __atomic_load_n (&t->latency, __ATOMIC_RELAXED) < TRANSPORT_NEAR_US;
}

#endif /* QCOW_BASE_TRANSPORT_H */
