/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer: the input is the length of the header's area (8 bytes) and a LUKS
 * header.  If the header is accepted, everything that luks.h promises must be
 * true, and its cipher must exist and decrypt in place.
 */

#include "tests/fuzz/fuzz.h"

#include "codec/cipher.h"
#include "codec/libgcrypt.h"
#include "image/luks.h"

/* More sectors than the library decrypts at once. */
#define SECTORS 5

static struct guarded header_area, result_area, data_area;

static void
check_slots (const struct luks_header *h, uint64_t length)
{
  const uint64_t bytes = h->key_bytes * LUKS_STRIPES;
  unsigned active = 0, i, j;

  for (i = 0; i < LUKS_SLOTS; ++i) {
    const struct luks_slot *s = &h->slots[i];

    active += s->active;
    MUST (!s->active || s->iterations > 0);
    MUST (s->material >= LUKS_HEADER_BYTES && s->material <= length);
    MUST (bytes <= length - s->material);
    for (j = 0; j < i; ++j)
      MUST (s->material + bytes <= h->slots[j].material
            || h->slots[j].material + bytes <= s->material);
  }
  MUST (luks_header_active_slots (h) == active);
}

/* Every method that passes the check must work, and decrypt each sector on its
 * own.
 */
static void
decrypt (const struct cipher_method *m, const uint8_t *salt, enum side side)
{
  uint8_t key[CIPHER_MAX_KEY_BYTES], first[CIPHER_SECTOR_BYTES];
  uint8_t *data = guarded_place (&data_area, side, sizeof first * SECTORS);
  struct cipher *c;
  size_t i;

  /* libgcrypt refuses XTS keys with two equal halves, for example in FIPS
   * mode.
   */
  for (i = 0; i < sizeof key; ++i)
    key[i] = (uint8_t) (salt[i % LUKS_SALT_BYTES] + i);
  memset (data, 'e', sizeof first * SECTORS);
  memcpy (first, data, sizeof first);
  c = cipher_new (m, key);
  MUST (c);
  MUST (cipher_decrypt (c, data, sizeof first * SECTORS, UINT32_MAX - 1) == 0);
  MUST (cipher_decrypt (c, first, sizeof first, UINT32_MAX - 1) == 0);
  MUST (memcmp (data, first, sizeof first) == 0);
  cipher_free (c);
}

static void
parse (struct input in, enum side side)
{
  const uint64_t length = take_number (&in, 8);
  uint8_t *bytes = guarded_place (&header_area, side, LUKS_HEADER_BYTES);
  struct luks *luks
    = (struct luks *) guarded_place (&result_area, side, sizeof *luks);
  struct problem problem, unknown;

  memset (bytes, 0, LUKS_HEADER_BYTES);
  memcpy (bytes, in.p,
          in.left < LUKS_HEADER_BYTES ? in.left : LUKS_HEADER_BYTES);
  memset (luks, 'x', sizeof *luks);
  no_problem (&problem);
  if (luks_parse (bytes, length, luks, &problem) == -1) {
    must_have_reason (&problem);
    return;
  }
  MUST (cipher_check (&luks->method, &unknown) == 0);
  MUST (luks->method.key_bytes > 0
        && luks->method.key_bytes <= CIPHER_MAX_KEY_BYTES);
  MUST (digest_bytes (luks->hash) > 0
        && digest_bytes (luks->hash) <= DIGEST_MAX_BYTES);
  MUST (luks->header.digest_iterations > 0);
  check_slots (&luks->header, length);
  decrypt (&luks->method, luks->header.digest_salt, side);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  enum side side;

  if (header_area.start == NULL) {
    MUST (libgcrypt_load () == 0);
    header_area = guarded_new (LUKS_HEADER_BYTES);
    result_area = guarded_new (sizeof (struct luks));
    data_area = guarded_new (CIPHER_SECTOR_BYTES * SECTORS);
  }
  for (side = AT_END; side < SIDES; ++side)
    parse ((struct input){ data, size }, side);
  return 0;
}
