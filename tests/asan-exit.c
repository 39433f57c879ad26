/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Preloaded into nbdkit together with gcc's address or thread sanitizer.
 * Without it nbdkit, with whatever plugin, hangs at its end once it has
 * printed an error message with %m: with these the C library's lock of the
 * locale stays taken then, and p11-kit, which nbdkit is linked with, waits
 * for it in freelocale.  At the end of a process nothing need be freed.
 */

#include <locale.h>

void
freelocale (locale_t locale)
{
  (void) locale;
}
