/* test_cxx_bare.cpp: what the header still is without exceptions and without RTTI. */
#include <csignal>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "tests/adapters/cxx/cxx_fixture.hpp"

#if defined(__cpp_exceptions) || defined(__cpp_rtti)
#error "this test is about programs without them"
#endif

namespace {

TEST(containers_and_handles_work) {
  tarn::pool pool = make_pool();
  {
    tarn::memory_resource resource(pool.get());
    std::pmr::vector<std::pmr::string> words(&resource);
    for (int i = 0; i < 100; i++) words.emplace_back(100, 'x');
    std::vector<int, tarn::allocator<int>> numbers(1000, tarn::allocator<int>(pool.get()));
    assert_int_equal(words.size(), 100);
    assert_true(live_blocks(pool) > 100);
  }
  assert_int_equal(live_blocks(pool), 0);
}

TEST(a_resource_equals_itself_alone) {
  tarn::pool pool = make_pool();
  tarn::memory_resource a(pool.get());
  tarn::memory_resource b(pool.get());
  assert_true(a == a);
  assert_false(a == b);
}

TEST(no_memory_for_a_container_ends_the_program) {
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    tarn::pool pool = make_small_pool();
    signal(SIGABRT, SIG_DFL);
    std::vector<char, tarn::allocator<char>> bytes(tarn::allocator<char>(pool.get()));
    bytes.resize(sizeof small_range + 1);
    _exit(0);
  }
  int how = 0;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFSIGNALED(how));
  assert_int_equal(WTERMSIG(how), SIGABRT);
}

}  // namespace

int main() {
  return run_listed_tests(nullptr, nullptr);
}
