/* test_umf_ops.c: the tables of operations by themselves: what the real library never does, and
 * what the CPU alone has no memory for. */
#include "alloc/adapters/umf/umf_upstream.h"
#include "tests/adapters/umf/fake_umf.h"
#include "tests/adapters/umf/umf_library.h"
#include "tests/support/pools.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/adapters/umf/umf_share.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "tests/support/open_cuda.h"

static const tarn__umf_pool_ops *pool_ops(void) {
  return (const tarn__umf_pool_ops *)tarn_umf_pool_ops(0);
}

/* --- a provider of UMF's that misbehaves --- */

static size_t page_answer; /* 0: it does not know */
static const char *name_answer = "TEST";
static tarn__umf_result alloc_answer;
static void *block_answer;
static size_t last_alignment;
static int freed_count;

static tarn__umf_result odd_initialize(const void *params, void **provider) {
  (void)params;
  *provider = NULL;
  page_answer = 4096;
  name_answer = "TEST";
  alloc_answer = TARN__UMF_SUCCESS;
  freed_count = 0;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result odd_finalize(void *provider) {
  (void)provider;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result odd_alloc(void *provider, size_t size, size_t alignment, void **address) {
  (void)provider, (void)size;
  last_alignment = alignment;
  *address = block_answer;
  return alloc_answer;
}

static tarn__umf_result odd_free(void *provider, void *address, size_t size) {
  (void)provider, (void)address, (void)size;
  freed_count++;
  return TARN__UMF_INVALID_ARGUMENT;
}

static tarn__umf_result odd_error(void *provider, const char **message, int32_t *code) {
  (void)provider;
  *message = "the moon is full";
  *code = 1001;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result odd_page(void *provider, const void *address, size_t *page) {
  (void)provider, (void)address;
  *page = page_answer;
  return page_answer == 0 ? TARN__UMF_NOT_SUPPORTED : TARN__UMF_SUCCESS;
}

static tarn__umf_result odd_name(void *provider, const char **name) {
  (void)provider;
  *name = name_answer;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result odd_ipc_size(void *provider, size_t *size) {
  (void)provider, (void)size;
  return TARN__UMF_NOT_SUPPORTED;
}

static struct umf_memory_provider_t *make_odd(void) {
  const tarn__umf_provider_ops ops = {.version = TARN__UMF_VERSION(1, 2),
                                      .initialize = odd_initialize,
                                      .finalize = odd_finalize,
                                      .alloc = odd_alloc,
                                      .free = odd_free,
                                      .get_last_native_error = odd_error,
                                      .get_min_page_size = odd_page,
                                      .get_name = odd_name,
                                      .ext_get_ipc_handle_size = odd_ipc_size};
  struct umf_memory_provider_t *handle =
      fake_umf_create((const struct umf_memory_provider_ops_t *)&ops, NULL);
  assert_non_null(handle);
  return handle;
}

static const tarn_umf_provider_options with_fake = {
    .struct_size = sizeof(tarn_umf_provider_options), .find = fake_umf_find};

TEST(what_a_provider_lacks_is_refused_or_made_up_for) {
  struct umf_memory_provider_t *handle = make_odd();
  tarn_provider *provider = NULL;
  tarn_umf_provider_options options = with_fake;
  page_answer = 0;
  assert_ok(tarn_umf_provider_create(handle, &options, &provider));
  assert_int_equal(tarn_provider_attributes_of(provider)->alignment_bytes, 256);
  assert_string_equal(tarn_provider_name(provider), "TEST");
  tarn_provider_release(provider);
  page_answer = (size_t)2 << 20; /* larger than what is asked for by default */
  assert_ok(tarn_umf_provider_create(handle, &options, &provider));
  assert_int_equal(tarn_provider_attributes_of(provider)->granularity_bytes, 2 << 20);
  assert_int_equal(tarn_provider_attributes_of(provider)->alignment_bytes, 4096);
  tarn_provider_release(provider);
  page_answer = 12288;
  assert_status(tarn_umf_provider_create(handle, &options, &provider), TARN_INVALID_ARGUMENT);
  assert_null(provider);
  page_answer = 4096;
  name_answer = "CUDA"; /* its memory is taken for the CPU's by nobody */
  assert_status(tarn_umf_provider_create(handle, &options, &provider), TARN_INVALID_ARGUMENT);
  options.device = tarn_device_make(TARN_DEVICE_CUDA, 3);
  assert_ok(tarn_umf_provider_create(handle, &options, &provider));
  assert_int_equal(tarn_provider_attributes_of(provider)->device.index, 3);
  void *address = NULL;
  block_answer = (void *)(uintptr_t)0x10100; /* as cuMemAlloc aligns, whatever page UMF tells */
  assert_ok(tarn_provider_alloc(provider, 65536, &address));
  tarn_provider_release(provider);
  options = with_fake;
  options.find_context = (void *)(uintptr_t) "umfMemoryProviderFree";
  assert_status(tarn_umf_provider_create(handle, &options, &provider), TARN_UNAVAILABLE);
  assert_non_null(strstr(tarn_last_error()->message, "umfMemoryProviderFree"));
  options = with_fake;
  options.flags = 2;
  assert_status(tarn_umf_provider_create(handle, &options, &provider), TARN_INVALID_ARGUMENT);
  options = with_fake;
  options.granularity_bytes = 3 << 12;
  assert_status(tarn_umf_provider_create(handle, &options, &provider), TARN_INVALID_ARGUMENT);
  options.struct_size--;
  assert_status(tarn_umf_provider_create(handle, &options, &provider), TARN_INVALID_ARGUMENT);
  assert_status(tarn_umf_provider_create(handle, &with_fake, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_umf_provider_create(NULL, &with_fake, &provider), TARN_INVALID_ARGUMENT);
  fake_umf_destroy(handle);
}

TEST(a_provider_that_gives_nothing_or_the_wrong_thing_is_told_of) {
  struct umf_memory_provider_t *handle = make_odd();
  tarn_provider *provider = NULL;
  void *address = NULL;
  assert_ok(tarn_umf_provider_create(handle, &with_fake, &provider));
  alloc_answer = TARN__UMF_MEMORY_PROVIDER_SPECIFIC;
  assert_status(tarn_provider_alloc(provider, 65536, &address), TARN_OUT_OF_MEMORY);
  assert_int_equal(last_alignment, 4096); /* never above a page: shared memory goes wrong there */
  assert_int_equal(tarn_last_error()->native_code, 1001);
  assert_non_null(strstr(tarn_last_error()->message, "the moon is full"));
  alloc_answer = TARN__UMF_OUT_OF_HOST_MEMORY;
  assert_status(tarn_provider_alloc(provider, 65536, &address), TARN_OUT_OF_MEMORY);
  alloc_answer = TARN__UMF_NOT_SUPPORTED;
  assert_status(tarn_provider_alloc(provider, 65536, &address), TARN_NOT_SUPPORTED);
  alloc_answer = TARN__UMF_DEPENDENCY_UNAVAILABLE;
  assert_status(tarn_provider_alloc(provider, 65536, &address), TARN_UNAVAILABLE);
  alloc_answer = TARN__UMF_INVALID_ALIGNMENT;
  assert_status(tarn_provider_alloc(provider, 65536, &address), TARN_INVALID_ARGUMENT);
  alloc_answer = TARN__UMF_SUCCESS; /* and nothing with it */
  block_answer = NULL;
  assert_status(tarn_provider_alloc(provider, 65536, &address), TARN_OUT_OF_MEMORY);
  block_answer = (void *)(uintptr_t)0x10100;
  assert_status(tarn_provider_alloc(provider, 65536, &address), TARN_SYSTEM_ERROR);
  assert_non_null(strstr(tarn_last_error()->message, "not aligned"));
  assert_int_equal(freed_count, 1);
  assert_null(address);
  tarn_provider_release(provider);
  fake_umf_destroy(handle);
}

TEST(what_is_abandoned_goes_back_once) {
  struct umf_memory_provider_t *handle = make_odd();
  tarn_umf_provider_options options = with_fake;
  options.device = tarn_device_make(TARN_DEVICE_CUDA, 0); /* there is no memory at the address */
  tarn_provider *provider = NULL;
  void *address = NULL;
  assert_ok(tarn_umf_provider_create(handle, &options, &provider));
  block_answer = (void *)(uintptr_t)0x10000;
  const int freed_before = freed_count;
  assert_status(tarn_provider_free(provider, block_answer, 65536), TARN_NOT_FOUND);
  assert_int_equal(freed_count, freed_before); /* UMF is not asked to free what it did not give */
  assert_ok(tarn_provider_alloc(provider, 65536, &address));
  tarn__umf_upstream_abandon(provider);
  assert_int_equal(freed_count, freed_before + 1);
  assert_ok(tarn_provider_free(provider, address, 65536)); /* as a pool would that stayed */
  assert_int_equal(freed_count, freed_before + 1);
  last_alignment = 0;
  assert_status(tarn_provider_alloc(provider, 65536, &address), TARN_UNAVAILABLE);
  assert_int_equal(last_alignment, 0); /* UMF was not asked */
  tarn_provider_release(provider);
  fake_umf_destroy(handle);
}

/* A provider of tarn's whose every call fails in the machine. */
static tarn_status broken_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = attributes->alignment_bytes = 4096;
  return TARN_OK;
}
static tarn_status broken_alloc(void *context, size_t size_bytes, void **address) {
  (void)context, (void)size_bytes, (void)address;
  return tarn_fail_native(TARN_DEVICE_ERROR, "broken", 700, "the moon is full");
}
static tarn_status broken_release(void *context, void *address, size_t size_bytes) {
  (void)context, (void)address, (void)size_bytes;
  return TARN_OK;
}

/* The thread's last error is where the message is read, and where the next one is written. */
TEST(tarns_own_message_comes_through_umf) {
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = "broken",
                                 .attributes = broken_attributes,
                                 .alloc = broken_alloc,
                                 .release = broken_release};
  tarn_provider *broken = NULL;
  tarn_provider *detour = NULL;
  void *address = NULL;
  assert_ok(tarn_provider_create(&ops, NULL, &broken));
  assert_ok(fake_umf_detour(broken, &detour));
  assert_status(tarn_provider_alloc(detour, 65536, &address), TARN_OUT_OF_MEMORY);
  assert_string_equal(tarn_last_error()->message,
                      "UMF answers 2 for 65536 bytes: the moon is full");
  assert_int_equal(tarn_last_error()->native_code, 700);
  tarn_provider_release(detour);
  tarn_provider_release(broken);
}

TEST(without_umf_in_the_process_its_functions_are_missed) {
  struct umf_memory_provider_t *handle = make_odd();
  tarn_provider *provider = NULL;
  assert_status(tarn_umf_provider_create(handle, NULL, &provider), TARN_UNAVAILABLE);
  void *pool = NULL;
  assert_int_equal(pool_ops()->initialize(handle, NULL, &pool), TARN__UMF_DEPENDENCY_UNAVAILABLE);
  fake_umf_destroy(handle);
}

/* --- memory that the CPU does not touch --- */

/* calloc and realloc by the stream, in its order. */
TEST(a_gpus_blocks_are_zeroed_and_moved_by_the_stream) {
  enum { SIZE = 100000 };
  tarn_cuda *cuda = NULL;
  const tarn_status there = test_open_cuda(&cuda);
  if (there == TARN_UNAVAILABLE || there == TARN_NOT_SUPPORTED) skip();
  assert_ok(there);
  tarn_provider *provider = NULL;
  tarn_umf_pool_params params = {.struct_size = sizeof params};
  assert_ok(tarn_cuda_device_provider_create(cuda, 0, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &params.pool));
  assert_ok(tarn_cuda_stream_create(cuda, 0, &params.stream));
  const tarn_umf_provider_params memory = {.struct_size = sizeof memory, .provider = provider};
  struct umf_memory_provider_t *below = fake_umf_create(tarn_umf_provider_ops(0), &memory);
  uint32_t type = 0;
  assert_int_equal(below->ops.ext_get_allocation_properties(below->provider, NULL,
                                                            TARN__UMF_PROPERTY_POINTER_TYPE, &type),
                   TARN__UMF_SUCCESS);
  assert_int_equal(type, TARN__UMF_MEMORY_DEVICE);

  const tarn__umf_pool_ops *ops = pool_ops();
  const tarn_device device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  static unsigned char bytes[2 * SIZE];
  void *pool = NULL;
  assert_int_equal(ops->initialize(below, &params, &pool), TARN__UMF_SUCCESS);
  void *block = ops->malloc(pool, SIZE);
  assert_ok(tarn_stream_fill(params.stream, block, device, 5, SIZE));
  assert_int_equal(ops->free(pool, block), TARN__UMF_SUCCESS);
  block = ops->calloc(pool, SIZE / 10, 10);
  assert_non_null(block);
  block = ops->realloc(pool, block, 2 * SIZE);
  assert_non_null(block);
  memset(bytes, 9, sizeof bytes);
  assert_ok(tarn_stream_copy(params.stream, bytes, tarn_device_make(TARN_DEVICE_CPU, 0), block,
                             device, SIZE));
  assert_ok(tarn_stream_synchronize(params.stream));
  for (size_t i = 0; i < SIZE; i++) assert_int_equal(bytes[i], 0);
  size_t usable = 0;
  assert_int_equal(ops->malloc_usable_size(pool, block, &usable), TARN__UMF_SUCCESS);
  assert_int_equal(usable, 2 * SIZE);
  assert_int_equal(ops->free(pool, block), TARN__UMF_SUCCESS);
  assert_int_equal(ops->finalize(pool), TARN__UMF_SUCCESS);

  /* In nobody's order it can be lent, and no more. */
  tarn_umf_pool_params unordered = {.struct_size = sizeof unordered, .pool = params.pool};
  assert_int_equal(ops->initialize(below, &unordered, &pool), TARN__UMF_SUCCESS);
  block = ops->malloc(pool, SIZE);
  assert_non_null(block);
  assert_null(ops->calloc(pool, 1, SIZE));
  assert_int_not_equal(ops->get_last_allocation_error(pool), TARN__UMF_SUCCESS);
  assert_null(ops->realloc(pool, block, 2 * SIZE));
  assert_ptr_equal(ops->realloc(pool, block, 10), block);
  assert_int_equal(ops->free(pool, block), TARN__UMF_SUCCESS);
  assert_int_equal(ops->finalize(pool), TARN__UMF_SUCCESS);
  tarn_pool_stats stats = stats_of(params.pool);
  assert_int_equal(stats.allocated_bytes, 0);
  fake_umf_destroy(below);
  tarn_stream_release(params.stream);
  tarn_pool_release(params.pool);
  tarn_provider_release(provider);
  tarn_cuda_release(cuda);
}

static void pass(void *argument) {
  *(bool *)argument = true;
}

/* A stream of the host's own thread: what is lent belongs to its order. */
TEST(a_streams_blocks_wait_for_it) {
  tarn_provider *pages = NULL;
  tarn_umf_pool_params params = {.struct_size = sizeof params};
  bool has_passed = false;
  void *pool = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &pages));
  assert_ok(tarn_caching_pool_create(pages, NULL, &params.pool));
  assert_ok(tarn_worker_stream_create(&params.stream));
  assert_int_equal(pool_ops()->initialize(NULL, &params, &pool), TARN__UMF_SUCCESS);
  unsigned char *zeroes = pool_ops()->calloc(pool, 1, 1 << 20);
  assert_ok(tarn_stream_call(params.stream, pass, &has_passed));
  assert_ok(tarn_stream_synchronize(params.stream));
  assert_true(has_passed);
  assert_int_equal(zeroes[0] | zeroes[(1 << 20) - 1], 0);
  assert_int_equal(pool_ops()->free(pool, zeroes), TARN__UMF_SUCCESS);
  assert_int_equal(pool_ops()->finalize(pool), TARN__UMF_SUCCESS);
  tarn_stream_release(params.stream);
  tarn_pool_release(params.pool);
  tarn_provider_release(pages);
}

enum { THREADS = 4, ROUNDS = 400, SLOTS = 16 };

typedef struct shared_pool {
  void *pool;
  struct umf_memory_provider_t *below;
  _Atomic(unsigned char *) slots[SLOTS]; /* whoever finds a block frees it */
  _Atomic unsigned spoilt_count;
} shared_pool;

static void *swap_blocks(void *argument) {
  const tarn__umf_pool_ops *ops = pool_ops();
  shared_pool *shared = argument;
  uint64_t seed = 0x9E3779B97F4A7C15u ^ (uintptr_t)&seed;
  for (int round = 0; round < ROUNDS; round++) {
    const size_t size = 1 + test_random(&seed) % (round % 20 == 0 ? 1 << 20 : 4000);
    unsigned char *block = ops->malloc(shared->pool, size);
    void *page = NULL;
    tarn__umf_result spoilt = shared->below->ops.alloc(shared->below->provider, size, 0, &page);
    if (spoilt == 0) spoilt = shared->below->ops.free(shared->below->provider, page, size);
    if (block != NULL) {
      block[0] = 1;
      block = atomic_exchange(&shared->slots[test_random(&seed) % SLOTS], block);
      if (block != NULL) spoilt |= block[0] != 1;
      if (block != NULL && round % 3 == 0) block = ops->realloc(shared->pool, block, 5000);
      if (block != NULL) spoilt |= ops->free(shared->pool, block);
    }
    if (spoilt != 0) atomic_fetch_add(&shared->spoilt_count, 1);
  }
  return NULL;
}

TEST(threads_share_a_pool_and_a_provider) {
  counting counts = {0};
  const tarn_umf_pool_params params = {.struct_size = sizeof params, .memory = &with_fake};
  tarn_umf_provider_params memory = {.struct_size = sizeof memory,
                                     .provider = counting_provider(&counts)};
  shared_pool shared = {.below = fake_umf_create(tarn_umf_provider_ops(0), &memory)};
  tarn_provider_release(memory.provider);
  assert_int_equal(pool_ops()->initialize(shared.below, &params, &shared.pool), TARN__UMF_SUCCESS);
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, swap_blocks, &shared), 0);
  }
  for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(shared.spoilt_count, 0);
  assert_non_null(pool_ops()->malloc(shared.pool, 100)); /* and never freed */
  assert_int_equal(pool_ops()->finalize(shared.pool), TARN__UMF_SUCCESS);
  assert_int_equal(counts.lent_bytes, 0);
  assert_int_equal(fake_umf_destroy(shared.below), TARN__UMF_SUCCESS);
  assert_true(counts.is_destroyed);
}

TEST(what_is_refused_changes_nothing) {
  counting counts = {0};
  const tarn_umf_pool_params params = {.struct_size = sizeof params, .memory = &with_fake};
  const tarn_umf_provider_params memory = {.struct_size = sizeof memory,
                                           .provider = counting_provider(&counts)};
  struct umf_memory_provider_t *below = fake_umf_create(tarn_umf_provider_ops(0), &memory);
  tarn_provider_release(memory.provider);
  void *block = NULL;
  assert_int_equal(below->ops.alloc(below->provider, 6000, 0, &block), TARN__UMF_SUCCESS);
  assert_int_equal(below->ops.free(below->provider, block, 4096), TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(counts.lent_count, 1);
  assert_int_equal(below->ops.free(below->provider, block, 6000), TARN__UMF_SUCCESS);
  assert_int_equal(counts.lent_count, 0);

  void *pool = NULL;
  assert_int_equal(pool_ops()->initialize(below, &params, &pool), TARN__UMF_SUCCESS);
  unsigned char *kept = pool_ops()->malloc(pool, 100);
  memset(kept, 8, 100);
  assert_null(pool_ops()->realloc(pool, kept, SIZE_MAX));
  assert_int_equal(pool_ops()->get_last_allocation_error(pool), TARN__UMF_OUT_OF_HOST_MEMORY);
  assert_int_equal(kept[99], 8);
  assert_int_equal(pool_ops()->free(pool, kept), TARN__UMF_SUCCESS);
  assert_int_equal(pool_ops()->finalize(pool), TARN__UMF_SUCCESS);
  fake_umf_destroy(below);
}

/* --- what UMF asks of both without an object, or with half an answer's room --- */

TEST(default_names_and_missing_outputs) {
  const tarn__umf_pool_ops *pool = pool_ops();
  const tarn__umf_provider_ops *provider = (const tarn__umf_provider_ops *)tarn_umf_provider_ops(0);
  const char *name = NULL;
  assert_int_equal(pool->get_name(NULL, &name), TARN__UMF_SUCCESS);
  assert_string_equal(name, "tarn");
  assert_int_equal(provider->get_name(NULL, &name), TARN__UMF_SUCCESS);
  assert_string_equal(name, "tarn");
  assert_int_equal(pool->get_name(NULL, NULL), TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(provider->get_name(NULL, NULL), TARN__UMF_INVALID_ARGUMENT);
  struct umf_memory_provider_t *none = fake_umf_create(tarn_umf_provider_ops(0), NULL);
  size_t size = 0;
  assert_int_equal(provider->get_min_page_size(none->provider, NULL, &size),
                   TARN__UMF_NOT_SUPPORTED);
  assert_int_equal(provider->get_recommended_page_size(none->provider, 1, &size),
                   TARN__UMF_NOT_SUPPORTED);
  assert_int_equal(provider->ext_get_ipc_handle_size(none->provider, &size),
                   TARN__UMF_NOT_SUPPORTED);
  fake_umf_destroy(none);
}

/* --- handles between processes --- */

TEST(a_handle_opens_the_memory_it_was_made_of_and_nothing_else) {
  const tarn_pages_options options = {.struct_size = sizeof options, .flags = TARN_PAGES_SHARED};
  tarn_umf_provider_params params = {.struct_size = sizeof params};
  assert_ok(tarn_pages_provider_create(&options, &params.provider));
  struct umf_memory_provider_t *below = fake_umf_create(tarn_umf_provider_ops(0), &params);
  tarn_provider_release(params.provider);
  const tarn__umf_provider_ops *ops = &below->ops;
  void *self = below->provider;
  size_t size = 0;
  unsigned char *block = NULL, *seen = NULL;
  tarn__umf_handle handle, wrong;
  assert_int_equal(ops->ext_get_ipc_handle_size(self, &size), TARN__UMF_SUCCESS);
  assert_int_equal(size, sizeof handle);
  assert_int_equal(ops->alloc(self, 70000, 0, (void **)&block), TARN__UMF_SUCCESS);
  block[69999] = 4;
  assert_int_equal(ops->ext_get_ipc_handle(self, block + 1, 10, &handle),
                   TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(ops->ext_get_ipc_handle(self, block, 70000, &handle), TARN__UMF_SUCCESS);
  assert_int_equal(ops->ext_open_ipc_handle(self, &handle, (void **)&seen), TARN__UMF_SUCCESS);
  assert_true(seen != block && seen[69999] == 4);
  seen[0] = 6;
  assert_int_equal(block[0], 6);
  assert_int_equal(ops->ext_close_ipc_handle(self, seen + 1, 70000), TARN__UMF_INVALID_ARGUMENT);
  assert_int_equal(ops->ext_close_ipc_handle(self, seen, 70000), TARN__UMF_SUCCESS);
  assert_int_equal(ops->ext_close_ipc_handle(self, seen, 70000), TARN__UMF_INVALID_ARGUMENT);

  wrong = handle;
  wrong.kind++;
  assert_int_equal(ops->ext_open_ipc_handle(self, &wrong, (void **)&seen),
                   TARN__UMF_INVALID_ARGUMENT);
  wrong = handle;
  wrong.file_node++; /* another file has the descriptor's number now */
  assert_int_equal(ops->ext_open_ipc_handle(self, &wrong, (void **)&seen),
                   TARN__UMF_INVALID_ARGUMENT);
  wrong = handle;
  wrong.size_bytes = (uint64_t)1 << 62; /* behind the file's end an access would be a SIGBUS */
  assert_int_equal(ops->ext_open_ipc_handle(self, &wrong, (void **)&seen),
                   TARN__UMF_INVALID_ARGUMENT);
  wrong.size_bytes = UINT64_MAX - wrong.offset_bytes + 1;
  assert_int_equal(ops->ext_open_ipc_handle(self, &wrong, (void **)&seen),
                   TARN__UMF_INVALID_ARGUMENT);
  wrong = handle;
  wrong.descriptor = 99999;
  assert_int_equal(ops->ext_open_ipc_handle(self, &wrong, (void **)&seen),
                   TARN__UMF_MEMORY_PROVIDER_SPECIFIC);
  assert_null(seen);

  assert_int_equal(ops->ext_put_ipc_handle(self, &handle), TARN__UMF_SUCCESS);
  assert_int_equal(ops->ext_put_ipc_handle(self, &handle), TARN__UMF_INVALID_ARGUMENT);
  /* What nobody put back, closed or freed goes with the provider. */
  assert_int_equal(ops->ext_get_ipc_handle(self, block, 70000, &handle), TARN__UMF_SUCCESS);
  assert_int_equal(ops->ext_open_ipc_handle(self, &handle, (void **)&seen), TARN__UMF_SUCCESS);
  assert_int_equal(fake_umf_destroy(below), TARN__UMF_SUCCESS);
  assert_int_equal(close(handle.descriptor), -1);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
