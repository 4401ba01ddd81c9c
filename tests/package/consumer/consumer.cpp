/* consumer.cpp: a program in C++ outside of the tree: a vector on a node's memory. */
#include <cstdio>
#include <vector>

#include <tarn.h>

#include "alloc/adapters/cxx/tarn.hpp"

int main() {
  try {
    tarn_topology *topology = nullptr;
    tarn::pool pool;
    tarn::check(tarn_topology_create(nullptr, &topology));
    const tarn_status status = tarn_node_pool_create(topology, nullptr, pool.put());
    tarn_topology_release(topology);
    tarn::check(status);
    const std::vector<int, tarn::allocator<int>> numbers(1000, 7, tarn::allocator<int>(pool.get()));
    tarn::memory_resource resource(pool.get());
    const std::pmr::vector<int> others(numbers.begin(), numbers.end(), &resource);
    if (others.back() != 7) return 1;
  } catch (const std::exception &failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
  std::puts("consumer: fine");
  return 0;
}
