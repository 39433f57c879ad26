/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD transport with real servers: nbdkit and qemu-nbd.
 */

#include <arpa/inet.h>
#include <sys/socket.h>

#include "tests/unit/nbd.h"

/* --- Opening --- */

static void
check_prefix (uint64_t size)
{
  const struct transport *t = &object->transport;
  size_t i;

  assert_int_equal (t->size, size);
  assert_int_equal (t->prefix_length, min64 (size, NBD_PREFIX_BYTES));
  for (i = 0; i < t->prefix_length; ++i)
    if (t->prefix[i] != byte_at (i))
      fail_msg ("%" PRIu64 " bytes: byte %zu", size, i);
}

static void
open_sizes (void **state)
{
  static const uint64_t sizes[] = { 0,
                                    1,
                                    1000,
                                    NBD_PREFIX_BYTES - 1,
                                    NBD_PREFIX_BYTES,
                                    NBD_PREFIX_BYTES + 1,
                                    10 * M };
  char size[64];
  size_t i;

  (void) state;
  for (i = 0; i < NR (sizes); ++i) {
    snprintf (size, sizeof size, "size=%" PRIu64, sizes[i]);
    server_start ("pattern", size);
    begin (4);
    check_prefix (sizes[i]);
    assert_int_equal (unit_errors, 0);
    end ();
  }
}

static void
open_qemu (void **state)
{
  char uri[128];

  (void) state;
  server_start_qemu (1 * M);
  new_nbd (4);
  snprintf (uri, sizeof uri, "nbd+unix:///disk?socket=%s", socket_path);
  open_uri (uri);
  assert_non_null (object);
  check_prefix (1 * M);
  assert_string_equal (object->export.description, "a disk");
  assert_true (object->export.multi_conn);
  assert_true (object->export.allocation);
  assert_int_equal (nbd_start (nbd), 0);
  assert_int_equal (fetch_range (1, 1 * M - 1), 0);
  end ();
}

/* --- Opening fails --- */

/* One message with the reason, and without secrets. */
static void
check_refused (const char *uri, int err, const char *said)
{
  new_nbd (4);
  open_uri (uri);
  if (object || errno != err)
    fail_msg ("%s: errno %d", uri, errno);
  assert_int_equal (unit_errors, 1);
  assert_said (said);
  end ();
}

static void
open_missing (void **state)
{
  (void) state;
  unlink (socket_path);
  check_refused (server_uri, ENOENT, "No such file");
}

static void
open_refused (void **state)
{
  (void) state;
  server_start ("null");
  server_kill ();
  assert_int_equal (access (socket_path, F_OK), 0);
  check_refused (server_uri, EIO, "Connection refused, after 3 tries");
}

static void
open_other_export (void **state)
{
  char uri[128];

  (void) state;
  server_start_qemu (1000);
  snprintf (uri, sizeof uri, "nbd+unix:///other?socket=%s", socket_path);
  check_refused (uri, ENOENT, "no export named 'other'");
}

static void
open_bad_uris (void **state)
{
  (void) state;
  check_refused ("nbd+ssh://host/", EINVAL, "not the URI of an NBD server");
  check_refused ("nbd+unix:///", EINVAL, "socket");
  check_refused ("nbd://localhost:1", EIO, "refused");
  check_refused ("nbd:///%zz", EINVAL, "URI");
}

static const struct reference of_image
  = { .image = "image", .what = "backing file", .name = (char *) "name" };

static void
open_secret (void **state)
{
  static const char *const uris[] = {
    "nbds+unix://s3cret@/?socket=/none/at/all",
    "nbds+unix:///?socket=/none/at/all&tls-psk-file=/s3cret/file",
    "nbds+unix:///?tls-certificates=/s3cret/file;socket=/none/at/all",
    "nbds+unix:///?tls-psk-file=/s3cret/file",
    "nbd://s3cret:s3cret@h:x:y/?s3cret=s3cret",
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (uris); ++i) {
    new_nbd (1);
    object = (struct nbd_object *) nbd_open (nbd, uris[i], "name",
                                             i == 1 ? &of_user : &of_image);
    assert_null (object);
    assert_int_equal (unit_errors, 1);
    assert_said (i == 1 ? "name: " : "image: can't open the backing file");
    if (strstr (unit_error_text, "s3cret"))
      fail_msg ("%s: %s", uris[i], unit_error_text);
    end ();
  }
}

/* --- Fetching --- */

/* Several at once, with several pieces each, up to the last byte. */
static void
check_fetches (void)
{
  static const size_t lengths[]
    = { 1, 65536, 3, 100000, 1, 2621440, 7, 70000 };
  const uint64_t size = object->transport.size;
  struct fetch fetches[MAX_PIECES];
  struct load *loads[MAX_PIECES];
  size_t i, j, n;

  for (i = 0; i < NR (loads); ++i) {
    uint64_t sum = 0;

    for (n = 0; n <= i; ++n)
      sum += lengths[n];
    loads[i] = load_new (i % 2 ? size - sum : 777 * i, lengths, i + 1);
    fetches[i] = loads[i]->fetch;
    fetches[i].piece_done = NULL;
  }
  assert_int_equal (object->transport.ops->fetch_all (&object->transport,
                                                      fetches, NR (fetches)),
                    0);
  for (i = 0; i < NR (loads); ++i) {
    for (j = 0; j <= i; ++j)
      loads[i]->piece_done[j] = 1;
    load_check (loads[i]);
    load_free (loads[i]);
  }
}

/* As nbdkit does it, but for the fork. */
static void
check_life (void)
{
  begin (4);
  check_fetches ();
  nbd_hang_up (nbd);
  assert_int_equal (nbd_start (nbd), 0);
  check_fetches ();
  check_fetches ();
  assert_int_equal (unit_errors, 0);
  end ();
}

static void
fetch (void **state)
{
  (void) state;
  server_start ("pattern", "size=10M");
  check_life ();
  server_start ("--no-sr", "pattern", "size=10M");
  check_life ();
  server_start ("--filter=fua", "--filter=nocache", "pattern", "size=10M");
  check_life ();
  server_start ("-o", "pattern", "size=10M");
  check_life ();
}

/* With a key from a file, which only some URIs may name. */
static void
tls (void **state)
{
  char uri[256], psk[96];
  FILE *file;
  unsigned i;

  (void) state;
  file = fopen (file_path, "w");
  assert_non_null (file);
  fputs ("alice:00112233445566778899aabbccddeeff\n", file);
  fclose (file);
  snprintf (psk, sizeof psk, "--tls-psk=%s", file_path);
  snprintf (uri, sizeof uri, "nbds+unix://alice@/?socket=%s&tls-psk-file=%s",
            socket_path, file_path);
  server_start ("--tls=require", psk, "pattern", "size=10M");
  for (i = 0; i < 2; ++i) {
    new_nbd (3);
    object = (struct nbd_object *) nbd_open (nbd, uri, "name",
                                             i == 1 ? &of_user : &of_image);
    assert_int_equal (unit_errors, i == 0);
    if (i == 1) {
      assert_non_null (object);
      check_fetches ();
      nbd_hang_up (nbd);
      assert_int_equal (nbd_start (nbd), 0);
      check_fetches ();
      server_kill ();
      server_start ("--tls=require", psk, "pattern", "size=10M");
      check_fetches ();
      end ();
    }
    else {
      assert_null (object);
      assert_int_equal (errno, EACCES);
      assert_null (strstr (unit_error_text, "write to the socket"));
      nbd_free (nbd);
    }
  }

  /* Without TLS. */
  server_start ("--tls=require", psk, "pattern", "size=10M");
  check_refused (server_uri, EIO, "requires TLS");
  unlink (file_path);
}

static void
block_sizes (void **state)
{
  (void) state;
  server_start ("--filter=blocksize-policy", "pattern", "size=10M",
                "blocksize-minimum=4096", "blocksize-preferred=4096",
                "blocksize-maximum=64K", "blocksize-error-policy=error");
  begin (2);
  assert_int_equal (object->export.minimum, 4096);
  assert_int_equal (object->export.maximum, 65536);
  end ();
  server_start ("--filter=blocksize-policy", "pattern", "size=10M",
                "blocksize-minimum=4096", "blocksize-preferred=4096",
                "blocksize-maximum=64K", "blocksize-error-policy=error");
  check_life ();
}

static void
submit (void **state)
{
  static const size_t lengths[] = { 1, 65536, 1, 100000, 3, 131072, 7 };
  struct load *l = load_new (12345, lengths, NR (lengths));

  (void) state;
  server_start ("pattern", "size=10M");
  begin (4);
  assert_int_equal (nbd_start (nbd), 0);
  nbd_submit (&object->transport, &l->fetch);
  assert_int_equal (load_wait (l), 0);
  nap (20);
  assert_int_equal (l->done, 1);
  load_check (l);
  load_free (l);
  end ();
}

/* Many reads at once.  Then 'expected' connections have been used. */
static void
check_connections (unsigned expected)
{
  struct load *loads[200];
  unsigned i, n = 0;

  for (i = 0; i < nbd->connections; ++i)
    object->connections[i].progress = 0;
  assert_int_equal (nbd_start (nbd), 0);
  for (i = 0; i < NR (loads); ++i) {
    loads[i] = load_one (i * 1000, 1000);
    nbd_submit (&object->transport, &loads[i]->fetch);
  }
  for (i = 0; i < NR (loads); ++i) {
    assert_int_equal (load_wait (loads[i]), 0);
    load_check (loads[i]);
    load_free (loads[i]);
  }
  nbd_stop (nbd);
  for (i = 0; i < nbd->connections; ++i)
    n += object->connections[i].progress > 0;
  assert_int_equal (n, expected);
  assert_int_equal (unit_errors, 0);
  end ();
}

static void
start_slow (const char *ms, const char *multi_conn)
{
  server_start ("--filter=delay", "--filter=multi-conn", "pattern", "size=1M",
                ms, multi_conn);
}

/* As many connections as there is work for, if the server supports that. */
static void
connections (void **state)
{
  (void) state;
  server_start ("--filter=delay", "pattern", "size=1M", "delay-read=50ms");
  begin (3);
  check_connections (3);
  server_start ("--filter=delay", "pattern", "size=1M", "delay-read=20ms");
  begin (1);
  check_connections (1);
  start_slow ("delay-read=20ms", "multi-conn-mode=disable");
  begin (3);
  check_connections (1);
}

/* Also after another server has taken its place. */
static void
connections_later (void **state)
{
  (void) state;
  server_start ("pattern", "size=1M");
  begin (3);
  nbd_hang_up (nbd);
  server_kill ();
  start_slow ("delay-read=20ms", "multi-conn-mode=disable");
  check_connections (1);

  start_slow ("delay-read=20ms", "multi-conn-mode=disable");
  begin (3);
  nbd_hang_up (nbd);
  server_kill ();
  server_start ("--filter=delay", "pattern", "size=1M", "delay-read=50ms");
  check_connections (3);
}

static void
is_near (void **state)
{
  struct transport *t;
  unsigned i;

  (void) state;
  server_start ("--filter=delay", "pattern", "size=1M", "delay-read=5ms");
  begin (1);
  t = &object->transport;
  assert_false (transport_is_near (t));
  assert_int_equal (fetch_range (0, 512), 0);
  assert_false (transport_is_near (t));
  end ();

  server_start ("pattern", "size=1M");
  begin (1);
  t = &object->transport;
  for (i = 0; i < 1000 && !transport_is_near (t); ++i)
    assert_int_equal (fetch_range (0, 512), 0);
  if (getenv ("QCOW_VALGRIND") == NULL)
    assert_true (transport_is_near (t));
  end ();
}

/* --- Errors of the server --- */

static void
server_errors (void **state)
{
  char trigger[128];

  (void) state;
  snprintf (trigger, sizeof trigger, "error-pread-file=%s", file_path);
  unlink (file_path);
  server_start ("--filter=error", "pattern", "size=10M", "error-pread=EIO",
                trigger, "error-pread-rate=100%");
  begin (4);
  assert_int_equal (nbd_start (nbd), 0);
  fclose (fopen (file_path, "w"));
  assert_int_equal (fetch_range (5 * M, 1000), EIO);
  assert_int_equal (fetch_range (5 * M, 3 * M), EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("can't read 1000 bytes at 0x500000: the NBD server reports: "
               "Input/output error");
  unlink (file_path);
  assert_int_equal (fetch_range (5 * M, 3 * M), 0);
  end ();
}

/* --- Lost connections --- */

static void
restart (void **state)
{
  struct load *l = load_one (3000, 5000000);

  (void) state;
  server_start ("pattern", "size=10M");
  begin (2);
  assert_int_equal (nbd_start (nbd), 0);

  /* Idle. */
  server_kill ();
  nap (50);
  server_start ("pattern", "size=10M");
  assert_int_equal (fetch_range (0, 1000000), 0);

  /* Away for a while. */
  server_kill ();
  unlink (socket_path);
  nbd_submit (&object->transport, &l->fetch);
  nap (800);
  assert_int_equal (load_done (l), 0);
  server_start ("pattern", "size=10M");
  assert_int_equal (load_wait (l), 0);
  load_check (l);
  load_free (l);
  assert_int_equal (unit_errors, 0);
  end ();
}

/* In the middle of many commands, several times. */
static void
restart_while_busy (void **state)
{
  struct load *loads[64];
  unsigned round, i;

  (void) state;
  server_start ("--filter=delay", "pattern", "size=10M", "delay-read=30ms");
  begin (3);
  assert_int_equal (nbd_start (nbd), 0);
  for (i = 0; i < NR (loads); ++i) {
    loads[i] = load_one (i * 100001, 1500000);
    nbd_submit (&object->transport, &loads[i]->fetch);
  }
  for (round = 0; round < 3; ++round) {
    nap (40 + 17 * round);
    server_kill ();
    server_start ("--filter=delay", "pattern", "size=10M", "delay-read=30ms");
  }
  for (i = 0; i < NR (loads); ++i) {
    assert_int_equal (load_wait (loads[i]), 0);
    load_check (loads[i]);
    load_free (loads[i]);
  }
  assert_int_equal (unit_errors, 0);
  end ();
}

/* Nobody comes back. */
static void
give_up (void **state)
{
  uint64_t began;

  (void) state;
  server_start ("pattern", "size=10M");
  begin (2);
  nbd->give_up_ms = 1000;
  assert_int_equal (nbd_start (nbd), 0);
  server_kill ();
  began = monotonic_ms ();
  assert_int_equal (fetch_range (0, 1000), EIO);
  assert_between (monotonic_ms () - began, 300, 1000 + soon_ms ());
  assert_int_equal (unit_errors, 1);
  assert_said ("can't read 1000 bytes at 0x0: connect: Connection refused");

  /* Other clients do not wait as long, one after the other. */
  began = monotonic_ms ();
  assert_int_equal (fetch_range (0, 1000), EIO);
  assert_between (monotonic_ms () - began, 0, soon_ms ());
  assert_int_equal (unit_errors, 1);

  server_start ("pattern", "size=10M");
  nap (1100);
  assert_int_equal (fetch_range (0, 1000), 0);
  end ();
}

/* The server has changed its user, and may not use the socket any more.  That
 * is no reason to wait long.
 */
static void
denied (void **state)
{
  const bool is_root = geteuid () == 0;
  uint64_t began;

  (void) state;
  server_start ("pattern", "size=10M");
  begin (2);
  nbd_hang_up (nbd);
  assert_int_equal (chmod (socket_path, 0), 0);
  if (is_root)
    assert_int_equal (seteuid (65534), 0);
  assert_int_equal (nbd_start (nbd), 0);
  began = monotonic_ms ();
  assert_int_equal (fetch_range (0, 1000), EIO);
  assert_int_equal (fetch_range (5000, 1000), EIO);
  assert_between (monotonic_ms () - began, 500, 2000 + soon_ms ());
  assert_int_equal (unit_errors, 1);
  assert_said (
    "can't read 1000 bytes at 0x0: connect: Permission denied (this "
    "process must be allowed to write to the socket");
  if (is_root)
    assert_int_equal (seteuid (0), 0);
  assert_int_equal (chmod (socket_path, 0600), 0);
  assert_int_equal (fetch_range (0, 1000), 0);
  end ();
}

/* A port that is free now. */
static unsigned
free_port (void)
{
  struct sockaddr_in address
    = { .sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
  const int fd = socket (AF_INET, SOCK_STREAM, 0);
  socklen_t n = sizeof address;

  assert_true (fd >= 0);
  assert_int_equal (bind (fd, (struct sockaddr *) &address, n), 0);
  assert_int_equal (getsockname (fd, (struct sockaddr *) &address, &n), 0);
  close (fd);
  return ntohs (address.sin_port);
}

/* The thread sanitizer can't watch a thread that glibc starts, and crashes.
 * (cmocka's skip () prints "not ok".)
 */
static bool
has_thread_sanitizer (void)
{
#ifdef __SANITIZE_THREAD__
  print_message ("# not with the thread sanitizer\n");
  return true;
#else
  return false;
#endif
}

/* Through TCP, with the name of a host. */
static void
resolve (void **state)
{
  char uri[64], port[16];

  (void) state;
  if (has_thread_sanitizer ())
    return;
  do
    snprintf (port, sizeof port, "%u", free_port ());
  while (!server_tcp (port));
  snprintf (uri, sizeof uri, "nbd://localhost:%s", port);
  new_nbd (2);
  open_uri (uri);
  assert_non_null (object);
  nbd_hang_up (nbd);
  assert_int_equal (nbd_start (nbd), 0);
  assert_int_equal (fetch_range (0, 3000000), 0);
  assert_int_equal (unit_errors, 0);
  end ();
}

/* The network has changed since. */
static void
resolve_fails (void **state)
{
  (void) state;
  if (has_thread_sanitizer ())
    return;
  server_start ("pattern", "size=10M");
  begin (2);
  snprintf (object->host, sizeof object->host, "no such host");
  nbd->give_up_ms = 1000;
  nbd_hang_up (nbd);
  assert_int_equal (nbd_start (nbd), 0);
  assert_int_equal (fetch_range (0, 1000), EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("the name of the host can't be resolved: ");
  end ();
}

static void
check_changed (const char *said)
{
  unsigned i;

  assert_int_equal (fetch_range (0, 1000), EIO);
  for (i = 0; i < 3; ++i)
    assert_int_equal (fetch_range (i * 1000, 1000), EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("changed while it was being served");
  assert_said (said);
}

static void
changed (void **state)
{
  (void) state;
  server_start ("pattern", "size=10M");
  begin (2);
  assert_int_equal (nbd_start (nbd), 0);
  server_kill ();
  server_start ("pattern", "size=11M");
  check_changed ("size");
  /* Also when the old one returns: it may have been written to. */
  server_kill ();
  server_start ("pattern", "size=10M");
  check_changed ("size");
  end ();
}

/* A server that refuses what does not fit its block sizes. */
static void
start_with_blocks (const char *minimum, const char *maximum, const char *delay)
{
  server_start ("--filter=blocksize-policy", "--filter=delay", "pattern",
                "size=10M", minimum, "blocksize-preferred=64K", maximum, delay,
                "blocksize-error-policy=error");
}

/* What waits is split again for a server with other block sizes. */
static void
other_block_sizes (void **state)
{
  static const struct {
    const char *minimum, *maximum;
  } servers[] = {
    { "blocksize-minimum=1", "blocksize-maximum=32M" },
    { "blocksize-minimum=4096", "blocksize-maximum=64K" },
    { "blocksize-minimum=64K", "blocksize-maximum=128K" },
    { "blocksize-minimum=512", "blocksize-maximum=64K" },
    { "blocksize-minimum=1", "blocksize-maximum=128K" },
  };
  static const size_t lengths[]
    = { 1, 65536, 1, 100000, 3, 131072, 2000000, 7 };
  struct load *loads[16];
  size_t i, round;

  (void) state;
  start_with_blocks (servers[0].minimum, servers[0].maximum,
                     "delay-read=30ms");
  begin (3);
  assert_int_equal (nbd_start (nbd), 0);
  for (i = 0; i < NR (loads); ++i) {
    loads[i] = load_new (i * 300001 + 1, lengths, NR (lengths));
    nbd_submit (&object->transport, &loads[i]->fetch);
  }
  for (round = 1; round < NR (servers); ++round) {
    nap (100);
    server_kill ();
    start_with_blocks (servers[round].minimum, servers[round].maximum,
                       "delay-read=30ms");
    assert_int_equal (fetch_range (round, 100000), 0);
  }
  for (i = 0; i < NR (loads); ++i) {
    assert_int_equal (load_wait (loads[i]), 0);
    load_check (loads[i]);
    load_free (loads[i]);
  }
  assert_int_equal (unit_errors, 0);
  nbd_stop (nbd);
  assert_int_equal (object->export.maximum, 128 * K);
  end ();
}

/* --- Leaving --- */

static void
check_leaving (bool started)
{
  struct load *l = load_one (0, 3000000);
  uint8_t *copy = malloc (3000000);
  uint64_t began;

  server_start ("--filter=delay", "pattern", "size=10M", "delay-read=400ms");
  begin (2);
  if (started)
    assert_int_equal (nbd_start (nbd), 0);
  began = monotonic_ms ();
  leave_at = began + 30;
  assert_int_equal (
    object->transport.ops->fetch_all (&object->transport, &l->fetch, 1), -1);
  assert_int_equal (errno, ESHUTDOWN);
  leave_at = 0;
  assert_between (monotonic_ms () - began, 30, 30 + soon_ms ());
  memcpy (copy, l->pieces[0].buf, 3000000);
  /* The object can be used on; this drives, too. */
  if (fetch_range (123, 1000) != 0)
    fail_msg ("%s", unit_error_text);
  assert_memory_equal (copy, l->pieces[0].buf, 3000000);
  free (copy);
  load_free (l);
  assert_int_equal (unit_errors, 0);
  end ();
}

static void
leave_before_start (void **state)
{
  (void) state;
  check_leaving (false);
}

static void
leave_after_start (void **state)
{
  (void) state;
  check_leaving (true);
}

static void
leave_while_opening (void **state)
{
  uint64_t began;

  (void) state;
  server_start ("--filter=delay", "pattern", "size=10M", "delay-open=2");
  new_nbd (2);
  began = monotonic_ms ();
  leave_at = began + 30;
  open_uri (server_uri);
  assert_null (object);
  assert_int_equal (errno, ESHUTDOWN);
  leave_at = 0;
  assert_between (monotonic_ms () - began, 30, 30 + soon_ms ());
  assert_int_equal (unit_errors, 0);
  end ();
}

/* --- Stopping --- */

static void
stop_submitted (void **state)
{
  struct load *loads[20];
  uint64_t began;
  size_t i;

  (void) state;
  server_start ("--filter=delay", "pattern", "size=10M", "delay-read=400ms");
  begin (2);
  assert_int_equal (nbd_start (nbd), 0);
  for (i = 0; i < NR (loads); ++i) {
    loads[i] = load_one (i * 1000, 100000);
    nbd_submit (&object->transport, &loads[i]->fetch);
  }
  nap (50);
  began = monotonic_ms ();
  nbd_stop (nbd);
  assert_between (monotonic_ms () - began, 0, soon_ms ());
  for (i = 0; i < NR (loads); ++i) {
    assert_int_equal (loads[i]->done, 1);
    assert_int_equal (loads[i]->err, ESHUTDOWN);
    load_free (loads[i]);
  }
  loads[0] = load_one (0, 1000);
  nbd_submit (&object->transport, &loads[0]->fetch);
  assert_int_equal (load_wait (loads[0]), ESHUTDOWN);
  load_free (loads[0]);
  assert_int_equal (unit_errors, 0);
  end ();
}

/* However far they are. */
static void
stop_at_once (void **state)
{
  unsigned round;
  size_t i;

  (void) state;
  for (round = 0; round < 10; ++round) {
    struct load *loads[8];

    server_start ("pattern", "size=10M");
    begin (4);
    assert_int_equal (nbd_start (nbd), 0);
    for (i = 0; i < NR (loads); ++i) {
      loads[i] = load_one (i * 50000, 2000000);
      nbd_submit (&object->transport, &loads[i]->fetch);
    }
    nap (round % 4);
    nbd_stop (nbd);
    for (i = 0; i < NR (loads); ++i) {
      assert_int_equal (loads[i]->done, 1);
      assert_true (loads[i]->err == ESHUTDOWN || loads[i]->err == 0);
      if (loads[i]->err == 0)
        load_check (loads[i]);
      load_free (loads[i]);
    }
    end ();
  }
}

static void
without_object (void **state)
{
  (void) state;
  new_nbd (1);
  nbd_hang_up (nbd);
  assert_int_equal (nbd_start (nbd), 0);
  nap (20);
  end ();
  nbd_stop (NULL);
  nbd_hang_up (NULL);
  nbd_free (NULL);
  assert_int_equal (nbd_start (NULL), 0);
}

/* --- Many --- */

enum { THREADS = 8, ROUNDS = 40, SIZE = 10 * 1024 * 1024 };

static unsigned
any (uint64_t *seed, unsigned below)
{
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return (unsigned) ((*seed >> 11) % below);
}

/* Some clients leave. */
static void *
read_and_read (void *opaque)
{
  const uintptr_t number = (uintptr_t) opaque;
  uint64_t seed = number * 7919 + 1;
  uintptr_t wrong = 0;
  unsigned round;

  for (round = 0; round < ROUNDS; ++round) {
    const bool leaves = number % 4 == 3;
    int err;

    leave_at = leaves ? monotonic_ms () + any (&seed, 3) : 0;
    err = fetch_range (any (&seed, SIZE - 2000000),
                       1 + any (&seed, any (&seed, 2) ? 100 : 2000000));
    wrong += err != 0 && !(leaves && err == ESHUTDOWN);
  }
  return (void *) wrong;
}

static void
many_threads (void **state)
{
  pthread_t threads[THREADS];
  uintptr_t i;

  (void) state;
  server_start ("pattern", "size=10M");
  begin (4);
  assert_int_equal (nbd_start (nbd), 0);
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (
      pthread_create (&threads[i], NULL, read_and_read, (void *) i), 0);
  for (i = 0; i < THREADS; ++i) {
    void *wrong;

    pthread_join (threads[i], &wrong);
    if (wrong != NULL)
      fail_msg ("thread %zu: %zu wrong: %s", (size_t) i, (size_t) wrong,
                unit_error_text);
  }
  assert_int_equal (unit_errors, 0);
  end ();
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (open_sizes),
  cmocka_unit_test (open_qemu),
  cmocka_unit_test (open_missing),
  cmocka_unit_test (open_refused),
  cmocka_unit_test (open_other_export),
  cmocka_unit_test (open_bad_uris),
  cmocka_unit_test (open_secret),
  cmocka_unit_test (fetch),
  cmocka_unit_test (tls),
  cmocka_unit_test (block_sizes),
  cmocka_unit_test (submit),
  cmocka_unit_test (connections),
  cmocka_unit_test (connections_later),
  cmocka_unit_test (is_near),
  cmocka_unit_test (server_errors),
  cmocka_unit_test (restart),
  cmocka_unit_test (restart_while_busy),
  cmocka_unit_test (give_up),
  cmocka_unit_test (denied),
  cmocka_unit_test (resolve),
  cmocka_unit_test (resolve_fails),
  cmocka_unit_test (changed),
  cmocka_unit_test (other_block_sizes),
  cmocka_unit_test (leave_before_start),
  cmocka_unit_test (leave_after_start),
  cmocka_unit_test (leave_while_opening),
  cmocka_unit_test (stop_submitted),
  cmocka_unit_test (stop_at_once),
  cmocka_unit_test (without_object),
  cmocka_unit_test (many_threads),
};

UNIT_MAIN_AFTER (nbd_setup, tests)
