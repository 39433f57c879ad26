/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A fetch: a range of a remote object that a transport reads into memory.
 * The caller of the transport (source/transport.h) owns it.
 */

#ifndef QCOW_BASE_FETCH_H
#define QCOW_BASE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a part of the bytes goes. */
struct fetch_piece {
  uint8_t *buf;
  size_t length; /* bytes, > 0 */
};

/* The bytes from 'offset' on, as many as the pieces hold together.  They lie
 * within the object.  The transport uses the fetch and its pieces from when it
 * is submitted until 'done' is called.
 */
struct fetch {
  uint64_t offset;
  struct fetch_piece *pieces;
  size_t nr_pieces; /* > 0 */

  /* The thread that transfers the bytes calls these, without a lock.  They
   * must not wait.  'piece_done' is called once for each piece that is
   * complete; NULL: not wanted.  'done' is the last call: 'err' is 0 if all
   * pieces are complete, or an errno value; then the error is reported if it
   * is worth a message.
   */
  void (*piece_done) (struct fetch *f, size_t piece);
  void (*done) (struct fetch *f, int err);

  /* For the transport alone. */
  void *waiter;
  bool cancel;
};

#endif /* QCOW_BASE_FETCH_H */
