/* test.h: cmocka and the few words that every test of tarn uses. */
#ifndef TARN_TEST_H
#define TARN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

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

/* xorshift64*: the same numbers on every run. `state` is not 0. */
static inline uint64_t test_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * UINT64_C(2685821657736338717);
}

#endif
