/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tests of the NBD transport share: NBD servers on a Unix domain
 * socket in a temporary directory, fetches with guarded memory, and a client
 * that can leave.
 *
 * Servers serve what nbdkit's pattern plugin does: each 8 bytes are their
 * offset, big-endian.
 */

#ifndef UNIT_NBD_H
#define UNIT_NBD_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/pieces.h"
#include "tests/unit/unit.h"

#include "base/minmax.h"
#include "base/monotonic.h"
#include "nbd/internal.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])
#define K UINT64_C (1024)
#define M (K * K)

/* How long a client that leaves may take to return: the hook is called each
 * 50 ms.  Sanitizers are slow, and valgrind is slower.
 */
static inline uint64_t
soon_ms (void)
{
  if (getenv ("QCOW_VALGRIND"))
    return 5000;
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
  return 900;
#else
  return 300;
#endif
}

static inline void
nap (unsigned ms)
{
  const struct timespec t = { .tv_sec = (time_t) (ms / 1000),
                              .tv_nsec = (long) (ms % 1000) * 1000000 };

  nanosleep (&t, NULL);
}

static inline uint8_t
byte_at (uint64_t offset)
{
  return (uint8_t) ((offset & ~UINT64_C (7)) >> (56 - 8 * (offset % 8)));
}

/* --- Servers --- */

static char directory[] = "/tmp/qcow-unit.XXXXXX";
static char socket_path[64], pid_path[64], file_path[64];
static char server_uri[128];
static pid_t server;

static inline void
remove_files (void)
{
  unlink (socket_path);
  unlink (pid_path);
  unlink (file_path);
  rmdir (directory);
}

static inline int
make_directory (void **state)
{
  (void) state;
  if (mkdtemp (directory) == NULL)
    return -1;
  snprintf (socket_path, sizeof socket_path, "%s/socket", directory);
  snprintf (pid_path, sizeof pid_path, "%s/pid", directory);
  snprintf (file_path, sizeof file_path, "%s/file", directory);
  snprintf (server_uri, sizeof server_uri, "nbd+unix:///?socket=%s",
            socket_path);
  atexit (remove_files);
  return 0;
}

static inline int
nbd_setup (void **state)
{
  return make_directory (state) == -1 ? -1 : unit_load (state);
}

/* Run a server that ends with this process, and writes its pid to pid_path
 * when it is ready.  False: it does not start.
 */
static inline bool
server_try (const char *const *argv)
{
  const uint64_t end = monotonic_ms () + 20000;

  unlink (pid_path);
  unlink (socket_path);
  server = fork ();
  assert_true (server >= 0);
  if (server == 0) {
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    if (freopen ("/dev/null", "w", stderr) == NULL)
      _exit (126);
    execvp (argv[0], (char *const *) argv);
    _exit (127);
  }
  while (access (pid_path, F_OK) == -1) {
    if (monotonic_ms () > end || waitpid (server, NULL, WNOHANG) != 0) {
      server = 0;
      return false;
    }
    nap (2);
  }
  return true;
}

static inline void
server_run (const char *const *argv)
{
  if (!server_try (argv))
    fail_msg ("%s does not start", argv[0]);
}

/* Start nbdkit on a TCP port.  False: it is in use. */
static inline bool
server_tcp (const char *port)
{
  const char *const argv[]
    = { "nbdkit", "-f",     "-i",      "localhost", "-p", port,
        "-P",     pid_path, "pattern", "size=10M",  NULL };

  return server_try (argv);
}

/* Start nbdkit with these arguments. */
#define server_start(...) server_nbdkit (NULL, __VA_ARGS__, NULL)

static inline void
server_nbdkit (const char *dummy, ...)
{
  const char *argv[32] = { "nbdkit", "-f", "-U", socket_path, "-P", pid_path };
  size_t n = 6;
  va_list args;

  va_start (args, dummy);
  while ((argv[n] = va_arg (args, const char *)) != NULL)
    ++n;
  va_end (args);
  server_run (argv);
}

/* Start qemu-nbd with the file of 'size' bytes as the export "disk". */
static inline void
server_start_qemu (uint64_t size)
{
  const char *const argv[]
    = { "qemu-nbd",    "-k", socket_path, "--pid-file", pid_path, "-f",
        "raw",         "-x", "disk",      "-D",         "a disk", "-r",
        "--shared=16", "-t", file_path,   NULL };
  FILE *file = fopen (file_path, "w");
  uint64_t i;

  assert_non_null (file);
  for (i = 0; i < size; ++i)
    putc (byte_at (i), file);
  fclose (file);
  server_run (argv);
}

static inline void
server_end (int signal)
{
  if (server > 0) {
    kill (server, signal);
    waitpid (server, NULL, 0);
  }
  server = 0;
}

static inline void
server_kill (void)
{
  server_end (SIGKILL);
}

/* --- The transport --- */

/* Messages come from several threads. */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;

static inline void
on_error (void *opaque, const char *text)
{
  pthread_mutex_lock (&said_lock);
  unit_on_error (opaque, text);
  pthread_mutex_unlock (&said_lock);
}

/* The thread's client leaves at this time; 0: never. */
static _Thread_local uint64_t leave_at;

static inline int
on_sleep (void *opaque, unsigned ms)
{
  (void) opaque;
  if (leave_at > 0 && monotonic_ms () >= leave_at)
    return -1;
  nap (ms);
  return 0;
}

static const struct qcow_hooks hooks = {
  .error = on_error,
  .warn = unit_on_warning,
  .sleep = on_sleep,
};

static struct nbd *nbd;
static struct nbd_object *object;

static inline void
new_nbd (unsigned connections)
{
  /* A test that hangs ends here. */
  alarm (100);
  unit_forget ();
  nbd = nbd_new (connections, &hooks);
  assert_non_null (nbd);
}

static const struct reference of_user = { .image = NULL };

static inline void
open_uri (const char *uri)
{
  object = (struct nbd_object *) nbd_open (nbd, uri, uri, &of_user);
}

/* With the server running. */
static inline void
begin (unsigned connections)
{
  new_nbd (connections);
  open_uri (server_uri);
  if (object == NULL)
    fail_msg ("%s", unit_error_text);
}

static inline void
end (void)
{
  nbd_stop (nbd);
  if (object)
    object->transport.ops->close (&object->transport);
  object = NULL;
  nbd_free (nbd);
  nbd = NULL;
  server_kill ();
  alarm (0);
}

/* --- Fetches --- */

struct load {
  struct fetch fetch;
  struct fetch_piece pieces[MAX_PIECES];
  uint8_t *memory[MAX_PIECES]; /* with a margin on both sides */
  unsigned piece_done[MAX_PIECES];
  unsigned done; /* atomic */
  int err;
};

static inline void
on_piece (struct fetch *f, size_t piece)
{
  ((struct load *) f)->piece_done[piece]++;
}

static inline void
on_done (struct fetch *f, int err)
{
  struct load *l = (struct load *) f;

  l->err = err;
  __atomic_add_fetch (&l->done, 1, __ATOMIC_RELEASE);
}

static inline struct load *
load_new (uint64_t offset, const size_t *lengths, size_t n)
{
  struct load *l = calloc (1, sizeof *l);

  assert_non_null (l);
  pieces_new (l->pieces, l->memory, lengths, n);
  l->fetch = (struct fetch){ .offset = offset,
                             .pieces = l->pieces,
                             .nr_pieces = n,
                             .piece_done = on_piece,
                             .done = on_done };
  return l;
}

static inline struct load *
load_one (uint64_t offset, size_t length)
{
  return load_new (offset, &length, 1);
}

static inline void
load_free (struct load *l)
{
  pieces_free (l->memory, l->fetch.nr_pieces);
  free (l);
}

/* Check that all bytes are there, and no others were touched. */
static inline void
load_check (const struct load *l)
{
  uint64_t offset = l->fetch.offset;
  size_t i, j;

  for (i = 0; i < l->fetch.nr_pieces; ++i) {
    const uint8_t *buf = l->pieces[i].buf;
    const size_t n = l->pieces[i].length;

    assert_int_equal (l->piece_done[i], 1);
    for (j = 0; j < n; ++j, ++offset)
      if (buf[j] != byte_at (offset))
        fail_msg ("byte %" PRIu64 " is wrong", offset);
  }
  assert_true (margins_are_untouched (l->pieces, l->fetch.nr_pieces));
}

static inline unsigned
load_done (const struct load *l)
{
  return __atomic_load_n (&l->done, __ATOMIC_ACQUIRE);
}

/* Wait for one that was submitted; returns its errno value. */
static inline int
load_wait (struct load *l)
{
  const uint64_t until = monotonic_ms () + 60000;

  while (load_done (l) == 0)
    if (monotonic_ms () > until)
      fail_msg ("a fetch is never done");
    else
      nap (1);
  return l->err;
}

/* Fetch one range, and check the bytes if that succeeds.  0, or an errno
 * value.
 */
static inline int
fetch_range (uint64_t offset, size_t length)
{
  struct load *l = load_one (offset, length);
  const int r
    = object->transport.ops->fetch_all (&object->transport, &l->fetch, 1);
  const int err = r == 0 ? 0 : errno;

  if (r == 0)
    load_check (l);
  load_free (l);
  return err;
}

#endif /* UNIT_NBD_H */
