/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one user of libgcrypt.  See cipher.h.
 *
 * Why it is fast: the contexts of libgcrypt keep the key schedule, so
 * that a sector costs little more than its cipher; with AES, 512 bytes in
 * less than 0.1 us.
 */

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <gcrypt.h>

#include "base/secret.h"
#include "codec/cipher.h"

/* The oldest version with XTS (2017). */
#define NEED_LIBGCRYPT "1.8.0"

#define MAX_BLOCK_BYTES 16

/* Decrypting is bound by the processor: more contexts than it has cores
 * gain nothing.  One takes 3 KiB, with Twofish 18 KiB.
 */
#define MAX_CONTEXTS 32

static const struct {
  const char *name;
  size_t block;
  /* libgcrypt's numbers, for each length of a key. */
  struct {
    size_t key_bytes;
    int algorithm;
  } variants[3];
} ciphers[] = {
  [CRYPTO_AES] = { "aes",
                   16,
                   { { 16, GCRY_CIPHER_AES128 },
                     { 24, GCRY_CIPHER_AES192 },
                     { 32, GCRY_CIPHER_AES256 } } },
  [CRYPTO_SERPENT] = { "serpent",
                       16,
                       { { 16, GCRY_CIPHER_SERPENT128 },
                         { 24, GCRY_CIPHER_SERPENT192 },
                         { 32, GCRY_CIPHER_SERPENT256 } } },
  [CRYPTO_TWOFISH]
  = { "twofish",
      16,
      { { 16, GCRY_CIPHER_TWOFISH128 }, { 32, GCRY_CIPHER_TWOFISH } } },
  [CRYPTO_CAST5] = { "cast5", 8, { { 16, GCRY_CIPHER_CAST5 } } },
};

static const struct {
  const char *name;
  int mode;
} modes[] = {
  [CRYPTO_CBC] = { "cbc", GCRY_CIPHER_MODE_CBC },
  [CRYPTO_XTS] = { "xts", GCRY_CIPHER_MODE_XTS },
  [CRYPTO_CTR] = { "ctr", GCRY_CIPHER_MODE_CTR },
  [CRYPTO_ECB] = { "ecb", GCRY_CIPHER_MODE_ECB },
};

/* 'work' is how much longer than SHA-256 an HMAC takes, measured with
 * libgcrypt 1.10 on an AMD EPYC (which has instructions for SHA-1 and
 * SHA-256) and rounded.
 */
static const struct {
  const char *name;
  int algorithm;
  size_t bytes;
  unsigned work;
} hashes[] = {
  [CRYPTO_MD5] = { "md5", GCRY_MD_MD5, 16, 2 },
  [CRYPTO_SHA1] = { "sha1", GCRY_MD_SHA1, 20, 1 },
  [CRYPTO_SHA224] = { "sha224", GCRY_MD_SHA224, 28, 1 },
  [CRYPTO_SHA256] = { "sha256", GCRY_MD_SHA256, 32, 1 },
  [CRYPTO_SHA384] = { "sha384", GCRY_MD_SHA384, 48, 3 },
  [CRYPTO_SHA512] = { "sha512", GCRY_MD_SHA512, 64, 3 },
  [CRYPTO_RIPEMD160] = { "ripemd160", GCRY_MD_RMD160, 20, 2 },
};

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

struct context {
  gcry_cipher_hd_t data;
  gcry_cipher_hd_t iv; /* if ESSIV */
  struct context *next;
};

/* In memory of its own. */
struct key {
  uint8_t data[CRYPTO_MAX_KEY_BYTES];
  uint8_t iv[CRYPTO_MAX_HASH_BYTES]; /* if ESSIV */
};

struct crypto {
  struct crypto_method method;
  struct key *key;
  pthread_mutex_t lock;
  pthread_cond_t returned;
  struct context *idle;
  unsigned made; /* <= MAX_CONTEXTS */
};

/* For each HMAC libgcrypt allocates a few bytes, and ends the process if it
 * gets none.  So what it is to need is set aside before.
 */
#define RESERVE_BYTES 4096

/* (Without this model, a thread's first look at one in a plugin may itself
 * allocate, and end the process if that fails.)
 */
#define THREAD_LOCAL                                                          \
  static _Thread_local __attribute__ ((tls_model ("initial-exec")))

THREAD_LOCAL void *reserve;

static void *
allocate (size_t length)
{
  void *p = malloc (length);

  if (p == NULL && reserve) {
    free (reserve);
    reserve = NULL;
    p = malloc (length);
  }
  return p;
}

int
crypto_load (void)
{
  /* Another library may have done it already. */
  if (gcry_control (GCRYCTL_INITIALIZATION_FINISHED_P))
    return gcry_check_version (NEED_LIBGCRYPT) ? 0 : -1;
  if (gcry_check_version (NEED_LIBGCRYPT) == NULL)
    return -1;
  /* Its pool of secure memory holds few contexts, and is not used. */
  gcry_control (GCRYCTL_DISABLE_SECMEM);
  gcry_set_allocation_handler (allocate, NULL, NULL, realloc, free);
  gcry_control (GCRYCTL_INITIALIZATION_FINISHED);
  return 0;
}

THREAD_LOCAL gcry_error_t last_error;

static int
fail (gcry_error_t e)
{
  last_error = e;
  errno = gcry_err_code (e) == GPG_ERR_ENOMEM ? ENOMEM : EIO;
  return -1;
}

const char *
crypto_reason (void)
{
  return gcry_strerror (last_error);
}

int
crypto_report (const struct qcow_hooks *hooks, const char *object,
               const char *encryption)
{
  if (errno == ENOMEM)
    return error_no_memory (hooks, object);
  return error_report (hooks, EIO, object,
                       "%s: libgcrypt can't do what the header asks for: %s",
                       encryption, crypto_reason ());
}

/* --- Methods --- */

bool
crypto_find_cipher (const char *name, enum crypto_cipher *cipher)
{
  size_t i;

  for (i = 0; i < COUNT (ciphers); ++i)
    if (strcmp (name, ciphers[i].name) == 0) {
      *cipher = (enum crypto_cipher) i;
      return true;
    }
  return false;
}

bool
crypto_find_mode (const char *name, enum crypto_mode *mode)
{
  size_t i;

  for (i = 0; i < COUNT (modes); ++i)
    if (strcmp (name, modes[i].name) == 0) {
      *mode = (enum crypto_mode) i;
      return true;
    }
  return false;
}

bool
crypto_find_hash (const char *name, enum crypto_hash *hash)
{
  size_t i;

  for (i = 0; i < COUNT (hashes); ++i)
    if (strcmp (name, hashes[i].name) == 0) {
      *hash = (enum crypto_hash) i;
      return true;
    }
  return false;
}

/* libgcrypt's number of the cipher with such a key, or 0. */
static int
find_algorithm (enum crypto_cipher cipher, size_t key_bytes)
{
  size_t i;

  for (i = 0; i < COUNT (ciphers[cipher].variants); ++i)
    if (key_bytes != 0 && ciphers[cipher].variants[i].key_bytes == key_bytes)
      return ciphers[cipher].variants[i].algorithm;
  return 0;
}

static int
data_algorithm (const struct crypto_method *m)
{
  if (m->mode != CRYPTO_XTS)
    return find_algorithm (m->cipher, m->key_bytes);
  return m->key_bytes % 2 == 0 ? find_algorithm (m->cipher, m->key_bytes / 2)
                               : 0;
}

/* ESSIV takes the cipher of the data, with the key length that the hash
 * gives.
 */
static int
iv_algorithm (const struct crypto_method *m)
{
  return find_algorithm (m->cipher, hashes[m->iv_hash].bytes);
}

int
crypto_check (const struct crypto_method *m, struct problem *problem)
{
  if (m->mode == CRYPTO_XTS && ciphers[m->cipher].block != MAX_BLOCK_BYTES)
    return problem_set (problem,
                        "%s has blocks of %zu bytes: xts needs 16 bytes",
                        ciphers[m->cipher].name, ciphers[m->cipher].block);
  if (data_algorithm (m) == 0)
    return problem_set (problem,
                        "%s in mode %s with a key of %zu bytes is not "
                        "supported",
                        ciphers[m->cipher].name, modes[m->mode].name,
                        m->key_bytes);
  if (m->iv == CRYPTO_ESSIV && iv_algorithm (m) == 0)
    return problem_set (problem,
                        "essiv with %s: %s has no keys of that many bytes, "
                        "%zu",
                        hashes[m->iv_hash].name, ciphers[m->cipher].name,
                        hashes[m->iv_hash].bytes);
  return 0;
}

/* --- Contexts --- */

static void
close_context (struct context *ctx)
{
  gcry_cipher_close (ctx->data);
  gcry_cipher_close (ctx->iv);
  free (ctx);
}

static gcry_error_t
open_handle (gcry_cipher_hd_t *handle, int algorithm, int mode,
             const uint8_t *key, size_t key_bytes)
{
  gcry_error_t e = gcry_cipher_open (handle, algorithm, mode, 0);

  return e ? e : gcry_cipher_setkey (*handle, key, key_bytes);
}

/* NULL with errno. */
static struct context *
open_context (const struct crypto *c)
{
  const struct crypto_method *m = &c->method;
  struct context *ctx = calloc (1, sizeof *ctx);
  gcry_error_t e;

  if (ctx == NULL)
    return NULL;
  e = open_handle (&ctx->data, data_algorithm (m), modes[m->mode].mode,
                   c->key->data, m->key_bytes);
  if (!e && m->iv == CRYPTO_ESSIV)
    e = open_handle (&ctx->iv, iv_algorithm (m), GCRY_CIPHER_MODE_ECB,
                     c->key->iv, hashes[m->iv_hash].bytes);
  if (!e)
    return ctx;
  close_context (ctx);
  fail (e);
  return NULL;
}

/* Wait for a context; NULL with errno. */
static struct context *
get_context (struct crypto *c)
{
  struct context *ctx;

  pthread_mutex_lock (&c->lock);
  while (c->idle == NULL && c->made == MAX_CONTEXTS)
    pthread_cond_wait (&c->returned, &c->lock);
  ctx = c->idle;
  if (ctx)
    c->idle = ctx->next;
  else
    c->made++;
  pthread_mutex_unlock (&c->lock);
  if (ctx)
    return ctx;

  ctx = open_context (c);
  if (ctx == NULL) {
    pthread_mutex_lock (&c->lock);
    c->made--;
    pthread_cond_signal (&c->returned);
    pthread_mutex_unlock (&c->lock);
  }
  return ctx;
}

static void
put_context (struct crypto *c, struct context *ctx)
{
  pthread_mutex_lock (&c->lock);
  ctx->next = c->idle;
  c->idle = ctx;
  pthread_cond_signal (&c->returned);
  pthread_mutex_unlock (&c->lock);
}

/* What opening contexts needs besides memory: 0, or -1 with errno. */
static int
make_keys (struct crypto *c, const uint8_t *key)
{
  const struct crypto_method *m = &c->method;

  c->key = secret_new (sizeof *c->key);
  if (c->key == NULL) {
    errno = ENOMEM;
    return -1;
  }
  memcpy (c->key->data, key, m->key_bytes);
  if (m->iv != CRYPTO_ESSIV)
    return 0;
  return crypto_hash_two (m->iv_hash, key, m->key_bytes, NULL, 0, c->key->iv);
}

/* One context is made at once, for libgcrypt tests a cipher when it is used
 * first, and should that fail for want of memory, never uses it again.
 */
struct crypto *
crypto_new (const struct crypto_method *method, const uint8_t *key)
{
  struct crypto *c = calloc (1, sizeof *c);
  struct context *ctx = NULL;
  int err;

  if (c == NULL)
    return NULL;
  c->method = *method;
  pthread_mutex_init (&c->lock, NULL);
  pthread_cond_init (&c->returned, NULL);
  if (make_keys (c, key) == 0)
    ctx = get_context (c);
  if (ctx) {
    put_context (c, ctx);
    return c;
  }
  err = errno;
  crypto_free (c);
  errno = err;
  return NULL;
}

void
crypto_free (struct crypto *c)
{
  struct context *ctx;

  if (c == NULL)
    return;
  while ((ctx = c->idle) != NULL) {
    c->idle = ctx->next;
    close_context (ctx);
  }
  secret_free (c->key, sizeof *c->key);
  pthread_cond_destroy (&c->returned);
  pthread_mutex_destroy (&c->lock);
  free (c);
}

int
crypto_lock_key (const struct crypto *c)
{
  return secret_lock (c->key, sizeof *c->key);
}

/* --- Decrypting --- */

static gcry_error_t
make_iv (const struct crypto *c, struct context *ctx, uint64_t sector,
         uint8_t iv[MAX_BLOCK_BYTES])
{
  const uint64_t number
    = htole64 (c->method.iv == CRYPTO_PLAIN ? (uint32_t) sector : sector);

  memset (iv, 0, MAX_BLOCK_BYTES);
  memcpy (iv, &number, sizeof number);
  if (c->method.iv != CRYPTO_ESSIV)
    return 0;
  return gcry_cipher_encrypt (ctx->iv, iv, ciphers[c->method.cipher].block,
                              NULL, 0);
}

static gcry_error_t
set_iv (const struct crypto *c, struct context *ctx, uint64_t sector)
{
  const size_t block = ciphers[c->method.cipher].block;
  uint8_t iv[MAX_BLOCK_BYTES];
  gcry_error_t e;

  if (c->method.mode == CRYPTO_ECB)
    return 0;
  e = make_iv (c, ctx, sector, iv);
  if (e)
    return e;
  return c->method.mode == CRYPTO_CTR
           ? gcry_cipher_setctr (ctx->data, iv, block)
           : gcry_cipher_setiv (ctx->data, iv, block);
}

int
crypto_decrypt (struct crypto *c, uint8_t *buf, size_t length, uint64_t sector)
{
  struct context *ctx = get_context (c);
  gcry_error_t e = 0;
  size_t i;

  if (ctx == NULL)
    return -1;
  for (i = 0; !e && i < length; i += CRYPTO_SECTOR_BYTES) {
    e = set_iv (c, ctx, sector++);
    if (!e)
      e = gcry_cipher_decrypt (ctx->data, buf + i, CRYPTO_SECTOR_BYTES, NULL,
                               0);
  }
  put_context (c, ctx);
  return e ? fail (e) : 0;
}

/* --- Hashes --- */

size_t
crypto_hash_bytes (enum crypto_hash hash)
{
  return hashes[hash].bytes;
}

int
crypto_hash_two (enum crypto_hash hash, const void *one, size_t one_length,
                 const void *two, size_t two_length,
                 uint8_t out[CRYPTO_MAX_HASH_BYTES])
{
  const gcry_buffer_t parts[]
    = { { .data = (void *) one, .len = one_length },
        { .data = (void *) two, .len = two_length } };
  const gcry_error_t e
    = gcry_md_hash_buffers (hashes[hash].algorithm, 0, out, parts, 2);

  return e ? fail (e) : 0;
}

static int
take_reserve (void)
{
  reserve = malloc (RESERVE_BYTES);
  return reserve ? 0 : -1;
}

static void
drop_reserve (void)
{
  free (reserve);
  reserve = NULL;
}

int
crypto_hmac (enum crypto_hash hash, const void *key, size_t key_length,
             const void *text, size_t length,
             uint8_t out[CRYPTO_MAX_HASH_BYTES])
{
  const gcry_buffer_t parts[] = { { .data = (void *) key, .len = key_length },
                                  { .data = (void *) text, .len = length } };
  gcry_error_t e;

  if (take_reserve () == -1)
    return -1;
  e = gcry_md_hash_buffers (hashes[hash].algorithm, GCRY_MD_FLAG_HMAC, out,
                            parts, 2);
  drop_reserve ();
  return e ? fail (e) : 0;
}

int
crypto_pbkdf2 (enum crypto_hash hash, const void *secret, size_t secret_length,
               const uint8_t *salt, size_t salt_length, uint32_t iterations,
               uint8_t *out, size_t length)
{
  gcry_error_t e;

  if (take_reserve () == -1)
    return -1;
  e = gcry_kdf_derive (secret, secret_length, GCRY_KDF_PBKDF2,
                       hashes[hash].algorithm, salt, salt_length, iterations,
                       length, out);
  drop_reserve ();
  return e ? fail (e) : 0;
}

uint64_t
crypto_pbkdf2_work (enum crypto_hash hash, uint32_t iterations, size_t length)
{
  const uint64_t blocks
    = (length + hashes[hash].bytes - 1) / hashes[hash].bytes;

  return blocks * iterations * hashes[hash].work;
}
