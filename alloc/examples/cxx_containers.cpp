/* cxx_containers.cpp: containers of C++ on a pool's memory, and handles that release.
 *
 *     c++ -std=c++17 -Wall cxx_containers.cpp $(pkg-config --cflags --libs tarn) -o cxx_containers
 *
 * prints
 *
 *     both vectors hold 1000 numbers of one pool: 8192 bytes lent
 *     row 1 of the tensor, kept beyond it: 10 11 12 13
 *     no memory: a std::bad_alloc, and the vector still holds 1000 numbers
 *     0 bytes lent
 */
#include <cstdio>
#include <vector>

#include "alloc/adapters/cxx/tarn.hpp"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"

namespace {

std::size_t lent_bytes(const tarn::pool &pool) {
  tarn_pool_stats stats{};
  stats.struct_size = sizeof stats;
  tarn::check(tarn_pool_stats_of(pool.get(), &stats));
  return stats.allocated_bytes;
}

/* What is made by a function of the C interface arrives through put(). */
tarn::pool make_pool() {
  tarn::provider pages;
  tarn::pool pool;
  tarn::check(tarn_pages_provider_create(nullptr, pages.put()));
  tarn_caching_options options{};
  options.struct_size = sizeof options;
  options.limit_bytes = std::size_t{16} << 20;
  tarn::check(tarn_caching_pool_create(pages.get(), &options, pool.put()));
  return pool;
}

void fill_containers(const tarn::pool &pool) {
  /* Keeps the pool by itself, and takes it along when it moves. */
  std::vector<float, tarn::allocator<float>> a(1000, tarn::allocator<float>(pool.get()));
  /* Has the address of the resource, which must stay. */
  tarn::memory_resource resource(pool.get());
  std::pmr::vector<float> b(1000, &resource);
  std::printf("both vectors hold %zu numbers of one pool: %zu bytes lent\n", a.size(),
              lent_bytes(pool));
}

void keep_row(const tarn::pool &pool) {
  const int64_t shape[] = {3, 4};
  tarn::tensor matrix;
  tarn::check(tarn_tensor_create(pool.get(), TARN_I32, 2, shape, nullptr, matrix.put()));
  auto *values = static_cast<int32_t *>(tarn_tensor_data_mutable(matrix.get()));
  for (int i = 0; i < 12; i++) values[i] = i / 4 * 10 + i % 4;
  tarn_tensor row = *matrix; /* borrows */
  tarn::check(tarn_tensor_select(&row, 0, 1));
  const tarn::tensor kept = tarn::tensor::retain(row);
  matrix.release();
  std::printf("row 1 of the tensor, kept beyond it:");
  const auto *numbers = static_cast<const int32_t *>(tarn_tensor_data(kept.get()));
  for (int i = 0; i < 4; i++) std::printf(" %d", numbers[i]);
  std::printf("\n");
}

void run_out(const tarn::pool &pool) {
  std::vector<int, tarn::allocator<int>> numbers(1000, tarn::allocator<int>(pool.get()));
  try {
    numbers.resize(std::size_t{8} << 20);
  } catch (const std::bad_alloc &) { /* tarn::out_of_memory, whose what() tells why */
    std::printf("no memory: a std::bad_alloc, and the vector still holds %zu numbers\n",
                numbers.size());
  }
}

}  // namespace

int main() {
  try {
    const tarn::pool pool = make_pool();
    fill_containers(pool);
    keep_row(pool);
    run_out(pool);
    std::printf("%zu bytes lent\n", lent_bytes(pool));
  } catch (const std::exception &failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
  return 0;
}
