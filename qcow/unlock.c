/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unlocking an encrypted image.  See unlock.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "luks.h"
#include "secret.h"
#include "unlock.h"

static int
no_memory (const struct image *image)
{
  return error_report (image->shared->hooks, ENOMEM, image->name,
                       "out of memory");
}

static int
needs_passphrase (const struct image *image, const char *how)
{
  return error_report (image->shared->hooks, EACCES, image->name,
                       "the image is encrypted (%s): it needs a passphrase "
                       "(passphrase=+FILE, or passphrase=- to be asked for "
                       "it)",
                       how);
}

/* --- AES as images had it before LUKS --- */

/* The key is the beginning of the password, filled up with zeros (qemu;
 * what the spec says of 256 bits was never true).
 */
static int
unlock_aes (struct image *image, struct passphrases *p)
{
  static const struct crypto_method method = {
    .cipher = CRYPTO_AES,
    .mode = CRYPTO_CBC,
    .key_bytes = 16,
    .iv = CRYPTO_PLAIN64,
  };
  const size_t n = p->aes_layers++;
  const char *passphrase;
  uint8_t *key;

  if (p->n == 0)
    return needs_passphrase (image, "AES");
  passphrase = p->list[n < p->n ? n : p->n - 1];
  key = secret_new (method.key_bytes);
  if (key == NULL)
    return no_memory (image);
  memcpy (key, passphrase, strnlen (passphrase, method.key_bytes));
  image->crypto = crypto_new (&method, key);
  secret_free (key, method.key_bytes);
  return image->crypto ? 0 : no_memory (image);
}

/* --- LUKS --- */

static int
read_luks_header (const struct image *image, struct luks_header *h)
{
  const uint64_t offset = image->header.luks_offset;
  uint8_t bytes[LUKS_HEADER_BYTES];
  struct problem problem;

  if (image->header.luks_length < sizeof bytes)
    return error_report (image->shared->hooks, EINVAL, image->name,
                         "header: the LUKS extension has room for %" PRIu64
                         " bytes: a LUKS header has %d",
                         image->header.luks_length, LUKS_HEADER_BYTES);
  if (offset > image->source->size
      || image->source->size - offset < sizeof bytes)
    return error_report (image->shared->hooks, EINVAL, image->name,
                         "header: the LUKS header at 0x%" PRIx64
                         " lies beyond the end of the file: was the file "
                         "cut?",
                         offset);
  if (source_read (image->source, bytes, sizeof bytes, offset) == -1)
    return -1;
  if (luks_parse (bytes, image->header.luks_length, h, &problem) == -1)
    return error_report (image->shared->hooks, EINVAL, image->name, "%s",
                         problem.text);
  return 0;
}

/* What was wrong, and why that may not be the passphrase's fault. */
static int
none_fits (const struct image *image, const struct passphrases *p,
           unsigned active, unsigned skipped)
{
  const char *which = p->n == 1 ? "the passphrase fits none"
                                : "none of the passphrases fits one";

  if (active == 0)
    return error_report (image->shared->hooks, EINVAL, image->name,
                         "LUKS header: no key slot is active: nothing can "
                         "open the image any more");
  if (skipped > 0)
    return error_report (image->shared->hooks, EACCES, image->name,
                         "the image is encrypted (LUKS), and %s of its "
                         "active key slots that were tried; %u of %u were "
                         "not, since they ask for more iterations of PBKDF2 "
                         "than are allowed",
                         which, skipped, active);
  return error_report (image->shared->hooks, EACCES, image->name,
                       "the image is encrypted (LUKS), and %s of its active "
                       "key slots (%u)",
                       which, active);
}

static int
unlock_luks (struct image *image, const struct passphrases *p)
{
  struct luks_header header;
  unsigned skipped = 0;
  size_t i;

  if (read_luks_header (image, &header) == -1)
    return -1;
  if (p->n == 0)
    return needs_passphrase (image, "LUKS");
  for (i = 0; i < p->n; ++i) {
    struct luks_result result;

    if (luks_unlock (&header, image->source, image->header.luks_offset,
                     p->list[i], p->max_work, &result)
        == -1)
      return -1;
    skipped = result.skipped;
    image->crypto = result.crypto;
    if (image->crypto) {
      error_debug (image->shared->hooks, image->name,
                   "passphrase %zu opens key slot %u", i + 1, result.slot);
      return 0;
    }
  }
  return none_fits (image, p, luks_active_slots (&header), skipped);
}

int
unlock_image (struct image *image, struct passphrases *passphrases)
{
  if (image->header.crypt_method == QCOW_CRYPT_NONE)
    return 0;
  passphrases->encrypted_layers++;
  return image->header.crypt_method == QCOW_CRYPT_AES
           ? unlock_aes (image, passphrases)
           : unlock_luks (image, passphrases);
}
