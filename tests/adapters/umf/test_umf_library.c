/* test_umf_library.c: the real libumf over tarn's pools: what its users call, and when they stop.
 *
 * usage: test_umf_library PATH_OF_LIBUMF */
#include "tests/adapters/umf/umf_library.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/pools.h"

static umf_library umf;
static const char *library_path;

/* What is under test: a UMF pool of tarn's over a UMF provider of tarn's that counts. */
typedef struct stack {
  counting memory;
  umf_provider below;
  umf_pool pool;
} stack;

static void open_stack(stack *self, size_t limit_bytes, const tarn_umf_pool_params *params) {
  *self = (stack){.memory = {.limit_bytes = limit_bytes}};
  tarn_umf_provider_params memory = {.struct_size = sizeof memory,
                                     .provider = counting_provider(&self->memory)};
  assert_umf(umf.umfMemoryProviderCreate(tarn_umf_provider_ops(0), &memory, &self->below));
  tarn_provider_release(memory.provider);
  assert_umf(
      umf.umfPoolCreate(tarn_umf_pool_ops(0), self->below, params, UMF_OWN_PROVIDER, &self->pool));
}

/* Nothing is left below, and nothing was asked of it that it had not given. */
static void close_stack(stack *self) {
  assert_umf(umf.umfPoolDestroy(self->pool));
  assert_true(self->memory.is_destroyed);
  assert_int_equal(self->memory.lent_bytes, 0);
  assert_int_equal(self->memory.lent_count, 0);
  assert_int_equal(self->memory.refused_count, 0);
}

static uint64_t told(umf_pool pool, const char *what) {
  char path[96];
  uint64_t value = 0;
  snprintf(path, sizeof path, "umf.pool.by_handle.{}.stats.%s", what);
  assert_umf(umf.umfCtlGet(path, &value, sizeof value, pool));
  return value;
}

static bool is_full_of(const void *address, int value, size_t size) {
  const unsigned char *bytes = address;
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] != value) return false;
  }
  return true;
}

/* --- what a block is --- */

TEST(blocks_come_and_go_without_a_size) {
  stack self;
  open_stack(&self, 0, NULL);
  static const size_t sizes[] = {1, 8, 100, 4095, 65536, 3 << 20};
  void *blocks[COUNT_OF(sizes)];
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    blocks[i] = umf.umfPoolMalloc(self.pool, sizes[i]);
    assert_non_null(blocks[i]);
    assert_int_equal((uintptr_t)blocks[i] % 16, 0);
    memset(blocks[i], (int)i + 1, sizes[i]);
    size_t usable = 0;
    assert_umf(umf.umfPoolMallocUsableSize(self.pool, blocks[i], &usable));
    assert_int_equal(usable, sizes[i]);
  }
  assert_int_equal(told(self.pool, "alloc_count"), COUNT_OF(sizes));
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    assert_true(is_full_of(blocks[i], (int)i + 1, sizes[i]));
    /* By the pool, or by whoever UMF finds it belongs to. */
    assert_umf(i % 2 == 0 ? umf.umfPoolFree(self.pool, blocks[i]) : umf.umfFree(blocks[i]));
  }
  errno = 0;
  assert_umf(umf.umfPoolFree(self.pool, NULL));
  assert_int_equal(errno, 0);
  int stranger = 0;
  assert_int_equal(umf.umfPoolFree(self.pool, &stranger), TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(umf.umfPoolFree(self.pool, blocks[5]), TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(told(self.pool, "used_memory"), 0);
  close_stack(&self);
}

TEST(alignments_are_what_was_asked_for) {
  stack self;
  open_stack(&self, 0, NULL);
  for (size_t alignment = 1; alignment <= (size_t)4 << 20; alignment <<= 1) {
    void *blocks[4];
    for (size_t i = 0; i < 4; i++) {
      blocks[i] = umf.umfPoolAlignedMalloc(self.pool, i % 2 == 0 ? 1 : alignment, alignment);
      assert_non_null(blocks[i]);
      assert_int_equal((uintptr_t)blocks[i] % alignment, 0);
      memset(blocks[i], 7, i % 2 == 0 ? 1 : alignment);
    }
    for (size_t i = 0; i < 4; i++) assert_umf(umf.umfPoolFree(self.pool, blocks[i]));
  }
  assert_null(umf.umfPoolAlignedMalloc(self.pool, 10, 24));
  assert_int_equal(umf.umfPoolGetLastAllocationError(self.pool), TARN__UMF_INVALID_ALIGNMENT);
  close_stack(&self);
}

TEST(calloc_zeroes_and_realloc_keeps_what_was_there) {
  stack self;
  open_stack(&self, 0, NULL);
  unsigned char *dirty = umf.umfPoolMalloc(self.pool, 5000);
  memset(dirty, 0xEE, 5000);
  assert_umf(umf.umfPoolFree(self.pool, dirty));
  unsigned char *zeroes = umf.umfPoolCalloc(self.pool, 50, 100);
  assert_non_null(zeroes);
  assert_true(is_full_of(zeroes, 0, 5000));
  assert_null(umf.umfPoolCalloc(self.pool, SIZE_MAX / 2 + 1, 2));
  assert_int_equal(umf.umfPoolGetLastAllocationError(self.pool), TARN__UMF_OUT_OF_HOST_MEMORY);

  memset(zeroes, 3, 5000);
  unsigned char *more = umf.umfPoolRealloc(self.pool, zeroes, 3 << 20);
  assert_non_null(more);
  assert_true(is_full_of(more, 3, 5000));
  assert_ptr_equal(umf.umfPoolRealloc(self.pool, more, 100), more);
  assert_null(umf.umfPoolRealloc(self.pool, more, SIZE_MAX));
  assert_true(is_full_of(more, 3, 5000)); /* what could not be moved is still there */
  int stranger = 0;
  assert_null(umf.umfPoolRealloc(self.pool, &stranger, 100));
  assert_int_equal(umf.umfPoolGetLastAllocationError(self.pool), TARN__UMF_INVALID_ARGUMENT);
  assert_null(umf.umfPoolRealloc(self.pool, more, 0));
  assert_int_equal(umf.umfPoolGetLastAllocationError(self.pool), TARN__UMF_SUCCESS);
  void *first = umf.umfPoolRealloc(self.pool, NULL, 10);
  assert_non_null(first);
  assert_umf(umf.umfPoolFree(self.pool, first));
  assert_null(umf.umfPoolMalloc(self.pool, 0));
  assert_int_equal(umf.umfPoolGetLastAllocationError(self.pool), TARN__UMF_SUCCESS);
  assert_int_equal(told(self.pool, "alloc_count"), 0);
  close_stack(&self);
}

/* --- what it tells --- */

TEST(umf_finds_the_pool_of_any_address) {
  enum { POOLS = 16, BLOCKS = 8 };
  stack stacks[POOLS];
  void *blocks[POOLS][BLOCKS];
  for (size_t i = 0; i < POOLS; i++) {
    open_stack(&stacks[i], 0, NULL);
    for (size_t j = 0; j < BLOCKS; j++) {
      blocks[i][j] = umf.umfPoolMalloc(stacks[i].pool, (size_t)8 << j);
      assert_non_null(blocks[i][j]);
    }
  }
  for (size_t i = 0; i < POOLS; i++) {
    for (size_t j = 0; j < BLOCKS; j++) {
      umf_pool found = NULL;
      assert_umf(umf.umfPoolByPtr((char *)blocks[i][j] + ((size_t)8 << j) - 1, &found));
      assert_ptr_equal(found, stacks[i].pool);
      assert_umf(umf.umfFree(blocks[i][j]));
    }
    assert_int_equal(told(stacks[i].pool, "free_count"), BLOCKS);
  }
  for (size_t i = 0; i < POOLS; i++) close_stack(&stacks[i]);
}

TEST(names_are_of_letters_that_umf_takes) {
  stack self;
  const tarn_umf_pool_params params = {.struct_size = sizeof params, .name = "my pool: 0"};
  const char *name = NULL;
  open_stack(&self, 0, &params);
  assert_umf(umf.umfPoolGetName(self.pool, &name));
  assert_string_equal(name, "my_pool__0");
  assert_umf(umf.umfMemoryProviderGetName(self.below, &name));
  assert_string_equal(name, "counting_memory");
  uint64_t count = 7;
  assert_umf(umf.umfCtlGet("umf.pool.by_name.my_pool__0.stats.used_memory", &count, sizeof count));
  assert_int_equal(count, 0);
  close_stack(&self);
}

TEST(a_trim_gives_all_that_is_idle_back) {
  stack self;
  open_stack(&self, 0, NULL);
  void *block = umf.umfPoolMalloc(self.pool, 1024);
  assert_non_null(block);
  assert_true(told(self.pool, "reserved_memory") > 0);
  assert_int_equal(told(self.pool, "requested_bytes"), 1024);
  assert_umf(umf.umfPoolFree(self.pool, block));
  assert_int_equal(told(self.pool, "requested_bytes_peak"), 1024);
  assert_umf(umf.umfCtlExec("umf.pool.by_handle.{}.stats.reset_peaks", NULL, 0, self.pool));
  assert_int_equal(told(self.pool, "requested_bytes_peak"), 0);
  assert_umf(umf.umfPoolTrimMemory(self.pool, (size_t)1 << 40));
  assert_true(told(self.pool, "reserved_memory") > 0);
  assert_umf(umf.umfPoolTrimMemory(self.pool, 0));
  assert_int_equal(told(self.pool, "reserved_memory"), 0);
  assert_int_equal(self.memory.lent_bytes, 0);
  uint64_t value = 0;
  assert_int_equal(
      umf.umfCtlGet("umf.pool.by_handle.{}.stats.none", &value, sizeof value, self.pool),
      TARN__UMF_INVALID_CTL_PATH);
  close_stack(&self);
}

/* A success would be a lie to whoever asked for all of it. */
TEST(a_trim_that_keeps_a_floor_is_no_success) {
  stack self;
  const tarn_caching_options caching = {.struct_size = sizeof caching, .floor_bytes = 1 << 20};
  const tarn_umf_pool_params params = {.struct_size = sizeof params, .caching = &caching};
  open_stack(&self, 0, &params);
  assert_umf(umf.umfPoolFree(self.pool, umf.umfPoolMalloc(self.pool, 2 << 20)));
  assert_int_equal(umf.umfPoolTrimMemory(self.pool, 0), TARN__UMF_NOT_SUPPORTED);
  close_stack(&self);
}

/* --- when there is no memory --- */

TEST(out_of_memory_is_umfs_code_and_the_pool_goes_on) {
  enum { SIZE = 64 << 10, BLOCKS_MAX = 1000 };
  stack self;
  open_stack(&self, (size_t)16 << 20, NULL);
  void *blocks[BLOCKS_MAX];
  size_t count = 0;
  while (count < BLOCKS_MAX && (blocks[count] = umf.umfPoolMalloc(self.pool, SIZE)) != NULL) {
    memset(blocks[count++], 1, SIZE);
  }
  assert_in_range(count, 100, 256);
  assert_int_equal(umf.umfPoolGetLastAllocationError(self.pool), TARN__UMF_OUT_OF_HOST_MEMORY);
  assert_null(umf.umfPoolCalloc(self.pool, 1, SIZE));
  assert_null(umf.umfPoolRealloc(self.pool, blocks[0], 2 * SIZE));
  assert_true(is_full_of(blocks[0], 1, SIZE));
  for (int i = 0; i < 10; i++) assert_umf(umf.umfPoolFree(self.pool, blocks[--count]));
  for (int i = 0; i < 10; i++) {
    blocks[count] = umf.umfPoolMalloc(self.pool, SIZE);
    assert_non_null(blocks[count++]);
  }
  while (count > 0) assert_umf(umf.umfPoolFree(self.pool, blocks[--count]));
  close_stack(&self);
}

static void *fail_here(void *argument) {
  umf_pool pool = argument;
  const bool is_right = umf.umfPoolMalloc(pool, SIZE_MAX) == NULL &&
                        umf.umfPoolGetLastAllocationError(pool) == TARN__UMF_OUT_OF_HOST_MEMORY;
  return is_right ? argument : NULL;
}

TEST(the_last_error_is_the_threads) {
  stack self;
  open_stack(&self, 0, NULL);
  assert_null(umf.umfPoolAlignedMalloc(self.pool, 10, 24));
  pthread_t thread;
  void *answer = NULL;
  assert_int_equal(pthread_create(&thread, NULL, fail_here, self.pool), 0);
  pthread_join(thread, &answer);
  assert_ptr_equal(answer, self.pool);
  assert_int_equal(umf.umfPoolGetLastAllocationError(self.pool), TARN__UMF_INVALID_ALIGNMENT);
  close_stack(&self);
}

/* --- threads --- */

enum { THREADS = 5, ROUNDS = 2000, SLOTS = 64 };

typedef struct exchange {
  umf_pool pool;
  _Atomic(unsigned char *) slots[SLOTS]; /* whoever finds a block frees it */
  _Atomic unsigned spoilt_count;
} exchange;

static void *swap_blocks(void *argument) {
  exchange *shared = argument;
  uint64_t seed = 0x9E3779B97F4A7C15u ^ (uintptr_t)&seed;
  for (int round = 0; round < ROUNDS; round++) {
    const size_t size = 2 + test_random(&seed) % (round % 50 == 0 ? 1 << 20 : 4000);
    unsigned char *block = round % 3 == 0 ? umf.umfPoolAlignedMalloc(shared->pool, size, 4096)
                                          : umf.umfPoolMalloc(shared->pool, size);
    if (block == NULL) {
      atomic_fetch_add(&shared->spoilt_count, 1);
      continue;
    }
    block[0] = block[size - 1] = (unsigned char)size;
    unsigned char *found = atomic_exchange(&shared->slots[test_random(&seed) % SLOTS], block);
    if (found == NULL) continue;
    size_t usable = 0;
    umf_result result = umf.umfPoolMallocUsableSize(shared->pool, found, &usable);
    if (result != 0 || found[0] != (unsigned char)usable || found[usable - 1] != found[0]) {
      atomic_fetch_add(&shared->spoilt_count, 1);
    }
    result = round % 2 == 0 ? umf.umfFree(found) : umf.umfPoolFree(shared->pool, found);
    if (result != 0) atomic_fetch_add(&shared->spoilt_count, 1);
  }
  return NULL;
}

TEST(blocks_are_freed_on_other_threads) {
  stack self;
  open_stack(&self, 0, NULL);
  exchange shared = {.pool = self.pool};
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, swap_blocks, &shared), 0);
  }
  for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (size_t i = 0; i < SLOTS; i++) {
    if (shared.slots[i] != NULL) assert_umf(umf.umfFree(shared.slots[i]));
  }
  assert_int_equal(shared.spoilt_count, 0);
  assert_int_equal(told(self.pool, "alloc_count"), 0);
  assert_int_equal(told(self.pool, "used_memory"), 0);
  close_stack(&self);
}

/* --- ends --- */

TEST(a_pool_that_is_destroyed_with_blocks_out_gives_all_of_it_back) {
  stack self;
  open_stack(&self, 0, NULL);
  for (size_t i = 0; i < 100; i++) assert_non_null(umf.umfPoolMalloc(self.pool, i * 1000 + 1));
  close_stack(&self);
}

TEST(what_initialize_refuses_leaves_nothing) {
  counting memory = {0};
  umf_provider below = NULL;
  umf_pool pool = NULL;
  tarn_umf_provider_params params = {.struct_size = 1, .provider = counting_provider(&memory)};
  assert_int_equal(umf.umfMemoryProviderCreate(tarn_umf_provider_ops(0), &params, &below),
                   TARN__UMF_INVALID_ARGUMENT);
  params.struct_size = sizeof params;
  assert_umf(umf.umfMemoryProviderCreate(tarn_umf_provider_ops(0), &params, &below));
  tarn_provider_release(params.provider);
  tarn_umf_pool_params wrong = {.struct_size = 1};
  assert_int_equal(umf.umfPoolCreate(tarn_umf_pool_ops(0), below, &wrong, 0, &pool),
                   TARN__UMF_INVALID_ARGUMENT);
  const tarn_umf_provider_options owner = {.struct_size = sizeof owner,
                                           .flags = TARN_UMF_OWN_PROVIDER};
  wrong = (tarn_umf_pool_params){.struct_size = sizeof wrong, .memory = &owner};
  assert_int_equal(umf.umfPoolCreate(tarn_umf_pool_ops(0), below, &wrong, 0, &pool),
                   TARN__UMF_INVALID_ARGUMENT);
  assert_false(memory.is_destroyed);
  assert_umf(umf.umfMemoryProviderDestroy(below));
  assert_true(memory.is_destroyed);
}

/* Its memory is not UMF's, so UMF asks for a provider that has none. */
TEST(a_pool_that_was_there_before_is_used_as_it_is) {
  counting memory = {0};
  tarn_provider *provider = counting_provider(&memory);
  tarn_umf_pool_params params = {.struct_size = sizeof params};
  assert_ok(tarn_caching_pool_create(provider, NULL, &params.pool));
  tarn_pool *mine = params.pool;
  umf_provider nothing = NULL;
  umf_pool pool = NULL;
  assert_umf(umf.umfMemoryProviderCreate(tarn_umf_provider_ops(0), NULL, &nothing));
  assert_umf(umf.umfPoolCreate(tarn_umf_pool_ops(0), nothing, &params, UMF_OWN_PROVIDER, &pool));
  void *address = &address;
  assert_int_equal(umf.umfMemoryProviderAlloc(nothing, 4096, 0, &address), TARN__UMF_NOT_SUPPORTED);

  /* Both handles stay good, and each frees what the other lent. */
  unsigned char *theirs = umf.umfPoolMalloc(pool, 3000);
  void *ours = NULL;
  assert_non_null(theirs);
  assert_ok(tarn_pool_alloc(mine, 100, NULL, &ours));
  assert_ok(tarn_pool_free(mine, theirs, NULL));
  assert_umf(umf.umfPoolFree(pool, ours));
  unsigned char *left = umf.umfPoolMalloc(pool, 5000);
  assert_int_equal(umf.umfPoolByPtr(left, &(umf_pool){NULL}), TARN__UMF_INVALID_ARGUMENT);
  memset(left, 5, 5000);

  tarn_provider_release(provider);
  tarn_pool_retain(mine);
  tarn_pool_release(mine);
  assert_umf(umf.umfPoolDestroy(pool));
  assert_true(is_full_of(left, 5, 5000)); /* the pool is ours */
  assert_ok(tarn_pool_free(mine, left, NULL));
  tarn_pool_release(mine);
  assert_true(memory.is_destroyed);
  assert_int_equal(memory.lent_bytes, 0);
}

TEST(handles_that_were_released_before_are_kept_by_umf) {
  counting memory = {0};
  tarn_provider *provider = counting_provider(&memory);
  tarn_umf_pool_params params = {.struct_size = sizeof params};
  params.pool = pool_over(provider, NULL);
  umf_provider nothing = NULL;
  umf_pool pool = NULL;
  assert_umf(umf.umfMemoryProviderCreate(tarn_umf_provider_ops(0), NULL, &nothing));
  assert_umf(umf.umfPoolCreate(tarn_umf_pool_ops(0), nothing, &params, 0, &pool));
  tarn_pool_release(params.pool);
  void *block = umf.umfPoolMalloc(pool, 100);
  assert_non_null(block);
  assert_umf(umf.umfPoolFree(pool, block));
  assert_umf(umf.umfPoolDestroy(pool));
  assert_true(memory.is_destroyed);
  assert_umf(umf.umfMemoryProviderDestroy(nothing));
}

/* An older UMF reads less of the tables, and a newer one what such a user gives it. */
TEST(tables_of_older_versions_work_as_well) {
  for (uint32_t minor = 0; minor <= 2; minor++) {
    counting memory = {0};
    const tarn_umf_provider_params params = {.struct_size = sizeof params,
                                             .provider = counting_provider(&memory)};
    umf_provider below = NULL;
    umf_pool pool = NULL;
    const uint32_t version = TARN__UMF_VERSION(1, minor);
    assert_umf(umf.umfMemoryProviderCreate(tarn_umf_provider_ops(version), &params, &below));
    tarn_provider_release(params.provider);
    assert_umf(umf.umfPoolCreate(tarn_umf_pool_ops(version), below, NULL, 0, &pool));
    void *block = umf.umfPoolMalloc(pool, 100);
    assert_non_null(block);
    assert_umf(umf.umfFree(block));
    assert_int_equal(umf.umfPoolTrimMemory(pool, 0),
                     minor == 0 ? TARN__UMF_NOT_SUPPORTED : TARN__UMF_SUCCESS);
    size_t line_bytes = 0;
    assert_umf(umf.umfMemoryProviderGetCacheLineSize(below, &line_bytes));
    assert_true(tarn_is_power_of_two(line_bytes));
    assert_umf(umf.umfPoolDestroy(pool));
    assert_umf(umf.umfMemoryProviderDestroy(below));
    assert_true(memory.is_destroyed);
    assert_int_equal(memory.lent_bytes, 0);
  }
}

TEST(a_pool_works_without_umfs_tracking) {
  counting memory = {0};
  const tarn_umf_provider_params params = {.struct_size = sizeof params,
                                           .provider = counting_provider(&memory)};
  umf_provider below = NULL;
  umf_pool pool = NULL;
  assert_umf(umf.umfMemoryProviderCreate(tarn_umf_provider_ops(0), &params, &below));
  tarn_provider_release(params.provider);
  assert_umf(umf.umfPoolCreate(tarn_umf_pool_ops(0), below, NULL, UMF_NO_TRACKING, &pool));
  void *small = umf.umfPoolMalloc(pool, 100);
  void *large = umf.umfPoolMalloc(pool, (size_t)9 << 20);
  assert_true(small != NULL && large != NULL);
  assert_umf(umf.umfPoolFree(pool, small));
  assert_umf(umf.umfPoolFree(pool, large));
  assert_umf(umf.umfPoolDestroy(pool));
  assert_int_equal(memory.lent_bytes, 0);
  assert_umf(umf.umfMemoryProviderDestroy(below));
}

/* The process goes with everything alive: in another one, which says how it ended. */
TEST(a_process_may_end_with_everything_alive) {
  char command[512];
  snprintf(command, sizeof command, "ASAN_OPTIONS=detect_leaks=0 exec /proc/%d/exe %s leave",
           (int)getpid(), library_path);
  assert_int_equal(system(command), 0);
}

static int leave(void) {
  static stack self;
  static exchange shared;
  open_stack(&self, 0, NULL);
  shared.pool = self.pool;
  pthread_t thread;
  if (pthread_create(&thread, NULL, swap_blocks, &shared) != 0) return 1;
  pthread_join(thread, NULL);
  return umf.umfPoolMalloc(self.pool, 1000) != NULL ? 0 : 1;
}

int main(int argc, char **argv) {
  library_path = argc > 1 ? argv[1] : "libumf.so.1";
  const int lacking = umf_library_need(library_path, &umf);
  if (lacking != 0) return lacking;
  if (argc > 2) return leave();
  return run_listed_tests(NULL, NULL);
}
