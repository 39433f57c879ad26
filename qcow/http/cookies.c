/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Cookies that servers set, and those of cookiefile= and cookiejar=.  See
 * internal.h.
 *
 * Each request has a libcurl handle of its own, so the cookies are in a share.
 * Only the thread that drives the transfers uses it, so it needs no locks.
 * libcurl sends a cookie to the domain and path for which it was set.
 *
 * The jar is not written by libcurl (CURLOPT_COOKIEJAR), which would not say
 * that it failed, and would let others read a new file.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/keep-errno.h"
#include "http/internal.h"

#define HEAD "# Netscape HTTP Cookie File\n"

/* --- Reading --- */

/* libcurl ignores a file that it can't read.  "" is none.  A jar need not
 * exist.
 */
static void
check_readable (const struct http *h, const char *key, const char *name,
                bool optional)
{
  if (name == NULL || name[0] == '\0' || access (name, R_OK) == 0
      || (optional && errno == ENOENT))
    return;
  error_warn (h->hooks, key, "can't read cookies from '%s': %m", name);
}

/* Messages must not show the values, the last field of each line. */
static void
collect_secrets (struct http *h, const struct curl_slist *cookies)
{
  for (; cookies; cookies = cookies->next) {
    const char *tab = strrchr (cookies->data, '\t');

    if (tab)
      secrets_add_values (&h->settings.secrets, tab + 1, "; ");
  }
}

/* The cookies that there are, a line of the file format each. */
static struct curl_slist *
list_cookies (CURL *easy)
{
  struct curl_slist *cookies = NULL;

  libcurl.easy_getinfo (easy, CURLINFO_COOKIELIST, &cookies);
  return cookies;
}

/* Let a handle load the files into the share. */
static CURLcode
load (struct http *h, CURL *easy)
{
  const struct qcow_http_options *o = &h->settings.options;
  CURLcode code = libcurl.easy_setopt (easy, CURLOPT_SHARE, h->cookies);
  struct curl_slist *cookies;

  if (code == CURLE_OK && o->cookiefile)
    code = libcurl.easy_setopt (easy, CURLOPT_COOKIEFILE, o->cookiefile);
  if (code == CURLE_OK && o->cookiejar)
    code = libcurl.easy_setopt (easy, CURLOPT_COOKIEFILE, o->cookiejar);
  if (code == CURLE_OK)
    code = libcurl.easy_setopt (easy, CURLOPT_COOKIELIST, "RELOAD");
  if (code != CURLE_OK)
    return code;
  cookies = list_cookies (easy);
  collect_secrets (h, cookies);
  libcurl_free_secrets (cookies);
  return h->settings.secrets.incomplete ? CURLE_OUT_OF_MEMORY : CURLE_OK;
}

int
cookies_begin (struct http *h)
{
  const struct qcow_http_options *o = &h->settings.options;
  CURLcode code = CURLE_OUT_OF_MEMORY;
  CURL *easy;

  if (o->cookiefile == NULL && o->cookiejar == NULL)
    return 0;
  check_readable (h, "cookiefile=", o->cookiefile, false);
  check_readable (h, "cookiejar=", o->cookiejar, true);
  easy = libcurl.easy_init ();
  h->cookies = libcurl.share_init ();
  if (easy && h->cookies
      && libcurl.share_setopt (h->cookies, CURLSHOPT_SHARE,
                               CURL_LOCK_DATA_COOKIE)
           == CURLSHE_OK)
    code = load (h, easy);
  libcurl.easy_cleanup (easy);
  if (code == CURLE_OK)
    return 0;
  libcurl.share_cleanup (h->cookies);
  h->cookies = NULL;
  return code == CURLE_OUT_OF_MEMORY
           ? error_no_memory (h->hooks, "http")
           : error_report (h->hooks, EIO, "http",
                           "libcurl can't be set up: %s",
                           libcurl.easy_strerror (code));
}

/* --- Writing --- */

/* 0, or -1 with errno. */
static int
write_file (FILE *f, const struct curl_slist *cookies)
{
  int r = fputs (HEAD, f) == EOF ? -1 : 0;

  for (; r == 0 && cookies; cookies = cookies->next)
    if (fprintf (f, "%s\n", cookies->data) < 0)
      r = -1;
  return fclose (f) == EOF ? -1 : r;
}

/* Replace the file, so that another program never reads a part of it.  0, or
 * -1 with errno.
 */
static int
replace_file (const char *name, const struct curl_slist *cookies)
{
  FILE *f = NULL;
  char *other;
  int fd, r = -1;

  if (asprintf (&other, "%s.XXXXXX", name) == -1) {
    errno = ENOMEM;
    return -1;
  }
  fd = mkostemp (other, O_CLOEXEC);
  if (fd >= 0) {
    f = fdopen (fd, "w");
    if (f)
      r = write_file (f, cookies);
    else
      close (fd);
    if (r == 0)
      r = rename (other, name);
    if (r == -1) {
      KEEP_ERRNO;

      unlink (other);
    }
  }
  free (other);
  return r;
}

/* What is not a regular file is written as it is.  0, or -1 with errno. */
static int
write_jar (const char *name, const struct curl_slist *cookies)
{
  struct stat st;
  FILE *f;

  if (stat (name, &st) == -1 || S_ISREG (st.st_mode))
    return replace_file (name, cookies);
  f = fopen (name, "we");
  return f ? write_file (f, cookies) : -1;
}

static void
save (const struct http *h, const char *name)
{
  CURL *easy = libcurl.easy_init ();
  struct curl_slist *cookies = NULL;
  int r = -1;

  errno = ENOMEM;
  if (easy
      && libcurl.easy_setopt (easy, CURLOPT_SHARE, h->cookies) == CURLE_OK) {
    cookies = list_cookies (easy);
    r = write_jar (name, cookies);
  }
  if (r == -1)
    error_warn (h->hooks, "cookiejar=", "can't write cookies to '%s': %m",
                name);
  libcurl_free_secrets (cookies);
  libcurl.easy_cleanup (easy);
}

void
cookies_end (struct http *h)
{
  if (h->cookies == NULL)
    return;
  if (h->settings.options.cookiejar)
    save (h, h->settings.options.cookiejar);
  libcurl.share_cleanup (h->cookies);
  h->cookies = NULL;
}
