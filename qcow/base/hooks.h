/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The functions through which the module reaches its user: messages, and a
 * sleep that the user can interrupt.  Public: qcow.h includes it.
 */

#ifndef QCOW_BASE_HOOKS_H
#define QCOW_BASE_HOOKS_H

#include <stdbool.h>

/* Any thread that works for the image may call a hook, several at once.  A
 * hook that is NULL is not called.
 */
struct qcow_hooks {
  void *opaque; /* the first argument of each hook */

  /* A message.  The text is one line without a newline, valid during the
   * call.
   */
  void (*error) (void *opaque, const char *text);
  void (*warn) (void *opaque, const char *text);
  void (*debug) (void *opaque, const char *text);

  /* Sleep for 'ms' milliseconds, 0 or more.  Returns 0, or -1 if the calling
   * thread must stop waiting: the server is shutting down, or the client for
   * which the thread works is gone.  If NULL, the module sleeps itself.
   */
  int (*sleep) (void *opaque, unsigned ms);

  /* Private to the module, which sets it in its copy when serving starts.
   * From then on, clients may see error texts, which therefore name a file
   * by the last component of its path only.
   */
  bool serving;
};

#endif /* QCOW_BASE_HOOKS_H */
