/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unlocking an encrypted image.  See unlock.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "codec/libgcrypt.h"
#include "image/luks.h"
#include "image/unlock.h"

static int
needs_passphrase (const struct image *image, const char *how)
{
  return error_report (
    image->context->hooks, EACCES, image->name,
    "the image is encrypted (%s): it needs a "
    "passphrase" HINT,
    how, HINT_ARGS (image->context->hooks, QCOW_HINT_PASSPHRASE));
}

struct passphrases {
  const char *const *list;
  size_t n;
  bool *used; /* [i]: list[i] opened a LUKS layer */
  struct luks_limits limits;
};

/* --- AES, the encryption before LUKS --- */

/* Returns the index of the passphrase for AES layer number 'layer', from 0. */
static size_t
choose_passphrase (const struct passphrases *p, size_t layer)
{
  size_t i, last = p->n, nth = 0;

  for (i = 0; i < p->n; ++i)
    if (!p->used[i]) {
      last = i;
      if (nth++ == layer)
        return i;
    }
  if (last < p->n)
    return last;
  return layer < p->n ? layer : p->n - 1;
}

/* The key is the first 16 bytes of the passphrase, padded with zeros (qemu).
 * (The specification says 256 bits, which was never true.)
 */
static int
unlock_aes (struct image *image, const struct passphrases *p, size_t layer)
{
  static const struct cipher_method method = {
    .algorithm = CIPHER_AES,
    .mode = CIPHER_CBC,
    .key_bytes = 16,
    .iv = CIPHER_IV_PLAIN64,
  };
  size_t i;
  uint8_t *key;

  if (p->n == 0)
    return needs_passphrase (image, "AES");
  i = choose_passphrase (p, layer);
  key = secret_new (method.key_bytes);
  if (key == NULL)
    return image_no_memory (image);
  memcpy (key, p->list[i], strnlen (p->list[i], method.key_bytes));
  image->cipher = cipher_new (&method, key);
  secret_free (key, method.key_bytes);
  if (image->cipher == NULL)
    return libgcrypt_report (image->context->hooks, image->name, "AES");
  error_debug (image->context->hooks, image->name,
               "using passphrase %zu (AES can't tell whether it is right)",
               i + 1);
  return 0;
}

/* --- LUKS --- */

/* Report that no passphrase is right, or that not all could be tried. */
static int
none_fits (const struct image *image, const struct passphrases *p,
           const struct luks *luks, const struct luks_result *result)
{
  const struct qcow_hooks *hooks = image->context->hooks;
  const unsigned active = luks_header_active_slots (&luks->header);
  const char *which = p->n == 1 ? "the passphrase opens none"
                                : "none of the passphrases opens any";
  struct hint_room room;
  char work[32];

  if (active == 0)
    return error_report (
      hooks, EINVAL, image->name,
      "LUKS header: no key slot is active, so no passphrase "
      "can open the image");
  if (result->gave_up)
    return error_report (
      hooks, EACCES, image->name,
      "the image is encrypted (LUKS), and not all passphrases were tried, "
      "since all layers together need more than %d times the iterations that "
      "are allowed%s",
      LUKS_TOTAL_FACTOR,
      error_hint_with (hooks, QCOW_HINT_ITERATIONS, "N", &room));
  if (result->cut > 0)
    return error_report (
      hooks, EACCES, image->name,
      "the image is encrypted (LUKS), and the key material of %u of its %u "
      "active key slots lies beyond the end of the file (was the file "
      "truncated?); no other key slot could be opened",
      result->cut, active);
  snprintf (work, sizeof work, "%" PRIu64, luks_work (luks));
  if (result->skipped == active)
    return error_report (
      hooks, EACCES, image->name,
      "the image is encrypted (LUKS), but each of its active key slots (%u) "
      "needs more iterations than are allowed, so no passphrase was tried%s",
      active, error_hint_with (hooks, QCOW_HINT_ITERATIONS, work, &room));
  if (result->skipped > 0)
    return error_report (
      hooks, EACCES, image->name,
      "the image is encrypted (LUKS), and %s of its active key slots that "
      "were tried; %u of %u were not, since they need more iterations than "
      "are allowed%s",
      which, result->skipped, active,
      error_hint_with (hooks, QCOW_HINT_ITERATIONS, work, &room));
  return error_report (hooks, EACCES, image->name,
                       "the image is encrypted (LUKS), and %s of its active "
                       "key slots (%u)",
                       which, active);
}

static int
unlock_luks (struct image *image, struct passphrases *p)
{
  const uint64_t offset = image->header.luks_offset;
  struct luks luks;
  struct luks_result result;

  if (luks_read (image->source, offset, image->header.luks_length, &luks)
      == -1)
    return -1;
  if (p->n == 0)
    return needs_passphrase (image, "LUKS");
  if (luks_unlock (&luks, image->source, offset, p->list, p->n, &p->limits,
                   &result)
      == -1)
    return -1;
  image->cipher = result.cipher;
  if (image->cipher == NULL)
    return none_fits (image, p, &luks, &result);
  p->used[result.passphrase] = true;
  error_debug (image->context->hooks, image->name,
               "passphrase %zu opens key slot %u", result.passphrase + 1,
               result.slot);
  return 0;
}

/* --- All layers --- */

/* LUKS layers first: AES layers take the passphrases that opened none. */
static int
unlock_all (struct image *const *images, size_t n, struct passphrases *p)
{
  size_t i, layer = 0;

  for (i = 0; i < n; ++i)
    if (images[i]->header.crypt_method == QCOW_CRYPT_LUKS
        && unlock_luks (images[i], p) == -1)
      return -1;
  for (i = 0; i < n; ++i)
    if (images[i]->header.crypt_method == QCOW_CRYPT_AES
        && unlock_aes (images[i], p, layer++) == -1)
      return -1;
  return 0;
}

static bool
any_encrypted (struct image *const *images, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i)
    if (images[i]->header.crypt_method != QCOW_CRYPT_NONE)
      return true;
  return false;
}

int
unlock_images (struct image *const *images, size_t n,
               const struct qcow_options *options)
{
  struct passphrases p = {
    .list = options->passphrases,
    .n = options->nr_passphrases,
    .limits.each = options->luks_iterations,
  };
  int r;

  if (!any_encrypted (images, n)) {
    if (p.n == 0 || images[0]->context->is_shared)
      return 0;
    return error_report (images[0]->context->hooks, EINVAL, images[0]->name,
                         "is not encrypted%s, so no passphrase is needed",
                         images[0]->header.backing_size > 0
                             || options->nr_backing > 0
                           ? ", nor are its backing files"
                           : "");
  }
  if (__builtin_mul_overflow (p.limits.each, LUKS_TOTAL_FACTOR,
                              &p.limits.total))
    p.limits.total = UINT64_MAX;
  p.used = calloc (p.n + 1, sizeof p.used[0]);
  if (p.used == NULL)
    return image_no_memory (images[0]);
  r = unlock_all (images, n, &p);
  free (p.used);
  return r;
}
