/* SPDX-License-Identifier: BSD-3-Clause
 *
 * probe.c: each format is recognized by its magic number at the right offset
 * only, and similar files are not taken for it.
 */

#include "tests/unit/unit.h"

#include "format/probe.h"

/* The bytes of the start, followed by those of the end. */
static uint8_t file[PROBE_START_BYTES + PROBE_END_BYTES];
#define END PROBE_START_BYTES

static const char *
find (void)
{
  const struct probe *f = probe_format (file, PROBE_START_BYTES, file + END);

  if (f)
    assert_int_not_equal (f->hint, QCOW_HINT_NONE);
  return f ? f->what : "unknown";
}

/* A magic number in a file of zeros. */
static const struct {
  size_t offset;
  const char *mark;
  size_t length;
  const char *what;
  bool is_image; /* qemu: docs/interop, and the _probe functions */
} marks[] = {
#define MARK(offset, mark, what, is_image)                                    \
  {                                                                           \
    offset, mark, sizeof (mark) - 1, what, is_image                           \
  }
  MARK (0, "KDMV", "a VMDK image", true),
  MARK (0, "COWD", "a VMDK image", true),
  MARK (64, "\x7f\x10\xda\xbe", "a VDI image", true),
  MARK (0, "conectix", "a VHD image", true),
  MARK (END, "conectix", "a VHD image", false),
  MARK (END + 1, "conectix", "a VHD image", false),
  MARK (0, "vhdxfile", "a VHDX image", true),
  MARK (0, "QED\0", "a QED image", true),
  MARK (0, "WithoutFreeSpace", "a Parallels image", true),
  MARK (0, "WithouFreSpacExt", "a Parallels image", true),
  MARK (0, "Bochs Virtual HD Image", "a Bochs image", true),
  MARK (0, "LUKS\xba\xbe\0\1", "a LUKS disk", true),
  MARK (0, "LUKS\xba\xbe\0\2", "a LUKS disk of a later version", false),
  MARK (END, "koly", "a DMG image", false),
  MARK (0, "\x1f\x8b\x08", "a file compressed with gzip", false),
  MARK (0, "\xfd\x37\x7a\x58\x5a\0", "a file compressed with xz", false),
  MARK (0, "\x28\xb5\x2f\xfd", "a file compressed with zstd", false),
  MARK (0, "BZh9\x31\x41\x59\x26\x53\x59", "a file compressed with bzip2",
        false),
  MARK (257, "ustar", "a tar archive", false),
  MARK (32769, "CD001", "an ISO 9660 image", false),
  MARK (512, "EFI PART", "a raw disk with a GPT", false),
  MARK (4096, "EFI PART", "a raw disk with a GPT", false),
  MARK (510, "\x55\xaa", "a raw disk with an MBR", false),
#undef MARK
};

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

static void
put (size_t i, size_t offset)
{
  memcpy (file + offset, marks[i].mark, marks[i].length);
}

static void
each_mark (void **state)
{
  size_t i;

  (void) state;
  for (i = 0; i < COUNT (marks); ++i) {
    const size_t last = marks[i].offset + marks[i].length - 1;

    memset (file, 0, sizeof file);
    assert_string_equal (find (), "unknown");
    put (i, marks[i].offset);
    assert_string_equal (find (), marks[i].what);
    assert_int_equal (
      probe_format (file, PROBE_START_BYTES, file + END)->is_image,
      marks[i].is_image);
    /* Not recognized with another last byte … */
    file[last] ^= 0x40;
    if (strncmp (marks[i].what, "a LUKS", 6) != 0)
      assert_string_equal (find (), "unknown");
    /* … or at another offset. */
    memset (file, 0, sizeof file);
    put (i, marks[i].offset + 16);
    assert_string_equal (find (), "unknown");
  }
}

/* Bytes that are not passed are not read (sanitizers and valgrind check that).
 */
static void
short_files (void **state)
{
  size_t i, length;

  (void) state;
  for (i = 0; i < COUNT (marks); ++i) {
    const size_t whole = marks[i].offset + marks[i].length;

    memset (file, 0, sizeof file);
    put (i, marks[i].offset);
    for (length = 0; length <= 600; ++length) {
      uint8_t *copy = malloc (length + 1);
      const struct probe *f;

      assert_non_null (copy);
      memcpy (copy, file, length);
      f = probe_format (copy, length, NULL);
      if (strncmp (marks[i].what, "a LUKS", 6) != 0
          && strncmp (marks[i].what, "a file", 6) != 0)
        assert_int_equal (f != NULL, length >= whole);
      free (copy);
    }
  }
}

/* qemu's vmdk_probe: comments and blank lines, then the version. */
static void
descriptors (void **state)
{
  static const struct {
    const char *text;
    bool vmdk;
  } texts[] = {
    { "# Disk DescriptorFile\nversion=1\n", true },
    { "# Disk DescriptorFile\nCID=1\n", true },
    { "version=1\n", true },
    { "version=1\r\n", true },
    { "version=2\n", true },
    { "version=3\n", true },
    { "#\nversion=1\n", true },
    { "# disk DescriptorFile\r\n\r\n  \n\n#x\nversion=1\r\n", true },
    { " version=1\n", false },
    { "version=0\n", false },
    { "version=4\n", false },
    { "version=1", false },
    { "version=1 \n", false },
    { "version=1\rx", false },
    { "version 1\n", false },
    { "x\nversion=1\n", false },
    { "\r\r\nversion=1\n", false },
    { "#", false },
    { "#\n#\n", false },
    { "\n", false },
  };
  size_t i;

  (void) state;
  for (i = 0; i < COUNT (texts); ++i) {
    const size_t length = strlen (texts[i].text);
    uint8_t *copy = malloc (length);
    const struct probe *f;

    assert_non_null (copy);
    memset (file, 0, sizeof file);
    memcpy (file, texts[i].text, length);
    if (strcmp (find (), texts[i].vmdk ? "a VMDK image" : "unknown") != 0)
      fail_msg ("'%s' is %s", texts[i].text, find ());
    memcpy (copy, texts[i].text, length);
    f = probe_format (copy, length, NULL);
    assert_int_equal (f != NULL, texts[i].vmdk);
    free (copy);
  }
}

/* Put two magic numbers in one file: it is recognized by the first argument.
 */
static void
check_precedence (size_t first, size_t second)
{
  memset (file, 0, sizeof file);
  put (second, marks[second].offset);
  put (first, marks[first].offset);
  assert_string_equal (find (), marks[first].what);
}

static size_t
mark_of (const char *what, size_t offset)
{
  size_t i;

  for (i = 0; i < COUNT (marks); ++i)
    if (strcmp (marks[i].what, what) == 0 && marks[i].offset == offset)
      return i;
  fail_msg ("no magic number of %s", what);
  return 0;
}

/* Formats that can contain or start like a raw disk take precedence. */
static void
order (void **state)
{
  const size_t mbr = mark_of ("a raw disk with an MBR", 510);
  const size_t gpt = mark_of ("a raw disk with a GPT", 512);
  const size_t iso = mark_of ("an ISO 9660 image", 32769);

  (void) state;
  check_precedence (mark_of ("a VHD image", END), mbr);
  check_precedence (mark_of ("a VHD image", END), gpt);
  check_precedence (mark_of ("a VHD image", END), iso);
  check_precedence (mark_of ("a DMG image", END), mbr);
  check_precedence (mark_of ("a tar archive", 257), mbr);
  check_precedence (gpt, mbr);
  check_precedence (iso, mbr);
  check_precedence (iso, gpt);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (each_mark),
  cmocka_unit_test (short_files),
  cmocka_unit_test (descriptors),
  cmocka_unit_test (order),
};

UNIT_MAIN (tests)
