/* test_ort_allocator.c: the allocator for ONNX Runtime against a stand-in for the runtime. */
#include "tests/support/pools.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "cuda/tarn_cuda.h"
#include "tests/adapters/ort/ort_stand_in.h"
#include "tests/support/manual_stream.h"
#include "tests/support/open_cuda.h"

static struct {
  tarn_pool *pool;
  tarn_ort *ort;
} self;

static int set_up(void **state) {
  (void)state;
  stand_in_begin();
  self.pool = pages_pool(NULL);
  assert_ok(tarn_ort_open(stand_in_base(), &self.ort));
  return 0;
}

/* Nothing is left, here or in the runtime. */
static int tear_down(void **state) {
  (void)state;
  assert_int_equal(live_blocks(self.pool), 0);
  tarn_ort_release(self.ort);
  tarn_pool_release(self.pool);
  assert_int_equal(stand_in.live_objects, 0);
  return 0;
}

static struct OrtAllocator *make_allocator(tarn_ort *ort, tarn_pool *pool, tarn_stream *stream,
                                           uint32_t flags) {
  const tarn_ort_allocator_options options = {
      .struct_size = sizeof options, .stream = stream, .flags = flags};
  struct OrtAllocator *allocator = NULL;
  assert_ok(tarn_ort_allocator_create(ort, pool, &options, &allocator));
  return allocator;
}

static const ort_abi_allocator *members_of(struct OrtAllocator *allocator) {
  return (const void *)allocator;
}
static void *take(struct OrtAllocator *allocator, size_t size_bytes) {
  return members_of(allocator)->Alloc(allocator, size_bytes);
}
static void give(struct OrtAllocator *allocator, void *address) {
  members_of(allocator)->Free(allocator, address);
}

/* --- versions --- */

static tarn_status open_version(const char *version, tarn_ort **ort) {
  stand_in.version = version;
  return tarn_ort_open(stand_in_base(), ort);
}

TEST_WITH(runtime_of_an_unknown_or_old_version_is_refused, set_up, tear_down) {
  static const char *const versions[] = {"1.13.1", "2.0.0", "1.", "", "one", NULL};
  for (size_t index = 0; index < COUNT_OF(versions); index++) {
    tarn_ort *ort = self.ort;
    assert_status(open_version(versions[index], &ort), TARN_NOT_SUPPORTED);
    assert_null(ort);
  }
}

TEST_WITH(newer_runtime_is_asked_for_the_newest_version_that_is_known, set_up, tear_down) {
  assert_int_equal(tarn_ort_api_version(self.ort), ORT_ABI_NEWEST);
  assert_int_equal(stand_in.asked_version, ORT_ABI_NEWEST);
}

TEST_WITH(allocator_has_the_members_of_the_version_and_no_more, set_up, tear_down) {
  static const struct {
    const char *text;
    uint32_t version;
    bool has_reserve, has_streams, has_shrink;
  } rows[] = {{"1.14.0", 14, false, false, false},
              {"1.18.2", 18, true, false, false},
              {"1.23.0", 23, true, true, false},
              {"1.25.0", 25, true, true, true}};
  for (size_t index = 0; index < COUNT_OF(rows); index++) {
    tarn_ort *ort = NULL;
    assert_ok(open_version(rows[index].text, &ort));
    struct OrtAllocator *allocator = make_allocator(ort, self.pool, NULL, 0);
    const ort_abi_allocator *const members = members_of(allocator);
    assert_int_equal(members->version, rows[index].version);
    assert_int_equal(members->Reserve != NULL, rows[index].has_reserve);
    assert_int_equal(members->GetStats != NULL, rows[index].has_streams);
    assert_int_equal(members->AllocOnStream != NULL, rows[index].has_streams);
    assert_int_equal(members->Shrink != NULL, rows[index].has_shrink);
    tarn_ort_allocator_release(allocator);
    tarn_ort_release(ort);
  }
}

/* --- the allocator --- */

static void *free_elsewhere(void *argument) {
  void **const both = argument;
  give(both[0], both[1]);
  return NULL;
}

TEST_WITH(blocks_come_from_the_pool_and_return_on_any_thread, set_up, tear_down) {
  struct OrtAllocator *allocator = make_allocator(self.ort, self.pool, NULL, 0);
  void *both[] = {allocator, take(allocator, 1000)};
  void *const reserved = members_of(allocator)->Reserve(allocator, 5000);
  assert_int_equal(live_blocks(self.pool), 2);
  assert_int_equal((uintptr_t)both[1] % 64, 0);
  memset(both[1], 1, 1000);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, free_elsewhere, both), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  give(allocator, reserved);
  give(allocator, NULL);
  assert_null(take(allocator, 0));
  assert_int_equal(live_blocks(self.pool), 0);
  tarn_ort_allocator_release(allocator);
}

TEST_WITH(allocator_keeps_its_pool_and_its_table, set_up, tear_down) {
  struct OrtAllocator *allocator = make_allocator(self.ort, self.pool, NULL, 0);
  tarn_pool_release(self.pool);
  tarn_ort_retain(self.ort);
  tarn_ort_release(self.ort);
  tarn_ort_release(self.ort);
  tarn_ort_allocator_retain(allocator);
  tarn_ort_allocator_release(allocator);
  give(allocator, take(allocator, 100));
  tarn_ort_allocator_release(allocator);
  assert_int_equal(stand_in.live_objects, 0);
  assert_int_equal(set_up(state), 0);
}

/* A pool of little alignment that remembers what it was asked for. */
static size_t asked_alignment;

static tarn_status weak_attributes(void *context, tarn_pool_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->alignment_bytes = 16;
  attributes->node = -1;
  return TARN_OK;
}
static tarn_status weak_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                              tarn_stream *stream, void **address) {
  (void)size_bytes;
  (void)stream;
  asked_alignment = alignment_bytes;
  *address = context;
  return context != NULL ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "nothing there");
}
static tarn_status weak_free(void *context, void *address, tarn_stream *stream) {
  (void)context;
  (void)address;
  (void)stream;
  return TARN_OK;
}
static tarn_status weak_note_use(void *context, void *address, tarn_stream *stream) {
  return weak_free(context, address, stream);
}
static tarn_status weak_stats(void *context, tarn_pool_stats *stats) {
  (void)context;
  (void)stats;
  return tarn_fail(TARN_NOT_SUPPORTED, "nobody counts");
}

static tarn_pool *make_weak_pool(void *block) {
  static const tarn_pool_ops ops = {.struct_size = sizeof ops,
                                    .name = "weak",
                                    .attributes = weak_attributes,
                                    .alloc = weak_alloc,
                                    .free = weak_free,
                                    .note_use = weak_note_use,
                                    .stats = weak_stats};
  tarn_pool *pool = NULL;
  assert_ok(tarn_pool_create(&ops, block, &pool));
  return pool;
}

TEST_WITH(pool_of_little_alignment_is_asked_for_the_runtimes, set_up, tear_down) {
  static _Alignas(64) char block[64];
  tarn_pool *pool = make_weak_pool(block);
  struct OrtAllocator *allocator = make_allocator(self.ort, pool, NULL, 0);
  give(allocator, take(allocator, 64));
  assert_int_equal(asked_alignment, 64);
  tarn_ort_allocator_release(allocator);
  tarn_pool_release(pool);
}

TEST_WITH(failure_answers_null_and_statuses, set_up, tear_down) {
  tarn_pool *pool = make_weak_pool(NULL);
  struct OrtAllocator *allocator = make_allocator(self.ort, pool, NULL, TARN_ORT_NULL);
  assert_null(take(allocator, 64));
  assert_string_equal(tarn_last_error()->message, "nothing there");
  struct OrtKeyValuePairs *pairs = NULL;
  struct OrtStatus *refusal = members_of(allocator)->GetStats(allocator, &pairs);
  assert_non_null(refusal);
  assert_null(pairs);
  assert_int_equal(refusal->code, ORT_ABI_NOT_IMPLEMENTED);
  assert_string_equal(refusal->message, "nobody counts");
  free(refusal);
  stand_in.live_objects--;
  tarn_ort_allocator_release(allocator);
  tarn_pool_release(pool);
}

static const char *figure(const struct OrtKeyValuePairs *pairs, const char *key) {
  for (int index = 0; index < pairs->count; index++) {
    if (strcmp(pairs->keys[index], key) == 0) return pairs->values[index];
  }
  return NULL;
}

TEST_WITH(statistics_are_the_pools_and_shrinking_trims_it, set_up, tear_down) {
  struct OrtAllocator *allocator = make_allocator(self.ort, self.pool, NULL, 0);
  give(allocator, members_of(allocator)->Reserve(allocator, 100000));
  tarn_pool_stats stats = stats_of(self.pool);
  assert_true(stats.reserved_bytes > 0);
  struct OrtKeyValuePairs *pairs = NULL;
  assert_null(members_of(allocator)->GetStats(allocator, &pairs));
  assert_string_equal(figure(pairs, "InUse"), "0");
  assert_string_equal(figure(pairs, "NumAllocs"), "1");
  assert_string_equal(figure(pairs, "NumReserves"), "1");
  assert_int_equal(strtoull(figure(pairs, "TotalAllocated"), NULL, 10), stats.reserved_bytes);
  assert_int_equal(strtoull(figure(pairs, "MaxInUse"), NULL, 10), stats.allocated_bytes_peak);
  free(pairs);
  stand_in.live_objects--;
  assert_null(members_of(allocator)->Shrink(allocator));
  assert_ok(tarn_pool_stats_of(self.pool, &stats));
  assert_int_equal(stats.reserved_bytes, 0);
  tarn_ort_allocator_release(allocator);
}

TEST_WITH(wrong_options_are_refused, set_up, tear_down) {
  tarn_ort_allocator_options options = {.struct_size = 1};
  struct OrtAllocator *allocator = NULL;
  assert_status(tarn_ort_allocator_create(self.ort, self.pool, &options, &allocator),
                TARN_INVALID_ARGUMENT);
  options = (tarn_ort_allocator_options){.struct_size = sizeof options, .flags = TARN_ORT_INPUT};
  assert_status(tarn_ort_allocator_create(self.ort, self.pool, &options, &allocator),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_ort_allocator_create(self.ort, NULL, NULL, &allocator), TARN_INVALID_ARGUMENT);
  stand_in.fail_in = 1;
  assert_status(tarn_ort_allocator_create(self.ort, self.pool, NULL, &allocator),
                TARN_SYSTEM_ERROR);
  assert_string_equal(tarn_last_error()->native_call, "CreateMemoryInfo");
  assert_null(allocator);
}

/* --- registration --- */

TEST_WITH(registration_holds_the_allocator, set_up, tear_down) {
  struct OrtEnv *env = NULL;
  assert_ok(tarn_ort_env_acquire(self.ort, &env));
  struct OrtAllocator *allocator = make_allocator(self.ort, self.pool, NULL, 0);
  assert_ok(tarn_ort_register(self.ort, env, allocator));
  tarn_ort_allocator_release(allocator);
  assert_ptr_equal(env->allocator, allocator);
  give(allocator, take(allocator, 100));
  assert_ok(tarn_ort_unregister(self.ort, env, allocator));
  assert_null(env->allocator);
  tarn_ort_env_release(self.ort, env);
}

TEST_WITH(refused_registration_changes_nothing, set_up, tear_down) {
  struct OrtAllocator *allocator = make_allocator(self.ort, self.pool, NULL, 0);
  stand_in.fail_in = 1;
  assert_status(tarn_ort_register(self.ort, &stand_in.env, allocator), TARN_SYSTEM_ERROR);
  assert_status(tarn_ort_unregister(self.ort, &stand_in.env, allocator), TARN_INVALID_ARGUMENT);
  assert_string_equal(tarn_last_error()->native_call, "UnregisterAllocator");
  tarn_ort *other = NULL;
  assert_ok(tarn_ort_open(stand_in_base(), &other));
  assert_status(tarn_ort_register(other, &stand_in.env, allocator), TARN_INVALID_ARGUMENT);
  tarn_ort_release(other);
  tarn_ort_allocator_release(allocator); /* the only reference left: tear_down counts */
}

/* --- streams and devices --- */

TEST_WITH(freed_block_waits_for_the_stream, set_up, tear_down) {
  tarn_stream *stream = NULL;
  assert_ok(manual_stream_create(&stream));
  struct OrtAllocator *allocator = make_allocator(self.ort, self.pool, stream, 0);
  static char bytes[8];
  void *const first = take(allocator, 1000);
  assert_ok(tarn_stream_fill(stream, bytes, tarn_device_make(TARN_DEVICE_CPU, 0), 0, 8));
  give(allocator, first);
  void *const second = take(allocator, 1000);
  assert_ptr_not_equal(first, second);
  give(allocator, second);
  manual_stream_advance(stream, 100);
  tarn_ort_allocator_release(allocator);
  tarn_stream_release(stream);
}

typedef struct device_scene {
  tarn_cuda *cuda;
  tarn_stream *stream;
  tarn_pool *device;
  tarn_pool *pinned;
} device_scene;

static bool begin_device(device_scene *scene) {
  *scene = (device_scene){NULL};
  if (test_open_cuda(&scene->cuda) != TARN_OK) return false;
  tarn_provider *provider = NULL;
  assert_ok(tarn_cuda_stream_create(scene->cuda, 0, &scene->stream));
  assert_ok(tarn_cuda_device_provider_create(scene->cuda, 0, &provider));
  scene->device = pool_over(provider, NULL);
  assert_ok(tarn_cuda_pinned_provider_create(scene->cuda, NULL, &provider));
  scene->pinned = pool_over(provider, NULL);
  return true;
}

static void end_device(device_scene *scene) {
  assert_int_equal(live_blocks(scene->device), 0);
  assert_int_equal(live_blocks(scene->pinned), 0);
  tarn_pool_release(scene->device);
  tarn_pool_release(scene->pinned);
  tarn_stream_release(scene->stream);
  tarn_cuda_release(scene->cuda);
}

TEST_WITH(device_memory_follows_the_stream_it_was_made_for, set_up, tear_down) {
  device_scene scene;
  if (!begin_device(&scene)) skip();
  struct OrtAllocator *allocator = NULL;
  assert_status(tarn_ort_allocator_create(self.ort, scene.device, NULL, &allocator),
                TARN_INVALID_ARGUMENT);
  allocator = make_allocator(self.ort, scene.device, scene.stream, TARN_ORT_NULL);
  const ort_abi_allocator *const members = members_of(allocator);
  assert_string_equal(members->Info(allocator)->name, "Cuda");
  struct OrtSyncStream ours = {NULL}, other = {&other};
  assert_ok(tarn_cuda_stream_native(scene.stream, &ours.handle));
  void *const block = members->AllocOnStream(allocator, 4096, &ours);
  assert_non_null(block);
  give(allocator, block);
  assert_ptr_equal(members->AllocOnStream(allocator, 4096, &ours), block); /* at once */
  give(allocator, block);
  assert_null(members->AllocOnStream(allocator, 4096, &other));
  assert_non_null(strstr(tarn_last_error()->message, "user_compute_stream"));
  give(allocator, members->AllocOnStream(allocator, 4096, NULL));
  give(allocator, members->Reserve(allocator, 4096));
  tarn_ort_allocator_release(allocator);
  end_device(&scene);
}

static void assert_goes_by(tarn_pool *pool, uint32_t flags, const char *name, int mem_type) {
  struct OrtAllocator *allocator = make_allocator(self.ort, pool, NULL, flags);
  const struct OrtMemoryInfo *info = members_of(allocator)->Info(allocator);
  assert_string_equal(info->name, name);
  assert_int_equal(info->mem_type, mem_type);
  void *const block = take(allocator, 100);
  memset(block, 1, 100);
  give(allocator, block);
  tarn_ort_allocator_release(allocator);
}

TEST_WITH(pinned_memory_goes_by_either_name, set_up, tear_down) {
  device_scene scene;
  if (!begin_device(&scene)) skip();
  assert_goes_by(scene.pinned, 0, "CudaPinned", ORT_ABI_MEM_CPU_OUTPUT);
  assert_goes_by(scene.pinned, TARN_ORT_AS_CPU, "Cpu", ORT_ABI_MEM_DEFAULT);
  const tarn_ort_allocator_options options = {
      .struct_size = sizeof options, .stream = scene.stream, .flags = TARN_ORT_AS_CPU};
  struct OrtAllocator *allocator = NULL;
  assert_status(tarn_ort_allocator_create(self.ort, scene.device, &options, &allocator),
                TARN_INVALID_ARGUMENT); /* the CPU does not reach it */
  end_device(&scene);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
