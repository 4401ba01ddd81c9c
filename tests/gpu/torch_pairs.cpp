/* torch_pairs.cpp: pairs of calls on PyTorch's caching allocator, without Python around them. */
#include <chrono>
#include <cstdint>

#include <c10/cuda/CUDACachingAllocator.h>

/* Nanoseconds that `count` pairs of `bytes` take, in the order of the current stream. */
extern "C" double torch_pairs_ns(size_t bytes, uint64_t count) {
  namespace allocator = c10::cuda::CUDACachingAllocator;
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < count; i++) allocator::raw_delete(allocator::raw_alloc(bytes));
  const auto end = std::chrono::steady_clock::now();
  return std::chrono::duration<double, std::nano>(end - start).count();
}
