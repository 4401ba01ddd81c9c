/* test_cxx_containers.cpp: containers of the standard library on a pool's memory. */
#include <list>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "alloc/tarn_host_stream.h"
#include "tests/adapters/cxx/cxx_fixture.hpp"

namespace {

template <class T>
using pool_vector = std::vector<T, tarn::allocator<T>>;

struct alignas(8192) wide {
  unsigned char bytes[8192];
};

bool is_aligned(const void *address, std::size_t alignment) {
  return (reinterpret_cast<std::uintptr_t>(address) & (alignment - 1)) == 0;
}

/* --- std::pmr::memory_resource --- */

TEST(resources_over_one_pool_are_equal_and_free_for_each_other) {
  tarn::pool pool = make_pool();
  tarn::pool another = make_pool();
  tarn::memory_resource a(pool.get());
  tarn::memory_resource b(pool.get());
  tarn::memory_resource other(another.get());
  assert_true(a == b);
  assert_true(a == a);
  assert_false(a == other);
  assert_false(a == *std::pmr::new_delete_resource());
  assert_false(*std::pmr::new_delete_resource() == a);
  void *address = a.allocate(100, 8);
  assert_int_equal(live_blocks(pool), 1);
  b.deallocate(address, 100, 8);
  assert_int_equal(live_blocks(pool), 0);
}

TEST(every_alignment_is_honoured) {
  tarn::pool pool = make_pool();
  tarn::memory_resource resource(pool.get());
  for (std::size_t alignment = 1; alignment <= (std::size_t)1 << 20; alignment *= 2) {
    void *address = resource.allocate(24, alignment);
    assert_true(is_aligned(address, alignment));
    resource.deallocate(address, 24, alignment);
  }
  pool_vector<wide> wides(3, tarn::allocator<wide>(pool.get()));
  assert_true(is_aligned(wides.data(), alignof(wide)));
  std::list<wide, tarn::allocator<wide>> nodes(2, wide{}, tarn::allocator<wide>(pool.get()));
  for (const wide &node : nodes) assert_true(is_aligned(&node, alignof(wide)));
}

TEST(size_zero_has_an_address_of_its_own) {
  tarn::pool pool = make_pool();
  tarn::memory_resource resource(pool.get());
  void *first = resource.allocate(0);
  void *second = resource.allocate(0);
  assert_non_null(first);
  assert_ptr_not_equal(first, second);
  resource.deallocate(first, 0);
  resource.deallocate(second, 0);
  assert_int_equal(live_blocks(pool), 0);
  tarn::allocator<int> allocator(pool.get());
  int *none = allocator.allocate(0);
  assert_null(none);
  allocator.deallocate(none, 0);
}

/* Fills a vector of megabytes until there is no more, and sees it unchanged then. */
template <class Vector>
void grow_beyond_the_pool(Vector &numbers) {
  bool has_thrown = false;
  std::size_t before = 0;
  try {
    for (int i = 0;; i++) {
      before = numbers.size();
      numbers.push_back(i);
    }
  } catch (const tarn::out_of_memory &failure) {
    has_thrown = true;
    assert_int_equal(failure.cause().status, TARN_OUT_OF_MEMORY);
    assert_true(std::string(failure.what()).find("bytes") != std::string::npos);
  }
  assert_true(has_thrown);
  assert_int_equal(numbers.size(), before);
  for (std::size_t i = 0; i < before; i++) assert_int_equal(numbers[i], i);
}

TEST(no_memory_is_bad_alloc_and_leaves_the_container_as_it_was) {
  tarn::pool pool = make_small_pool();
  {
    tarn::memory_resource resource(pool.get());
    std::pmr::vector<int> numbers(&resource);
    grow_beyond_the_pool(numbers);
  }
  {
    pool_vector<int> numbers{tarn::allocator<int>(pool.get())};
    grow_beyond_the_pool(numbers);
  }
  assert_int_equal(live_blocks(pool), 0);
  tarn::allocator<double> allocator(pool.get());
  bool has_thrown = false;
  try {
    allocator.deallocate(allocator.allocate(SIZE_MAX / sizeof(double) + 2), 0);
  } catch (const std::bad_array_new_length &) {
    has_thrown = true;
  }
  assert_true(has_thrown);
  has_thrown = false;
  try {
    allocator.deallocate(allocator.allocate(SIZE_MAX / sizeof(double)), 0);
  } catch (const std::bad_alloc &) {
    has_thrown = true;
  }
  assert_true(has_thrown);
}

/* What std::pmr builds on another resource gives everything back when it goes. */
template <class Resource>
void use_on_top(const tarn::pool &pool) {
  tarn::memory_resource below(pool.get());
  {
    Resource resource(&below);
    std::pmr::map<std::pmr::string, std::pmr::vector<int>> table(&resource);
    for (int i = 0; i < 300; i++) {
      table
          .try_emplace(std::pmr::string(40, static_cast<char>('a' + i % 26)) +
                       std::pmr::string(std::to_string(i)))
          .first->second.assign(static_cast<std::size_t>(i), i);
    }
    for (const auto &row : table) {
      for (const int value : row.second) assert_int_equal(value, row.second.size());
    }
    assert_true(live_blocks(pool) > 0);
    assert_true(live_blocks(pool) < 300);
  }
  assert_int_equal(live_blocks(pool), 0);
}

TEST(the_standards_own_resources_work_on_top) {
  tarn::pool pool = make_pool();
  use_on_top<std::pmr::monotonic_buffer_resource>(pool);
  use_on_top<std::pmr::unsynchronized_pool_resource>(pool);
  use_on_top<std::pmr::synchronized_pool_resource>(pool);
}

TEST(a_resource_keeps_its_pool) {
  tarn::pool pool = make_pool();
  tarn::memory_resource resource(pool.get());
  pool.release();
  std::pmr::vector<int> numbers(1000, 7, &resource);
  numbers.resize(100000, 7);
  for (const int value : numbers) assert_int_equal(value, 7);
}

/* The resource is gone, and what it lent is still the pool's to take back. */
TEST(memory_outlives_its_resource_for_whoever_has_the_pool) {
  tarn::pool pool = make_pool();
  void *address = nullptr;
  {
    tarn::memory_resource resource(pool.get());
    address = resource.allocate(5000, 64);
  }
  assert_int_equal(live_blocks(pool), 1);
  tarn::memory_resource later(pool.get());
  later.deallocate(address, 5000, 64);
  assert_int_equal(live_blocks(pool), 0);
}

/* --- containers that move --- */

TEST_WITH(a_pmr_container_moves_its_elements_between_pools_and_its_memory_within_one, nullptr,
          nullptr) {
  tarn::pool first_pool = make_pool();
  tarn::pool second_pool = make_pool();
  tarn::memory_resource first(first_pool.get());
  tarn::memory_resource twin(first_pool.get());
  tarn::memory_resource second(second_pool.get());
  std::pmr::vector<int> source(1000, 3, &first);
  const int *memory = source.data();
  std::pmr::vector<int> same(&twin);
  same = std::move(source);
  assert_ptr_equal(same.data(), memory);
  std::pmr::vector<int> other(&second);
  other = std::move(same);
  assert_ptr_not_equal(other.data(), memory);
  assert_int_equal(other.size(), 1000);
  assert_ptr_equal(other.get_allocator().resource(), &second);
  assert_int_equal(live_blocks(second_pool), 1);
}

TEST(a_container_of_an_allocator_takes_memory_and_pool_along) {
  tarn::pool first_pool = make_pool();
  tarn::pool second_pool = make_pool();
  const tarn::allocator<int> first(first_pool.get());
  const tarn::allocator<int> second(second_pool.get());
  pool_vector<int> source(1000, 3, first);
  const int *memory = source.data();
  pool_vector<int> target(10, 4, second);
  static_assert(std::is_nothrow_move_assignable<pool_vector<int>>::value, "no allocation");
  target = std::move(source);
  assert_ptr_equal(target.data(), memory);
  assert_true(target.get_allocator() == first);
  assert_int_equal(live_blocks(second_pool), 0);
  assert_true(source.get_allocator() == first); /* still one to be used */
  source.assign(5, 1);

  pool_vector<int> other(20, 5, second);
  const int *other_memory = other.data();
  target.swap(other);
  assert_ptr_equal(target.data(), other_memory);
  assert_true(target.get_allocator() == second);
  assert_true(other.get_allocator() == first);

  target = other; /* a copy stays where it is made */
  assert_true(target.get_allocator() == second);
  assert_int_equal(target.size(), 1000);
  const pool_vector<int> copied(other);
  assert_true(copied.get_allocator() == first);
}

TEST(containers_keep_the_pool_that_nobody_else_has) {
  tarn::pool pool = make_pool();
  std::map<std::string, int, std::less<>, tarn::allocator<std::pair<const std::string, int>>> map(
      tarn::allocator<int>(pool.get()));
  std::unordered_map<int, int, std::hash<int>, std::equal_to<>,
                     tarn::allocator<std::pair<const int, int>>>
      hashed(16, std::hash<int>(), std::equal_to<>(), tarn::allocator<int>(pool.get()));
  std::shared_ptr<wide> one = std::allocate_shared<wide>(tarn::allocator<wide>(pool.get()));
  pool.release();
  for (int i = 0; i < 1000; i++) {
    map[std::to_string(i)] = i;
    hashed[i] = i;
  }
  for (int i = 0; i < 1000; i += 2) hashed.erase(i);
  assert_int_equal(map.size(), 1000);
  assert_int_equal(hashed.size(), 500);
  assert_true(is_aligned(one.get(), alignof(wide)));
}

/* --- threads --- */

TEST(memory_is_freed_on_other_threads) {
  tarn::pool pool = make_pool();
  tarn::memory_resource resource(pool.get());
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<pool_vector<int>>> made(8);
  std::vector<std::unique_ptr<std::pmr::list<int>>> lists(8);
  for (std::size_t i = 0; i < made.size(); i++) {
    threads.emplace_back([&pool, &resource, slot = &made[i], list = &lists[i], i] {
      const int value = static_cast<int>(i);
      *slot = std::make_unique<pool_vector<int>>(1000 * (i + 1), value,
                                                 tarn::allocator<int>(pool.get()));
      *list = std::make_unique<std::pmr::list<int>>(200, value, &resource);
    });
  }
  for (std::thread &thread : threads) thread.join();
  threads.clear();
  for (std::size_t i = 0; i < made.size(); i++) {
    threads.emplace_back([slot = &made[i], list = &lists[(i + 3) % 8]] {
      slot->reset();
      list->reset();
    });
  }
  for (std::thread &thread : threads) thread.join();
  assert_int_equal(live_blocks(pool), 0);
}

TEST(a_copy_that_a_stream_still_makes_keeps_a_containers_memory) {
  tarn::pool pool = make_pool();
  tarn::stream stream;
  assert_ok(tarn_worker_stream_create(stream.put()));
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  std::vector<int> result(5000);
  for (int round = 0; round < 20; round++) {
    {
      const pool_vector<int> source(5000, round, tarn::allocator<int>(pool.get()));
      assert_ok(tarn_stream_copy(stream.get(), result.data(), cpu, source.data(), cpu,
                                 source.size() * sizeof(int)));
      assert_ok(tarn_pool_note_use(pool.get(), source.data(), stream.get()));
    }
    const pool_vector<int> overwriter(5000, -1, tarn::allocator<int>(pool.get()));
    assert_ok(tarn_stream_synchronize(stream.get()));
    for (const int value : result) assert_int_equal(value, round);
  }
}

/* --- refusals --- */

template <class Memory>
void refuse(tarn_pool *pool, tarn_status expected) {
  tarn_status status = TARN_OK;
  try {
    const Memory refused(pool);
  } catch (const tarn::error &failure) {
    status = failure.cause().status;
  }
  assert_int_equal(status, expected);
}

TEST(no_pool_and_a_devices_pool_are_refused) {
  refuse<tarn::memory_resource>(nullptr, TARN_INVALID_ARGUMENT);
  refuse<tarn::allocator<int>>(nullptr, TARN_INVALID_ARGUMENT);
  tarn::provider range;
  tarn::pool pool;
  tarn_fixed_options options{};
  options.struct_size = sizeof options;
  options.device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  assert_ok(tarn_fixed_provider_create(small_range, sizeof small_range, &options, range.put()));
  assert_ok(tarn_caching_pool_create(range.get(), nullptr, pool.put()));
  refuse<tarn::memory_resource>(pool.get(), TARN_NOT_SUPPORTED);
  refuse<tarn::allocator<int>>(pool.get(), TARN_NOT_SUPPORTED);
}

}  // namespace

int main() {
  return run_listed_tests(nullptr, nullptr);
}
