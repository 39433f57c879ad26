/* SPDX-License-Identifier: BSD-3-Clause
 *
 * base/secret.c: memory for keys is zeroed, not dumped, and locked.
 */

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/unit.h"

#include "base/secret.h"

/* True if the mapping at 'p' has this flag in /proc/self/smaps. */
static bool
has_flag (const void *p, const char *flag)
{
  FILE *f = fopen ("/proc/self/smaps", "r");
  char line[1024];
  bool here = false, found = false;

  assert_non_null (f);
  while (fgets (line, sizeof line, f)) {
    uintptr_t start, end;

    if (sscanf (line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
      here = (uintptr_t) p >= start && (uintptr_t) p < end;
    else if (here && strncmp (line, "VmFlags:", 8) == 0)
      found = strstr (line, flag) != NULL;
  }
  fclose (f);
  return found;
}

/* Some CPU emulators do not pass madvise to the kernel. */
static bool
advice_arrives (void)
{
  const size_t page = (size_t) sysconf (_SC_PAGESIZE);
  void *p = mmap (NULL, page, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  bool r;

  assert_true (p != MAP_FAILED);
  assert_int_equal (madvise (p, page, MADV_DONTDUMP), 0);
  r = has_flag (p, " dd");
  munmap (p, page);
  return r;
}

static int
run_in_child (int (*f) (const void *), const void *p)
{
  const pid_t pid = fork ();
  int status;

  assert_true (pid >= 0);
  if (pid == 0)
    _exit (f (p));
  assert_int_equal (waitpid (pid, &status, 0), pid);
  return WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

/* A fork ends the lock, and it can be taken again. */
static int
check_child (const void *p)
{
  if (has_flag (p, " lo") || !has_flag (p, " dd"))
    return 1;
  if (secret_lock (p, 5000) == -1)
    return 2;
  return has_flag (p, " lo") ? 0 : 3;
}

static void
memory (void **state)
{
  struct rlimit limit;
  uint8_t *p = secret_new (5000);
  int i;

  (void) state;
  assert_non_null (p);
  for (i = 0; i < 5000; ++i)
    assert_int_equal (p[i], 0);
  if (!advice_arrives ()) {
    secret_free (p, 5000);
    print_message ("# MADV_DONTDUMP has no effect here\n");
    return;
  }
  assert_true (has_flag (p, " dd"));
  /* (Sanitizers make mlock do nothing.) */
  if (getrlimit (RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur >= 65536
      && has_flag (p, " lo"))
    assert_int_equal (run_in_child (check_child, p), 0);
  secret_free (p, 5000);
  secret_free (NULL, 1);
}

static const struct CMUnitTest tests[] = {
  cmocka_unit_test (memory),
};

UNIT_MAIN (tests)
