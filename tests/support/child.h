/* child.h: a test's child of fork: how it says what went wrong, and how it ended. */
#ifndef TARN_TEST_CHILD_H
#define TARN_TEST_CHILD_H

#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/test.h"

/* A child that hangs is ended by alarm after so long. */
enum { CHILD_SECONDS = 120 };

/* The thread sanitizer takes a thread of the child for one of the parent's with the same stack. */
#if defined(__SANITIZE_THREAD__)
enum { CHILD_HAS_THREADS = 0 };
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
enum { CHILD_HAS_THREADS = 0 };
#else
enum { CHILD_HAS_THREADS = 1 };
#endif
#else
enum { CHILD_HAS_THREADS = 1 };
#endif

/* In a function that returns a child's exit code: 0 where all went well, else a hint at a line. */
#define CHECK(condition) \
  if (!(condition)) return __LINE__ % 200 + 50

static inline int exit_code_of(pid_t child) {
  int how = 0;
  assert_int_equal(waitpid(child, &how, 0), child);
  return WIFEXITED(how) ? WEXITSTATUS(how) : 1000 + WTERMSIG(how);
}

#endif
