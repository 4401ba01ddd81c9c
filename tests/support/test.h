/* test.h: cmocka and the few words that every test of tarn uses. */
#ifndef TARN_TEST_H
#define TARN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" { /* which cmocka 1.1.5 leaves to its user */
#endif
#include <cmocka.h>
#ifdef __cplusplus
}
#endif

#include "alloc/tarn_status.h"

#define assert_ok(call) assert_int_equal((call), TARN_OK)
#define assert_status(call, status) assert_int_equal((call), (status))
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* TEST(a_sentence_that_holds) { ... } is a test of its file, with cmocka's `state` in it;
 * run_listed_tests runs all in the order of their lines. TEST_WITH has a setup and a teardown.
 * cmocka's own lists are for programs that run one function as several tests. */
#define TEST(name) TEST_WITH(name, NULL, NULL)
#define TEST_WITH(name, setup, teardown)                       \
  static void name(void **state);                              \
  __attribute__((constructor)) static void list_##name(void) { \
    list_test(__LINE__, #name, name, setup, teardown);         \
  }                                                            \
  static void name(__attribute__((unused)) void **state)

enum { LISTED_TESTS_MAX = 64 };

static struct {
  size_t count;
  int lines[LISTED_TESTS_MAX];
  struct CMUnitTest rows[LISTED_TESTS_MAX];
} listed_tests;

/* Constructors run in an order that is the compiler's own. */
static inline void list_test(int line, const char *name, CMUnitTestFunction run,
                             CMFixtureFunction setup, CMFixtureFunction teardown) {
  if (listed_tests.count == LISTED_TESTS_MAX) abort();
  size_t at = listed_tests.count++;
  for (; at > 0 && listed_tests.lines[at - 1] > line; at--) {
    listed_tests.lines[at] = listed_tests.lines[at - 1];
    listed_tests.rows[at] = listed_tests.rows[at - 1];
  }
  const struct CMUnitTest row = {name, run, setup, teardown, NULL};
  listed_tests.lines[at] = line;
  listed_tests.rows[at] = row;
}

static inline int run_listed_tests(CMFixtureFunction setup, CMFixtureFunction teardown) {
  return _cmocka_run_group_tests("tests", listed_tests.rows, listed_tests.count, setup, teardown);
}

/* xorshift64*: the same numbers on every run. `state` is not 0. */
static inline uint64_t test_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * UINT64_C(2685821657736338717);
}

#endif
