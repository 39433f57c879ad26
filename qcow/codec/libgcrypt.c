/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Initialization and errors of libgcrypt.  See libgcrypt.h.
 *
 * All state after libgcrypt_load is thread-local, so there is no locking.
 */

#include <errno.h>
#include <stdlib.h>

#include <gcrypt.h>

#include "codec/libgcrypt.h"

/* The oldest version with XTS (2017). */
#define NEED_LIBGCRYPT "1.8.0"

/* More than an HMAC needs. */
#define RESERVE_BYTES 4096

/* With another TLS model, a thread's first access to such a variable of a
 * plugin can allocate memory, and end the process if that fails.
 */
#define THREAD_LOCAL                                                          \
  static _Thread_local __attribute__ ((tls_model ("initial-exec")))

THREAD_LOCAL void *reserve;
THREAD_LOCAL gcry_error_t last_error;

static void *
allocate (size_t length)
{
  void *p = malloc (length);

  if (p == NULL && reserve) {
    libgcrypt_release ();
    p = malloc (length);
  }
  return p;
}

int
libgcrypt_load (void)
{
  /* Another library may have initialized libgcrypt. */
  if (gcry_control (GCRYCTL_INITIALIZATION_FINISHED_P))
    return gcry_check_version (NEED_LIBGCRYPT) ? 0 : -1;
  if (gcry_check_version (NEED_LIBGCRYPT) == NULL)
    return -1;
  /* The pool of secure memory is too small for many contexts, so it is not
   * used.
   */
  gcry_control (GCRYCTL_DISABLE_SECMEM);
  gcry_set_allocation_handler (allocate, NULL, NULL, realloc, free);
  gcry_control (GCRYCTL_INITIALIZATION_FINISHED);
  return 0;
}

int
libgcrypt_reserve (void)
{
  reserve = malloc (RESERVE_BYTES);
  return reserve ? 0 : -1;
}

void
libgcrypt_release (void)
{
  free (reserve);
  reserve = NULL;
}

int
libgcrypt_fail (unsigned error)
{
  last_error = error;
  errno = gcry_err_code (error) == GPG_ERR_ENOMEM ? ENOMEM : EIO;
  return -1;
}

const char *
libgcrypt_reason (void)
{
  return gcry_strerror (last_error);
}

int
libgcrypt_report (const struct qcow_hooks *hooks, const char *object,
                  const char *encryption)
{
  if (errno == ENOMEM)
    return error_no_memory (hooks, object);
  return error_report (hooks, EIO, object,
                       "libgcrypt failed to set up %s decryption: %s",
                       encryption, libgcrypt_reason ());
}
