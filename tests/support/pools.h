/* pools.h: the pools that most tests start from, and what a pool counts. */
#ifndef TARN_TEST_POOLS_H
#define TARN_TEST_POOLS_H

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tests/support/test.h"

/* A caching pool over a provider whose reference it takes. Options may be NULL here and below. */
static inline tarn_pool *pool_over(tarn_provider *taken, const tarn_caching_options *options) {
  tarn_pool *made = NULL;
  assert_ok(tarn_caching_pool_create(taken, options, &made));
  tarn_provider_release(taken);
  return made;
}

static inline tarn_pool *pages_pool(const tarn_caching_options *options) {
  tarn_provider *pages = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &pages));
  return pool_over(pages, options);
}

static inline tarn_pool_stats stats_of(tarn_pool *of) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_pool_stats_of(of, &stats));
  return stats;
}

static inline uint64_t live_blocks(tarn_pool *of) {
  const tarn_pool_stats stats = stats_of(of);
  return stats.alloc_count - stats.free_count;
}

#endif
