/* SPDX-License-Identifier: BSD-3-Clause
 *
 * driver.c: who drives, who waits, who leaves.
 *
 * The server is a few threads of the test, on a port of the loopback
 * interface that the kernel chooses.  It keeps a list of what it was asked,
 * and can stop in the middle of its answers until it is told to go on.  What
 * servers say in good and bad days is tested with real ones (web-*.t) and in
 * response.c.
 *
 * Each byte of the object follows from its offset.  Buffers have a margin
 * on both sides that must stay as it is.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/unit/pieces.h"
#include "tests/unit/unit.h"

#include "base/minmax.h"
#include "base/monotonic.h"
#include "http/internal.h"
#include "image/access.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

/* How long it may take somebody who leaves to come back: the hook is asked
 * each 50 ms.  Sanitizers are slow, and valgrind is slower.
 */
static uint64_t
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

static void
nap (unsigned ms)
{
  const struct timespec t = { .tv_sec = (time_t) (ms / 1000),
                              .tv_nsec = (long) (ms % 1000) * 1000000 };

  nanosleep (&t, NULL);
}

static uint8_t
byte_at (uint64_t offset)
{
  return (uint8_t) (offset * 31 + offset / 251 + (offset >> 16) * 7 + 1);
}

/* --- The server --- */

#define MAX_CONNECTIONS 256
#define MAX_ASKED 4096

struct asked {
  uint64_t first, last;
  char if_match[64];
};

static struct web {
  int fd;
  char url[64];
  pthread_t acceptor;
  pthread_t threads[MAX_CONNECTIONS];
  int fds[MAX_CONNECTIONS];

  /* All that follows is under the lock. */
  pthread_mutex_t lock;
  pthread_cond_t change;
  unsigned nr_connections;
  bool end;

  /* What it does. */
  uint64_t size;
  const char *etag;   /* or NULL */
  const char *status; /* of the next 'failures' answers … */
  const char *body;   /* … and their body */
  bool redirects;     /* they lead here */
  unsigned failures;
  unsigned delay; /* ms before each answer */
  bool ignore_ranges;
  uint64_t most;   /* of one answer */
  uint64_t extra;  /* sent beyond what was asked for … */
  bool hide_extra; /* … and Content-Range does not tell */
  bool stalled;    /* stop after stall_at bytes of each answer */
  uint64_t stall_at;
  unsigned breaks; /* so many answers break off after break_at bytes */
  uint64_t break_at;

  /* What it sees. */
  struct asked asked[MAX_ASKED];
  unsigned nr_asked;
  unsigned nr_held;     /* answers that are stopped now */
  unsigned wanted_held; /* as soon as there are so many … */
  uint64_t held_at;     /* … it is this time */
} web;

/* Up to the empty line; there is no body. */
static bool
receive_request (int fd, char *buf, size_t max)
{
  size_t n = 0;

  while (n + 1 < max) {
    const ssize_t r = recv (fd, buf + n, max - 1 - n, 0);

    if (r <= 0)
      return false;
    n += (size_t) r;
    buf[n] = '\0';
    if (strstr (buf, "\r\n\r\n"))
      return true;
  }
  return false;
}

/* As long as there is somebody who waits for it. */
static void
hold (int fd)
{
  struct pollfd p = { .fd = fd, .events = POLLRDHUP };

  pthread_mutex_lock (&web.lock);
  if (++web.nr_held == web.wanted_held)
    web.held_at = monotonic_ms ();
  pthread_cond_broadcast (&web.change);
  while (web.stalled && !web.end && poll (&p, 1, 0) == 0) {
    const struct timespec t = monotonic_deadline (5);

    pthread_cond_timedwait (&web.change, &web.lock, &t);
  }
  web.nr_held--;
  pthread_mutex_unlock (&web.lock);
}

/* How this answer goes. */
struct plan {
  unsigned delay;
  char head[512];
  const char *body; /* or the bytes from 'first' on */
  uint64_t first, length;
  uint64_t stop, breaks; /* after so many bytes; UINT64_MAX: never */
};

static void
parse_request (const char *request, struct asked *a)
{
  const char *range = strcasestr (request, "\r\nRange: bytes=");
  const char *match = strcasestr (request, "\r\nIf-Match: ");

  *a = (struct asked){ .first = 0, .last = UINT64_MAX };
  if (range)
    sscanf (range + 15, "%" SCNu64 "-%" SCNu64, &a->first, &a->last);
  if (match)
    sscanf (match + 12, "%63[^\r]", a->if_match);
}

/* Under the lock. */
static void
make_plan (const struct asked *a, struct plan *p)
{
  uint64_t last = a->last < web.size ? a->last : web.size - 1;
  const char *status = "206 Partial Content";
  char range[128] = "", etag[128] = "";

  *p = (struct plan){ .delay = web.delay,
                      .stop = web.stalled ? web.stall_at : UINT64_MAX,
                      .breaks = UINT64_MAX };
  if (web.etag)
    snprintf (etag, sizeof etag, "ETag: %s\r\n", web.etag);
  if (web.failures > 0) {
    web.failures--;
    status = web.status;
    p->body = web.body;
    p->length = strlen (web.body);
    if (web.redirects)
      snprintf (range, sizeof range, "Location: %s\r\n", web.url);
  }
  else if (web.ignore_ranges) {
    status = "200 OK";
    p->length = web.size;
  }
  else if (a->first >= web.size) {
    status = "416 Range Not Satisfiable";
    snprintf (range, sizeof range, "Content-Range: bytes */%" PRIu64 "\r\n",
              web.size);
  }
  else {
    p->first = a->first;
    if (last - a->first >= web.most)
      last = a->first + web.most - 1;
    p->length = last - a->first + 1 + web.extra;
    if (!web.hide_extra)
      last += web.extra;
    snprintf (range, sizeof range,
              "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
              a->first, last, web.size);
    if (web.breaks > 0) {
      web.breaks--;
      p->breaks = web.break_at;
    }
  }
  snprintf (p->head, sizeof p->head,
            "HTTP/1.1 %s\r\n%s%sContent-Length: %" PRIu64 "\r\n\r\n", status,
            range, etag, p->length);
}

/* False: the connection is over. */
static bool
send_answer (int fd, const struct plan *p)
{
  uint64_t n, k, i;
  uint8_t buf[16384];

  if (p->delay > 0)
    nap (p->delay);
  if (!send_all (fd, p->head, strlen (p->head)))
    return false;
  if (p->body)
    return send_all (fd, p->body, (size_t) p->length);
  for (n = 0; n < p->length; n += k) {
    if (n == p->stop)
      hold (fd);
    if (n == p->breaks)
      return false;
    k = p->length - n < sizeof buf ? p->length - n : sizeof buf;
    if (n < p->stop && k > p->stop - n)
      k = p->stop - n;
    if (n < p->breaks && k > p->breaks - n)
      k = p->breaks - n;
    for (i = 0; i < k; ++i)
      buf[i] = byte_at (p->first + n + i);
    if (!send_all (fd, buf, (size_t) k))
      return false;
  }
  return true;
}

static void *
serve (void *opaque)
{
  const int fd = *(int *) opaque;
  char request[8192];
  struct asked asked;
  struct plan plan;

  while (receive_request (fd, request, sizeof request)) {
    parse_request (request, &asked);
    pthread_mutex_lock (&web.lock);
    if (web.nr_asked < MAX_ASKED)
      web.asked[web.nr_asked++] = asked;
    make_plan (&asked, &plan);
    pthread_mutex_unlock (&web.lock);
    if (!send_answer (fd, &plan))
      break;
  }
  /* Closed at the end, when nobody else may use the number. */
  shutdown (fd, SHUT_RDWR);
  return NULL;
}

static void *
accept_all (void *opaque)
{
  const int one = 1;
  int fd;

  (void) opaque;
  while ((fd = accept (web.fd, NULL, NULL)) >= 0) {
    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_mutex_lock (&web.lock);
    if (web.end || web.nr_connections == MAX_CONNECTIONS)
      close (fd);
    else {
      int *place = &web.fds[web.nr_connections];

      *place = fd;
      pthread_create (&web.threads[web.nr_connections++], NULL, serve, place);
    }
    pthread_mutex_unlock (&web.lock);
  }
  return NULL;
}

static void
web_start (uint64_t size)
{
  struct sockaddr_in address
    = { .sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
  socklen_t n = sizeof address;

  memset (&web, 0, sizeof web);
  pthread_mutex_init (&web.lock, NULL);
  monotonic_cond_init (&web.change);
  web.size = size;
  web.etag = "\"v1\"";
  web.most = UINT64_MAX;
  web.fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true (web.fd >= 0);
  assert_int_equal (bind (web.fd, (struct sockaddr *) &address, n), 0);
  assert_int_equal (listen (web.fd, 64), 0);
  assert_int_equal (getsockname (web.fd, (struct sockaddr *) &address, &n), 0);
  snprintf (web.url, sizeof web.url, "http://127.0.0.1:%u/disk.qcow2",
            ntohs (address.sin_port));
  assert_int_equal (pthread_create (&web.acceptor, NULL, accept_all, NULL), 0);
}

static void
web_stop (void)
{
  unsigned i;

  pthread_mutex_lock (&web.lock);
  web.end = true;
  pthread_cond_broadcast (&web.change);
  for (i = 0; i < web.nr_connections; ++i)
    shutdown (web.fds[i], SHUT_RDWR);
  pthread_mutex_unlock (&web.lock);
  shutdown (web.fd, SHUT_RDWR);
  pthread_join (web.acceptor, NULL);
  for (i = 0; i < web.nr_connections; ++i) {
    pthread_join (web.threads[i], NULL);
    close (web.fds[i]);
  }
  close (web.fd);
  pthread_cond_destroy (&web.change);
  pthread_mutex_destroy (&web.lock);
}

static void
web_fail (const char *status, const char *body, unsigned failures)
{
  pthread_mutex_lock (&web.lock);
  web.status = status;
  web.body = body;
  web.failures = failures;
  pthread_mutex_unlock (&web.lock);
}

static void
web_stall (uint64_t after, unsigned wanted_held)
{
  pthread_mutex_lock (&web.lock);
  web.stalled = true;
  web.stall_at = after;
  web.wanted_held = wanted_held;
  pthread_mutex_unlock (&web.lock);
}

static void
web_go_on (void)
{
  pthread_mutex_lock (&web.lock);
  web.stalled = false;
  pthread_cond_broadcast (&web.change);
  pthread_mutex_unlock (&web.lock);
}

static unsigned
web_held (void)
{
  unsigned n;

  pthread_mutex_lock (&web.lock);
  n = web.nr_held;
  pthread_mutex_unlock (&web.lock);
  return n;
}

static void
web_wait_held (unsigned n)
{
  const uint64_t end = monotonic_ms () + 10000;

  while (web_held () != n)
    if (monotonic_ms () > end)
      fail_msg ("%u answers are stopped instead of %u", web_held (), n);
    else
      nap (1);
}

static void
check_asked (unsigned i, uint64_t first, uint64_t last, const char *if_match)
{
  struct asked a;
  unsigned n;

  pthread_mutex_lock (&web.lock);
  a = web.asked[i];
  n = web.nr_asked;
  pthread_mutex_unlock (&web.lock);
  assert_true (i < n);
  if (a.first != first || a.last != last)
    fail_msg ("request %u: %" PRIu64 "-%" PRIu64 " instead of %" PRIu64
              "-%" PRIu64,
              i, a.first, a.last, first, last);
  assert_string_equal (a.if_match, if_match);
}

static unsigned
web_asked (void)
{
  unsigned n;

  pthread_mutex_lock (&web.lock);
  n = web.nr_asked;
  pthread_mutex_unlock (&web.lock);
  return n;
}

static void
check_nr_asked (unsigned want)
{
  assert_int_equal (web_asked (), want);
}

/* --- Ours --- */

/* Messages come from several threads. */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;

static void
on_error (void *opaque, const char *text)
{
  pthread_mutex_lock (&said_lock);
  unit_on_error (opaque, text);
  pthread_mutex_unlock (&said_lock);
}

/* The thread's client leaves when the server has stopped in so many
 * answers, or after so many questions; 0: never.
 */
static _Thread_local unsigned leave_when_held, leave_after;

static int
on_sleep (void *opaque, unsigned ms)
{
  (void) opaque;
  if (leave_when_held > 0 && web_held () >= leave_when_held)
    return -1;
  if (leave_after > 0 && --leave_after == 0)
    return -1;
  nap (ms);
  return 0;
}

static const struct qcow_hooks hooks = {
  .error = on_error,
  .sleep = on_sleep,
};

static struct http *http;
static bool stopped;
static struct http_object *object;

static void
new_http (unsigned connections)
{
  struct qcow_options options;

  qcow_options_init (&options);
  options.url = web.url;
  if (connections > 0)
    options.http.connections = connections;
  /* A test that hangs ends here. */
  alarm (100);
  /* Not through somebody's proxy. */
  setenv ("no_proxy", "*", 1);
  unit_forget ();
  stopped = false;
  http = http_new (&options, &hooks);
  assert_non_null (http);
}

static struct http_object *
open_url (const char *text)
{
  struct url url;

  assert_int_equal (http_parse_url (http, text, "", &url), 0);
  return (struct http_object *) http_open (http, &url, NULL);
}

static void
web_delay (unsigned ms)
{
  pthread_mutex_lock (&web.lock);
  web.delay = ms;
  pthread_mutex_unlock (&web.lock);
}

/* The server is far, until it is seen to be near. */
static void
begin (uint64_t size, unsigned connections)
{
  web_start (size);
  web_delay (2);
  new_http (connections);
  object = open_url (web.url);
  web_delay (0);
  assert_non_null (object);
  check_nr_asked (1);
}

static void
stop_http (void)
{
  http_stop (http);
  stopped = true;
}

static void
end (void)
{
  if (!stopped)
    stop_http ();
  if (object)
    object->transport.ops->close (&object->transport);
  object = NULL;
  http_free (http);
  http = NULL;
  web_stop ();
  alarm (0);
}

/* A fetch with its pieces, and what has become of it. */
struct load {
  struct fetch fetch;
  struct fetch_piece pieces[MAX_PIECES];
  uint8_t *memory[MAX_PIECES];
  size_t pieces_done; /* atomic */
  bool wrong;         /* pieces were done in another order, or too early */

  pthread_mutex_t lock;
  unsigned nr_done; /* under the lock */
  int err;          /* likewise */
};

static bool
piece_is_right (const struct fetch *f, size_t piece)
{
  uint64_t offset = f->offset;
  size_t i;

  for (i = 0; i < piece; ++i)
    offset += f->pieces[i].length;
  for (i = 0; i < f->pieces[piece].length; ++i)
    if (f->pieces[piece].buf[i] != byte_at (offset + i))
      return false;
  return true;
}

static void
on_piece (struct fetch *f, size_t piece)
{
  struct load *l = (struct load *) f;

  if (piece != __atomic_fetch_add (&l->pieces_done, 1, __ATOMIC_ACQ_REL)
      || !piece_is_right (f, piece))
    l->wrong = true;
}

static void
on_done (struct fetch *f, int err)
{
  struct load *l = (struct load *) f;

  pthread_mutex_lock (&l->lock);
  l->nr_done++;
  l->err = err;
  pthread_mutex_unlock (&l->lock);
}

static struct load *
load_new (uint64_t offset, const size_t *lengths, size_t n)
{
  struct load *l = calloc (1, sizeof *l);

  assert_non_null (l);
  pthread_mutex_init (&l->lock, NULL);
  pieces_new (l->pieces, l->memory, lengths, n);
  l->fetch = (struct fetch){ .offset = offset,
                             .pieces = l->pieces,
                             .nr_pieces = n,
                             .piece_done = on_piece,
                             .done = on_done };
  return l;
}

static struct load *
load_one (uint64_t offset, size_t length)
{
  return load_new (offset, &length, 1);
}

static void
load_free (struct load *l)
{
  pieces_free (l->memory, l->fetch.nr_pieces);
  pthread_mutex_destroy (&l->lock);
  free (l);
}

/* Is all of it there, and nothing else touched? */
static bool
load_is_right (const struct load *l)
{
  size_t i;

  if (l->wrong || l->pieces_done != l->fetch.nr_pieces)
    return false;
  for (i = 0; i < l->fetch.nr_pieces; ++i)
    if (!piece_is_right (&l->fetch, i))
      return false;
  return margins_are_untouched (l->pieces, l->fetch.nr_pieces);
}

/* Is nothing of it there? */
static bool
load_is_untouched (const struct load *l)
{
  size_t i, j;

  for (i = 0; i < l->fetch.nr_pieces; ++i)
    for (j = 0; j < l->pieces[i].length + 2 * MARGIN; ++j)
      if (l->memory[i][j] != UNTOUCHED)
        return false;
  return l->pieces_done == 0;
}

static unsigned
load_done (struct load *l, int *err)
{
  unsigned n;

  pthread_mutex_lock (&l->lock);
  n = l->nr_done;
  *err = l->err;
  pthread_mutex_unlock (&l->lock);
  return n;
}

/* Wait for one that was submitted; its errno value. */
static int
load_wait (struct load *l)
{
  const uint64_t until = monotonic_ms () + 20000;
  int err;

  while (load_done (l, &err) == 0)
    if (monotonic_ms () > until)
      fail_msg ("a fetch is never done");
    else
      nap (1);
  return err;
}

/* Fetch loads.  Of several, only what is there in the end is
 * looked at: the fetches must be neighbours, so they are copies.
 */
static int
fetch_loads (struct http_object *o, struct load **loads, size_t n)
{
  struct transport *t = &o->transport;
  struct fetch *fetches;
  size_t i;
  int r, err;

  if (n == 1)
    return t->ops->fetch_all (t, &loads[0]->fetch, 1);
  fetches = calloc (n, sizeof *fetches);
  if (fetches == NULL)
    abort ();
  for (i = 0; i < n; ++i) {
    fetches[i] = loads[i]->fetch;
    fetches[i].piece_done = NULL;
  }
  r = t->ops->fetch_all (t, fetches, n);
  err = errno;
  free (fetches);
  for (i = 0; i < n && r == 0; ++i)
    loads[i]->pieces_done = loads[i]->fetch.nr_pieces;
  errno = err;
  return r;
}

/* --- Opening --- */

static void
open_sizes (void **state)
{
  static const uint64_t sizes[] = { 0,
                                    1,
                                    1000,
                                    HTTP_PREFIX_BYTES - 1,
                                    HTTP_PREFIX_BYTES,
                                    HTTP_PREFIX_BYTES + 1,
                                    5000000 };
  size_t i;
  uint64_t j;

  (void) state;
  for (i = 0; i < NR (sizes); ++i) {
    begin (sizes[i], 0);
    assert_int_equal (object->transport.size, sizes[i]);
    assert_int_equal (object->transport.prefix_length,
                      min64 (sizes[i], HTTP_PREFIX_BYTES));
    for (j = 0; j < object->transport.prefix_length; ++j)
      if (object->transport.prefix[j] != byte_at (j))
        fail_msg ("%" PRIu64 " bytes: byte %" PRIu64, sizes[i], j);
    check_asked (0, 0, HTTP_PREFIX_BYTES - 1, "");
    assert_int_equal (unit_errors, 0);
    end ();
  }
}

/* A server that does not care for the range of what is empty. */
static void
open_empty_200 (void **state)
{
  (void) state;
  web_start (0);
  pthread_mutex_lock (&web.lock);
  web.ignore_ranges = true;
  pthread_mutex_unlock (&web.lock);
  new_http (0);
  object = open_url (web.url);
  assert_non_null (object);
  assert_int_equal (object->transport.size, 0);
  end ();
}

/* The head comes in many answers. */
static void
open_in_parts (void **state)
{
  uint64_t j;

  (void) state;
  web_start (1000000);
  pthread_mutex_lock (&web.lock);
  web.most = 100000;
  pthread_mutex_unlock (&web.lock);
  new_http (0);
  object = open_url (web.url);
  assert_non_null (object);
  for (j = 0; j < HTTP_PREFIX_BYTES; ++j)
    assert_int_equal (object->transport.prefix[j], byte_at (j));
  check_asked (0, 0, HTTP_PREFIX_BYTES - 1, "");
  check_asked (1, 100000, HTTP_PREFIX_BYTES - 1, "\"v1\"");
  check_asked (2, 200000, HTTP_PREFIX_BYTES - 1, "\"v1\"");
  check_nr_asked (3);
  end ();
}

/* One message with all that helps, and nothing that is secret. */
static void
open_failures (void **state)
{
  static const struct {
    const char *status, *body;
    int err;
    const char *said;
  } rows[] = {
    { "404 Not Found", "", ENOENT, "404 Not Found" },
    { "410 Gone", "no", ENOENT, "410 Gone" },
    { "403 Forbidden", "<Error><Code>AccessDenied</Code></Error>", EACCES,
      "403 Forbidden (AccessDenied)" },
    { "401 Unauthorized", "<html>", EACCES, "401 Unauthorized" },
    { "400 Bad Request", "", EIO, "400" },
    { "302 Found", "", EIO, "302" }, /* where to? */
    { "206 Partial Content", "abc", EIO, "Content-Range" },
    { "200 OK", "abc", EIO, "range" },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i) {
    char url[128];

    web_start (1000);
    web_fail (rows[i].status, rows[i].body, UINT_MAX);
    new_http (0);
    snprintf (url, sizeof url, "http://u:s3cret@%.56s?sig=s3cret",
              web.url + strlen ("http://"));
    object = open_url (url);
    if (object != NULL || errno != rows[i].err)
      fail_msg ("%s: errno %d", rows[i].status, errno);
    assert_int_equal (unit_errors, 1);
    assert_said (rows[i].said);
    assert_said (web.url);
    assert_null (strstr (unit_error_text, "s3cret"));
    check_nr_asked (1);
    end ();
  }
}

/* Busy for a moment. */
static void
open_later (void **state)
{
  (void) state;
  web_start (1000);
  web_fail ("503 Service Unavailable", "<Code>SlowDown</Code>", 1);
  new_http (0);
  object = open_url (web.url);
  assert_non_null (object);
  assert_int_equal (unit_errors, 0);
  check_nr_asked (2);
  end ();
}

/* Whose image names it is said, too. */
static void
open_for_image (void **state)
{
  const struct reference ref = { .image = "overlay.qcow2",
                                 .what = "backing file",
                                 .hint = QCOW_HINT_BACKING,
                                 .name = (char *) "base.qcow2" };
  struct url url;

  (void) state;
  web_start (1000);
  web_fail ("404 Not Found", "", UINT_MAX);
  new_http (0);
  assert_int_equal (http_parse_url (http, web.url, ref.image, &url), 0);
  object = (struct http_object *) http_open (http, &url, &ref);
  assert_null (object);
  assert_int_equal (errno, ENOENT);
  assert_int_equal (unit_errors, 1);
  assert_said ("overlay.qcow2");
  assert_said ("base.qcow2");
  assert_said ("404");
  end ();
}

/* --- Fetching --- */

/* Several at once, with several pieces each, up to the last byte. */
static void
check_fetches (void)
{
  static const size_t lengths[] = { 1, 65536, 3, 100000, 1, 262144, 7, 70000 };
  const uint64_t size = object->transport.size;
  struct load *loads[MAX_PIECES];
  size_t i, n;

  for (i = 0; i < NR (loads); ++i) {
    uint64_t sum = 0;

    for (n = 0; n <= i; ++n)
      sum += lengths[n];
    loads[i] = load_new (i % 2 ? size - sum : 777 * i, lengths, i + 1);
  }
  assert_int_equal (fetch_loads (object, loads, NR (loads)), 0);
  for (i = 0; i < NR (loads); ++i) {
    assert_true (load_is_right (loads[i]));
    load_free (loads[i]);
  }
}

static void
fetch_before_start (void **state)
{
  (void) state;
  begin (2000000, 3);
  check_fetches ();
  check_nr_asked (1 + MAX_PIECES);
  assert_int_equal (unit_errors, 0);
  end ();
}

static void
fetch_after_start (void **state)
{
  (void) state;
  begin (2000000, 3);
  assert_int_equal (http_start (http), 0);
  check_fetches ();
  check_nr_asked (1 + MAX_PIECES);
  assert_int_equal (unit_errors, 0);
  end ();
}

/* As nbdkit does it, but for the fork. */
static void
fetch_after_hanging_up (void **state)
{
  unsigned before;

  (void) state;
  begin (2000000, 3);
  check_fetches ();
  pthread_mutex_lock (&web.lock);
  before = web.nr_connections;
  pthread_mutex_unlock (&web.lock);
  http_hang_up (http);
  assert_int_equal (http_start (http), 0);
  check_fetches ();
  pthread_mutex_lock (&web.lock);
  assert_true (web.nr_connections > before);
  pthread_mutex_unlock (&web.lock);
  end ();
}

/* What is asked for after the first answer names its version. */
static void
if_match (void **state)
{
  struct load *l;

  (void) state;
  begin (1000000, 0);
  l = load_one (500000, 1000);
  assert_int_equal (fetch_loads (object, &l, 1), 0);
  load_free (l);
  check_asked (1, 500000, 500999, "\"v1\"");
  end ();

  /* RFC 9110, 13.1.1: If-Match compares strongly, so a weak one would
   * never match.
   */
  web_start (1000000);
  pthread_mutex_lock (&web.lock);
  web.etag = "W/\"v1\"";
  pthread_mutex_unlock (&web.lock);
  new_http (0);
  object = open_url (web.url);
  assert_non_null (object);
  l = load_one (500000, 1000);
  assert_int_equal (fetch_loads (object, &l, 1), 0);
  load_free (l);
  check_asked (1, 500000, 500999, "");
  end ();
}

/* Not more at once than was said. */
static void
connections (void **state)
{
  struct load *loads[9];
  size_t i;

  (void) state;
  begin (2000000, 4);
  assert_int_equal (http_start (http), 0);
  web_stall (100, 0);
  for (i = 0; i < NR (loads); ++i) {
    loads[i] = load_one (i * 200000, 1000);
    driver_submit (&object->transport, &loads[i]->fetch);
  }
  web_wait_held (4);
  nap (100);
  assert_int_equal (web_held (), 4);
  web_go_on ();
  for (i = 0; i < NR (loads); ++i) {
    assert_int_equal (load_wait (loads[i]), 0);
    assert_true (load_is_right (loads[i]));
    load_free (loads[i]);
  }
  end ();
}

static void
latency (void **state)
{
  unsigned i;

  (void) state;
  web_start (2000000);
  for (i = 0; i < 3; ++i) {
    const unsigned delay = i == 1 ? 20 : 600;
    struct load *l = load_one (500000 * i, 1000);

    pthread_mutex_lock (&web.lock);
    web.delay = delay;
    pthread_mutex_unlock (&web.lock);
    if (i == 0) {
      new_http (0);
      object = open_url (web.url);
      assert_non_null (object);
      assert_between (object->transport.latency, 598000, 5000000);
    }
    assert_int_equal (fetch_loads (object, &l, 1), 0);
    load_free (l);
    /* The least; two clocks measured it, that may differ by a little.  A
     * machine that is busy adds to it.
     */
    assert_between (object->transport.latency, i == 0 ? 598000 : 19800,
                    i == 0 ? 5000000 : 590000);
  }
  end ();
}

/* --- Submitting --- */

static const size_t odd_lengths[] = { 1, 65536, 1, 100000, 3, 131072, 7 };
#define ODD_SUM (1 + 65536 + 1 + 100000 + 3 + 131072 + 7)

static void
check_submitted (struct load *l)
{
  int err;

  driver_submit (&object->transport, &l->fetch);
  assert_int_equal (load_wait (l), 0);
  nap (20);
  assert_int_equal (load_done (l, &err), 1);
  assert_true (load_is_right (l));
  load_free (l);
}

static void
submit (void **state)
{
  (void) state;
  begin (2000000, 0);
  assert_int_equal (http_start (http), 0);
  check_submitted (load_new (12345, odd_lengths, NR (odd_lengths)));
  check_asked (1, 12345, 12345 + ODD_SUM - 1, "\"v1\"");
  check_submitted (
    load_new (2000000 - ODD_SUM, odd_lengths, NR (odd_lengths)));
  check_asked (2, 2000000 - ODD_SUM, 1999999, "\"v1\"");
  check_submitted (load_one (1999999, 1));
  check_nr_asked (4);
  end ();
}

/* Pieces that came in two answers are done once, when they are whole. */
static void
submit_in_parts (void **state)
{
  unsigned i;

  (void) state;
  begin (2000000, 0);
  assert_int_equal (http_start (http), 0);
  pthread_mutex_lock (&web.lock);
  web.most = 50000;
  pthread_mutex_unlock (&web.lock);
  check_submitted (load_new (1000, odd_lengths, NR (odd_lengths)));
  for (i = 0; i * 50000 < ODD_SUM; ++i)
    check_asked (1 + i, 1000 + i * 50000, 1000 + ODD_SUM - 1, "\"v1\"");
  check_nr_asked (1 + i);
  end ();
}

/* A server that sends more than it was asked for, and perhaps does not even
 * say so.
 */
static void
submit_for_more (void **state)
{
  unsigned hide;

  (void) state;
  for (hide = 0; hide < 2; ++hide) {
    begin (2000000, 0);
    assert_int_equal (http_start (http), 0);
    pthread_mutex_lock (&web.lock);
    web.extra = 100000;
    web.hide_extra = hide;
    pthread_mutex_unlock (&web.lock);
    check_submitted (load_one (1000, 10));
    check_submitted (load_new (1000, odd_lengths, NR (odd_lengths)));
    assert_int_equal (unit_errors, 0);
    end ();
  }
}

/* What came before a connection broke is not fetched again. */
static void
submit_with_breaks (void **state)
{
  (void) state;
  begin (2000000, 0);
  assert_int_equal (http_start (http), 0);
  pthread_mutex_lock (&web.lock);
  web.breaks = 2;
  web.break_at = 70001;
  pthread_mutex_unlock (&web.lock);
  check_submitted (load_new (1000, odd_lengths, NR (odd_lengths)));
  check_asked (1, 1000, 1000 + ODD_SUM - 1, "\"v1\"");
  check_asked (2, 1000 + 70001, 1000 + ODD_SUM - 1, "\"v1\"");
  check_asked (3, 1000 + 2 * 70001, 1000 + ODD_SUM - 1, "\"v1\"");
  check_nr_asked (4);
  assert_int_equal (unit_errors, 0);
  end ();
}

/* A piece is done as soon as it is there, not when all is. */
static void
submit_piece_by_piece (void **state)
{
  static const size_t lengths[] = { 10000, 10000, 10000 };
  struct load *l = load_new (1000, lengths, NR (lengths));
  const uint64_t until = monotonic_ms () + 10000;
  int err;

  (void) state;
  begin (2000000, 0);
  assert_int_equal (http_start (http), 0);
  web_stall (25000, 0);
  driver_submit (&object->transport, &l->fetch);
  while (__atomic_load_n (&l->pieces_done, __ATOMIC_ACQUIRE) < 2)
    if (monotonic_ms () > until)
      fail_msg ("%zu pieces are done", l->pieces_done);
    else
      nap (1);
  nap (50);
  assert_int_equal (__atomic_load_n (&l->pieces_done, __ATOMIC_ACQUIRE), 2);
  assert_int_equal (load_done (l, &err), 0);
  web_go_on ();
  assert_int_equal (load_wait (l), 0);
  assert_true (load_is_right (l));
  load_free (l);
  end ();
}

/* The worker, which has nothing to do, is woken. */
static void
at_once (void **state)
{
  struct load *l;
  uint64_t began;

  (void) state;
  begin (2000000, 0);
  assert_int_equal (http_start (http), 0);
  nap (50);
  began = monotonic_ms ();
  l = load_one (0, 1000);
  assert_int_equal (fetch_loads (object, &l, 1), 0);
  load_free (l);
  assert_between (monotonic_ms () - began, 0, soon_ms ());

  nap (50);
  began = monotonic_ms ();
  l = load_one (0, 1000);
  driver_submit (&object->transport, &l->fetch);
  assert_int_equal (load_wait (l), 0);
  load_free (l);
  assert_between (monotonic_ms () - began, 0, soon_ms ());
  end ();
}

/* --- Another version --- */

/* Once it was another one, nothing more is read, even if the old one comes
 * back: nobody knows what was read in between.
 */
static void
changed (void **state)
{
  static const char *const etags[] = { "\"v2\"", "\"v2\"", "\"v1\"" };
  size_t i;

  (void) state;
  begin (2000000, 0);
  assert_int_equal (http_start (http), 0);
  for (i = 0; i < NR (etags); ++i) {
    struct load *l = load_one (i * 500000, 1000);

    pthread_mutex_lock (&web.lock);
    web.etag = etags[i];
    pthread_mutex_unlock (&web.lock);
    assert_int_equal (fetch_loads (object, &l, 1), -1);
    assert_int_equal (errno, EIO);
    assert_true (load_is_untouched (l));
    load_free (l);
    /* Longer than after other failures. */
    if (i == 1)
      nap (1200);
  }
  assert_int_equal (unit_errors, 1);
  assert_said ("changed");
  check_nr_asked (2);
  end ();
}

/* --- Failures while serving --- */

/* Begin, fetch 100,000 to 399,999, which goes wrong as 'spoil' makes it, and
 * check where the second request begins, and how many there are.
 */
static void
check_spoiled (void (*spoil) (void), uint64_t next, unsigned requests)
{
  static const size_t lengths[] = { 30000, 70000, 200000 };
  struct load *l = load_new (100000, lengths, NR (lengths));

  begin (2000000, 4);
  assert_int_equal (http_start (http), 0);
  spoil ();
  assert_int_equal (fetch_loads (object, &l, 1), 0);
  assert_true (load_is_right (l));
  load_free (l);
  check_asked (1, 100000, 399999, "\"v1\"");
  check_asked (2, next, 399999, "\"v1\"");
  check_nr_asked (1 + requests);
  assert_int_equal (unit_errors, 0);
  end ();
}

static void
break_off (void)
{
  pthread_mutex_lock (&web.lock);
  web.breaks = 1;
  web.break_at = 50000;
  pthread_mutex_unlock (&web.lock);
}

static void
be_unavailable (void)
{
  web_fail ("503 Service Unavailable", "not now", 2);
}

static void
send_parts (void)
{
  pthread_mutex_lock (&web.lock);
  web.most = 200000;
  pthread_mutex_unlock (&web.lock);
}

static void
redirect (void)
{
  pthread_mutex_lock (&web.lock);
  web.redirects = true;
  pthread_mutex_unlock (&web.lock);
  web_fail ("302 Found", "there", 2);
}

static void
spoiled (void **state)
{
  (void) state;
  check_spoiled (break_off, 150000, 2);
  check_spoiled (be_unavailable, 100000, 3);
  check_spoiled (send_parts, 300000, 2);
  check_spoiled (redirect, 100000, 3);
}

/* A range that was refused is not asked for again soon. */
static void
refused (void **state)
{
  unsigned i;

  (void) state;
  begin (2000000, 4);
  assert_int_equal (http_start (http), 0);
  web_fail ("404 Not Found", "gone", 1);
  for (i = 0; i < 3; ++i) {
    struct load *l = load_one (500000, 1000);

    assert_int_equal (fetch_loads (object, &l, 1), -1);
    assert_int_equal (errno, i == 0 ? ENOENT : EIO);
    assert_true (load_is_untouched (l));
    load_free (l);
  }
  check_nr_asked (2);
  assert_int_equal (unit_errors, 1);
  assert_said ("404");
  end ();
}

/* --- Leaving --- */

/* The server stops in its answers, the client leaves, the server goes on.
 * What waits for a connection is given up, too.
 */
static void
check_leaving (bool started)
{
  enum { N = 5, LENGTH = 200000 };
  static uint8_t copies[N][LENGTH + 2 * MARGIN];
  struct load *loads[N], *other;
  uint64_t took;
  size_t i;

  begin (2000000, 2);
  if (started)
    assert_int_equal (http_start (http), 0);
  for (i = 0; i < N; ++i)
    loads[i] = load_one (i * LENGTH, LENGTH);
  web_stall (10000, 2);
  leave_when_held = 2;
  assert_int_equal (fetch_loads (object, loads, N), -1);
  assert_int_equal (errno, ESHUTDOWN);
  leave_when_held = 0;
  took = monotonic_ms () - web.held_at;
  if (took > soon_ms ())
    fail_msg ("leaving takes %" PRIu64 " ms", took);

  for (i = 0; i < N; ++i)
    memcpy (copies[i], loads[i]->memory[0], sizeof copies[i]);
  web_go_on ();
  nap (100);
  /* The object can be used on; this drives, too. */
  other = load_one (1000000, 300000);
  assert_int_equal (fetch_loads (object, &other, 1), 0);
  assert_true (load_is_right (other));
  load_free (other);
  for (i = 0; i < N; ++i) {
    assert_memory_equal (copies[i], loads[i]->memory[0], sizeof copies[i]);
    load_free (loads[i]);
  }
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

/* Nor is memory used that is freed at once, which the sanitizers see. */
static void
leave_and_free (void **state)
{
  unsigned round;
  size_t i;

  (void) state;
  begin (2000000, 4);
  assert_int_equal (http_start (http), 0);
  for (round = 0; round < 10; ++round) {
    struct load *loads[6];

    web_stall (round * 7000, 4);
    for (i = 0; i < NR (loads); ++i)
      loads[i] = load_one (i * 200000, 200000);
    leave_when_held = 4;
    assert_int_equal (fetch_loads (object, loads, NR (loads)), -1);
    assert_int_equal (errno, ESHUTDOWN);
    leave_when_held = 0;
    for (i = 0; i < NR (loads); ++i)
      load_free (loads[i]);
    web_go_on ();
    web_wait_held (0);
  }
  end ();
}

/* A client that is gone before it asks. */
static void
leave_at_once (void **state)
{
  struct load *l;

  (void) state;
  begin (2000000, 0);
  assert_int_equal (http_start (http), 0);
  web_stall (0, 0);
  l = load_one (0, 1000);
  leave_after = 1;
  assert_int_equal (fetch_loads (object, &l, 1), -1);
  assert_int_equal (errno, ESHUTDOWN);
  leave_after = 0;
  assert_true (load_is_untouched (l));
  load_free (l);
  end ();
}

struct bystander {
  pthread_t thread;
  struct load *load;
  int r, err;
};

static void *
stand_by (void *opaque)
{
  struct bystander *b = opaque;

  b->r = fetch_loads (object, &b->load, 1);
  b->err = errno;
  return NULL;
}

static void
bystanders_start (struct bystander *list, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i) {
    list[i].load = load_one (i * 100000, 100000);
    assert_int_equal (
      pthread_create (&list[i].thread, NULL, stand_by, &list[i]), 0);
  }
}

/* Let the server go on: all get their bytes. */
static void
bystanders_end (struct bystander *list, size_t n)
{
  size_t i;

  web_go_on ();
  for (i = 0; i < n; ++i) {
    pthread_join (list[i].thread, NULL);
    assert_int_equal (list[i].r, 0);
    assert_true (load_is_right (list[i].load));
    load_free (list[i].load);
  }
  assert_int_equal (unit_errors, 0);
}

/* However many readers there are, no more connections than allowed. */
static void
connections_of_readers (void **state)
{
  static const unsigned limits[] = { 1, 2, 3, 16 };
  struct bystander list[20];
  size_t i;

  (void) state;
  for (i = 0; i < NR (limits); ++i) {
    begin (2000000, limits[i]);
    assert_int_equal (http_start (http), 0);
    web_stall (100, 0);
    bystanders_start (list, NR (list));
    web_wait_held (limits[i]);
    nap (150);
    assert_int_equal (web_held (), limits[i]);
    bystanders_end (list, NR (list));
    end ();
  }
}

/* Others stay and get their bytes. */
static void
leave_others (void **state)
{
  struct bystander others[3];
  struct load *l;

  (void) state;
  begin (2000000, 4);
  assert_int_equal (http_start (http), 0);
  web_stall (5000, 4);
  bystanders_start (others, NR (others));
  web_wait_held (3);
  l = load_one (1000000, 100000);
  leave_when_held = 4;
  assert_int_equal (fetch_loads (object, &l, 1), -1);
  assert_int_equal (errno, ESHUTDOWN);
  leave_when_held = 0;
  load_free (l);
  bystanders_end (others, NR (others));
  end ();
}

/* --- Stopping --- */

/* All that was submitted is done when http_stop comes back, once, and
 * nothing is written any more.
 */
static void
stop_submitted (void **state)
{
  enum { N = 6, LENGTH = 100000 };
  static uint8_t copies[N][LENGTH + 2 * MARGIN];
  struct load *loads[N];
  uint64_t began;
  size_t i;
  int err;

  (void) state;
  begin (2000000, 3);
  assert_int_equal (http_start (http), 0);
  web_stall (10000, 3);
  for (i = 0; i < N; ++i) {
    loads[i] = load_one (i * LENGTH, LENGTH);
    driver_submit (&object->transport, &loads[i]->fetch);
  }
  web_wait_held (3);
  began = monotonic_ms ();
  stop_http ();
  assert_between (monotonic_ms () - began, 0, soon_ms ());
  for (i = 0; i < N; ++i) {
    assert_int_equal (load_done (loads[i], &err), 1);
    assert_int_equal (err, ESHUTDOWN);
    memcpy (copies[i], loads[i]->memory[0], sizeof copies[i]);
  }
  web_go_on ();
  nap (100);
  for (i = 0; i < N; ++i) {
    assert_int_equal (load_done (loads[i], &err), 1);
    assert_memory_equal (copies[i], loads[i]->memory[0], sizeof copies[i]);
    load_free (loads[i]);
  }
  assert_int_equal (unit_errors, 0);
  end ();
}

/* However far they are. */
static void
stop_at_once (void **state)
{
  unsigned round;

  (void) state;
  for (round = 0; round < 20; ++round) {
    struct load *loads[8];
    size_t i;
    int err;

    begin (1000000, 4);
    assert_int_equal (http_start (http), 0);
    for (i = 0; i < NR (loads); ++i) {
      loads[i] = load_one (i * 50000, 50000);
      driver_submit (&object->transport, &loads[i]->fetch);
    }
    if (round % 4 > 0)
      nap (round % 4);
    stop_http ();
    for (i = 0; i < NR (loads); ++i) {
      assert_int_equal (load_done (loads[i], &err), 1);
      assert_true (err == ESHUTDOWN || (err == 0 && load_is_right (loads[i])));
      load_free (loads[i]);
    }
    end ();
  }
}

/* Those who wait are told, also if they look up just then, as they do after
 * 100 ms.
 */
static void
stop_waiters (void **state)
{
  unsigned round;

  (void) state;
  for (round = 0; round < 12; ++round) {
    struct bystander others[16];
    size_t i;

    begin (2000000, 4);
    assert_int_equal (http_start (http), 0);
    web_stall (5000, 4);
    bystanders_start (others, NR (others));
    web_wait_held (4);
    nap (88 + round);
    stop_http ();
    for (i = 0; i < NR (others); ++i) {
      pthread_join (others[i].thread, NULL);
      assert_int_equal (others[i].r, -1);
      assert_int_equal (others[i].err, ESHUTDOWN);
      load_free (others[i].load);
    }
    end ();
  }
}

/* Without a worker. */
static void
stop_before_start (void **state)
{
  (void) state;
  begin (1000, 0);
  stop_http ();
  end ();
  http_stop (NULL);
  http_hang_up (NULL);
  http_free (NULL);
  assert_int_equal (http_start (NULL), 0);
}

/* --- Many --- */

enum { THREADS = 16, ROUNDS = 25, SIZE = 3000000 };

static void
done_and_free (struct fetch *f, int err)
{
  struct load *l = (struct load *) f;

  (void) err;
  load_free (l);
}

static unsigned
any (uint64_t *seed, unsigned below)
{
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return (unsigned) ((*seed >> 11) % below);
}

static struct load *
any_load (uint64_t *seed)
{
  size_t lengths[3], n = 1 + any (seed, 3), i;

  for (i = 0; i < n; ++i)
    lengths[i] = 1 + any (seed, any (seed, 2) ? 100 : 70000);
  return load_new (any (seed, SIZE - 3 * 70000), lengths, n);
}

/* The thread's number -> how many of its reads went wrong. */
static void *
read_and_read (void *opaque)
{
  uintptr_t number = (uintptr_t) opaque, wrong = 0;
  uint64_t seed = number * 7919 + 1;
  unsigned round;

  for (round = 0; round < ROUNDS; ++round) {
    struct load *loads[4];
    const size_t n = 1 + any (&seed, NR (loads));
    size_t i;
    int r;

    for (i = 0; i < n; ++i)
      loads[i] = any_load (&seed);
    /* Some have no patience. */
    leave_after = number % 4 == 3 ? 1 + any (&seed, 2) : 0;
    r = fetch_loads (object, loads, n);
    if (r == -1 && (leave_after > 0 || number % 4 != 3))
      wrong++;
    if (r == -1 && errno != ESHUTDOWN)
      wrong++;
    for (i = 0; i < n; ++i) {
      if (r == 0 && !load_is_right (loads[i]))
        wrong++;
      load_free (loads[i]);
    }
    /* And some are asked for in advance, by nobody who waits. */
    loads[0] = any_load (&seed);
    loads[0]->fetch.done = done_and_free;
    driver_submit (&object->transport, &loads[0]->fetch);
  }
  return (void *) wrong;
}

static void
many_threads (void **state)
{
  pthread_t threads[THREADS];
  uintptr_t i;

  (void) state;
  begin (SIZE, 6);
  assert_int_equal (http_start (http), 0);
  pthread_mutex_lock (&web.lock);
  web.most = 50000;
  pthread_mutex_unlock (&web.lock);
  for (i = 0; i < THREADS; ++i)
    assert_int_equal (
      pthread_create (&threads[i], NULL, read_and_read, (void *) i), 0);
  for (i = 0; i < THREADS; ++i) {
    void *wrong;

    pthread_join (threads[i], &wrong);
    if (wrong != NULL)
      fail_msg ("thread %zu: %zu wrong", (size_t) i, (size_t) wrong);
  }
  assert_int_equal (unit_errors, 0);
  end ();
}

/* --- When libcurl itself fails --- */

static struct libcurl real;
static unsigned calls; /* atomic */
static unsigned good_calls_from;

static void
break_libcurl (void)
{
  real = libcurl;
  calls = 0;
  good_calls_from = UINT_MAX;
}

static bool
call_is_good (void)
{
  return __atomic_fetch_add (&calls, 1, __ATOMIC_RELAXED) >= good_calls_from;
}

static CURLMcode
bad_perform (CURLM *multi, int *running)
{
  return call_is_good () ? real.multi_perform (multi, running)
                         : CURLM_INTERNAL_ERROR;
}

static CURLMcode
bad_poll (CURLM *multi, struct curl_waitfd *fds, unsigned nr, int ms,
          int *nr_ready)
{
  return call_is_good () ? real.multi_poll (multi, fds, nr, ms, nr_ready)
                         : CURLM_OUT_OF_MEMORY;
}

static CURLMcode
bad_add_handle (CURLM *multi, CURL *easy)
{
  return call_is_good () ? real.multi_add_handle (multi, easy)
                         : CURLM_INTERNAL_ERROR;
}

static CURLMcode
full_add_handle (CURLM *multi, CURL *easy)
{
  return call_is_good () ? real.multi_add_handle (multi, easy)
                         : CURLM_OUT_OF_MEMORY;
}

static CURLMcode
bad_remove_handle (CURLM *multi, CURL *easy)
{
  return call_is_good () ? real.multi_remove_handle (multi, easy)
                         : CURLM_INTERNAL_ERROR;
}

static CURLMcode
bad_wakeup (CURLM *multi)
{
  return call_is_good () ? real.multi_wakeup (multi) : CURLM_WAKEUP_FAILURE;
}

static CURLMcode
bad_setopt (CURLM *multi, CURLMoption option, ...)
{
  (void) multi;
  (void) option;
  return CURLM_UNKNOWN_OPTION;
}

/* Three fetches fail with 'err', soon, with one message, and libcurl is not
 * called without a pause.
 */
static void
check_broken (int err)
{
  const uint64_t began = monotonic_ms ();
  struct load *loads[3];
  size_t i;

  for (i = 0; i < NR (loads); ++i)
    loads[i] = load_one (100000 * i, 100000);
  assert_int_equal (fetch_loads (object, loads, NR (loads)), -1);
  assert_int_equal (errno, err);
  for (i = 0; i < NR (loads); ++i)
    load_free (loads[i]);
  assert_between (monotonic_ms () - began, 0, 1000 + soon_ms ());
  assert_between (__atomic_load_n (&calls, __ATOMIC_RELAXED), 1,
                  10 + (monotonic_ms () - began) / 10);
  assert_int_equal (unit_errors, 1);
  assert_said ("libcurl");
  assert_said (web.url);
}

/* libcurl works again: so do we. */
static void
check_mended (void)
{
  struct load *l = load_one (500000, 100000);

  libcurl = real;
  assert_int_equal (http_start (http), 0);
  assert_int_equal (fetch_loads (object, &l, 1), 0);
  assert_true (load_is_right (l));
  load_free (l);
}

static void
perform_fails (void **state)
{
  (void) state;
  begin (2000000, 2);
  break_libcurl ();
  libcurl.multi_perform = bad_perform;
  check_broken (EIO);
  check_mended ();
  end ();

  begin (2000000, 2);
  break_libcurl ();
  libcurl.multi_perform = bad_perform;
  assert_int_equal (http_start (http), 0);
  check_broken (EIO);
  stop_http ();
  libcurl = real;
  end ();
}

static void
perform_fails_while_opening (void **state)
{
  (void) state;
  web_start (1000);
  new_http (0);
  break_libcurl ();
  libcurl.multi_perform = bad_perform;
  object = open_url (web.url);
  libcurl = real;
  assert_null (object);
  assert_int_equal (errno, EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("libcurl");
  end ();
}

/* A few failures do no harm. */
static void
perform_fails_for_a_moment (void **state)
{
  struct load *l = load_one (1000, 100000);

  (void) state;
  begin (2000000, 2);
  break_libcurl ();
  good_calls_from = 10;
  libcurl.multi_perform = bad_perform;
  assert_int_equal (http_start (http), 0);
  assert_int_equal (fetch_loads (object, &l, 1), 0);
  assert_true (load_is_right (l));
  load_free (l);
  assert_int_equal (unit_errors, 0);
  stop_http ();
  libcurl = real;
  end ();
}

static void
poll_fails (void **state)
{
  (void) state;
  begin (2000000, 2);
  web_stall (0, 0);
  break_libcurl ();
  libcurl.multi_poll = bad_poll;
  assert_int_equal (http_start (http), 0);
  check_broken (ENOMEM);
  stop_http ();
  libcurl = real;
  end ();
}

static void
add_handle_fails (void **state)
{
  (void) state;
  begin (2000000, 2);
  break_libcurl ();
  libcurl.multi_add_handle = bad_add_handle;
  check_broken (EIO);
  libcurl = real;
  end ();

  begin (2000000, 2);
  break_libcurl ();
  libcurl.multi_add_handle = full_add_handle;
  check_broken (ENOMEM);
  check_mended ();
  end ();
}

/* The handle is not used again. */
static void
remove_handle_fails (void **state)
{
  (void) state;
  begin (2000000, 2);
  break_libcurl ();
  libcurl.multi_remove_handle = bad_remove_handle;
  check_fetches ();
  assert_int_equal (unit_errors, 0);
  check_mended ();
  end ();
}

/* The thread could not be told anything. */
static void
wakeup_fails (void **state)
{
  (void) state;
  begin (2000000, 2);
  break_libcurl ();
  libcurl.multi_wakeup = bad_wakeup;
  assert_int_equal (http_start (http), -1);
  assert_int_equal (errno, EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("libcurl");
  unit_forget ();
  check_mended ();
  end ();
}

static void
setopt_fails (void **state)
{
  struct qcow_options options;

  (void) state;
  qcow_options_init (&options);
  options.url = "http://127.0.0.1/x";
  unit_forget ();
  http_free (http_new (&options, &hooks)); /* loads libcurl */
  break_libcurl ();
  libcurl.multi_setopt = bad_setopt;
  assert_null (http_new (&options, &hooks));
  libcurl = real;
  assert_int_equal (errno, EIO);
  assert_int_equal (unit_errors, 1);
  assert_said ("libcurl");
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (open_sizes),
  cmocka_unit_test (open_empty_200),
  cmocka_unit_test (open_in_parts),
  cmocka_unit_test (open_failures),
  cmocka_unit_test (open_later),
  cmocka_unit_test (open_for_image),
  cmocka_unit_test (fetch_before_start),
  cmocka_unit_test (fetch_after_start),
  cmocka_unit_test (fetch_after_hanging_up),
  cmocka_unit_test (if_match),
  cmocka_unit_test (connections),
  cmocka_unit_test (latency),
  cmocka_unit_test (submit),
  cmocka_unit_test (submit_in_parts),
  cmocka_unit_test (submit_for_more),
  cmocka_unit_test (submit_with_breaks),
  cmocka_unit_test (submit_piece_by_piece),
  cmocka_unit_test (at_once),
  cmocka_unit_test (changed),
  cmocka_unit_test (spoiled),
  cmocka_unit_test (refused),
  cmocka_unit_test (connections_of_readers),
  cmocka_unit_test (leave_before_start),
  cmocka_unit_test (leave_after_start),
  cmocka_unit_test (leave_and_free),
  cmocka_unit_test (leave_at_once),
  cmocka_unit_test (leave_others),
  cmocka_unit_test (stop_submitted),
  cmocka_unit_test (stop_at_once),
  cmocka_unit_test (stop_before_start),
  cmocka_unit_test (many_threads),
  cmocka_unit_test (stop_waiters),
  cmocka_unit_test (perform_fails),
  cmocka_unit_test (perform_fails_while_opening),
  cmocka_unit_test (perform_fails_for_a_moment),
  cmocka_unit_test (poll_fails),
  cmocka_unit_test (add_handle_fails),
  cmocka_unit_test (remove_handle_fails),
  cmocka_unit_test (wakeup_fails),
  cmocka_unit_test (setopt_fails),
};

UNIT_MAIN (tests)
