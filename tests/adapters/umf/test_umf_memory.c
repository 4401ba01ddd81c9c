/* test_umf_memory.c: memory from one to the other: UMF's own pools over a tarn provider, tarn's
 * pool over UMF's own provider, and both between two processes, with the real libumf.
 *
 * usage: test_umf_memory PATH_OF_LIBUMF */
#include "tests/adapters/umf/umf_library.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"
#include "alloc/tarn_pool_provider.h"
#include "tests/support/pools.h"

extern char **environ;

static umf_library umf;
static const char *library_path;

static umf_provider make_below(tarn_provider *provider) {
  const tarn_umf_provider_params params = {.struct_size = sizeof params, .provider = provider};
  umf_provider below = NULL;
  assert_umf(umf.umfMemoryProviderCreate(tarn_umf_provider_ops(0), &params, &below));
  return below;
}

static void assert_given_back(const counting *memory) {
  assert_true(memory->is_destroyed);
  assert_int_equal(memory->lent_bytes, 0);
  assert_int_equal(memory->lent_count, 0);
  assert_int_equal(memory->refused_count, 0);
}

static umf_provider count_below(counting *memory) {
  tarn_provider *provider = counting_provider(memory);
  umf_provider below = make_below(provider);
  tarn_provider_release(provider);
  return below;
}

/* --- a tarn provider below UMF --- */

TEST(a_block_is_freed_whole_or_not_at_all) {
  counting memory = {0};
  umf_provider below = count_below(&memory);
  char *block = NULL;
  size_t page_bytes = 0;
  assert_umf(umf.umfMemoryProviderGetMinPageSize(below, NULL, &page_bytes));
  assert_int_equal(page_bytes, 4096);
  /* Half a page more than a page, aligned to much more than the provider's own. */
  assert_umf(umf.umfMemoryProviderAlloc(below, 6000, 256 << 10, (void **)&block));
  assert_int_equal((uintptr_t)block % (256 << 10), 0);
  memset(block, 1, 6000);
  uint64_t value = 0;
  assert_umf(umf.umfCtlGet("umf.provider.by_handle.{}.stats.allocated_memory", &value, sizeof value,
                           below));
  assert_int_equal(value, 6000);
  const size_t lent_bytes = memory.lent_bytes;
  assert_int_equal(umf.umfMemoryProviderFree(below, block + 4096, 4096),
                   TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(umf.umfMemoryProviderFree(below, block, 4096), TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(memory.lent_bytes, lent_bytes);
  const char *message = NULL;
  int32_t code = 0;
  assert_umf(umf.umfMemoryProviderGetLastNativeError(below, &message, &code));
  assert_non_null(strstr(message, "no block of 4096 bytes"));
  assert_umf(umf.umfMemoryProviderFree(below, block, 6000));
  assert_int_equal(umf.umfMemoryProviderFree(below, block, 6000), TARN__UMF_INVALID_ARGUMENT);
  assert_umf(umf.umfMemoryProviderAlloc(below, 100, 0, (void **)&block));
  assert_umf(umf.umfMemoryProviderFree(below, block, 0)); /* UMF's pools do not always know it */
  assert_umf(umf.umfMemoryProviderFree(below, NULL, 0));
  assert_int_equal(umf.umfMemoryProviderAlloc(below, 100, 12288, (void **)&block),
                   TARN__UMF_INVALID_ALIGNMENT);
  assert_int_equal(umf.umfMemoryProviderAlloc(below, 0, 0, (void **)&block),
                   TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(umf.umfMemoryProviderAlloc(below, SIZE_MAX - 10, 0, (void **)&block),
                   TARN__UMF_OUT_OF_HOST_MEMORY);
  assert_null(block);
  assert_umf(
      umf.umfCtlGet("umf.provider.by_handle.{}.stats.peak_memory", &value, sizeof value, below));
  assert_int_equal(value, 6000);
  assert_umf(umf.umfMemoryProviderDestroy(below));
  assert_given_back(&memory);
}

TEST(a_provider_that_is_destroyed_gives_back_what_is_out) {
  counting memory = {0};
  umf_provider below = count_below(&memory);
  for (size_t i = 1; i <= 200; i++) {
    void *block = NULL;
    assert_umf(umf.umfMemoryProviderAlloc(below, i * 100, 0, &block));
  }
  assert_umf(umf.umfMemoryProviderDestroy(below));
  assert_given_back(&memory);
}

TEST(out_of_memory_is_umfs_code_with_our_cause) {
  counting memory = {.limit_bytes = 1 << 20};
  umf_provider below = count_below(&memory);
  void *block = &block;
  assert_int_equal(umf.umfMemoryProviderAlloc(below, 2 << 20, 0, &block),
                   TARN__UMF_OUT_OF_HOST_MEMORY);
  assert_null(block);
  const char *message = NULL;
  int32_t code = 0;
  assert_umf(umf.umfMemoryProviderGetLastNativeError(below, &message, &code));
  assert_int_equal(code, 4711);
  assert_string_equal(message, "no 2097152 bytes");
  assert_umf(umf.umfMemoryProviderDestroy(below));
  assert_given_back(&memory);
}

static umf_pool make_disjoint(umf_provider below) {
  void *params = NULL;
  umf_pool pool = NULL;
  assert_umf(umf.umfDisjointPoolParamsCreate(&params));
  assert_umf(umf.umfPoolCreate(umf.umfDisjointPoolOps(), below, params, UMF_OWN_PROVIDER, &pool));
  assert_umf(umf.umfDisjointPoolParamsDestroy(params));
  return pool;
}

static void *use_pool(void *pool) {
  uint64_t seed = 0x9E3779B97F4A7C15u ^ (uintptr_t)&seed;
  uintptr_t spoilt_count = 0;
  for (int round = 0; round < 60; round++) {
    unsigned char *blocks[8];
    for (int i = 0; i < 8; i++) {
      const size_t size = 1 + test_random(&seed) % (i == 7 ? 3 << 20 : 8000);
      blocks[i] = umf.umfPoolMalloc(pool, size);
      if (blocks[i] == NULL) return (void *)(uintptr_t)1;
      blocks[i][size - 1] = blocks[i][0] = (unsigned char)i;
    }
    for (int i = 0; i < 8; i++) {
      spoilt_count += blocks[i][0] != i;
      spoilt_count += umf.umfPoolFree(pool, blocks[i]) != 0;
    }
  }
  return (void *)spoilt_count;
}

static void assert_threads_may_use(umf_pool pool) {
  pthread_t threads[4];
  void *spoilt = NULL;
  for (size_t i = 0; i < COUNT_OF(threads); i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, use_pool, pool), 0);
  }
  for (size_t i = 0; i < COUNT_OF(threads); i++) {
    pthread_join(threads[i], &spoilt);
    assert_null(spoilt);
  }
}

TEST(umfs_disjoint_pool_runs_over_a_tarn_provider) {
  counting memory = {0};
  umf_pool pool = make_disjoint(count_below(&memory));
  assert_threads_may_use(pool);
  assert_true(memory.lent_bytes > 0);
  assert_umf(umf.umfPoolDestroy(pool));
  assert_given_back(&memory);
}

TEST(umfs_proxy_pool_runs_over_a_tarn_provider) {
  counting memory = {0};
  umf_pool pool = NULL;
  assert_umf(umf.umfPoolCreate(umf.umfProxyPoolOps(), count_below(&memory), NULL, UMF_OWN_PROVIDER,
                               &pool));
  assert_threads_may_use(pool);
  assert_int_equal(memory.lent_count, 0);
  assert_umf(umf.umfPoolDestroy(pool));
  assert_given_back(&memory);
}

/* Of an over-aligned block UMF's disjoint pool may free what is none, where the slab is larger than
 * its least size: nothing but whole blocks reaches the provider, and none is lost in the end. */
TEST(what_umfs_pool_mistakes_for_a_block_is_left_alone) {
  for (size_t alignment = 64 << 10; alignment <= (size_t)1 << 20; alignment <<= 1) {
    counting memory = {.alignment_bytes = 4096};
    umf_pool pool = make_disjoint(count_below(&memory));
    void *blocks[16];
    for (size_t i = 0; i < 16; i++) {
      blocks[i] = umf.umfPoolAlignedMalloc(pool, 64, alignment);
      assert_non_null(blocks[i]);
    }
    for (size_t i = 0; i < 16; i++) {
      const umf_result result = umf.umfPoolFree(pool, blocks[i]);
      (void)result; /* it may have mistaken it */
    }
    const umf_result result = umf.umfPoolDestroy(pool);
    (void)result;
    assert_given_back(&memory);
  }
}

TEST(umfs_pool_runs_over_a_pool_of_tarns) {
  counting memory = {0};
  tarn_provider *provider = counting_provider(&memory);
  tarn_pool *base = NULL;
  tarn_provider *over = NULL;
  assert_ok(tarn_caching_pool_create(provider, NULL, &base));
  assert_ok(tarn_pool_provider_create(base, NULL, &over));
  tarn_provider_release(provider);
  umf_provider below = make_below(over);
  tarn_provider_release(over);
  size_t page_bytes = 0;
  assert_umf(umf.umfMemoryProviderGetMinPageSize(below, NULL, &page_bytes));
  assert_int_equal(page_bytes, 256); /* as its blocks are aligned, though it has 64 KiB each */
  umf_pool pool = make_disjoint(below);
  assert_threads_may_use(pool);
  assert_umf(umf.umfPoolDestroy(pool));
  tarn_pool_stats stats = stats_of(base);
  assert_int_equal(stats.allocated_bytes, 0);
  tarn_pool_release(base);
  assert_given_back(&memory);
}

/* --- a UMF provider below tarn --- */

static umf_provider make_os(uint32_t visibility) {
  void *params = NULL;
  umf_provider provider = NULL;
  assert_umf(umf.umfOsMemoryProviderParamsCreate(&params));
  assert_umf(umf.umfOsMemoryProviderParamsSetVisibility(params, visibility));
  assert_umf(umf.umfMemoryProviderCreate(umf.umfOsMemoryProviderOps(), params, &provider));
  assert_umf(umf.umfOsMemoryProviderParamsDestroy(params));
  return provider;
}

TEST(a_tarn_pool_runs_over_umfs_own_provider) {
  enum { BLOCKS = 64 };
  umf_provider os = make_os(/*UMF_MEM_MAP_PRIVATE*/ 1);
  tarn_provider *provider = NULL;
  assert_ok(tarn_umf_provider_create(os, NULL, &provider));
  assert_string_equal(tarn_provider_name(provider), "OS");
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  assert_int_equal(attributes->device.type, TARN_DEVICE_CPU);
  assert_int_equal(attributes->granularity_bytes, 64 << 10);
  assert_int_equal(attributes->alignment_bytes, 4096);
  assert_int_equal(attributes->flags, 0);
  tarn_pool *pool = pool_over(provider, NULL);
  unsigned char *blocks[BLOCKS];
  for (size_t i = 0; i < BLOCKS; i++) {
    assert_ok(tarn_pool_alloc(pool, 1 + i * 50000, NULL, (void **)&blocks[i]));
    memset(blocks[i], (int)i, 1 + i * 50000);
  }
  for (size_t i = 0; i < BLOCKS; i++) {
    assert_int_equal(blocks[i][i * 50000], i);
    assert_ok(tarn_pool_free(pool, blocks[i], NULL));
  }
  size_t released_bytes = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released_bytes));
  assert_true(released_bytes > (size_t)50000 * BLOCKS * BLOCKS / 2);
  /* UMF's answer is a code of its provider's: the pool takes it for what it is. */
  void *block = &block;
  assert_status(tarn_pool_alloc(pool, (size_t)1 << 46, NULL, &block), TARN_OUT_OF_MEMORY);
  assert_null(block);
  tarn_pool_release(pool);
  uint64_t left_bytes = 77;
  assert_umf(umf.umfCtlGet("umf.provider.by_handle.{}.stats.allocated_memory", &left_bytes,
                           sizeof left_bytes, os));
  assert_int_equal(left_bytes, 0);
  assert_umf(umf.umfMemoryProviderDestroy(os));
}

TEST(a_umf_pool_of_tarns_runs_over_umfs_own_provider) {
  for (uint32_t visibility = 1; visibility <= 2; visibility++) { /* private, shared */
    umf_provider os = make_os(visibility);
    umf_pool pool = NULL;
    assert_umf(umf.umfPoolCreate(tarn_umf_pool_ops(0), os, NULL, 0, &pool));
    assert_threads_may_use(pool);
    assert_non_null(umf.umfPoolMalloc(pool, 12345)); /* and never freed */
    assert_umf(umf.umfPoolDestroy(pool));
    uint64_t left_bytes = 77;
    assert_umf(umf.umfCtlGet("umf.provider.by_handle.{}.stats.allocated_memory", &left_bytes,
                             sizeof left_bytes, os));
    assert_int_equal(left_bytes, 0);
    assert_umf(umf.umfMemoryProviderDestroy(os));
  }
}

/* There and back: memory of tarn's, by way of UMF, to tarn again. */
TEST(an_owned_provider_ends_with_the_last_reference) {
  counting memory = {0};
  const tarn_umf_provider_options options = {.struct_size = sizeof options,
                                             .name = "round trip",
                                             .granularity_bytes = 1 << 20,
                                             .flags = TARN_UMF_OWN_PROVIDER};
  tarn_provider *provider = NULL;
  assert_ok(tarn_umf_provider_create(count_below(&memory), &options, &provider));
  assert_string_equal(tarn_provider_name(provider), "round trip");
  assert_int_equal(tarn_provider_attributes_of(provider)->granularity_bytes, 1 << 20);
  tarn_pool *pool = pool_over(provider, NULL);
  void *block = NULL;
  assert_ok(tarn_pool_alloc(pool, 100, NULL, &block));
  tarn_pool_release(pool);
  assert_false(memory.is_destroyed); /* the block keeps them all */
  memset(block, 1, 100);
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_given_back(&memory);
}

/* A child of fork would share it with its parent, and both would cut it up. */
TEST(memory_that_umf_shares_is_of_this_process_alone) {
  const tarn_pages_options shared = {.struct_size = sizeof shared, .flags = TARN_PAGES_SHARED};
  for (int is_shared = 0; is_shared < 2; is_shared++) {
    tarn_provider *pages = NULL;
    tarn_provider *provider = NULL;
    assert_ok(tarn_pages_provider_create(is_shared ? &shared : NULL, &pages));
    umf_provider below = make_below(pages);
    assert_ok(tarn_umf_provider_create(below, NULL, &provider));
    assert_int_equal(tarn_provider_attributes_of(provider)->flags,
                     is_shared ? TARN_PROVIDER_OF_PROCESS : 0);
    tarn_provider_release(provider);
    tarn_provider_release(pages);
    assert_umf(umf.umfMemoryProviderDestroy(below));
  }
}

/* --- two processes --- */

enum { SHARED_BYTES = 300000 };

typedef struct sharer {
  umf_pool pool;
  void *handler;
} sharer;

static bool open_sharer(sharer *self) {
  const tarn_pages_options options = {.struct_size = sizeof options, .flags = TARN_PAGES_SHARED};
  tarn_umf_provider_params params = {.struct_size = sizeof params};
  umf_provider below = NULL;
  bool is_open =
      tarn_pages_provider_create(&options, &params.provider) == TARN_OK &&
      umf.umfMemoryProviderCreate(tarn_umf_provider_ops(0), &params, &below) == 0 &&
      umf.umfPoolCreate(tarn_umf_pool_ops(0), below, NULL, UMF_OWN_PROVIDER, &self->pool) == 0 &&
      umf.umfPoolGetIPCHandler(self->pool, &self->handler) == 0;
  tarn_provider_release(params.provider);
  return is_open;
}

static bool is_full_of(const unsigned char *bytes, int value) {
  for (size_t i = 0; i < SHARED_BYTES; i++) {
    if (bytes[i] != value) return false;
  }
  return true;
}

/* The other process: reads a handle, sees the first bytes behind it, writes the second. */
static int import(void) {
  sharer self;
  char handle[512];
  void *block = NULL;
  if (!open_sharer(&self)) return 2;
  const ssize_t size = read(0, handle, sizeof handle);
  if (size <= 0) return 3;
  int code = umf.umfOpenIPCHandle(self.handler, handle, &block) == 0 ? 0 : 4;
  if (code == 0 && !is_full_of(block, 1)) code = 5;
  if (code == 0) memset(block, 2, SHARED_BYTES);
  if (code == 0 && umf.umfCloseIPCHandle(block) != 0) code = 6;
  return umf.umfPoolDestroy(self.pool) == 0 ? code : 7;
}

static int run_importer(const void *handle, size_t size) {
  int ends[2];
  posix_spawn_file_actions_t actions;
  pid_t child = 0;
  int how = 0;
  char name[] = "importer", role[] = "import";
  char *arguments[] = {name, (char *)(uintptr_t)library_path, role, NULL};
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  assert_int_equal(write(ends[1], handle, size), size);
  close(ends[1]);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
  assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[0]);
  assert_int_equal(waitpid(child, &how, 0), child);
  return WIFEXITED(how) ? WEXITSTATUS(how) : 1000 + WTERMSIG(how);
}

TEST(two_processes_have_the_same_bytes) {
  sharer self;
  assert_true(open_sharer(&self));
  unsigned char *before = umf.umfPoolMalloc(self.pool, 1000);
  unsigned char *block = umf.umfPoolMalloc(self.pool, SHARED_BYTES);
  void *handle = NULL;
  size_t size = 0;
  memset(before, 9, 1000);
  memset(block, 1, SHARED_BYTES);
  assert_umf(umf.umfPoolGetIPCHandleSize(self.pool, &size));
  assert_umf(umf.umfGetIPCHandle(block, &handle, &size));
  assert_true(size <= 512);
  assert_int_equal(run_importer(handle, size), 0);
  assert_true(is_full_of(block, 2)); /* nobody copied anything */
  assert_int_equal(before[999], 9);
  assert_umf(umf.umfPutIPCHandle(handle));
  assert_umf(umf.umfPoolFree(self.pool, block));
  assert_umf(umf.umfPoolFree(self.pool, before));
  assert_umf(umf.umfPoolDestroy(self.pool));
}

TEST(a_handle_of_memory_that_is_gone_opens_nothing) {
  sharer self;
  char copy[512];
  void *handle = NULL;
  size_t size = 0;
  assert_true(open_sharer(&self));
  void *block = umf.umfPoolMalloc(self.pool, SHARED_BYTES);
  assert_umf(umf.umfGetIPCHandle(block, &handle, &size));
  memcpy(copy, handle, size);
  assert_umf(umf.umfPutIPCHandle(handle));
  assert_umf(umf.umfPoolDestroy(self.pool)); /* with the block out */
  assert_int_equal(run_importer(copy, size), 4);
}

int main(int argc, char **argv) {
  library_path = argc > 1 ? argv[1] : "libumf.so.1";
  const int lacking = umf_library_need(library_path, &umf);
  if (lacking != 0) return lacking;
  if (argc > 2) return import();
  return run_listed_tests(NULL, NULL);
}
