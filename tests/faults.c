/* SPDX-License-Identifier: BSD-3-Clause
 *
 * faults [-p PASSPHRASE]... [-v VIEW]... [-u SOCKET | -d] KIND IMAGE
 *
 * With -u, IMAGE is a URL whose server listens on this Unix domain socket.
 * With -d, it is a directory of images.
 *
 * Repeats a small job: print a summary, open the image, list its views, map
 * and read each of them and each VIEW, close.  Each time another allocation or
 * system call fails.  For each n (but see ALL_OF), the n-th
 *   alloc       allocation fails
 *   exhausted   allocation fails, and so do all later ones that don't fit into
 *               the memory freed since
 *   eio         read fails with EIO
 *   cut         read returns 0 (end of file)
 *   eintr       read fails with EINTR
 *   short       read returns one byte
 *   files       open fails with EMFILE
 *
 * Each step of the job must have the same result as without a fault, or fail
 * with the errno of the kind.  One fault may fail at most one step; EINTR and
 * short reads must not fail any.  At the end, all memory must be freed and all
 * files closed.  (With -u, steps can also fail with EIO: out of memory,
 * libcurl sends a request without its range, and later requests can fail
 * because of that.)  Prints "KIND: N faults, M made a step fail", or an error,
 * with status 1.
 *
 * The failing functions are defined here and take precedence over libc's, so
 * calls of libraries fail, too.  Without -u there is only one thread; with it,
 * which thread's call fails is random.
 */

/* Fortified headers define some of these functions inline. */
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qcow/directory.h"
#include "qcow/qcow.h"

#define EXPORT __attribute__ ((visibility ("default")))

enum kind {
  NONE,
  ALLOC,
  EXHAUSTED,
  READ_EIO,
  READ_CUT,
  READ_EINTR,
  READ_SHORT,
  FILES
};

static const struct {
  const char *name;
  int error; /* errno of a failing step; 0: no step may fail */
} kinds[] = {
  [NONE] = { "none", 0 },
  [ALLOC] = { "alloc", ENOMEM },
  [EXHAUSTED] = { "exhausted", ENOMEM },
  [READ_EIO] = { "eio", EIO },
  [READ_CUT] = { "cut", EIO },
  [READ_EINTR] = { "eintr", 0 },
  [READ_SHORT] = { "short", 0 },
  [FILES] = { "files", EMFILE },
};

/* ASan's strdup does not call our malloc, but its result is passed to our
 * free, so blocks can't be counted.  ASan finds leaks itself.
 */
#ifdef __SANITIZE_ADDRESS__
#define COUNTS_BLOCKS 0
#else
#define COUNTS_BLOCKS 1
#endif

/* --- Faults --- */

static enum kind kind;
static bool on_web;              /* with -u: libcurl has threads, too */
static bool in_job;              /* the job runs: count blocks */
static __thread bool sanitizing; /* a sanitizer's own code runs */
static atomic_bool inside;       /* the code under test is running */
static atomic_long countdown;    /* calls until the fault */
static atomic_long room;         /* bytes freed since memory was exhausted */
static atomic_long nr_blocks;    /* allocated by the job and not freed */

/* malloc and the functions that it calls must not use variables that ASan
 * instruments: ASan calls malloc before it is initialized.
 */

/* True if this call must fail. */
static bool
fails (bool eligible)
{
  long left;

  if (!inside || sanitizing || !eligible)
    return false;
  left = countdown--;
  return kind == EXHAUSTED ? left <= 1 : left == 1;
}

static bool
allocation_fails (size_t size)
{
  const long wanted = (long) size;

  if (!fails (kind == ALLOC || kind == EXHAUSTED))
    return false;
  if (atomic_fetch_sub (&room, wanted) >= wanted)
    return false;
  room += wanted;
  errno = ENOMEM;
  return true;
}

/* dlsym may allocate before the real functions are known. */
static char early[4096];
static size_t early_used;

static void *
early_alloc (size_t size)
{
  void *p = early + early_used;

  early_used += (size + 15) & ~(size_t) 15;
  if (early_used > sizeof early)
    abort ();
  return p;
}

static bool
is_early (const void *p)
{
  return (const char *) p >= early && (const char *) p < early + sizeof early;
}

static void *(*real_malloc) (size_t);
static void *(*real_calloc) (size_t, size_t);
static void *(*real_realloc) (void *, size_t);
static void *(*real_aligned_alloc) (size_t, size_t);
static int (*real_posix_memalign) (void **, size_t, size_t);
static void (*real_free) (void *);

static bool
find_real (void)
{
  static bool finding;

  if (real_free)
    return true;
  if (finding)
    return false;
  finding = true;
  /* (ISO C has no cast from an object pointer to a function pointer.) */
  *(void **) &real_malloc = dlsym (RTLD_NEXT, "malloc");
  *(void **) &real_calloc = dlsym (RTLD_NEXT, "calloc");
  *(void **) &real_realloc = dlsym (RTLD_NEXT, "realloc");
  *(void **) &real_aligned_alloc = dlsym (RTLD_NEXT, "aligned_alloc");
  *(void **) &real_posix_memalign = dlsym (RTLD_NEXT, "posix_memalign");
  *(void **) &real_free = dlsym (RTLD_NEXT, "free");
  finding = false;
  return true;
}

static void *
counted (void *p)
{
  if (in_job && p)
    nr_blocks++;
  return p;
}

EXPORT void *
malloc (size_t size)
{
  if (!find_real ())
    return early_alloc (size);
  return allocation_fails (size) ? NULL : counted (real_malloc (size));
}

EXPORT void *
calloc (size_t n, size_t size)
{
  if (!find_real ())
    return early_alloc (n * size); /* never reused, so zero */
  return allocation_fails (n * size) ? NULL : counted (real_calloc (n, size));
}

EXPORT void *
realloc (void *old, size_t size)
{
  void *p;

  if (old == NULL)
    return malloc (size);
  if (!find_real () || is_early (old))
    abort ();
  if (allocation_fails (size))
    return NULL;
  p = real_realloc (old, size);
  return p;
}

EXPORT void *
aligned_alloc (size_t alignment, size_t size)
{
  find_real ();
  return allocation_fails (size)
           ? NULL
           : counted (real_aligned_alloc (alignment, size));
}

EXPORT int
posix_memalign (void **p, size_t alignment, size_t size)
{
  int r;

  find_real ();
  if (allocation_fails (size))
    return ENOMEM;
  r = real_posix_memalign (p, alignment, size);
  if (r == 0)
    counted (*p);
  return r;
}

EXPORT void
free (void *p)
{
  if (p == NULL || is_early (p))
    return;
  find_real ();
  if (in_job)
    nr_blocks--;
  if (inside && kind == EXHAUSTED && countdown <= 0)
    room += (long) malloc_usable_size (p);
  real_free (p);
}

EXPORT ssize_t
pread64 (int fd, void *buf, size_t count, off64_t offset)
{
  static ssize_t (*real) (int, void *, size_t, off64_t);

  if (!real)
    *(void **) &real = dlsym (RTLD_NEXT, "pread64");
  if (!fails (kind >= READ_EIO && kind <= READ_SHORT))
    return real (fd, buf, count, offset);
  switch (kind) {
  case READ_CUT:
    return 0;
  case READ_SHORT:
    return real (fd, buf, 1, offset);
  default:
    errno = kind == READ_EIO ? EIO : EINTR;
    return -1;
  }
}

EXPORT int
open64 (const char *name, int flags, ...)
{
  static int (*real) (const char *, int, mode_t);
  va_list args;
  mode_t mode;

  if (!real)
    *(void **) &real = dlsym (RTLD_NEXT, "open64");
  va_start (args, flags);
  mode = flags & O_CREAT ? va_arg (args, mode_t) : 0;
  va_end (args);
  if (!fails (kind == FILES))
    return real (name, flags, mode);
  errno = EMFILE;
  return -1;
}

#ifdef __SANITIZE_ADDRESS__
/* ASan calls this when a thread starts and can't handle failing allocations
 * in it.
 */
EXPORT int
pthread_getattr_np (pthread_t thread, pthread_attr_t *attr)
{
  int (*real) (pthread_t, pthread_attr_t *);
  int r;

  sanitizing = true;
  *(void **) &real = dlsym (RTLD_NEXT, "pthread_getattr_np");
  r = real (thread, attr);
  sanitizing = false;
  return r;
}
#endif

/* --- The job --- */

#define MAX_STEPS 4000
#define MAX_KEY 200
#define MAX_VIEWS 32
#define STEP_BYTES (59 * 512) /* not a multiple of a cluster */

/* The steps of the first run, without faults, and their results. */
struct step {
  char key[MAX_KEY];
  uint64_t hash;
};

static struct step steps[MAX_STEPS];
static size_t nr_steps;
static bool recording;

static uint64_t nth;       /* the call that fails in this run */
static unsigned nr_failed; /* failed steps of this run */
static unsigned nr_warnings;
static unsigned usual_warnings; /* without a fault */

static char views[MAX_VIEWS][MAX_KEY];
static size_t nr_views;

static void
wrong (const char *key, const char *what)
{
  inside = false;
  printf ("%s %" PRIu64 ": %s: %s\n", kinds[kind].name, nth, key, what);
  exit (1);
}

static uint64_t
hash_of (uint64_t hash, const void *data, size_t length)
{
  const uint8_t *p = data;
  size_t i;

  for (i = 0; i < length; ++i)
    hash = (hash ^ p[i]) * UINT64_C (0x100000001b3);
  return hash;
}

/* Compare the result of a step with the first run.  If !done, errno is set. */
static void
step (const char *key, bool done, uint64_t hash)
{
  const int err = errno;
  size_t i;

  inside = false;
  if (recording) {
    if (!done)
      wrong (key, strerror (err));
    if (nr_steps == MAX_STEPS)
      wrong (key, "too many steps");
    snprintf (steps[nr_steps].key, MAX_KEY, "%s", key);
    steps[nr_steps++].hash = hash;
    return;
  }
  /* Unreadable bitmaps only cause a warning, and then don't exist. */
  if (nr_warnings > usual_warnings
      && (strcmp (key, "list") == 0 || strcmp (key, "summary") == 0
          || strstr (key, "of 'bitmap:")))
    return;
  if (!done) {
    nr_failed++;
    if (kinds[kind].error == 0
        || (err != kinds[kind].error && !(on_web && err == EIO)))
      wrong (key, strerror (err));
    return;
  }
  for (i = 0; i < nr_steps && strcmp (steps[i].key, key) != 0; ++i)
    ;
  if (i == nr_steps)
    wrong (key, "this step does not exist without the fault");
  if (steps[i].hash != hash)
    wrong (key, "the result differs from that without the fault");
}

/* The kind of each sector is compared, because extents may be split
 * differently.
 */
struct kinds_of {
  uint64_t start, end;
  uint8_t sectors[STEP_BYTES / 512 + 1];
};

static int
on_extent (void *opaque, uint64_t offset, uint64_t length,
           enum qcow_extent extent)
{
  struct kinds_of *k = opaque;

  k->end = offset + length;
  for (; offset < k->end; offset += 512)
    k->sectors[(offset - k->start) / 512] = (uint8_t) extent;
  return 0;
}

static int
extents (struct qcow_view *v, uint32_t count, uint64_t offset, uint64_t *hash)
{
  struct kinds_of k = { .start = offset, .end = offset };

  while (k.end < offset + count)
    if (qcow_extents (v, (uint32_t) (offset + count - k.end), k.end, false,
                      on_extent, &k)
        == -1)
      return -1;
  *hash = hash_of (0, k.sectors, (count + 511) / 512);
  return 0;
}

static void
do_range (struct qcow_view *v, const char *view, uint32_t count,
          uint64_t offset)
{
  static uint8_t buf[STEP_BYTES];
  char key[MAX_KEY];
  uint64_t hash = 0;
  int r;

  snprintf (key, sizeof key, "extents of '%.100s' at %" PRIu64, view, offset);
  inside = true;
  r = extents (v, count, offset, &hash);
  step (key, r == 0, hash);

  snprintf (key, sizeof key, "prefetch of '%.100s' at %" PRIu64, view, offset);
  inside = true;
  r = qcow_prefetch (v, count, offset);
  step (key, r == 0, 0);

  snprintf (key, sizeof key, "read of '%.100s' at %" PRIu64, view, offset);
  inside = true;
  r = qcow_read (v, buf, count, offset);
  step (key, r == 0, hash_of (0, buf, count));
}

/* What is served: one of them is not NULL. */
static struct qcow *image;
static struct qcow_directory *directory;

static void
do_view (const char *view)
{
  struct qcow_view *v;
  char key[MAX_KEY];
  uint64_t size, offset;

  snprintf (key, sizeof key, "open of '%.100s'", view);
  inside = true;
  v = directory ? qcow_directory_view_open (directory, view)
                : qcow_view_open (image, view);
  step (key, v != NULL, v ? qcow_view_size (v) : 0);
  if (v == NULL)
    return;
  snprintf (key, sizeof key, "description of '%.100s'", view);
  step (key, true,
        hash_of (0, qcow_view_description (v),
                 strlen (qcow_view_description (v))));
  size = qcow_view_size (v);
  for (offset = 0; offset < size; offset += STEP_BYTES)
    do_range (v, view,
              size - offset < STEP_BYTES ? (uint32_t) (size - offset)
                                         : STEP_BYTES,
              offset);
  inside = true;
  qcow_view_close (v);
  inside = false;
}

struct list {
  uint64_t hash;
  size_t n;
  char names[MAX_VIEWS][MAX_KEY];
};

static int
on_name (void *opaque, const char *name, const char *description)
{
  struct list *list = opaque;

  list->hash = hash_of (list->hash, description, strlen (description));
  if (name == NULL || list->n == MAX_VIEWS)
    return 0;
  list->hash = hash_of (list->hash, name, strlen (name));
  snprintf (list->names[list->n++], MAX_KEY, "%s", name);
  return 0;
}

static void
ignore_message (void *opaque, const char *text)
{
  (void) opaque;
  (void) text;
}

static void
count_warning (void *opaque, const char *text)
{
  (void) opaque;
  (void) text;
  nr_warnings++;
}

static const struct qcow_hooks hooks = { .error = ignore_message,
                                         .warn = count_warning,
                                         .debug = ignore_message };

static bool
do_open (const struct qcow_options *options)
{
  inside = true;
  if (options->directory)
    directory = qcow_directory_open (options, &hooks);
  else
    image = qcow_open (options, &hooks);
  step ("open", image || directory, 0);
  return image || directory;
}

static void
do_close (void)
{
  inside = true;
  qcow_close (image);
  qcow_directory_close (directory);
  inside = false;
  image = NULL;
  directory = NULL;
}

static void
do_summary (const struct qcow_options *options)
{
  static char text[1 << 16], buf[BUFSIZ];
  FILE *out = fmemopen (text, sizeof text, "w");
  int r, err;

  setvbuf (out, buf, _IOFBF, sizeof buf);
  text[0] = '\0';
  inside = true;
  r = qcow_print_info (options, &hooks, out);
  err = errno;
  inside = false;
  fclose (out);
  errno = err;
  if (r == -1 && text[0] != '\0')
    wrong ("summary", "there is output in spite of an error");
  step ("summary", r == 0, hash_of (0, text, strlen (text)));
}

static void
do_job (const struct qcow_options *options)
{
  static struct list list;
  size_t i;
  int r;

  if (!options->directory && !on_web)
    do_summary (options);
  if (!do_open (options))
    return;
  inside = true;
  r = directory ? qcow_directory_after_fork (directory)
                : qcow_after_fork (image);
  step ("after_fork", r == 0, 0);
  if (r == 0) {
    list = (struct list){ 0 };
    inside = true;
    r = directory ? qcow_directory_list (directory, on_name, &list)
                  : qcow_list (image, on_name, &list);
    /* A file that can't be read is not in the list of a directory. */
    step ("list", r == 0, directory ? 0 : list.hash);
    for (i = 0; r == 0 && i < list.n; ++i)
      do_view (list.names[i]);
    for (i = 0; i < nr_views; ++i)
      do_view (views[i]);
  }
  do_close ();
}

/* --- Again and again --- */

/* Beyond this n, only some calls fail: PBKDF2 allocates in each of its
 * thousands of iterations.
 */
#define ALL_OF 100

static int
lowest_free_fd (void)
{
  const int fd = dup (STDOUT_FILENO);

  close (fd);
  return fd;
}

static void
run (const struct qcow_options *options, enum kind k, uint64_t n)
{
  const int fd = lowest_free_fd ();

  kind = k;
  nth = n;
  countdown = (long) n;
  nr_blocks = 0;
  room = 0;
  nr_warnings = 0;
  nr_failed = 0;
  /* A hang is an error, too. */
  alarm (100);
  in_job = true;
  do_job (options);
  in_job = false;
  if (lowest_free_fd () != fd)
    wrong ("at the end", "a file is still open");
  if (k == NONE)
    return;
  if (COUNTS_BLOCKS && nr_blocks != 0)
    wrong ("at the end", "memory was leaked or freed twice");
  if (k != EXHAUSTED && !on_web && nr_failed > 1)
    wrong ("at the end", "one fault made several steps fail");
}

static enum kind
kind_named (const char *name)
{
  size_t i;

  for (i = NONE + 1; i < sizeof kinds / sizeof kinds[0]; ++i)
    if (strcmp (kinds[i].name, name) == 0)
      return (enum kind) i;
  fprintf (stderr, "faults: no such kind: %s\n", name);
  exit (2);
}

int
main (int argc, char **argv)
{
  static const char *const allow[] = { "any" };
  static const char *const headers[] = { "X-One: 1" };
  static const char *passphrases[8];
  struct qcow_options options;
  uint64_t n, done = 0, with_effect = 0;
  unsigned without = 0;
  enum kind k;
  bool is_directory = false;
  int c;

  qcow_options_init (&options);
  options.cache_size = 1 << 20;
  options.allow = allow;
  options.nr_allow = 1;
  options.passphrases = passphrases;
  options.http.user = "user";
  options.http.password = "password";
  options.http.cookie = "a=b";
  options.http.headers = headers;
  options.http.nr_headers = 1;
  while ((c = getopt (argc, argv, "dp:v:u:")) != -1)
    if (c == 'p' && options.nr_passphrases < 8)
      passphrases[options.nr_passphrases++] = optarg;
    else if (c == 'd')
      is_directory = true;
    else if (c == 'u')
      options.http.unix_socket_path = optarg;
    else if (c == 'v' && nr_views < MAX_VIEWS)
      snprintf (views[nr_views++], MAX_KEY, "%s", optarg);
    else
      return 2;
  if (argc - optind != 2) {
    fprintf (stderr, "usage: faults [-p PASSPHRASE]... [-v VIEW]... "
                     "[-u SOCKET | -d] KIND IMAGE\n");
    return 2;
  }
  k = kind_named (argv[optind]);
  on_web = options.http.unix_socket_path != NULL;
  *(on_web         ? &options.url
    : is_directory ? &options.directory
                   : &options.filename)
    = argv[optind + 1];

  if (qcow_load () == -1)
    return 2;
  recording = true;
  run (&options, NONE, 0);
  recording = false;
  usual_warnings = nr_warnings;
  /* By now, libraries have allocated everything that they keep. */
  nr_blocks = 0;
  run (&options, NONE, 0);
  if (COUNTS_BLOCKS && nr_blocks != 0)
    wrong ("without a fault", "memory is not freed");

  /* Continue until the job has no n-th call.  With -u, this can happen by
   * chance, so it must happen three times.
   */
  for (n = 1; without < (on_web ? 3 : 1);
       n += n < ALL_OF || on_web ? 1 : n / 4) {
    run (&options, k, n);
    if (countdown > 0) {
      without++;
      continue;
    }
    without = 0;
    done++;
    with_effect += nr_failed > 0;
  }
  printf ("%s: %" PRIu64 " faults, %" PRIu64 " made a step fail\n",
          kinds[k].name, done, with_effect);
  return 0;
}
