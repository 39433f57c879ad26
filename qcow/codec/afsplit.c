/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The anti-forensic merge of LUKS.  See afsplit.h.
 *
 * Source: LUKS On-Disk Format Specification 1.2.3, section 2.4.
 */

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/minmax.h"
#include "codec/afsplit.h"

static void
xor_into (uint8_t *key, const uint8_t *stripe, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i)
    key[i] ^= stripe[i];
}

/* Replace each piece that is as long as the hash with the hash of its number
 * and content.  The last piece, if shorter, gets the beginning of the hash.
 */
static int
diffuse (enum digest hash, uint8_t *key, size_t key_bytes)
{
  const size_t piece = digest_bytes (hash);
  uint8_t out[DIGEST_MAX_BYTES];
  uint32_t i;
  int r = 0;

  for (i = 0; r == 0 && i * piece < key_bytes; ++i) {
    const uint32_t number = htobe32 (i);
    uint8_t *p = key + i * piece;
    const size_t n = (size_t) min64 (key_bytes - i * piece, piece);

    r = digest_two (hash, &number, sizeof number, p, n, out);
    if (r == 0)
      memcpy (p, out, n);
  }
  explicit_bzero (out, sizeof out);
  return r;
}

int
afsplit_merge (enum digest hash, const uint8_t *in, size_t key_bytes,
               unsigned stripes, uint8_t *key)
{
  unsigned i;

  memset (key, 0, key_bytes);
  for (i = 0; i + 1 < stripes; ++i) {
    xor_into (key, in + i * key_bytes, key_bytes);
    if (diffuse (hash, key, key_bytes) == -1)
      return -1;
  }
  xor_into (key, in + i * key_bytes, key_bytes);
  return 0;
}
