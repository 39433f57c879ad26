/* SPDX-License-Identifier: BSD-3-Clause */

/* A web server with a simulated round trip, for the benchmark.
 *
 *   delay-server DIRECTORY ROUND-TRIP-MS [HANDSHAKE-MS]
 *
 * It serves the files of a directory on a port of 127.0.0.1 that the kernel
 * chooses, and prints the port.  A response starts ROUND-TRIP-MS after its
 * request was read, on all connections concurrently.  The first response of
 * a connection also waits for the simulated handshake: HANDSHAKE-MS
 * (default: a round trip) from when the connection was accepted.  Bandwidth
 * is not limited: a response is sent as fast as the loopback device allows.
 *
 * HTTP/1.1 with keep-alive, without pipelining: GET and HEAD, one range,
 * strong ETags and If-Match.  The response to GET /.stats is not delayed: one
 * line of JSON with the number of "requests" and "connections" so far, and the
 * "bytes" of the responses' bodies.  These requests are not counted.
 *
 * It uses a thread per connection and sendfile, so that it is not the
 * bottleneck, even without delay.  Clients are trusted.
 */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define MAX_REQUEST 16384
#define MAX_HEAD 1024
#define STATS "/.stats"

static int directory;
static int64_t round_trip, handshake; /* In nanoseconds. */
static atomic_uint_fast64_t requests, connections, bytes;

struct connection {
  int fd;
  int64_t accepted; /* Time. */
  bool counted;
  /* Received, but not parsed yet. */
  char buf[MAX_REQUEST + 1];
  size_t used;
};

/* The relevant parts of a request.  A header's value ends where its line
 * does, and is NULL if the header is missing.
 */
struct request {
  bool head;
  bool close;
  char path[NAME_MAX + 2];
  const char *range;
  const char *if_match;
};

static int64_t
now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void
wait_until (int64_t due)
{
  const struct timespec ts = { due / 1000000000, due % 1000000000 };

  while (clock_nanosleep (CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
    ;
}

/* Wait for the complete header of a request.  Returns its length up to the
 * empty line, or 0 at the end of the connection.
 */
static size_t
receive_head (struct connection *c)
{
  for (;;) {
    c->buf[c->used] = '\0';

    const char *end = strstr (c->buf, "\r\n\r\n");
    if (end)
      return (size_t) (end - c->buf) + 2;

    const ssize_t r = recv (c->fd, c->buf + c->used, MAX_REQUEST - c->used, 0);
    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0)
      return 0;
    c->used += (size_t) r;
  }
}

/* NAME is as in "\r\nrange:". */
static const char *
header (const char *head, const char *name)
{
  const char *p = strcasestr (head, name);

  return p ? p + strlen (name) + strspn (p + strlen (name), " ") : NULL;
}

static bool
parse (const char *head, struct request *rq)
{
  char method[8], version[9];
  int from;
  const char *connection = header (head, "\r\nconnection:");

  memset (rq, 0, sizeof *rq);
  if (sscanf (head, "%7[A-Z] %n%*[^ \r\n] %8[^\r\n]", method, &from, version)
      != 2)
    return false;

  const size_t length = strcspn (head + from, "? ");
  if (head[from] != '/' || length >= sizeof rq->path)
    return false;
  memcpy (rq->path, head + from, length);
  rq->head = strcmp (method, "HEAD") == 0;
  if (!rq->head && strcmp (method, "GET") != 0)
    return false;
  rq->close = strcmp (version, "HTTP/1.1") != 0
              || (connection && strncasecmp (connection, "close", 5) == 0);
  rq->range = header (head, "\r\nrange:");
  rq->if_match = header (head, "\r\nif-match:");
  return true;
}

static bool
send_all (int fd, const char *buf, size_t length, int flags)
{
  while (length > 0) {
    const ssize_t r = send (fd, buf, length, flags | MSG_NOSIGNAL);

    if (r == -1 && errno == EINTR)
      continue;
    if (r == -1)
      return false;
    buf += r;
    length -= (size_t) r;
  }
  return true;
}

static bool
send_file (int fd, int file, uint64_t offset, uint64_t length)
{
  off_t from = (off_t) offset;

  while (length > 0) {
    const size_t n = length < INT_MAX ? (size_t) length : INT_MAX;
    const ssize_t r = sendfile (fd, file, &from, n);

    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0) /* The client disconnected, or the file was truncated. */
      return false;
    length -= (uint64_t) r;
    bytes += (uint64_t) r;
  }
  return true;
}

/* Send a response without a file. */
static bool
send_text (int fd, const char *status, const char *extra, const char *text)
{
  char head[MAX_HEAD];
  const int n = snprintf (head, sizeof head,
                          "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n%s",
                          status, strlen (text), extra, text);

  return send_all (fd, head, (size_t) n, 0);
}

static bool
send_stats (int fd)
{
  char text[200];

  snprintf (text, sizeof text,
            "{ \"requests\": %" PRIuFAST64 ", \"connections\": %" PRIuFAST64
            ", \"bytes\": %" PRIuFAST64 " }\n",
            atomic_load (&requests), atomic_load (&connections),
            atomic_load (&bytes));
  return send_text (fd, "200 OK", "Content-Type: application/json\r\n", text);
}

/* "bytes=FIRST-LAST" or "bytes=FIRST-".  Anything else counts as no range,
 * as HTTP permits.
 */
static bool
parse_range (const char *range, uint64_t size, uint64_t *first, uint64_t *last)
{
  int n = 0;

  if (range == NULL || sscanf (range, "bytes=%" SCNu64 "-%n", first, &n) != 1
      || n == 0)
    return false;
  if (range[n] == '\r')
    *last = size - 1;
  else if (sscanf (range + n, "%" SCNu64, last) != 1 || *last < *first)
    return false;
  else if (*last >= size)
    *last = size - 1;
  return true;
}

static bool
send_open_file (int fd, int file, const struct request *rq)
{
  char head[MAX_HEAD], etag[80], extra[80];
  struct stat st;

  if (fstat (file, &st) == -1 || !S_ISREG (st.st_mode))
    return send_text (fd, "404 Not Found", "", "");

  const uint64_t size = (uint64_t) st.st_size;
  uint64_t first = 0, last = size - 1;
  /* HEAD always concerns the whole file. */
  const bool part = !rq->head && parse_range (rq->range, size, &first, &last);
  const uint64_t length = part ? last - first + 1 : size;

  snprintf (etag, sizeof etag, "\"%jx-%jx-%lx\"", (uintmax_t) st.st_size,
            (uintmax_t) st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  if (rq->if_match && strncmp (rq->if_match, etag, strlen (etag)) != 0)
    return send_text (fd, "412 Precondition Failed", "", "");

  if (part && first >= size) {
    snprintf (extra, sizeof extra, "Content-Range: bytes */%" PRIu64 "\r\n",
              size);
    return send_text (fd, "416 Range Not Satisfiable", extra, "");
  }
  extra[0] = '\0';
  if (part)
    snprintf (extra, sizeof extra,
              "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
              first, last, size);

  const char *status = part ? "206 Partial Content" : "200 OK";
  const int n = snprintf (head, sizeof head,
                          "HTTP/1.1 %s\r\nContent-Length: %" PRIu64 "\r\n%s"
                          "Accept-Ranges: bytes\r\nETag: %s\r\n"
                          "Content-Type: application/octet-stream\r\n\r\n",
                          status, length, extra, etag);
  const bool body = !rq->head && length > 0;
  return send_all (fd, head, (size_t) n, body ? MSG_MORE : 0)
         && (!body || send_file (fd, file, first, length));
}

/* Returns false if the connection is to be closed. */
static bool
respond (struct connection *c, const struct request *rq)
{
  if (strcmp (rq->path, STATS) == 0)
    return send_stats (c->fd);

  const int64_t read = now ();
  const int64_t open = c->accepted + handshake;

  requests++;
  if (!c->counted) {
    connections++;
    c->counted = true;
  }
  wait_until ((read > open ? read : open) + round_trip);

  /* Only files in the directory itself. */
  const char *name = rq->path + 1;
  int file = -1;
  if (strchr (name, '/') == NULL && name[0] != '.')
    file = openat (directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file == -1)
    return send_text (c->fd, "404 Not Found", "", "");

  const bool r = send_open_file (c->fd, file, rq);
  close (file);
  return r;
}

static void *
serve (void *vp)
{
  struct connection *c = vp;
  size_t length;

  while ((length = receive_head (c)) > 0) {
    struct request rq;

    c->buf[length] = '\0';
    if (!parse (c->buf, &rq)) {
      send_text (c->fd, "400 Bad Request", "Connection: close\r\n", "");
      break;
    }
    if (!respond (c, &rq) || rq.close)
      break;
    length += 2; /* The empty line. */
    memmove (c->buf, c->buf + length, c->used - length);
    c->used -= length;
  }
  close (c->fd);
  free (c);
  return NULL;
}

static void
start (int fd)
{
  struct connection *c = calloc (1, sizeof *c);
  const int on = 1;
  pthread_t thread;

  if (c == NULL)
    err (EXIT_FAILURE, "calloc");
  c->fd = fd;
  c->accepted = now ();
  setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  errno = pthread_create (&thread, NULL, serve, c);
  if (errno)
    err (EXIT_FAILURE, "pthread_create");
  pthread_detach (thread);
}

static int
listen_on_loopback (void)
{
  struct sockaddr_in addr = { .sin_family = AF_INET };
  socklen_t length = sizeof addr;
  const int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  addr.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
  if (fd == -1 || bind (fd, (struct sockaddr *) &addr, sizeof addr) == -1
      || listen (fd, 128) == -1
      || getsockname (fd, (struct sockaddr *) &addr, &length) == -1)
    err (EXIT_FAILURE, "listening on 127.0.0.1");
  printf ("%d\n", ntohs (addr.sin_port));
  fflush (stdout);
  return fd;
}

static int64_t
milliseconds (const char *arg)
{
  char *end;
  const double ms = strtod (arg, &end);

  if (end == arg || *end || !(ms >= 0 && ms <= 60000))
    errx (EXIT_FAILURE, "%s: not a time in milliseconds", arg);
  return (int64_t) (ms * 1e6);
}

static void
stop (int sig)
{
  _exit (sig == SIGTERM ? EXIT_SUCCESS : EXIT_FAILURE);
}

int
main (int argc, char *argv[])
{
  if (argc < 3 || argc > 4)
    errx (EXIT_FAILURE,
          "usage: delay-server DIRECTORY ROUND-TRIP-MS [HANDSHAKE-MS]");
  directory = open (argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory == -1)
    err (EXIT_FAILURE, "%s", argv[1]);
  round_trip = milliseconds (argv[2]);
  handshake = argc > 3 ? milliseconds (argv[3]) : round_trip;

  signal (SIGTERM, stop);
  signal (SIGPIPE, SIG_IGN); /* sendfile has no MSG_NOSIGNAL. */
  /* Threads inherit it.  The default slack of 50 us would add to each round
   * trip.
   */
  prctl (PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);

  const int listener = listen_on_loopback ();
  for (;;) {
    const int fd = accept4 (listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd != -1)
      start (fd);
    else if (errno != EINTR && errno != ECONNABORTED)
      err (EXIT_FAILURE, "accept");
  }
}
