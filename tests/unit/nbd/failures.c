/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD transport with servers that speak another protocol, hang, or break
 * off.  The server is a thread of the test, without structured replies.
 */

#include <endian.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/nbd.h"

#include "base/wait.h"

/* --- The server --- */

enum greeting { GREET, RUBBISH, CLOSE, SILENT, NO_OPTIONS };

/* What becomes of a read. */
enum answer {
  ANSWER,
  HANG,
  BREAK,
  BREAK_IN_DATA,
  FAIL,
  NO_DATA,   /* with structured replies: success, ... */
  HALF_DATA, /* ... but not all of the bytes */
};

#define MAX_CONNECTIONS 64

static struct fake {
  int fd;
  pthread_t acceptor;
  pthread_t threads[MAX_CONNECTIONS];
  int fds[MAX_CONNECTIONS];
  unsigned nr_connections; /* atomic */

  /* Set by tests; atomic. */
  enum greeting greeting;
  uint64_t size;
  enum answer answer; /* to reads that include byte 'at' … */
  unsigned answers;   /* … so often */
  uint64_t at;
  unsigned error; /* NBD's number, for FAIL */
  bool multi_conn;
  unsigned minimum; /* the smallest block; 0: the server does not say */
  bool structured;  /* structured replies */
} fake;

#define GET(member) __atomic_load_n (&fake.member, __ATOMIC_ACQUIRE)
#define SET(member, value)                                                    \
  __atomic_store_n (&fake.member, value, __ATOMIC_RELEASE)

static bool
receive (int fd, void *data, size_t n)
{
  return n == 0 || recv (fd, data, n, MSG_WAITALL) == (ssize_t) n;
}

static uint32_t
be32_at (const uint8_t *p)
{
  return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8
         | p[3];
}

/* Wait until the client closes the connection. */
static void
hang (int fd)
{
  char c;

  while (recv (fd, &c, 1, 0) > 0)
    ;
}

static bool
reply_option (int fd, uint32_t option, uint32_t type, const void *data,
              uint32_t length)
{
  uint8_t reply[20];

  put_be64 (reply, UINT64_C (0x3e889045565a9));
  put_be32 (reply + 8, option);
  put_be32 (reply + 12, type);
  put_be32 (reply + 16, length);
  return send_all (fd, reply, sizeof reply) && send_all (fd, data, length);
}

/* NBD_INFO_BLOCK_SIZE */
static bool
send_block_sizes (int fd)
{
  uint8_t info[14] = { 0, 3 };

  put_be32 (info + 2, GET (minimum));
  put_be32 (info + 6, 65536);
  put_be32 (info + 10, 65536);
  return reply_option (fd, 7, 3, info, sizeof info);
}

/* Up to NBD_OPT_GO. */
static bool
negotiate (int fd)
{
  uint8_t info[12] = { 0 }, option[16], data[4096];

  if (!send_all (fd, "NBDMAGICIHAVEOPT\0\3", 18) || !receive (fd, data, 4))
    return false;
  if (GET (greeting) == NO_OPTIONS)
    hang (fd);
  while (receive (fd, option, sizeof option)) {
    const uint32_t number = be32_at (option + 8), n = be32_at (option + 12);

    if (n > sizeof data || !receive (fd, data, n))
      return false;
    if (number == 7) {
      put_be64 (info + 2, GET (size));
      info[10] = GET (multi_conn); /* bit 8 of the flags */
      info[11] = 3;                /* has flags, and is read-only */
      return reply_option (fd, number, 3, info, sizeof info)
             && (GET (minimum) == 0 || send_block_sizes (fd))
             && reply_option (fd, number, 1, NULL, 0);
    }
    if (!reply_option (fd, number,
                       number == 8 && GET (structured) ? 1 : 0x80000001, NULL,
                       0))
      return false;
  }
  return false;
}

/* One chunk, which is the last. */
static bool
send_chunk (int fd, const uint8_t *reply, uint64_t offset, const void *data,
            uint32_t length)
{
  uint8_t head[28] = { 0 };

  put_be32 (head, 0x668e33ef);
  head[5] = 1;          /* done */
  head[7] = length > 0; /* NBD_REPLY_TYPE_OFFSET_DATA */
  memcpy (head + 8, reply + 8, 8);
  put_be32 (head + 16, length > 0 ? length + 8 : 0);
  put_be64 (head + 20, offset);
  return send_all (fd, head, length > 0 ? 28 : 20)
         && send_all (fd, data, length);
}

static bool
answer_read (int fd, uint8_t *reply, uint64_t offset, uint32_t length)
{
  enum answer answer = ANSWER;
  uint8_t *data = malloc (length);
  uint32_t i;
  bool ok = false;

  if (offset <= GET (at) && GET (at) < offset + length && GET (answers) > 0) {
    __atomic_sub_fetch (&fake.answers, 1, __ATOMIC_ACQ_REL);
    answer = GET (answer);
  }
  for (i = 0; i < length; ++i)
    data[i] = byte_at (offset + i);
  if (answer == HANG)
    hang (fd);
  else if (GET (minimum) > 0 && (offset | length) % GET (minimum) != 0)
    abort ();
  else if (GET (structured))
    ok = send_chunk (fd, reply, offset, data,
                     answer == NO_DATA     ? 0
                     : answer == HALF_DATA ? length / 2
                                           : length);
  else if (answer == FAIL) {
    put_be32 (reply + 4, GET (error));
    ok = send_all (fd, reply, 16);
  }
  else if (answer != BREAK)
    ok = send_all (fd, reply, 16)
         && send_all (fd, data, answer == ANSWER ? length : length / 2)
         && answer == ANSWER;
  free (data);
  return ok;
}

static void *
serve (void *opaque)
{
  const int fd = *(int *) opaque;
  uint8_t request[28], reply[16];

  if (GET (greeting) == RUBBISH) {
    send_all (fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    hang (fd);
  }
  else if (GET (greeting) == SILENT)
    hang (fd);
  else if (GET (greeting) != CLOSE && negotiate (fd))
    while (receive (fd, request, sizeof request) && request[7] == 0) {
      put_be32 (reply, 0x67446698);
      put_be32 (reply + 4, 0);
      memcpy (reply + 8, request + 8, 8);
      if (!answer_read (fd, reply,
                        (uint64_t) be32_at (request + 16) << 32
                          | be32_at (request + 20),
                        be32_at (request + 24)))
        break;
    }
  /* Closed at the end, when nobody else may use the number. */
  shutdown (fd, SHUT_RDWR);
  return NULL;
}

static void *
accept_all (void *opaque)
{
  int fd;

  (void) opaque;
  while ((fd = accept (fake.fd, NULL, NULL)) >= 0) {
    const unsigned n = fake.nr_connections;

    if (n == MAX_CONNECTIONS)
      abort ();

    fake.fds[n] = fd;
    SET (nr_connections, n + 1);
    pthread_create (&fake.threads[n], NULL, serve, &fake.fds[n]);
  }
  return NULL;
}

static void
fake_start (enum greeting greeting)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  memset (&fake, 0, sizeof fake);
  fake.greeting = greeting;
  fake.size = 10 * M;
  unlink (socket_path);
  snprintf (address.sun_path, sizeof address.sun_path, "%s", socket_path);
  fake.fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true (fake.fd >= 0);
  assert_int_equal (
    bind (fake.fd, (struct sockaddr *) &address, sizeof address), 0);
  assert_int_equal (listen (fake.fd, 64), 0);
  assert_int_equal (pthread_create (&fake.acceptor, NULL, accept_all, NULL),
                    0);
}

static void
fake_end (void)
{
  unsigned i;

  end ();
  shutdown (fake.fd, SHUT_RDWR);
  pthread_join (fake.acceptor, NULL);
  for (i = 0; i < fake.nr_connections; ++i) {
    shutdown (fake.fds[i], SHUT_RDWR);
    pthread_join (fake.threads[i], NULL);
    close (fake.fds[i]);
  }
  close (fake.fd);
}

/* Answer the next reads of a byte so. */
static void
fake_answer (enum answer answer, unsigned times, uint64_t at)
{
  SET (at, at);
  SET (answer, answer);
  SET (answers, times);
}

/* --- Opening --- */

static void
check_open_fails (enum greeting greeting, unsigned tries, const char *said)
{
  fake_start (greeting);
  if (greeting == GREET)
    SET (size, UINT64_C (1) << 63);
  new_nbd (4);
  nbd->stall_ms = 200;
  open_uri (server_uri);
  assert_null (object);
  assert_int_equal (errno, EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("can't open it");
  assert_said (said);
  assert_int_equal (GET (nr_connections), tries);
  fake_end ();
}

static void
open_fails (void **state)
{
  (void) state;
  check_open_fails (RUBBISH, 3, "NBD magic, after 3 tries");
  check_open_fails (CLOSE, 3, "disconnected unexpectedly, after 3 tries");
  check_open_fails (SILENT, 1, "does not respond");
  check_open_fails (NO_OPTIONS, 1, "does not respond");
  check_open_fails (GREET, 1, "larger than 2^63 - 1 bytes");
}

/* A read of the prefix hangs. */
static void
open_hangs (void **state)
{
  (void) state;
  fake_start (GREET);
  fake_answer (HANG, 1000, 0);
  new_nbd (4);
  nbd->stall_ms = 200;
  open_uri (server_uri);
  assert_null (object);
  assert_int_equal (errno, EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("can't read 262144 bytes at 0x0: the NBD server does not "
               "respond");
  fake_end ();
}

/* The user is told why it takes so long, and can end it. */
static void
open_slowly (void **state)
{
  uint64_t began;

  (void) state;
  fake_start (SILENT);
  new_nbd (4);
  began = monotonic_ms ();
  leave_at = began + 2200;
  open_uri (server_uri);
  assert_null (object);
  assert_int_equal (errno, ESHUTDOWN);
  leave_at = 0;
  assert_between (monotonic_ms () - began, 2200, 2200 + soon_ms ());
  assert_int_equal (unit_errors, 0);
  assert_int_equal (unit_warnings, 1);
  assert_said ("still waiting for the NBD server");
  fake_end ();
}

static void
open_later (void **state)
{
  (void) state;
  fake_start (GREET);
  fake_answer (BREAK_IN_DATA, 2, 100);
  begin (4);
  assert_int_equal (unit_errors, 0);
  assert_int_equal (GET (nr_connections), 3);
  assert_int_equal (fetch_range (0, 300000), 0);
  fake_end ();
}

/* --- Serving --- */

static void
begin_serving (void)
{
  fake_start (GREET);
  begin (4);
  assert_false (object->export.multi_conn);
  assert_false (object->export.allocation);
  nbd->stall_ms = 300;
  assert_int_equal (nbd_start (nbd), 0);
}

/* Reads that go wrong for some time get their bytes later. */
static void
spoiled (void **state)
{
  static const enum answer answers[] = { HANG, BREAK, BREAK_IN_DATA, FAIL };
  size_t i;

  (void) state;
  for (i = 0; i < NR (answers); ++i) {
    begin_serving ();
    SET (error, 108); /* NBD_ESHUTDOWN */
    fake_answer (answers[i], 2, 2 * M);
    assert_int_equal (fetch_range (2 * M - 70000, 3 * M), 0);
    assert_int_equal (GET (nr_connections), 3);
    assert_int_equal (unit_errors, 0);
    fake_end ();
  }
}

/* One read always ends the connection.  Others get their bytes. */
static void
poison (void **state)
{
  struct load *good, *bad;

  (void) state;
  begin_serving ();
  nbd->give_up_ms = 1500;
  fake_answer (BREAK, 1000, 5 * M);
  bad = load_one (5 * M, 1000);
  nbd_submit (&object->transport, &bad->fetch);
  while (load_done (bad) == 0) {
    good = load_one (1 * M, 1000);
    nbd_submit (&object->transport, &good->fetch);
    assert_int_equal (load_wait (good), 0);
    load_check (good);
    load_free (good);
  }
  assert_int_equal (bad->err, EIO);
  load_free (bad);
  assert_int_equal (fetch_range (1 * M, 1000), 0);
  assert_int_equal (unit_errors, 1);
  assert_said ("can't read 1000 bytes at 0x500000");
  assert_int_equal (fetch_range (1 * M, 1000), 0);
  fake_end ();
}

/* Bytes that the server did not send are not served. */
static void
structured (void **state)
{
  static const enum answer answers[] = { NO_DATA, HALF_DATA };
  size_t i;

  (void) state;
  for (i = 0; i < NR (answers); ++i) {
    fake_start (GREET);
    SET (structured, true);
    begin (4);
    assert_int_equal (nbd_start (nbd), 0);
    assert_int_equal (fetch_range (1 * M, 1000), 0);
    fake_answer (answers[i], 1, 2 * M);
    assert_int_equal (fetch_range (2 * M, 1000), EIO);
    assert_int_equal (unit_errors, 1);
    assert_said ("the NBD server reports: ");
    assert_int_equal (fetch_range (2 * M, 1000), 0);
    fake_end ();
  }
}

/* While a connection is in use, the server is replaced. */
static void
check_replaced (bool multi_conn, unsigned minimum)
{
  struct load *loads[20];
  size_t i;

  fake_start (GREET);
  SET (multi_conn, true);
  begin (4);
  assert_true (object->export.multi_conn);
  nbd->stall_ms = 300;
  SET (multi_conn, multi_conn);
  SET (minimum, minimum);
  fake_answer (HANG, 1, 1 * M);
  assert_int_equal (nbd_start (nbd), 0);
  for (i = 0; i < NR (loads); ++i) {
    loads[i] = load_one (1 * M, 1000);
    nbd_submit (&object->transport, &loads[i]->fetch);
  }
  for (i = 0; i < NR (loads); ++i) {
    assert_int_equal (load_wait (loads[i]), 0);
    load_check (loads[i]);
    load_free (loads[i]);
  }
  assert_int_equal (unit_errors, 0);
  nbd_stop (nbd);
  assert_int_equal (object->export.multi_conn, multi_conn);
  assert_int_equal (object->export.minimum, minimum > 0 ? minimum : 1);
  /* One that hangs, one that is not used, and its successor. */
  assert_int_equal (GET (nr_connections), 3);
  fake_end ();
}

/* Additional connections differ from the one in use. */
static void
replaced (void **state)
{
  (void) state;
  check_replaced (false, 0);
  check_replaced (true, 4096);
}

/* A server that hangs delays neither those who leave nor the end. */
static void
leave (void **state)
{
  uint64_t began;

  (void) state;
  begin_serving ();
  nbd->stall_ms = 20000;
  fake_answer (HANG, 1000, 5 * M);
  began = monotonic_ms ();
  leave_at = began + 20;
  assert_int_equal (fetch_range (5 * M, 1000), ESHUTDOWN);
  leave_at = 0;
  assert_between (monotonic_ms () - began, 20, 20 + soon_ms ());
  began = monotonic_ms ();
  nbd_stop (nbd);
  assert_between (monotonic_ms () - began, 0, soon_ms ());
  fake_end ();
}

/* --- When libnbd itself fails --- */

static struct libnbd real;
static unsigned fail_in; /* the n-th call; 0: none, or it has failed */
static bool failed;

static bool
call_fails (void)
{
  if (fail_in > 0 && --fail_in == 0)
    failed = true;
  return failed;
}

static struct nbd_handle *
bad_create (void)
{
  return call_fails () ? NULL : real.create ();
}

static int
bad_set_full_info (struct nbd_handle *h, bool on)
{
  return call_fails () ? -1 : real.set_full_info (h, on);
}

static int
bad_opt_go (struct nbd_handle *h, nbd_completion_callback callback)
{
  return call_fails () ? -1 : real.aio_opt_go (h, callback);
}

static int64_t
bad_pread (struct nbd_handle *h, void *buf, size_t n, uint64_t offset,
           nbd_completion_callback callback, uint32_t flags)
{
  return call_fails () ? -1
                       : real.aio_pread (h, buf, n, offset, callback, flags);
}

static int
no_memory (void)
{
  return failed ? ENOMEM : real.get_errno ();
}

static const char *
no_memory_text (void)
{
  return "nbd_create: calloc: Cannot allocate memory";
}

static void
libnbd_fails (void **state)
{
  unsigned i;

  (void) state;
  for (i = 1; i < 6; ++i) {
    fake_start (GREET);
    new_nbd (2);
    real = libnbd;
    libnbd.create = bad_create;
    libnbd.set_full_info = bad_set_full_info;
    libnbd.aio_opt_go = bad_opt_go;
    libnbd.aio_pread = bad_pread;
    libnbd.get_errno = no_memory;
    libnbd.get_error = no_memory_text;
    fail_in = i;
    failed = false;
    open_uri (server_uri);
    libnbd = real;
    if (i < 5) {
      assert_null (object);
      assert_int_equal (unit_errors, 1);
      assert_said ("Cannot allocate memory");
    }
    else
      assert_non_null (object);
    fake_end ();
  }
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (open_fails),   cmocka_unit_test (open_hangs),
  cmocka_unit_test (open_slowly),  cmocka_unit_test (open_later),
  cmocka_unit_test (spoiled),      cmocka_unit_test (poison),
  cmocka_unit_test (structured),   cmocka_unit_test (leave),
  cmocka_unit_test (libnbd_fails), cmocka_unit_test (replaced),
};

UNIT_MAIN_AFTER (nbd_setup, tests)
