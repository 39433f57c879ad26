/* SPDX-License-Identifier: BSD-3-Clause
 *
 * For LD_PRELOAD in qemu-img: a clock that runs fast.  qemu-img chooses how
 * often a hash is iterated by measuring it for some seconds, which sometimes
 * fails.  With this clock, it concludes at once that the machine is slow.
 */

#include <string.h>
#include <sys/resource.h>

int
getrusage (__rusage_who_t who, struct rusage *usage)
{
  static long seconds;

  (void) who;
  memset (usage, 0, sizeof *usage);
  usage->ru_utime.tv_sec = ++seconds;
  return 0;
}
