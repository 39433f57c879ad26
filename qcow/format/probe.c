/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Recognize files of other formats.  See probe.h.
 */

#include <string.h>

#include "format/probe.h"

enum where { AT_START, AT_END };

/* The first match wins.  So the magic numbers of raw disks come last: a fixed
 * VHD or a DMG is a disk with a partition table before its footer, and an ISO
 * image can start like a partitioned disk.
 */
static const struct mark {
  enum where where;
  size_t offset;
  const char *bytes;
  size_t length;
  struct probe probe;
} marks[] = {
#define MARK(where, offset, bytes, what, hint, is_image)                      \
  {                                                                           \
    where, offset, bytes, sizeof (bytes) - 1, { what, hint, is_image }        \
  }
#define IMAGE(offset, bytes, what)                                            \
  MARK (AT_START, offset, bytes, what, QCOW_HINT_IMAGE, true)
#define OTHER(offset, bytes, what, hint)                                      \
  MARK (AT_START, offset, bytes, what, hint, false)
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
  MARK (AT_START, 0, "LUKS\xba\xbe\0\1", "a LUKS disk", QCOW_HINT_LUKS, true),
  /* qemu reads later versions as raw disks, which the guest encrypted. */
  OTHER (0, "LUKS\xba\xbe", "a LUKS disk of a later version", QCOW_HINT_RAW),
  MARK (AT_END, 0, "conectix", "a VHD image", QCOW_HINT_IMAGE, false),
  MARK (AT_END, 1, "conectix", "a VHD image", QCOW_HINT_IMAGE,
        false), /* old: a footer of 511 bytes */
  MARK (AT_END, 0, "koly", "a DMG image", QCOW_HINT_IMAGE, false),
  OTHER (0, "\x1f\x8b\x08", "a file compressed with gzip", QCOW_HINT_GZIP),
  OTHER (0,
         "\xfd"
         "7zXZ\0",
         "a file compressed with xz", QCOW_HINT_XZ),
  OTHER (0, "\x28\xb5\x2f\xfd", "a file compressed with zstd",
         QCOW_HINT_PACKED),
  OTHER (4, "1AY&SY", "a file compressed with bzip2", QCOW_HINT_PACKED),
  OTHER (257, "ustar", "a tar archive", QCOW_HINT_TAR),
  OTHER (32769, "CD001", "an ISO 9660 image", QCOW_HINT_RAW),
  OTHER (512, "EFI PART", "a raw disk with a GPT", QCOW_HINT_RAW),
  OTHER (4096, "EFI PART", "a raw disk with a GPT", QCOW_HINT_RAW),
  OTHER (510, "\x55\xaa", "a raw disk with an MBR", QCOW_HINT_RAW),
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

/* Return the start of the line after 'line', or 'end'. */
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

/* True if the first line that is neither blank nor a comment is the version of
 * a VMDK descriptor, as in qemu's vmdk_probe.
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
  static const struct probe vmdk = { "a VMDK image", QCOW_HINT_IMAGE, true };
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
