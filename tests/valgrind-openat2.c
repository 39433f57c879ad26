/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Preloaded into programs under valgrind, which in Debian 12 does not know
 * openat2 and returns ENOSYS, so no image could open another file.
 *
 * This calls openat instead, and does not confine the name: tests of that
 * can't run under valgrind.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

long
syscall (long number, ...)
{
  long a[6];
  long (*next) (long, ...);
  va_list ap;
  int i;

  va_start (ap, number);
  for (i = 0; i < 6; ++i)
    a[i] = va_arg (ap, long);
  va_end (ap);
  if (number == SYS_openat2) {
    const struct open_how *how = (void *) a[2];

    return openat ((int) a[0], (const char *) a[1], (int) how->flags,
                   (mode_t) how->mode);
  }
  *(void **) &next = dlsym (RTLD_NEXT, "syscall");
  return next (number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
