/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Preloaded into nbdkit together with gcc's address or thread sanitizer.
 *
 * With these sanitizers, printing an error message with %m leaves the C
 * library's locale lock taken.  When nbdkit exits, with any plugin, p11-kit
 * (which nbdkit is linked with) then waits for that lock in freelocale for
 * ever.  So do nothing in freelocale: a process that exits need not free
 * anything.
 */

#include <locale.h>

void
freelocale (locale_t locale)
{
  (void) locale;
}
