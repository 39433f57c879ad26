/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The LUKS header in an image.  See luks.h.
 *
 * Everything on the way to the key is in secret memory, which is wiped when
 * the slots have been tried.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "codec/afsplit.h"
#include "codec/libgcrypt.h"
#include "format/format.h"
#include "image/luks.h"

/* Offsets of the fields (LUKS specification). */
enum {
  OFF_MAGIC = 0,
  OFF_VERSION = 6,
  OFF_CIPHER_NAME = 8,
  OFF_CIPHER_MODE = 40,
  OFF_HASH_SPEC = 72,
  OFF_PAYLOAD_OFFSET = 104,
  OFF_KEY_BYTES = 108,
  OFF_DIGEST = 112,
  OFF_DIGEST_SALT = 132,
  OFF_DIGEST_ITERATIONS = 164,
  OFF_SLOTS = 208,
};

/* The same in a key slot. */
enum {
  SLOT_OFF_ACTIVE = 0,
  SLOT_OFF_ITERATIONS = 4,
  SLOT_OFF_SALT = 8,
  SLOT_OFF_MATERIAL = 40,
  SLOT_OFF_STRIPES = 44,
  SLOT_BYTES = 48,
};

#define MAGIC "LUKS\xba\xbe"
#define NAME_BYTES 32
#define SLOT_ACTIVE 0x00ac71f3U
#define SLOT_INACTIVE 0x0000deadU

/* Key material begins here at the earliest, and takes a multiple of that. */
#define MATERIAL_ALIGNMENT 4096
#define FIRST_MATERIAL_SECTOR (MATERIAL_ALIGNMENT / CIPHER_SECTOR_BYTES)

/* --- Parsing --- */

static int
parse_name (const uint8_t *field, const char *what, char name[NAME_BYTES],
            struct problem *problem)
{
  if (memchr (field, '\0', NAME_BYTES) == NULL)
    return problem_set (problem, "LUKS header: %s does not end with a NUL",
                        what);
  memcpy (name, field, NAME_BYTES);
  return 0;
}

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

/* MODE-IVGEN[:HASH].  A hash that nobody needs is ignored (qemu,
 * dm-crypt).
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
  return parse_hash (hash ? hash : "", "the hash of essiv in cipher_mode",
                     &m->iv_hash, problem);
}

static int
parse_method (const uint8_t *p, struct luks_header *h, struct problem *problem)
{
  char cipher[NAME_BYTES], mode[NAME_BYTES], hash[NAME_BYTES];
  struct problem unknown;

  if (parse_name (p + OFF_CIPHER_NAME, "cipher_name", cipher, problem) == -1
      || parse_name (p + OFF_CIPHER_MODE, "cipher_mode", mode, problem) == -1
      || parse_name (p + OFF_HASH_SPEC, "hash_spec", hash, problem) == -1)
    return -1;
  if (!cipher_find_algorithm (cipher, &h->method.algorithm))
    return problem_set (problem,
                        "LUKS header: cipher_name is '%s': must be aes, "
                        "serpent, twofish or cast5",
                        cipher);
  if (parse_mode (mode, &h->method, problem) == -1
      || parse_hash (hash, "hash_spec", &h->hash, problem) == -1)
    return -1;
  h->method.key_bytes = get_be32 (p + OFF_KEY_BYTES);
  if (cipher_check (&h->method, &unknown) == -1)
    return problem_set (problem, "LUKS header: %s", unknown.text);
  return 0;
}

static uint64_t
material_bytes (const struct luks_header *h)
{
  return h->method.key_bytes * LUKS_STRIPES;
}

/* What the key material of a slot takes. */
static uint64_t
material_room (const struct luks_header *h)
{
  return (material_bytes (h) + MATERIAL_ALIGNMENT - 1) / MATERIAL_ALIGNMENT
         * MATERIAL_ALIGNMENT;
}

/* 'end' is where all key material must have ended.  As in qemu inactive
 * slots are checked, too.
 */
static int
parse_slot (const uint8_t *p, unsigned n, uint64_t end, struct luks_header *h,
            struct problem *problem)
{
  struct luks_slot *slot = &h->slots[n];
  const uint32_t active = get_be32 (p + SLOT_OFF_ACTIVE);
  const uint32_t sector = get_be32 (p + SLOT_OFF_MATERIAL);
  const uint32_t stripes = get_be32 (p + SLOT_OFF_STRIPES);

  if (active != SLOT_ACTIVE && active != SLOT_INACTIVE)
    return problem_set (problem,
                        "LUKS header: key slot %u: its state is 0x%08" PRIx32
                        ": must be 0x%08x (active) or 0x%08x",
                        n, active, SLOT_ACTIVE, SLOT_INACTIVE);
  slot->active = active == SLOT_ACTIVE;
  slot->iterations = get_be32 (p + SLOT_OFF_ITERATIONS);
  if (slot->active && slot->iterations == 0)
    return problem_set (problem,
                        "LUKS header: key slot %u: iterations is 0, although "
                        "it is active",
                        n);
  if (stripes != LUKS_STRIPES)
    return problem_set (
      problem, "LUKS header: key slot %u: stripes is %" PRIu32 ": must be %d",
      n, stripes, LUKS_STRIPES);
  slot->material = (uint64_t) sector * CIPHER_SECTOR_BYTES;
  if (sector < FIRST_MATERIAL_SECTOR || slot->material > end
      || material_room (h) > end - slot->material)
    return problem_set (problem,
                        "LUKS header: key slot %u: its key material, "
                        "%" PRIu64 " bytes, is at sector %" PRIu32
                        ": must lie between sector %d and the end of the "
                        "header's area at 0x%" PRIx64,
                        n, material_room (h), sector, FIRST_MATERIAL_SECTOR,
                        end);
  memcpy (slot->salt, p + SLOT_OFF_SALT, LUKS_SALT_BYTES);
  return 0;
}

static int
check_overlaps (const struct luks_header *h, struct problem *problem)
{
  const uint64_t room = material_room (h);
  unsigned i, j;

  for (i = 0; i < LUKS_SLOTS; ++i)
    for (j = i + 1; j < LUKS_SLOTS; ++j)
      if (h->slots[i].material < h->slots[j].material + room
          && h->slots[j].material < h->slots[i].material + room)
        return problem_set (problem,
                            "LUKS header: the key material of key slots %u "
                            "and %u overlaps (at 0x%" PRIx64 " and 0x%" PRIx64
                            ")",
                            i, j, h->slots[i].material, h->slots[j].material);
  return 0;
}

static int
parse_slots (const uint8_t *p, uint64_t length, struct luks_header *h,
             struct problem *problem)
{
  const uint32_t payload = get_be32 (p + OFF_PAYLOAD_OFFSET);
  uint64_t end = (uint64_t) payload * CIPHER_SECTOR_BYTES;
  unsigned i;

  /* Nothing is there in an image, but it bounds the rest (qemu). */
  if (payload < FIRST_MATERIAL_SECTOR)
    return problem_set (problem,
                        "LUKS header: payload_offset is %" PRIu32
                        ": must be at least %d",
                        payload, FIRST_MATERIAL_SECTOR);
  if (end > length)
    end = length;
  for (i = 0; i < LUKS_SLOTS; ++i)
    if (parse_slot (p + OFF_SLOTS + i * SLOT_BYTES, i, end, h, problem) == -1)
      return -1;
  return check_overlaps (h, problem);
}

int
luks_parse (const uint8_t bytes[LUKS_HEADER_BYTES], uint64_t length,
            struct luks_header *header, struct problem *problem)
{
  const unsigned version
    = (unsigned) bytes[OFF_VERSION] << 8 | bytes[OFF_VERSION + 1];

  memset (header, 0, sizeof *header);
  if (memcmp (bytes + OFF_MAGIC, MAGIC, sizeof MAGIC - 1) != 0)
    return problem_set (problem,
                        "LUKS header: it does not start with the magic "
                        "'LUKS', 0xba, 0xbe");
  if (version != 1)
    return problem_set (
      problem, "LUKS header: version is %u: images have version 1", version);
  if (parse_method (bytes, header, problem) == -1)
    return -1;
  header->digest_iterations = get_be32 (bytes + OFF_DIGEST_ITERATIONS);
  if (header->digest_iterations == 0)
    return problem_set (problem, "LUKS header: mk_digest_iterations is 0");
  memcpy (header->digest, bytes + OFF_DIGEST, LUKS_DIGEST_BYTES);
  memcpy (header->digest_salt, bytes + OFF_DIGEST_SALT, LUKS_SALT_BYTES);
  return parse_slots (bytes, length, header, problem);
}

unsigned
luks_active_slots (const struct luks_header *header)
{
  unsigned i, n = 0;

  for (i = 0; i < LUKS_SLOTS; ++i)
    n += header->slots[i].active;
  return n;
}

/* --- Unlocking --- */

/* What is secret while a slot is tried. */
struct keys {
  uint8_t slot_key[CIPHER_MAX_KEY_BYTES];
  uint8_t key[CIPHER_MAX_KEY_BYTES];
  uint8_t digest[LUKS_DIGEST_BYTES];
};

/* Whole sectors: with keys of 24 bytes the last is half a one, whose other
 * half is not used.  Apart from the keys, since it may be more than can be
 * locked in memory.
 */
struct material {
  uint8_t stored[CIPHER_MAX_KEY_BYTES * LUKS_STRIPES];
  uint8_t stripes[CIPHER_MAX_KEY_BYTES * LUKS_STRIPES]; /* decrypted */
};

_Static_assert(sizeof ((struct material *) 0)->stored % CIPHER_SECTOR_BYTES
                 == 0,
               "key material is read in whole sectors");

struct unlocking {
  const struct luks_header *header;
  struct source *source;
  uint64_t offset; /* of the header */
  struct keys *keys;
  struct material *material;
  size_t material_length;
};

static uint64_t
slot_work (const struct luks_header *h, const struct luks_slot *slot)
{
  return digest_pbkdf2_work (h->hash, slot->iterations, h->method.key_bytes)
         + digest_pbkdf2_work (h->hash, h->digest_iterations,
                               LUKS_DIGEST_BYTES);
}

/* At most 8 * (4 + 1) * 2^32 * 3. */
uint64_t
luks_work (const struct luks_header *header)
{
  uint64_t sum = 0;
  unsigned i;

  for (i = 0; i < LUKS_SLOTS; ++i)
    if (header->slots[i].active)
      sum += slot_work (header, &header->slots[i]);
  return sum;
}

static int
decrypt_material (const struct unlocking *u)
{
  struct cipher *c = cipher_new (&u->header->method, u->keys->slot_key);
  int r, err;

  if (c == NULL)
    return -1;
  memcpy (u->material->stripes, u->material->stored, u->material_length);
  r = cipher_decrypt (c, u->material->stripes, u->material_length, 0);
  err = errno;
  cipher_free (c);
  errno = err;
  return r;
}

/* The slot's material is there.  1: keys->key is the key; 0: it is not this
 * passphrase; -1 on error.
 */
static int
try_passphrase (const struct unlocking *u, const struct luks_slot *slot,
                const char *passphrase)
{
  const struct luks_header *h = u->header;
  struct keys *k = u->keys;

  if (digest_pbkdf2 (h->hash, passphrase, strlen (passphrase), slot->salt,
                     LUKS_SALT_BYTES, slot->iterations, k->slot_key,
                     h->method.key_bytes)
        == -1
      || decrypt_material (u) == -1
      || afsplit_merge (h->hash, u->material->stripes, h->method.key_bytes,
                        LUKS_STRIPES, k->key)
           == -1
      || digest_pbkdf2 (h->hash, k->key, h->method.key_bytes, h->digest_salt,
                        LUKS_SALT_BYTES, h->digest_iterations, k->digest,
                        LUKS_DIGEST_BYTES)
           == -1)
    return libgcrypt_report (u->source->hooks, u->source->name, "LUKS");
  return memcmp (k->digest, h->digest, LUKS_DIGEST_BYTES) == 0;
}

/* The active slots' numbers, the cheapest first. */
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

/* 1: one fits; 0: none does, as far as they were tried; -1. */
static int
try_slot (struct unlocking *u, unsigned number, const char *const *passphrases,
          size_t n, struct luks_limits *limits, struct luks_result *result)
{
  const struct luks_slot *slot = &u->header->slots[number];
  const uint64_t work = slot_work (u->header, slot);
  size_t i;
  int r;

  if (u->offset + slot->material + material_bytes (u->header)
      > u->source->size) {
    result->cut++;
    return 0;
  }
  if (source_read (u->source, u->material->stored, u->material_length,
                   u->offset + slot->material)
      == -1)
    return -1;
  for (i = 0; i < n; ++i) {
    if (work > limits->total) {
      result->gave_up = true;
      return 0;
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
  const unsigned nr_slots = sort_slots (u->header, order);
  uint64_t each = limits->each;
  unsigned i;

  for (i = 0; i < nr_slots; ++i) {
    const uint64_t work = slot_work (u->header, &u->header->slots[order[i]]);
    int r;

    if (work > each) {
      result->skipped++;
      continue;
    }
    each -= work;
    r = try_slot (u, order[i], passphrases, n, limits, result);
    if (r == 1) {
      result->cipher = cipher_new (&u->header->method, u->keys->key);
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
luks_unlock (const struct luks_header *header, struct source *source,
             uint64_t offset, const char *const *passphrases, size_t n,
             struct luks_limits *limits, struct luks_result *result)
{
  struct unlocking u = {
    .header = header,
    .source = source,
    .offset = offset,
    .keys = secret_new (sizeof *u.keys),
    .material = secret_new (sizeof *u.material),
    .material_length
    = ((size_t) material_bytes (header) + CIPHER_SECTOR_BYTES - 1)
      / CIPHER_SECTOR_BYTES * CIPHER_SECTOR_BYTES,
  };
  int r, err;

  *result = (struct luks_result){ .cipher = NULL };
  if (u.keys == NULL || u.material == NULL)
    r = source_no_memory (source);
  else
    r = try_slots (&u, passphrases, n, limits, result);
  err = errno;
  secret_free (u.keys, sizeof *u.keys);
  secret_free (u.material, sizeof *u.material);
  errno = err;
  return r;
}
