/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Disk images of formats that are not read here.  See foreign.h.
 */

#include <stddef.h>
#include <string.h>

#include "foreign.h"

/* LUKS is here only in version 1: what begins like the second one is to qemu
 * a raw disk, which a guest has encrypted as a whole.
 */
static const struct {
  const char *format;
  size_t offset;
  const char *bytes;
  size_t length;
} marks[] = {
#define MARK(format, offset, bytes)                                           \
  {                                                                           \
    format, offset, bytes, sizeof (bytes) - 1                                 \
  }
  MARK ("VMDK", 0, "KDMV"),
  MARK ("VMDK", 0, "COWD"),
  MARK ("VMDK", 0, "# Disk DescriptorFile"),
  MARK ("VDI", 64, "\x7f\x10\xda\xbe"),
  MARK ("VHD", 0, "conectix"),
  MARK ("VHDX", 0, "vhdxfile"),
  MARK ("QED", 0, "QED\0"),
  MARK ("Parallels", 0, "WithoutFreeSpace"),
  MARK ("Parallels", 0, "WithouFreSpacExt"),
  MARK ("LUKS", 0, "LUKS\xba\xbe\0\1"),
  MARK ("Bochs", 0, "Bochs Virtual HD Image"),
  MARK ("cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),
#undef MARK
};

const char *
foreign_format (const uint8_t start[FOREIGN_BYTES])
{
  size_t i;

  for (i = 0; i < sizeof marks / sizeof marks[0]; ++i)
    if (memcmp (start + marks[i].offset, marks[i].bytes, marks[i].length) == 0)
      return marks[i].format;
  return NULL;
}
