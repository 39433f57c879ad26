/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The functions through which the module reaches its user: messages, and a
 * sleep that the user can interrupt.  Public: qcow.h includes it.
 */

#ifndef QCOW_BASE_HOOKS_H
#define QCOW_BASE_HOOKS_H

#include <stdbool.h>

/* How the module speaks.  Each text is one line without a newline, valid
 * during the call.  The hooks are called by the thread that has something
 * to say, at times by several at once.  NULL: not interested.
 */
struct qcow_hooks {
  void (*error) (const char *text);
  void (*warn) (const char *text);
  void (*debug) (const char *text);

  /* Sleep so long, 0 or more.  -1: the server is ending, or the client is
   * gone for which the calling thread works.  NULL: just sleep.
   */
  int (*sleep) (unsigned ms);

  /* For the module alone: set in its copy when serving starts.  Then clients
   * may get to see errors, which name files by their last component only.
   */
  bool serving;
};

#endif /* QCOW_BASE_HOOKS_H */
