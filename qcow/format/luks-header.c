/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parse the LUKS header.  See luks-header.h.
 *
 * Messages use the field names of the LUKS specification.
 */

#include <inttypes.h>
#include <string.h>

#include "format/format.h"
#include "format/luks-header.h"

/* Offsets of the fields (spec). */
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
  OFF_UUID = 168,
  OFF_SLOTS = 208,
};

/* Offsets of the fields of a key slot (spec). */
enum {
  SLOT_OFF_ACTIVE = 0,
  SLOT_OFF_ITERATIONS = 4,
  SLOT_OFF_SALT = 8,
  SLOT_OFF_MATERIAL = 40,
  SLOT_OFF_STRIPES = 44,
  SLOT_BYTES = 48,
};

#define MAGIC "LUKS\xba\xbe"
#define SLOT_ACTIVE 0x00ac71f3U
#define SLOT_INACTIVE 0x0000deadU

#define FIRST_MATERIAL_SECTOR (LUKS_MATERIAL_ALIGNMENT / LUKS_SECTOR_BYTES)

static int
parse_name (const uint8_t *field, const char *what, char name[LUKS_NAME_BYTES],
            struct problem *problem)
{
  if (memchr (field, '\0', LUKS_NAME_BYTES) == NULL)
    return problem_set (problem, "LUKS header: %s is not NUL-terminated",
                        what);
  memcpy (name, field, LUKS_NAME_BYTES);
  return 0;
}

static int
parse_key (const uint8_t *p, struct luks_header *h, struct problem *problem)
{
  h->key_bytes = get_be32 (p + OFF_KEY_BYTES);
  if (h->key_bytes == 0 || h->key_bytes > LUKS_MAX_KEY_BYTES)
    return problem_set (problem,
                        "LUKS header: key_bytes is %" PRIu32 ": must be 1 to "
                        "%d",
                        h->key_bytes, LUKS_MAX_KEY_BYTES);
  h->digest_iterations = get_be32 (p + OFF_DIGEST_ITERATIONS);
  if (h->digest_iterations == 0)
    return problem_set (problem, "LUKS header: mk_digest_iterations is 0");
  memcpy (h->uuid, p + OFF_UUID, LUKS_UUID_BYTES);
  memcpy (h->digest, p + OFF_DIGEST, LUKS_DIGEST_BYTES);
  memcpy (h->digest_salt, p + OFF_DIGEST_SALT, LUKS_SALT_BYTES);
  return 0;
}

/* Return the space that the key material of a slot takes, in bytes. */
static uint64_t
material_room (const struct luks_header *h)
{
  return round_up64 (luks_header_material_bytes (h), LUKS_MATERIAL_ALIGNMENT);
}

/* Parse key slot n.  Its key material must end at or before 'end', even if the
 * slot is inactive (qemu).
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
                        "LUKS header: key slot %u: iterations is 0, but the "
                        "slot is active",
                        n);
  if (stripes != LUKS_STRIPES)
    return problem_set (
      problem, "LUKS header: key slot %u: stripes is %" PRIu32 ": must be %d",
      n, stripes, LUKS_STRIPES);
  slot->material = (uint64_t) sector * LUKS_SECTOR_BYTES;
  if (sector < FIRST_MATERIAL_SECTOR || slot->material > end
      || material_room (h) > end - slot->material)
    return problem_set (problem,
                        "LUKS header: key slot %u: its key material "
                        "(%" PRIu64 " bytes) is at sector %" PRIu32
                        ": must be between sector %d and the end of the "
                        "header area at 0x%" PRIx64,
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
  uint64_t end;
  unsigned i;

  h->payload = (uint64_t) payload * LUKS_SECTOR_BYTES;
  end = min64 (h->payload, length);
  /* In an image, no payload follows the LUKS header, but qemu also uses this
   * offset to bound the key material.
   */
  if (payload < FIRST_MATERIAL_SECTOR)
    return problem_set (problem,
                        "LUKS header: payload_offset is %" PRIu32
                        ": must be at least %d",
                        payload, FIRST_MATERIAL_SECTOR);
  for (i = 0; i < LUKS_SLOTS; ++i)
    if (parse_slot (p + OFF_SLOTS + i * SLOT_BYTES, i, end, h, problem) == -1)
      return -1;
  return check_overlaps (h, problem);
}

int
luks_header_parse (const uint8_t bytes[LUKS_HEADER_BYTES], uint64_t length,
                   struct luks_header *h, struct problem *problem)
{
  const unsigned version = get_be16 (bytes + OFF_VERSION);

  memset (h, 0, sizeof *h);
  if (memcmp (bytes + OFF_MAGIC, MAGIC, sizeof MAGIC - 1) != 0)
    return problem_set (problem,
                        "LUKS header: does not start with the magic 'LUKS', "
                        "0xba, 0xbe");
  if (version != 1)
    return problem_set (problem, "LUKS header: version is %u: must be 1",
                        version);
  if (parse_name (bytes + OFF_CIPHER_NAME, "cipher_name", h->cipher_name,
                  problem)
        == -1
      || parse_name (bytes + OFF_CIPHER_MODE, "cipher_mode", h->cipher_mode,
                     problem)
           == -1
      || parse_name (bytes + OFF_HASH_SPEC, "hash_spec", h->hash_spec, problem)
           == -1
      || parse_key (bytes, h, problem) == -1)
    return -1;
  return parse_slots (bytes, length, h, problem);
}

unsigned
luks_header_active_slots (const struct luks_header *h)
{
  unsigned i, n = 0;

  for (i = 0; i < LUKS_SLOTS; ++i)
    n += h->slots[i].active;
  return n;
}
