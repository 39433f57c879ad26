/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Good headers in memory, and functions to parse them and check the reasons of
 * header.c and header-extensions.c.
 */

#ifndef TESTS_UNIT_HEADER_H
#define TESTS_UNIT_HEADER_H

#include "tests/unit/unit.h"

#include "format/header-extensions.h"
#include "format/header.h"

#define CLUSTER 65536

static uint8_t cluster[CLUSTER];

/* A good image of 1 GiB. */
static inline void
good_header (uint32_t version)
{
  memset (cluster, 0, sizeof cluster);
  unit_header (cluster, version, 16, UINT64_C (1) << 30, 2, 0x30000);
}

/* A good version 1 image of 1 GiB: 4 KiB clusters, L2 tables of 512
 * entries, as qemu writes it.
 */
static inline void
good_v1_header (void)
{
  memset (cluster, 0, sizeof cluster);
  put_be32 (cluster, 0x514649fb);
  put_be32 (cluster + 4, 1);
  put_be64 (cluster + 24, UINT64_C (1) << 30);
  cluster[32] = 12;
  cluster[33] = 9;
  put_be64 (cluster + 40, 48);
}

/* Parse 'cluster'.  Returns the reason why it is refused, or "". */
static inline const char *
parse (struct header *h)
{
  static struct problem problem;

  problem.text[0] = '\0';
  if (header_fixed (cluster, h, &problem) == 0
      && (h->version == 1 || header_extensions (cluster, h, &problem) == 0)) {
    assert_string_equal (problem.text, "");
    return "";
  }
  assert_string_not_equal (problem.text, "");
  return problem.text;
}

static inline const char *
parse_only (void)
{
  static struct header h;

  return parse (&h);
}

static inline void
expect (const char *name, const char *reason, const char *want)
{
  if (want == NULL && reason[0] != '\0')
    fail_msg ("%s: should be accepted, but: %s", name, reason);
  if (want && reason[0] == '\0')
    fail_msg ("%s: should be refused", name);
  if (want && strstr (reason, want) == NULL)
    fail_msg ("%s: refused with '%s' instead of '%s'", name, reason, want);
}

#endif /* TESTS_UNIT_HEADER_H */
