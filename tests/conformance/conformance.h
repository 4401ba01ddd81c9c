/* conformance.h: one suite per seam, run over every implementation there is. */
#ifndef TARN_CONFORMANCE_H
#define TARN_CONFORMANCE_H

#include <stdio.h>

#include "alloc/tarn_provider.h"
#include "alloc/tarn_pool.h"
#include "alloc/tarn_stream.h"
#include "tests/support/test.h"

/* Makes what a suite runs on. TARN_UNAVAILABLE and TARN_NOT_SUPPORTED skip the implementation on
 * this machine or in this build; any other failure fails the test. */
typedef struct implementation {
  const char *name;
  tarn_status (*make_provider)(tarn_provider **provider);
  tarn_status (*make_pool)(tarn_pool **pool);
  tarn_status (*make_stream)(tarn_stream **stream);
} implementation;

tarn_status make_caching_over(tarn_status (*make)(tarn_provider **), tarn_pool **pool);

/* implementations.c: rows that make the one thing, ended by a row without a name. A pool without a
 * maker is a caching pool over the row's provider. */
extern const implementation provider_implementations[];
extern const implementation pool_implementations[];
extern const implementation stream_implementations[];
/* tests/adapters/pools: pools over pools. */
extern const implementation adaptor_implementations[];

/* Runs every test of `tests` with every implementation as its state; the exit status of main.
 * `pattern` chooses tests by their names, "implementation: test", with * and ?; NULL: all. */
typedef struct conformance_test {
  const char *name;
  void (*run)(void **state);
} conformance_test;
int run_conformance(const conformance_test *tests, const implementation *implementations,
                    const char *pattern);

#define CONFORMANCE_TEST(function) \
  { #function, function }

/* Skips the test where the implementation is not to be had here. */
tarn_provider *make_provider(void **state);
tarn_pool *make_pool(void **state);
tarn_stream *make_stream(void **state);

/* A stream that works on the pool's memory, for tests that need an order besides the host's. */
tarn_stream *make_stream_for(const tarn_pool *pool);

#endif
