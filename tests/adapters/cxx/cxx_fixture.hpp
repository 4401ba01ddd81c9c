/* cxx_fixture.hpp: the pools that the tests in C++ allocate from. */
#ifndef CXX_FIXTURE_HPP
#define CXX_FIXTURE_HPP

#include <cstdint>

#include "alloc/adapters/cxx/tarn.hpp"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_pages.h"
#include "tests/support/test.h"

/* A pool over the system's pages. */
inline tarn::pool make_pool() {
  tarn::provider pages;
  tarn::pool made;
  assert_ok(tarn_pages_provider_create(nullptr, pages.put()));
  assert_ok(tarn_caching_pool_create(pages.get(), nullptr, made.put()));
  return made;
}

/* A pool that runs out: over this range. */
alignas(4096) inline char small_range[1 << 20];

inline tarn::pool make_small_pool() {
  tarn::provider range;
  tarn::pool made;
  assert_ok(tarn_fixed_provider_create(small_range, sizeof small_range, nullptr, range.put()));
  assert_ok(tarn_caching_pool_create(range.get(), nullptr, made.put()));
  return made;
}

inline std::uint64_t live_blocks(const tarn::pool &pool) {
  tarn_pool_stats stats{};
  stats.struct_size = sizeof stats;
  assert_ok(tarn_pool_stats_of(pool.get(), &stats));
  return stats.alloc_count - stats.free_count;
}

inline std::uint64_t lent_ever(const tarn::pool &pool) {
  tarn_pool_stats stats{};
  stats.struct_size = sizeof stats;
  assert_ok(tarn_pool_stats_of(pool.get(), &stats));
  return stats.alloc_count;
}

#endif
