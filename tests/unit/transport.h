/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A remote source over a transport without a network, which records its
 * requests.  Each byte of the object is computed from its offset.
 */

#ifndef UNIT_TRANSPORT_H
#define UNIT_TRANSPORT_H

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "tests/unit/unit.h"

#include "base/minmax.h"
#include "source/blocks.h"
#include "source/readahead.h"
#include "source/remote.h"

#define K UINT64_C (1024)
#define M (K * K)
#define NR(array) (sizeof (array) / sizeof (array)[0])

static inline uint8_t
byte_at (uint64_t offset)
{
  return (uint8_t) (offset * 31 + offset / 251 + (offset >> 16) * 7 + 1);
}

static inline void
check_bytes (const uint8_t *buf, uint64_t offset, size_t length)
{
  size_t i;

  for (i = 0; i < length; ++i)
    if (buf[i] != byte_at (offset + i)) {
      fprintf (stderr, "# byte %" PRIu64 " is wrong\n", offset + i);
      abort ();
    }
}

/* The client of this thread has disconnected. */
static __thread bool left;

/* --- The transport --- */

#define MAX_ASKED 100000

static struct fake {
  struct transport transport;
  pthread_mutex_t lock;
  pthread_cond_t change;

  /* The recorded requests: 'd' for fetch_all, 's' for submit, 'h' for holes.
   */
  unsigned nr_asked;
  struct asked {
    char how;
    uint64_t offset, length;
  } asked[MAX_ASKED];

  uint64_t bad; /* fetches that include this byte fail */

  uint64_t fragment; /* bytes; each second one is a hole */
  size_t reply;      /* fragments of a reply at most; 0: it is an error */

  bool hold; /* submitted fetches wait in 'held' */
  struct fetch *held[64];
  unsigned nr_held;
  bool closed;
} fake;

static inline uint64_t
length_of (const struct fetch *f)
{
  uint64_t sum = f->holes ? f->holes->length : 0;
  size_t i;

  for (i = 0; i < f->nr_pieces; ++i)
    sum += f->pieces[i].length;
  return sum;
}

static inline void
note (char how, const struct fetch *f)
{
  assert_true (f->offset + length_of (f) <= fake.transport.size);
  pthread_mutex_lock (&fake.lock);
  assert_true (fake.nr_asked < MAX_ASKED);
  fake.asked[fake.nr_asked++]
    = (struct asked){ how, f->offset, length_of (f) };
  pthread_mutex_unlock (&fake.lock);
}

static inline void
fill (uint8_t *buf, uint64_t offset, size_t length)
{
  size_t i;

  for (i = 0; i < length; ++i)
    buf[i] = byte_at (offset + i);
}

/* Fills the last piece first, as transport.h allows.  Returns 0 or an errno
 * value.
 */
static inline int
transfer (struct fetch *f)
{
  uint64_t offset = f->offset + length_of (f);
  const bool bad = f->offset <= fake.bad && fake.bad < offset;
  size_t i;

  for (i = f->nr_pieces; i-- > 0;) {
    offset -= f->pieces[i].length;
    if (bad && offset <= fake.bad)
      return EIO;
    fill (f->pieces[i].buf, offset, f->pieces[i].length);
    if (f->piece_done)
      f->piece_done (f, i);
  }
  return 0;
}

/* Returns 0 or an errno value. */
static inline int
find_holes (const struct fetch *f)
{
  struct fetch_holes *holes = f->holes;
  uint64_t offset = f->offset;

  if (fake.reply == 0)
    return EIO;
  holes->list = malloc (fake.reply * sizeof holes->list[0]);
  for (; holes->n < fake.reply && offset < f->offset + holes->length;
       ++holes->n) {
    const uint64_t number = offset / fake.fragment;
    const uint64_t end
      = min64 ((number + 1) * fake.fragment, fake.transport.size);

    holes->list[holes->n] = (struct fragment){ offset, end, number % 2 == 1 };
    offset = end;
  }
  return 0;
}

static inline void
fake_submit (struct transport *t, struct fetch *f)
{
  bool hold;

  (void) t;
  note ('s', f);
  pthread_mutex_lock (&fake.lock);
  hold = fake.hold;
  if (hold) {
    assert_true (fake.nr_held < NR (fake.held));
    fake.held[fake.nr_held++] = f;
    pthread_cond_broadcast (&fake.change);
  }
  pthread_mutex_unlock (&fake.lock);
  if (!hold)
    f->done (f, transfer (f));
}

static inline void
let_go (void)
{
  struct fetch *held[NR (fake.held)];
  unsigned i, n;

  pthread_mutex_lock (&fake.lock);
  n = fake.nr_held;
  memcpy (held, fake.held, sizeof held);
  fake.nr_held = 0;
  pthread_mutex_unlock (&fake.lock);
  for (i = 0; i < n; ++i)
    held[i]->done (held[i], transfer (held[i]));
}

static inline void
wait_held (unsigned n)
{
  pthread_mutex_lock (&fake.lock);
  while (fake.nr_held < n)
    pthread_cond_wait (&fake.change, &fake.lock);
  pthread_mutex_unlock (&fake.lock);
}

static inline int
fake_fetch_all (struct transport *t, struct fetch *fetches, size_t n)
{
  size_t i;
  int err = 0;

  (void) t;
  for (i = 0; i < n; ++i) {
    note (fetches[i].holes ? 'h' : 'd', &fetches[i]);
    if (err == 0)
      err = left               ? ESHUTDOWN
            : fetches[i].holes ? find_holes (&fetches[i])
                               : transfer (&fetches[i]);
  }
  errno = err;
  return err == 0 ? 0 : -1;
}

static inline void
fake_close (struct transport *t)
{
  assert_int_equal (fake.nr_held, 0);
  assert_null (t->prefix);
  fake.closed = true;
}

static const struct transport_ops fake_ops = {
  .submit = fake_submit,
  .fetch_all = fake_fetch_all,
  .close = fake_close,
};

/* --- Clients --- */

static inline int
sleep_unless_left (void *opaque, unsigned ms)
{
  const struct timespec t = { .tv_nsec = (long) ms * 1000000 };

  nanosleep (&t, NULL);
  (void) opaque;
  return left ? -1 : 0;
}

static const struct qcow_hooks hooks
  = { .error = unit_on_error, .sleep = sleep_unless_left };

static struct cache *cache;
static struct source *source;
static char name[] = "fake", identity[] = "fake:";

static inline void
start (uint64_t size, size_t prefix, uint64_t cache_bytes)
{
  struct transport *t = &fake.transport;

  memset (&fake, 0, sizeof fake);
  pthread_mutex_init (&fake.lock, NULL);
  pthread_cond_init (&fake.change, NULL);
  fake.bad = UINT64_MAX;
  *t = (struct transport){ .ops = &fake_ops,
                           .name = name,
                           .identity = identity,
                           .size = size,
                           .latency = UINT64_MAX,
                           .prefix = prefix ? malloc (prefix) : NULL,
                           .prefix_length = prefix };
  if (prefix)
    fill (t->prefix, 0, prefix);
  cache = cache_new (cache_bytes, 4096);
  assert_non_null (cache);
  source = source_remote_new (t, cache, 7, &hooks);
  assert_non_null (source);
  assert_true (source->remote);
  assert_int_equal (source->size, size);
}

static inline void
stop_transport (void)
{
  source_close (source);
  assert_true (fake.closed);
  cache_free (cache);
  pthread_cond_destroy (&fake.change);
  pthread_mutex_destroy (&fake.lock);
}

/* Check the requests since the last call. */
static inline void
check_asked (const struct asked *wanted, size_t n)
{
  size_t i;

  for (i = 0; i < fake.nr_asked || i < n; ++i) {
    const struct asked none = { '-', 0, 0 };
    const struct asked a = i < fake.nr_asked ? fake.asked[i] : none;
    const struct asked w = i < n ? wanted[i] : none;

    if (a.how != w.how || a.offset != w.offset || a.length != w.length)
      fail_msg ("request %zu is %c %" PRIu64 "+%" PRIu64
                ", expected %c %" PRIu64 "+%" PRIu64,
                i, a.how, a.offset, a.length, w.how, w.offset, w.length);
  }
  fake.nr_asked = 0;
}

#define ASKED(...)                                                            \
  do {                                                                        \
    const struct asked wanted_[] = { __VA_ARGS__ };                           \
                                                                              \
    check_asked (wanted_, NR (wanted_));                                      \
  } while (0)
#define ASKED_NOTHING check_asked (NULL, 0)

#endif /* UNIT_TRANSPORT_H */
