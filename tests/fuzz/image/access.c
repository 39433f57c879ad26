/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer for the access rule.  The input is the name of an image's backing
 * file or data file, in a small tree of directories with many kinds of links.
 * Any of the directories can be allowed (1 byte: ALLOW_*).  Each file holds
 * its own name, so the bytes read show which file was opened.  It must lie
 * below an allowed directory.
 *
 * URLs are only checked, not opened: there is no server.
 */

#include "tests/fuzz/reader.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <strings.h>
#include <sys/stat.h>

#include "image/access.h"

enum {
  ALLOW_IMAGE_DIR = 1,
  ALLOW_SUB = 2,
  ALLOW_OTHER = 4,
  ALLOW_LINK = 8, /* in/out, which is other/deep */
  ALLOW_URL = 16,
  BY_LINK = 32, /* the image's own name contains a link */
  DATA_FILE = 64,
};

#define CLUSTER 4096
#define PREFIX "http://example.com/images"

static char root[] = "/tmp/qcow-fuzz-access.XXXXXX";

/* libFuzzer's working directory between two inputs. */
static int start_fd;

/* --- The tree --- */

static int
remove_it (const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  (void) st;
  (void) type;
  (void) ftw;
  return remove (path);
}

static void
remove_tree (void)
{
  nftw (root, remove_it, 16, FTW_DEPTH | FTW_PHYS);
}

static void
make_tree (void)
{
  static const char *const directories[]
    = { "in", "in/sub", "in/sub/deep", "other", "other/deep", "inside" };
  static const char *const files[]
    = { "in/base",      "in/sub/base", "in/sub/deep/base", "other/base",
        "other/secret", "base",        "other/deep/base",  "inside/base",
        "in/a:b",       "in/..c" };
  static const char *const links[][2] = { { "base", "in/same" },
                                          { "../other/secret", "in/leaves" },
                                          { "sub/deep", "in/down" },
                                          { "../other/deep", "in/out" },
                                          { "..", "in/up" },
                                          { ".", "in/here" },
                                          { "loop", "in/loop" },
                                          { "../in/base", "other/back" },
                                          { "/etc/hostname", "in/far" },
                                          { "/proc/self/root", "in/root" },
                                          { "../../in", "in/sub/around" } };
  size_t i;

  start_fd = open (".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  MUST (start_fd != -1 && mkdtemp (root) && chdir (root) == 0);
  atexit (remove_tree);
  for (i = 0; i < sizeof directories / sizeof directories[0]; ++i)
    MUST (mkdir (directories[i], 0755) == 0);
  for (i = 0; i < sizeof files / sizeof files[0]; ++i) {
    FILE *f = fopen (files[i], "w");

    MUST (f && fprintf (f, "%-*s", CLUSTER, files[i]) == CLUSTER);
    MUST (fclose (f) == 0);
  }
  for (i = 0; i < sizeof links / sizeof links[0]; ++i)
    MUST (symlink (links[i][0], links[i][1]) == 0);
  MUST (mkfifo ("in/fifo", 0644) == 0);
}

/* --- The image --- */

static void
put (uint8_t *at, unsigned bytes, uint64_t value)
{
  for (; bytes > 0; value >>= 8)
    at[--bytes] = (uint8_t) value;
}

/* Write a version 3 image of one cluster, whose data is in the named file. */
static void
make_image (const char *name, bool data_file)
{
  uint8_t image[4 * CLUSTER] = { 0 };
  const size_t n = strlen (name);
  int fd;

  put (image, 4, QCOW_MAGIC);
  put (image + 4, 4, 3);
  put (image + 20, 4, 12);
  put (image + 24, 8, CLUSTER);
  put (image + 36, 4, 1);
  put (image + 40, 8, CLUSTER);
  put (image + 48, 8, 3 * CLUSTER);
  put (image + 56, 4, 1);
  put (image + 96, 4, 4);
  put (image + 100, 4, QCOW_V3_HEADER_LENGTH);
  if (data_file) {
    put (image + 72, 8, QCOW_INCOMPAT_DATA_FILE);
    put (image + 104, 4, QCOW_EXT_DATA_FILE);
    put (image + 108, 4, n);
    memcpy (image + 112, name, n);
    put (image + CLUSTER, 8, QCOW_ENTRY_COPIED | 2 * CLUSTER);
    put (image + 2 * CLUSTER, 8, QCOW_ENTRY_COPIED);
  }
  else {
    put (image + 8, 8, 112);
    put (image + 16, 4, n);
    memcpy (image + 112, name, n);
  }
  fd = open ("in/image", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  MUST (fd != -1 && write (fd, image, sizeof image) == sizeof image);
  MUST (close (fd) == 0);
}

/* --- What was opened --- */

static bool
lies_below (const char *name, const char *directory)
{
  const size_t n = strlen (directory);

  return strncmp (name, directory, n) == 0 && name[n] == '/';
}

static void
must_be_allowed (const uint8_t *content, unsigned how)
{
  char name[CLUSTER + 1];

  memcpy (name, content, CLUSTER);
  name[strcspn (name, " ")] = '\0';
  MUST (((how & ALLOW_IMAGE_DIR) && lies_below (name, "in"))
        || ((how & ALLOW_SUB) && lies_below (name, "in/sub"))
        || ((how & ALLOW_OTHER) && lies_below (name, "other"))
        || ((how & ALLOW_LINK) && lies_below (name, "other/deep")));
}

static void
use_image (unsigned how)
{
  static const char *const formats[] = { "raw" };
  struct qcow_options options = default_options ();
  const char *allow[5];
  uint8_t content[CLUSTER];
  struct qcow_view *v;
  struct qcow *q;

  options.filename = how & BY_LINK ? "in/down/../../image" : "in/image";
  options.allow = allow;
  if (how & ALLOW_IMAGE_DIR)
    allow[options.nr_allow++] = "image-dir";
  if (how & ALLOW_SUB)
    allow[options.nr_allow++] = "in/sub";
  if (how & ALLOW_OTHER)
    allow[options.nr_allow++] = "in/../other/";
  if (how & ALLOW_LINK)
    allow[options.nr_allow++] = "in/out";
  if (how & ALLOW_URL)
    allow[options.nr_allow++] = PREFIX;
  if (!(how & DATA_FILE)) {
    options.backing_formats = formats;
    options.nr_backing_formats = 1;
  }
  errno = 0;
  q = open_image (&options);
  if (q == NULL) {
    MUST (errno != 0);
    return;
  }
  v = qcow_view_open (q, "");
  MUST (v && qcow_read (v, content, sizeof content, 0) == 0);
  must_be_allowed (content, how);
  qcow_view_close (v);
  qcow_close (q);
}

/* --- URLs --- */

/* True if the URL contains "..", in any spelling. */
static bool
has_dots (const char *url)
{
  char plain[CLUSTER], *out = plain;
  const char *p;
  unsigned c;

  for (p = url; *p; ++p) {
    if (*p == '%' && isxdigit ((unsigned char) p[1])
        && isxdigit ((unsigned char) p[2])) {
      sscanf (p + 1, "%2x", &c);
      *out++ = c == '\\' ? '/' : (char) c;
      p += 2;
    }
    else
      *out++ = *p == '\\' ? '/' : *p;
    MUST (out < plain + sizeof plain);
  }
  *out = '\0';
  return strstr (plain, "/../") != NULL
         || (out - plain >= 3 && strcmp (out - 3, "/..") == 0);
}

/* True if the text is the prefix, something below it, or the prefix with a
 * query.
 */
static bool
is_covered (const char *text, const char *prefix)
{
  const size_t n = strlen (prefix);

  return strncmp (text, prefix, n) == 0
         && (text[n] == '\0' || text[n] == '/' || text[n] == '?');
}

static void
use_url (const char *name, unsigned how)
{
  static const struct qcow_hooks hooks = { .error = hear };
  static const struct url_s3 s3 = { NULL, "us-east-1" };
  const char *allow[] = { "image-dir", PREFIX };
  struct reference image = { .image = NULL };
  struct reference ref
    = { .image = "image", .what = "backing file", .hint = QCOW_HINT_BACKING };
  const struct url *url = &ref.url;
  struct access *access;
  struct problem problem;

  MUST (url_parse ("https://h/dir/image", &s3, &image.url, &problem) == 0);
  access = access_new (how & ALLOW_IMAGE_DIR ? allow : allow + 1,
                       how & ALLOW_IMAGE_DIR ? 2 : 1, &image, &hooks);
  MUST (access);
  ref.name = strdup (name);
  MUST (ref.name);
  if (url_parse (name, &s3, &ref.url, &problem) == 0) {
    if (access_check_url (access, &ref, false) == 0) {
      MUST (url->user == NULL && !has_dots (url->name));
      MUST (is_covered (url->text, PREFIX)
            || ((how & ALLOW_IMAGE_DIR)
                && is_covered (url->text, "https://h/dir")));
    }
    else
      MUST (errno == EPERM);
  }
  reference_free (&ref);
  reference_free (&image);
  access_free (access);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input in = { data, size };
  const unsigned how = (unsigned) take_number (&in, 1);
  char name[QCOW_MAX_BACKING_NAME + 1];
  const size_t n = min64 (in.left, sizeof name - 1);

  if (start_fd == 0) {
    make_tree ();
    load_reader ();
  }
  MUST (chdir (root) == 0);
  memcpy (name, in.p, n);
  name[n] = '\0';
  if (url_is_one (name) || strstr (name, "://"))
    use_url (name, how);
  else {
    make_image (name, how & DATA_FILE);
    use_image (how);
  }
  MUST (fchdir (start_fd) == 0);
  return 0;
}
