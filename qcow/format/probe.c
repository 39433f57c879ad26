/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Files of formats that are not read here.  See probe.h.
 */

#include <string.h>

#include "format/probe.h"

#define CONVERT "qemu-img can convert it"
#define AS_IT_IS "nbdkit-file-plugin serves it as it is"
#define UNPACK "unpack it first"
#define MOUNT "unpack it first, or mount what is in it: "

enum where { AT_START, AT_END };

/* The first match decides.  So what a raw disk may hold comes last: the ends
 * of a fixed VHD and a DMG follow a disk with a partition table, and an ISO
 * may begin like a partitioned disk.
 */
static const struct mark {
  enum where where;
  size_t offset;
  const char *bytes;
  size_t length;
  struct probe probe;
} marks[] = {
#define MARK(where, offset, bytes, what, advice, is_image)                    \
  {                                                                           \
    where, offset, bytes, sizeof (bytes) - 1, { what, advice, is_image }      \
  }
#define IMAGE(offset, bytes, what)                                            \
  MARK (AT_START, offset, bytes, what, CONVERT, true)
#define OTHER(offset, bytes, what, advice)                                    \
  MARK (AT_START, offset, bytes, what, advice, false)
  IMAGE (0, "KDMV", "a VMDK image"),
  IMAGE (0, "COWD", "a VMDK image"),
  IMAGE (64, "\x7f\x10\xda\xbe", "a VDI image"),
  IMAGE (0, "conectix", "a VHD image"),
  IMAGE (0, "vhdxfile", "a VHDX image"),
  IMAGE (0, "QED\0", "a QED image"),
  IMAGE (0, "WithoutFreeSpace", "a Parallels image"),
  IMAGE (0, "WithouFreSpacExt", "a Parallels image"),
  IMAGE (0, "Bochs Virtual HD Image", "a Bochs image"),
  IMAGE (0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "a cloop image"),
  MARK (AT_START, 0, "LUKS\xba\xbe\0\1", "a LUKS disk",
        "nbdkit-luks-filter over nbdkit-file-plugin decrypts it", true),
  /* The later version is to qemu a raw disk, encrypted by a guest. */
  OTHER (0, "LUKS\xba\xbe", "a LUKS disk of a later version", AS_IT_IS),
  MARK (AT_END, 0, "conectix", "a VHD image", CONVERT, false),
  MARK (AT_END, 1, "conectix", "a VHD image", CONVERT, false), /* old */
  MARK (AT_END, 0, "koly", "a DMG image", CONVERT, false),
  OTHER (0, "\x1f\x8b\x08", "a file compressed with gzip",
         MOUNT "nbdfuse DIR/NAME [ nbdkit --filter=gzip file FILE ]"),
  OTHER (0,
         "\xfd"
         "7zXZ\0",
         "a file compressed with xz",
         MOUNT "nbdfuse DIR/NAME [ nbdkit --filter=xz file FILE ]"),
  OTHER (0, "\x28\xb5\x2f\xfd", "a file compressed with zstd", UNPACK),
  OTHER (4, "1AY&SY", "a file compressed with bzip2", UNPACK),
  OTHER (257, "ustar", "a tar archive",
         MOUNT "nbdfuse DIR/NAME [ nbdkit --filter=tar file FILE "
               "tar-entry=ENTRY ]"),
  OTHER (32769, "CD001", "an ISO 9660 image", AS_IT_IS),
  OTHER (512, "EFI PART", "a raw disk with a GPT", AS_IT_IS),
  OTHER (4096, "EFI PART", "a raw disk with a GPT", AS_IT_IS),
  OTHER (510, "\x55\xaa", "a raw disk with an MBR", AS_IT_IS),
#undef OTHER
#undef IMAGE
#undef MARK
};

static bool
has_mark (const struct mark *m, const uint8_t *start, size_t length,
          const uint8_t *end)
{
  if (m->where == AT_END)
    return end && memcmp (end + m->offset, m->bytes, m->length) == 0;
  return m->offset + m->length <= length
         && memcmp (start + m->offset, m->bytes, m->length) == 0;
}

/* The line after the one that 'line' is in, or 'end'. */
static const char *
next_line (const char *line, const char *end)
{
  const char *newline = memchr (line, '\n', (size_t) (end - line));

  return newline ? newline + 1 : end;
}

static bool
is_blank (const char *line, const char *next)
{
  while (line < next && *line == ' ')
    ++line;
  if (next - line == 2 && *line == '\r')
    ++line;
  return next - line == 1 && *line == '\n';
}

/* Is it a text whose first line, blank ones and comments aside, is the
 * version of a VMDK descriptor (qemu's vmdk_probe)?
 */
static bool
is_vmdk_descriptor (const uint8_t *start, size_t length)
{
  const char *line = (const char *) start, *end = line + length;
  const char *next;

  for (; line < end; line = next) {
    next = next_line (line, end);
    if (*line != '#' && !is_blank (line, next))
      break;
  }
  if (end - line < 10 || memcmp (line, "version=", 8) != 0 || line[8] < '1'
      || line[8] > '3')
    return false;
  line += 9;
  if (*line == '\r')
    ++line;
  return line < end && *line == '\n';
}

const struct probe *
probe_format (const uint8_t *start, size_t length,
              const uint8_t end[PROBE_END_BYTES])
{
  static const char descriptor[] = "# Disk DescriptorFile";
  static const struct probe vmdk = { "a VMDK image", CONVERT, true };
  size_t i;

  if ((length >= sizeof descriptor - 1
       && memcmp (start, descriptor, sizeof descriptor - 1) == 0)
      || is_vmdk_descriptor (start, length))
    return &vmdk;
  for (i = 0; i < sizeof marks / sizeof marks[0]; ++i)
    if (has_mark (&marks[i], start, length, end))
      return &marks[i].probe;
  return NULL;
}
