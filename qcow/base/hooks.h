/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Callbacks of the program that uses the module: messages, and a sleep that
 * the program can interrupt.  Also its hints for error messages.
 * Public: qcow.h includes it.
 */

#ifndef QCOW_BASE_HOOKS_H
#define QCOW_BASE_HOOKS_H

#include <stdbool.h>

/* What people can do about an error depends on the program that uses the
 * module: on the names of its options, and on what else it can serve.
 */
enum qcow_hint {
  QCOW_HINT_NONE,
  QCOW_HINT_FORCE_SHARE, /* a writer holds the image: force_share */
  QCOW_HINT_URL,         /* filename is a URL: url */
  QCOW_HINT_ALLOW,       /* an image may not name the file: allow; its value */

  /* Their value is the ".N" of a list with numbers, or "". */
  QCOW_HINT_BACKING, /* a backing file can't be opened by its name: backing */
  QCOW_HINT_DATA_FILE,  /* likewise a data file: data_files */
  QCOW_HINT_FORMAT_RAW, /* a backing file may be raw: backing_formats */

  QCOW_HINT_PASSPHRASE, /* a passphrase is needed: passphrases */
  QCOW_HINT_ITERATIONS, /* a key slot needs more: luks_iterations; its value */
  QCOW_HINT_CAINFO,     /* the server's certificate is not trusted: cainfo */
  QCOW_HINT_S3,         /* keys are given, but not an s3:// URL: url */

  /* The file is not a QCOW image, but ... */
  QCOW_HINT_UNKNOWN, /* ... nothing that is recognized, so maybe raw */
  QCOW_HINT_RAW,     /* ... a raw disk */
  QCOW_HINT_IMAGE,   /* ... another program's image */
  QCOW_HINT_LUKS,    /* ... a LUKS disk */
  QCOW_HINT_GZIP,    /* ... compressed */
  QCOW_HINT_XZ,
  QCOW_HINT_PACKED, /* ... compressed with something else */
  QCOW_HINT_TAR,    /* ... an archive */

  QCOW_NR_HINTS
};

/* Any thread that works for the image may call a hook, several at once.  A
 * hook can be NULL.
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
   * which the thread works has disconnected.  If NULL, the module sleeps
   * itself.
   */
  int (*sleep) (void *opaque, unsigned ms);

  /* Texts of hints, QCOW_NR_HINTS of them.  The array and each text can be
   * NULL, and must be valid as long as the image is open.  A message ends with
   * " (HINT)" if there is a text.  A "%s" in it is replaced by the
   * value, if the hint has one.
   */
  const char *const *hints;

  /* Private to the module, which sets it in its copy when serving starts.
   * From then on clients can see error texts, so these name a file only by the
   * last component of its path.
   */
  bool serving;
};

#endif /* QCOW_BASE_HOOKS_H */
