/* test_node_pool_fork.c: forks while eight threads use node pools, one of them over granules that
 * are larger than a page. */
#include "numa/tarn_numa.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc/tarn_pages.h"
#include "tests/support/child.h"

#define MIB ((size_t)1 << 20)

enum { THREADS = 8, FORKS = 40 };

static tarn_pool *pools[2];
static atomic_bool is_over;

static tarn_pool *make_pool(const tarn_pages_options *pages) {
  tarn_provider *provider = NULL;
  assert_ok(tarn_pages_provider_create(pages, &provider));
  const tarn_node_pool_options options = {.struct_size = sizeof options, .provider = provider};
  tarn_pool *pool = NULL;
  assert_ok(tarn_node_pool_create(NULL, &options, &pool));
  tarn_provider_release(provider);
  return pool;
}

/* The line that went wrong, or 0. */
static int use(tarn_pool *pool, size_t size_bytes) {
  void *blocks[8];
  for (int i = 0; i < 8; ++i) {
    CHECK(tarn_pool_alloc(pool, size_bytes, NULL, &blocks[i]) == TARN_OK);
    memset(blocks[i], i, 64);
  }
  for (int i = 0; i < 8; ++i) {
    CHECK(*(char *)blocks[i] == i);
    CHECK(tarn_pool_free(pool, blocks[i], NULL) == TARN_OK);
  }
  return 0;
}

static void *be_busy(void *argument) {
  uint64_t random = (uint64_t)(uintptr_t)argument;
  while (!atomic_load(&is_over)) {
    tarn_pool *pool = pools[test_random(&random) % 2];
    assert_int_equal(use(pool, 64 + test_random(&random) % (256 << 10)), 0);
    if (test_random(&random) % 2 == 0) assert_ok(tarn_pool_trim(pool, 0, NULL));
  }
  return NULL;
}

static int use_in_child(void) {
  alarm(20); /* a lock that nobody opens ends the child, and the test fails */
  for (int i = 0; i < 2; ++i) {
    for (size_t size_bytes = 64; size_bytes < 4 * MIB; size_bytes *= 4) {
      const int wrong = use(pools[i], size_bytes);
      if (wrong != 0) return wrong;
    }
    CHECK(tarn_pool_trim(pools[i], 0, NULL) == TARN_OK);
    CHECK(use(pools[i], MIB) == 0);
  }
  return 0;
}

TEST(children_use_what_eight_threads_were_using) {
  if (!CHILD_HAS_THREADS) skip(); /* jemalloc has more locks than the deadlock detector takes */
  pools[0] = make_pool(NULL);
  const tarn_pages_options large = {.struct_size = sizeof large, .granularity_bytes = 2 * MIB};
  pools[1] = make_pool(&large);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; ++i) {
    assert_int_equal(pthread_create(&threads[i], NULL, be_busy, (void *)(uintptr_t)(i + 1)), 0);
  }
  int fine_count = 0; /* asserted when the threads are gone */
  for (int i = 0; i < FORKS; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(use_in_child());
    const int code = exit_code_of(child);
    if (code != 0) print_message("child %d ended with %d\n", i, code);
    if (code != 0) break;
    ++fine_count;
  }
  atomic_store(&is_over, true);
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
  for (int i = 0; i < 2; ++i) tarn_pool_release(pools[i]);
  assert_int_equal(fine_count, FORKS);
}

static bool is_refused(tarn_status status) {
  return status == TARN_UNAVAILABLE && strstr(tarn_last_error()->message, "after a fork") != NULL;
}

static int find_refused(tarn_pool *pool, char *block) {
  alarm(20);
  void *other = NULL;
  CHECK(is_refused(tarn_pool_alloc(pool, 100, NULL, &other))); /* the quick path has one */
  CHECK(is_refused(tarn_pool_alloc(pool, MIB, NULL, &other)));
  CHECK(is_refused(tarn_pool_trim(pool, 0, NULL)));
  CHECK(is_refused(tarn_pool_decay(pool, 1, NULL)));
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  CHECK(tarn_pool_stats_of(pool, &stats) == TARN_OK);
  CHECK(is_refused(tarn_pool_alloc(pool, 100, NULL, &other)));
  CHECK(block[0] == 7);
  CHECK(tarn_pool_free(pool, block, NULL) == TARN_OK);
  tarn_pool_release(pool);
  return 0;
}

TEST(memory_of_the_parents_alone_is_refused_to_a_child) {
  if (!CHILD_HAS_THREADS) skip(); /* as above */
  const tarn_pages_options shared = {.struct_size = sizeof shared, .flags = TARN_PAGES_SHARED};
  tarn_pool *pool = make_pool(&shared);
  void *block = NULL;
  assert_ok(tarn_pool_alloc(pool, 100, NULL, &block));
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_ok(tarn_pool_alloc(pool, MIB, NULL, &block));
  memset(block, 7, MIB);
  const pid_t child = fork();
  if (child == 0) _exit(find_refused(pool, block));
  assert_int_equal(exit_code_of(child), 0);
  for (size_t i = 0; i < MIB; ++i) assert_int_equal(((char *)block)[i], 7);
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_int_equal(use(pool, MIB), 0);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
