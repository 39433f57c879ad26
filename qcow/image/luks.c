/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Keys of encrypted images.  See luks.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/minmax.h"
#include "base/secret.h"
#include "base/wait.h"
#include "codec/afsplit.h"
#include "codec/libgcrypt.h"
#include "image/luks.h"

/* --- The header --- */

static int
parse_hash (const char *name, const char *what, enum digest *hash,
            struct problem *problem)
{
  if (digest_find (name, hash))
    return 0;
  return problem_set (problem,
                      "LUKS header: %s is '%s': must be sha1, sha224, "
                      "sha256, sha384, sha512, ripemd160 or md5",
                      what, name);
}

/* Parse MODE-IVGEN[:HASH].  A hash that the generator does not use is ignored
 * (qemu, dm-crypt).  Modifies 'text'.
 */
static int
parse_mode (char *text, struct cipher_method *m, struct problem *problem)
{
  char *iv = strchr (text, '-'), *hash;

  if (iv)
    *iv++ = '\0';
  if (iv == NULL || !cipher_find_mode (text, &m->mode))
    return problem_set (problem,
                        "LUKS header: cipher_mode begins with '%s': must be "
                        "xts, cbc, ctr or ecb, then '-' and plain64, plain "
                        "or essiv:HASH",
                        text);
  hash = strchr (iv, ':');
  if (hash)
    *hash++ = '\0';
  if (strcmp (iv, "plain64") == 0)
    m->iv = CIPHER_IV_PLAIN64;
  else if (strcmp (iv, "plain") == 0)
    m->iv = CIPHER_IV_PLAIN;
  else if (strcmp (iv, "essiv") == 0)
    m->iv = CIPHER_IV_ESSIV;
  else
    return problem_set (problem,
                        "LUKS header: cipher_mode has the IV generator "
                        "'%s': must be plain64, plain or essiv:HASH",
                        iv);
  if (m->iv != CIPHER_IV_ESSIV)
    return 0;
  return parse_hash (hash ? hash : "", "the essiv hash in cipher_mode",
                     &m->iv_hash, problem);
}

static int
find_algorithms (struct luks *luks, struct problem *problem)
{
  const struct luks_header *h = &luks->header;
  char mode[LUKS_NAME_BYTES];
  struct problem unknown;

  memcpy (mode, h->cipher_mode, sizeof mode);
  luks->method.key_bytes = h->key_bytes;
  if (!cipher_find_algorithm (h->cipher_name, &luks->method.algorithm))
    return problem_set (problem,
                        "LUKS header: cipher_name is '%s': must be aes, "
                        "serpent, twofish or cast5",
                        h->cipher_name);
  if (parse_mode (mode, &luks->method, problem) == -1
      || parse_hash (h->hash_spec, "hash_spec", &luks->hash, problem) == -1)
    return -1;
  if (cipher_check (&luks->method, &unknown) == -1)
    return problem_set (problem, "LUKS header: %s", unknown.text);
  return 0;
}

int
luks_parse (const uint8_t bytes[LUKS_HEADER_BYTES], uint64_t length,
            struct luks *luks, struct problem *problem)
{
  memset (luks, 0, sizeof *luks);
  if (luks_header_parse (bytes, length, &luks->header, problem) == -1)
    return -1;
  return find_algorithms (luks, problem);
}

int
luks_read (struct source *source, uint64_t offset, uint64_t length,
           struct luks *luks)
{
  uint8_t bytes[LUKS_HEADER_BYTES];
  struct problem problem;

  if (length < sizeof bytes)
    return error_report (source->hooks, EINVAL, source->name,
                         "header: the length of the LUKS header is %" PRIu64
                         ": must be at least %d",
                         length, LUKS_HEADER_BYTES);
  if (offset > source->size || source->size - offset < sizeof bytes)
    return error_report (source->hooks, EINVAL, source->name,
                         "header: the LUKS header at 0x%" PRIx64
                         " extends beyond the end of the file: was the file "
                         "truncated?",
                         offset);
  if (source_read_table (source, bytes, sizeof bytes, offset) == -1)
    return -1;
  if (luks_parse (bytes, length, luks, &problem) == -1)
    return error_report (source->hooks, EINVAL, source->name, "%s",
                         problem.text);
  return 0;
}

/* --- Unlocking --- */

/* The secrets while a slot is tried.  They are in memory for secrets, which is
 * wiped after the last slot.
 */
struct keys {
  uint8_t slot_key[CIPHER_MAX_KEY_BYTES];
  uint8_t key[CIPHER_MAX_KEY_BYTES];
  uint8_t digest[LUKS_DIGEST_BYTES];
};

/* Key material in whole sectors.  (With keys of 24 bytes, half of the last
 * sector is unused.)  It is separate from the keys, since it can exceed the
 * limit for locked memory.
 */
struct material {
  uint8_t stored[CIPHER_MAX_KEY_BYTES * LUKS_STRIPES];
  uint8_t stripes[CIPHER_MAX_KEY_BYTES * LUKS_STRIPES]; /* decrypted */
};

_Static_assert(sizeof ((struct material *) 0)->stored % CIPHER_SECTOR_BYTES
                 == 0,
               "key material is read in whole sectors");

struct unlocking {
  const struct luks *luks;
  struct source *source;
  uint64_t offset; /* of the header */
  struct keys *keys;
  struct material *material;
  size_t material_length;
};

/* The work to try one passphrase in the slot. */
static uint64_t
slot_work (const struct luks *luks, const struct luks_slot *slot)
{
  return digest_pbkdf2_work (luks->hash, slot->iterations,
                             luks->method.key_bytes)
         + digest_pbkdf2_work (luks->hash, luks->header.digest_iterations,
                               LUKS_DIGEST_BYTES);
}

/* (No overflow: at most 8 * (8 + 4) * 2^32, with md5.) */
uint64_t
luks_work (const struct luks *luks)
{
  uint64_t sum = 0;
  unsigned i;

  for (i = 0; i < LUKS_SLOTS; ++i)
    if (luks->header.slots[i].active)
      sum += slot_work (luks, &luks->header.slots[i]);
  return sum;
}

static int
decrypt_material (const struct unlocking *u)
{
  struct cipher *c = cipher_new (&u->luks->method, u->keys->slot_key);
  int r;

  if (c == NULL)
    return -1;
  memcpy (u->material->stripes, u->material->stored, u->material_length);
  r = cipher_decrypt (c, u->material->stripes, u->material_length, 0);
  cipher_free (c);
  return r;
}

/* The slot's material was read.  Returns 1 with the key in keys->key, 0 if the
 * passphrase is wrong, or -1 with the error reported.
 */
static int
try_passphrase (const struct unlocking *u, const struct luks_slot *slot,
                const char *passphrase)
{
  const struct luks_header *h = &u->luks->header;
  const enum digest hash = u->luks->hash;
  const struct qcow_hooks *hooks = u->source->hooks;
  struct keys *k = u->keys;

  if (digest_pbkdf2 (hash, passphrase, strlen (passphrase), slot->salt,
                     LUKS_SALT_BYTES, slot->iterations, k->slot_key,
                     h->key_bytes, hooks)
        == -1
      || decrypt_material (u) == -1
      || afsplit_merge (hash, u->material->stripes, h->key_bytes, LUKS_STRIPES,
                        k->key)
           == -1
      || digest_pbkdf2 (hash, k->key, h->key_bytes, h->digest_salt,
                        LUKS_SALT_BYTES, h->digest_iterations, k->digest,
                        LUKS_DIGEST_BYTES, hooks)
           == -1)
    return errno == ESHUTDOWN
             ? -1
             : libgcrypt_report (hooks, u->source->name, "LUKS");
  return memcmp (k->digest, h->digest, LUKS_DIGEST_BYTES) == 0;
}

/* Set 'order' to the numbers of the active slots, the cheapest first.  Returns
 * how many there are.
 */
static unsigned
sort_slots (const struct luks_header *h, unsigned order[LUKS_SLOTS])
{
  unsigned i, j, n = 0;

  for (i = 0; i < LUKS_SLOTS; ++i) {
    if (!h->slots[i].active)
      continue;
    for (j = n++;
         j > 0 && h->slots[order[j - 1]].iterations > h->slots[i].iterations;
         --j)
      order[j] = order[j - 1];
    order[j] = i;
  }
  return n;
}

/* Returns 1 if a passphrase opens the slot, 0 if none that was tried does, or
 * -1 with the error reported.
 */
static int
try_slot (struct unlocking *u, unsigned number, const char *const *passphrases,
          size_t n, struct luks_limits *limits, struct luks_result *result)
{
  const struct luks_slot *slot = &u->luks->header.slots[number];
  const uint64_t work = slot_work (u->luks, slot);
  size_t i;
  int r;

  if (u->offset + slot->material
        + luks_header_material_bytes (&u->luks->header)
      > u->source->size) {
    result->cut++;
    return 0;
  }
  if (source_read_table (u->source, u->material->stored, u->material_length,
                         u->offset + slot->material)
      == -1)
    return -1;
  for (i = 0; i < n; ++i) {
    if (work > limits->total) {
      result->gave_up = true;
      return 0;
    }
    if (hooks_sleep (u->source->hooks, 0) == -1) {
      errno = ESHUTDOWN;
      return -1;
    }
    limits->total -= work;
    r = try_passphrase (u, slot, passphrases[i]);
    if (r == 1) {
      result->slot = number;
      result->passphrase = i;
    }
    if (r != 0)
      return r;
  }
  return 0;
}

static int
try_slots (struct unlocking *u, const char *const *passphrases, size_t n,
           struct luks_limits *limits, struct luks_result *result)
{
  unsigned order[LUKS_SLOTS];
  const unsigned nr_slots = sort_slots (&u->luks->header, order);
  uint64_t each = limits->each;
  unsigned i;

  for (i = 0; i < nr_slots; ++i) {
    const uint64_t work
      = slot_work (u->luks, &u->luks->header.slots[order[i]]);
    int r;

    if (work > each) {
      result->skipped++;
      continue;
    }
    each -= work;
    r = try_slot (u, order[i], passphrases, n, limits, result);
    if (r == 1) {
      result->cipher = cipher_new (&u->luks->method, u->keys->key);
      return result->cipher
               ? 0
               : libgcrypt_report (u->source->hooks, u->source->name, "LUKS");
    }
    if (r == -1)
      return -1;
    if (result->gave_up)
      break;
  }
  return 0;
}

int
luks_unlock (const struct luks *luks, struct source *source, uint64_t offset,
             const char *const *passphrases, size_t n,
             struct luks_limits *limits, struct luks_result *result)
{
  struct unlocking u = {
    .luks = luks,
    .source = source,
    .offset = offset,
    .keys = secret_new (sizeof *u.keys),
    .material = secret_new (sizeof *u.material),
    .material_length = (size_t) round_up64 (
      luks_header_material_bytes (&luks->header), LUKS_SECTOR_BYTES),
  };
  int r;

  *result = (struct luks_result){ .cipher = NULL };
  if (u.keys == NULL || u.material == NULL)
    r = source_no_memory (source);
  else
    r = try_slots (&u, passphrases, n, limits, result);
  secret_free (u.keys, sizeof *u.keys);
  secret_free (u.material, sizeof *u.material);
  return r;
}
