/* SPDX-License-Identifier: BSD-3-Clause
 *
 * readahead.c: clients of all kinds, and what is read ahead for them.
 *
 * A model records everything that was read or read ahead, and checks each
 * result against readahead.h: at most 'most' bytes ahead, nothing that was
 * read or read ahead before, and an end at a chunk or where another stream
 * started.  The tests add which clients must benefit from read-ahead, and
 * which must not cause any.
 */

#include "tests/unit/unit.h"

#include "source/readahead.h"

#define NR(array) (sizeof (array) / sizeof (array)[0])

#define K UINT64_C (1024)
#define M (1024 * K)
#define G (1024 * M)
#define T (1024 * G)

#define MOST (32 * M) /* more than remote.c uses */
#define MAX_CLIENTS 16
#define MAX_RANGES 4096

struct range {
  uint64_t from, to;
};

/* A client that reads sequentially. */
struct client {
  uint64_t first, end; /* its lowest offset and furthest end */
  uint64_t bytes;      /* that it has read, ... */
  uint64_t in_time;    /* ... and how many of them were read ahead */
};

struct model {
  struct readahead ra;
  uint64_t most;
  struct client clients[MAX_CLIENTS];
  unsigned nr_clients;
  struct range ahead[MAX_RANGES];
  size_t nr_ahead;
};

static struct model model;

static void
start (uint64_t most, unsigned nr_clients)
{
  unsigned i;

  memset (&model, 0, sizeof model);
  model.most = most;
  model.nr_clients = nr_clients;
  for (i = 0; i < nr_clients; ++i)
    model.clients[i].first = UINT64_MAX;
}

static uint64_t
overlap (struct range a, struct range b)
{
  const uint64_t from = a.from > b.from ? a.from : b.from;
  const uint64_t to = a.to < b.to ? a.to : b.to;

  return from < to ? to - from : 0;
}

static bool
is_a_start (uint64_t offset)
{
  unsigned i;

  for (i = 0; i < model.nr_clients; ++i)
    if (model.clients[i].first == offset)
      return true;
  return false;
}

static void
check_range (const struct client *c, struct range r)
{
  unsigned i;
  size_t j;

  if (r.from >= r.to)
    fail_msg ("[%" PRIu64 ", %" PRIu64 ") is empty", r.from, r.to);
  if (r.to % READAHEAD_CHUNK != 0 && !is_a_start (r.to))
    fail_msg ("it ends at %" PRIu64, r.to);
  if (r.to <= c->end || r.to - c->end > model.most)
    fail_msg ("at %" PRIu64 ", up to %" PRIu64 " is read ahead", c->end, r.to);
  /* A client needs about as much read-ahead as it has read.  This allows four
   * times that.
   */
  if (r.to - c->end > 4 * c->bytes + READAHEAD_CHUNK)
    fail_msg ("%" PRIu64 " bytes are read ahead after %" PRIu64, r.to - c->end,
              c->bytes);
  for (i = 0; i < model.nr_clients; ++i) {
    const struct client *other = &model.clients[i];

    if (other->bytes > 0
        && overlap (r, (struct range){ other->first, other->end }) > 0)
      fail_msg ("[%" PRIu64 ", %" PRIu64 ") was read by client %u", r.from,
                r.to, i);
  }
  for (j = 0; j < model.nr_ahead; ++j)
    if (overlap (r, model.ahead[j]) > 0)
      fail_msg ("[%" PRIu64 ", %" PRIu64 ") is read ahead twice", r.from,
                r.to);
}

/* A client reads.  Clients read everything between their first offset and
 * their end, in any order, so the model needs no list of what they have read.
 */
static bool
reads (unsigned client, uint64_t offset, uint64_t length)
{
  struct client *c = &model.clients[client];
  struct range r = { 0, 0 };
  size_t j;

  for (j = 0; j < model.nr_ahead; ++j)
    c->in_time
      += overlap ((struct range){ offset, offset + length }, model.ahead[j]);
  c->bytes += length;
  if (offset < c->first)
    c->first = offset;
  if (offset + length > c->end)
    c->end = offset + length;
  if (!readahead_note (&model.ra, offset, length, model.most, &r.from, &r.to))
    return false;
  check_range (c, r);
  assert_true (model.nr_ahead < MAX_RANGES);
  model.ahead[model.nr_ahead++] = r;
  return true;
}

static uint64_t seed;

static uint64_t
any (uint64_t below)
{
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (seed >> 11) % below;
}

/* --- Clients that must benefit --- */

static void
in_order (void **state)
{
  static const uint64_t starts[] = { 0, 4 * K, 12345, M, 5 * G + 17, 100 * T };
  static const uint64_t lengths[]
    = { 4 * K, 64 * K, 100000, 512 * K, M, 2 * M + 1, 4 * M };
  size_t i, j;
  uint64_t n;

  (void) state;
  for (i = 0; i < NR (starts); ++i)
    for (j = 0; j < NR (lengths); ++j) {
      const struct client *c = &model.clients[0];

      start (MOST, 1);
      for (n = 0; n * lengths[j] < 128 * M; ++n) {
        const uint64_t in_time = c->in_time;
        size_t k;

        reads (0, starts[i] + n * lengths[j], lengths[j]);
        /* Two reads are enough to recognize a stream, unless they are very
         * small.
         */
        if (n >= 2 && n * lengths[j] >= 512 * K
            && c->in_time - in_time != lengths[j])
          fail_msg ("from %" PRIu64 ", by %" PRIu64 ": read %" PRIu64
                    " was not read ahead",
                    starts[i], lengths[j], n);
        for (k = 1; k < model.nr_ahead; ++k)
          assert_int_equal (model.ahead[k].from, model.ahead[k - 1].to);
      }
      /* The requests of read-ahead are large. */
      assert_true (model.nr_ahead < 128 * M / READAHEAD_CHUNK);
    }
}

/* The order in which 16 requests in flight can arrive: each is overtaken by at
 * most 16 others.
 */
static void
shuffle (unsigned *order, unsigned n, unsigned how_far)
{
  unsigned keys[2048], i, j;

  assert_true (n <= NR (keys));
  for (i = 0; i < n; ++i) {
    const unsigned key = i + (unsigned) any (how_far);

    for (j = i; j > 0 && keys[j - 1] > key; --j) {
      keys[j] = keys[j - 1];
      order[j] = order[j - 1];
    }
    keys[j] = key;
    order[j] = i;
  }
}

/* Most bytes must be read ahead: all but the first ones. */
static void
check_helped (unsigned client, const char *what)
{
  const struct client *c = &model.clients[client];

  if (c->in_time < c->bytes / 4 * 3)
    fail_msg ("%s: %" PRIu64 " of %" PRIu64 " bytes were read ahead", what,
              c->in_time, c->bytes);
}

static void
out_of_order (void **state)
{
  static const uint64_t lengths[] = { 64 * K, 256 * K, 512 * K };
  enum { REQUESTS = 256 };
  unsigned order[REQUESTS], round, i;
  size_t j;

  (void) state;
  for (round = 1; round <= 200; ++round)
    for (j = 0; j < NR (lengths); ++j) {
      seed = round;
      start (MOST, 1);
      shuffle (order, REQUESTS, 1 + round % 16);
      for (i = 0; i < REQUESTS; ++i)
        reads (0, 3 * G + order[i] * lengths[j], lengths[j]);
      check_helped (0, "shuffled");
    }
}

/* Groups of 16 requests in reverse order. */
static void
backwards_in_groups (void **state)
{
  unsigned i;

  (void) state;
  start (MOST, 1);
  for (i = 0; i < 512; ++i)
    reads (0, (i / 16 * 16 + 15 - i % 16) * 512 * K, 512 * K);
  check_helped (0, "groups");
}

/* Clients that start where others will end, like those of nbdcopy: each copies
 * a part of the disk, or takes the next one.
 */
struct scene {
  const char *name;
  uint64_t part, length;
  unsigned nr_clients, how_far;
  unsigned speed[4]; /* requests in each round */
};

static void
neighbours (void **state)
{
  static const struct scene scenes[] = {
    { "in step", 64 * M, 512 * K, 2, 1, { 1, 1 } },
    { "first faster", 64 * M, 512 * K, 2, 1, { 3, 1 } },
    { "second faster", 64 * M, 512 * K, 2, 1, { 1, 3 } },
    { "second much faster", 64 * M, 512 * K, 2, 1, { 1, 100 } },
    { "small requests", 64 * M, 64 * K, 2, 1, { 1, 1 } },
    { "four", 48 * M, 512 * K, 4, 1, { 1, 2, 3, 4 } },
    { "not whole chunks", 64 * M + 192 * K, 64 * K, 2, 1, { 1, 1 } },
    { "shuffled", 64 * M, 512 * K, 2, 16, { 1, 1 } },
    { "shuffled, first faster", 64 * M, 512 * K, 2, 16, { 2, 1 } },
    { "shuffled, second faster", 64 * M, 512 * K, 2, 16, { 1, 2 } },
    { "shuffled, four", 48 * M, 256 * K, 4, 16, { 1, 2, 1, 2 } },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (scenes); ++i) {
    const struct scene *s = &scenes[i];
    const unsigned n = (unsigned) (s->part / s->length);
    unsigned orders[4][2048], next[4] = { 0 }, left = s->nr_clients, c, j;

    seed = 1 + i;
    start (MOST, s->nr_clients);
    for (c = 0; c < s->nr_clients; ++c) {
      shuffle (orders[c], n, s->how_far);
      /* Known in advance, whichever client reads first. */
      model.clients[c].first = c * s->part;
    }
    while (left > 0)
      for (c = 0; c < s->nr_clients; ++c)
        for (j = 0; j < s->speed[c] && next[c] < n; ++j) {
          reads (c, c * s->part + orders[c][next[c]] * s->length, s->length);
          if (++next[c] == n)
            left--;
        }
    for (c = 0; c < s->nr_clients; ++c)
      check_helped (c, s->name);
  }
}

/* As many clients as there are streams, far from each other, some with odd
 * lengths.
 */
static void
many_clients (void **state)
{
  unsigned c, i;

  (void) state;
  start (MOST, MAX_CLIENTS);
  for (i = 0; i < 128; ++i)
    for (c = 0; c < MAX_CLIENTS; ++c)
      reads (c, c * G + i * (128 * K + c), 128 * K + c);
  for (c = 0; c < MAX_CLIENTS; ++c)
    check_helped (c, "one of many");
}

/* Scattered reads do not replace the stream. */
static void
among_others (void **state)
{
  uint64_t from, to;
  unsigned i, j;

  (void) state;
  seed = 1;
  start (MOST, 1);
  for (i = 0; i < 256; ++i) {
    reads (0, 7 * T + i * 256 * K, 256 * K);
    for (j = 0; j < 8; ++j)
      assert_false (readahead_note (&model.ra, (i * 8 + j) * 64 * M, 4 * K,
                                    MOST, &from, &to));
  }
  check_helped (0, "among others");
}

/* A client that seeks is followed. */
static void
elsewhere (void **state)
{
  unsigned place, i;

  (void) state;
  start (MOST, 4);
  for (place = 0; place < 4; ++place) {
    for (i = 0; i < 64; ++i)
      reads (place, (4 - place) * G + i * 512 * K, 512 * K);
    check_helped (place, "elsewhere");
  }
}

/* --- Clients that must not cause read-ahead --- */

static void
never (uint64_t offset, uint64_t length)
{
  uint64_t from, to;

  if (readahead_note (&model.ra, offset, length, MOST, &from, &to))
    fail_msg ("%" PRIu64 " bytes at %" PRIu64
              " start a read-ahead of [%" PRIu64 ", %" PRIu64 ")",
              length, offset, from, to);
}

/* Reads of a small part of each MiB, in any order, none twice. */
static void
scattered (void **state)
{
  static const uint64_t lengths[] = { 512, 4 * K, 64 * K };
  static const uint64_t areas[] = { 64 * M, 256 * M, 4 * G };
  static uint32_t cells[4096];
  size_t i, j, k;

  (void) state;
  seed = 42;
  for (i = 0; i < NR (areas); ++i)
    for (j = 0; j < NR (lengths); ++j) {
      const size_t n = (size_t) (areas[i] / M);

      start (MOST, 0);
      for (k = 0; k < n; ++k) {
        const size_t other = (size_t) any (k + 1);

        cells[k] = cells[other];
        cells[other] = (uint32_t) k;
      }
      for (k = 0; k < n; ++k)
        never (cells[k] * M + any (512) * K, lengths[j]);
    }
}

/* Random reads on a large disk. */
static void
anywhere (void **state)
{
  unsigned i;

  (void) state;
  seed = 4711;
  start (MOST, 0);
  for (i = 0; i < 20000; ++i)
    never (any (16 * T / (4 * K)) * 4 * K, 4 * K);
}

/* Forwards or backwards, with large gaps. */
static void
with_gaps (void **state)
{
  unsigned i;

  (void) state;
  start (MOST, 0);
  for (i = 0; i < 4096; ++i)
    never (i * M, 64 * K);
  start (MOST, 0);
  for (i = 4096; i > 0; --i)
    never (i * M, 64 * K);
}

/* Reading the same range again does not continue a stream, and does not
 * predict reads near it.
 */
static void
the_same_again (void **state)
{
  unsigned i;

  (void) state;
  start (MOST, 0);
  for (i = 0; i < 1000; ++i)
    never (G, 64 * K);
  for (i = 1; i < 8; ++i)
    never (G + i * M, 4 * K);
}

/* A client that reads backwards causes read-ahead at most once, of what
 * follows its first read.
 */
static void
backwards (void **state)
{
  uint64_t sum = 0;
  unsigned i;
  size_t j;

  (void) state;
  start (MOST, 1);
  for (i = 0; i < 1024; ++i)
    reads (0, G - i * 64 * K, 64 * K);
  for (j = 0; j < model.nr_ahead; ++j)
    sum += model.ahead[j].to - model.ahead[j].from;
  assert_between (sum, 0, MOST);
}

/* --- Bounds --- */

static void
too_little_room (void **state)
{
  static const uint64_t mosts[]
    = { 0, 1, READAHEAD_CHUNK - 1, READAHEAD_CHUNK, 2 * READAHEAD_CHUNK - 1 };
  size_t i;
  unsigned n;

  (void) state;
  for (i = 0; i < NR (mosts); ++i) {
    start (mosts[i], 1);
    for (n = 0; n < 1024; ++n)
      assert_false (reads (0, n * 64 * K, 64 * K));
  }
}

static void
room (void **state)
{
  static const uint64_t mosts[]
    = { 2 * M,   2 * M + 1, 3 * M,  4 * M - 1, 10 * M + 77,
        100 * M, G,         64 * T, INT64_MAX, UINT64_MAX };
  static const uint64_t lengths[] = { 4 * K, 64 * K, 1000000, M };
  size_t i, j;
  unsigned n;

  (void) state;
  for (i = 0; i < NR (mosts); ++i)
    for (j = 0; j < NR (lengths); ++j) {
      start (mosts[i], 1);
      for (n = 0; n * lengths[j] < 64 * M; ++n)
        reads (0, 999 * K + n * lengths[j], lengths[j]);
      assert_true (model.nr_ahead > 0);
    }
}

/* The limit can change: existing read-ahead then counts against the new one.
 */
static void
room_that_changes (void **state)
{
  unsigned n;

  (void) state;
  seed = 3;
  start (MOST, 1);
  for (n = 0; n < 2048; ++n) {
    model.most = any (MOST);
    reads (0, n * 64 * K, 64 * K);
  }
}

/* The last bytes of the largest possible file, and beyond. */
static void
at_the_end (void **state)
{
  static const uint64_t ends[] = {
    INT64_MAX,           INT64_MAX / M * M,  UINT64_MAX,
    UINT64_MAX / M * M,  UINT64_MAX - 8 * M, UINT64_MAX - 16 * M,
    UINT64_MAX - 40 * M,
  };
  static const uint64_t lengths[] = { 4 * K, 64 * K, M + 1 };
  size_t i, j;
  uint64_t n;

  (void) state;
  for (i = 0; i < NR (ends); ++i)
    for (j = 0; j < NR (lengths); ++j) {
      const uint64_t most = UINT64_MAX - ends[i] < MOST ? 64 * M : MOST;

      start (most, 1);
      for (n = 64 * M / lengths[j]; n > 0; --n)
        reads (0, ends[i] - n * lengths[j], lengths[j]);
      check_helped (0, "at the end");
      /* At once at the other end. */
      start (MOST, 0);
      never (ends[i] - lengths[j], lengths[j]);
      never (0, 4 * K);
      never (ends[i] - 12 * M, 512);
      never (8 * M, 4 * K);
    }
}

/* Random reads: each result is within bounds. */
static void
anything (void **state)
{
  static const uint64_t bases[]
    = { 0, 100 * M, INT64_MAX - 100 * M, UINT64_MAX - 200 * M };
  unsigned i;

  (void) state;
  seed = 99;
  start (MOST, 0);
  for (i = 0; i < 200000; ++i) {
    const uint64_t offset = bases[any (NR (bases))] + any (100 * M);
    const uint64_t length = 1 + any (any (2) ? 4 * K : 8 * M);
    const uint64_t most = any (64 * M);
    uint64_t from = 1, to = 0;

    if (readahead_note (&model.ra, offset, length, most, &from, &to)) {
      assert_true (from < to);
      assert_true (from >= offset + length);
      /* The read can be out of order. */
      assert_true (to - (offset + length) <= most + 32 * M);
    }
  }
}

/* --- How far --- */

static void
most (void **state)
{
  static const struct {
    struct readahead_load load;
    uint64_t most;
  } rows[] = {
    { { 64 * M, 0, false, false }, 8 * M },
    { { 64 * M, 0, false, true }, 8 * M },
    { { 64 * M, 1, true, false }, 8 * M },
    { { 64 * M, 1, true, true }, 0 },
    { { 64 * M, 3, true, false }, 8 * M },
    { { 64 * M, 4, true, false }, 0 },
    { { 64 * M, 4, false, false }, 0 },
    { { 64 * M, 100, true, true }, 0 },
    { { 0, 0, false, false }, 0 },
    { { 1000, 0, false, false }, 125 },
    { { 128 * M, 0, false, false }, 16 * M },
    { { 129 * M, 0, false, false }, READAHEAD_MOST },
    { { UINT64_MAX, 0, false, false }, READAHEAD_MOST },
  };
  size_t i;

  (void) state;
  for (i = 0; i < NR (rows); ++i)
    if (readahead_most (&rows[i].load) != rows[i].most)
      fail_msg ("row %zu: %" PRIu64, i, readahead_most (&rows[i].load));
  assert_int_equal (readahead_prefetch_most (64 * M), 16 * M);
  assert_int_equal (readahead_prefetch_most (3), 0);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (most),         cmocka_unit_test (in_order),
  cmocka_unit_test (out_of_order), cmocka_unit_test (backwards_in_groups),
  cmocka_unit_test (neighbours),   cmocka_unit_test (many_clients),
  cmocka_unit_test (among_others), cmocka_unit_test (elsewhere),
  cmocka_unit_test (scattered),    cmocka_unit_test (anywhere),
  cmocka_unit_test (with_gaps),    cmocka_unit_test (the_same_again),
  cmocka_unit_test (backwards),    cmocka_unit_test (too_little_room),
  cmocka_unit_test (room),         cmocka_unit_test (room_that_changes),
  cmocka_unit_test (at_the_end),   cmocka_unit_test (anything),
};

UNIT_MAIN (tests)
