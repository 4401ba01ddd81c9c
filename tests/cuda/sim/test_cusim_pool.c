/* test_cusim_pool.c: simulated memory pools: blocks in stream order, and when they are reused. */
#include "tests/cuda/sim/cusim_fixture.h"

enum { CHUNK = 32 << 20, MIB = 1 << 20 };

static CUmemoryPool make_pool_of(size_t size_bytes_max) {
  const CUmemPoolProps properties = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                     .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
                                     .maxSize = size_bytes_max};
  CUmemoryPool pool = NULL;
  CU(cuMemPoolCreate(&pool, &properties));
  return pool;
}

static CUmemoryPool make_pool(void) {
  return make_pool_of(0);
}

static void set_policy(CUmemoryPool pool, CUmemPool_attribute attribute, int value) {
  CU(cuMemPoolSetAttribute(pool, attribute, &value));
}

static void forbid_all(CUmemoryPool pool) {
  set_policy(pool, CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES, 0);
  set_policy(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, 0);
  set_policy(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, 0);
}

static cuuint64_t amount(CUmemoryPool pool, CUmemPool_attribute attribute) {
  cuuint64_t value = 0;
  CU(cuMemPoolGetAttribute(pool, attribute, &value));
  return value;
}

static cuuint64_t reserved(CUmemoryPool pool) {
  return amount(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
}

static void keep_everything(CUmemoryPool pool) {
  cuuint64_t threshold = UINT64_MAX;
  CU(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
}

static CUdeviceptr lend(CUmemoryPool pool, size_t size_bytes, CUstream stream) {
  CUdeviceptr address = 0;
  CU(cuMemAllocFromPoolAsync(&address, size_bytes, pool, stream));
  return address;
}

CUSIM_TEST(a_block_is_good_between_its_allocation_and_its_free) {
  CUmemoryPool pool = make_pool();
  CUstream stream = cusim_fixture_stream();
  unsigned char *bytes = cusim_fixture_pinned(3000), *back = cusim_fixture_pinned(3000);
  for (int round = 0; round < 3; round++) {
    const CUdeviceptr block = lend(pool, 3000, stream);
    CU(cuMemcpyDtoHAsync(back, block, 3000, stream)); /* poison, and again where it is reused */
    CU(cuMemsetD8Async(block, 7, 3000, stream));
    CU(cuMemcpyDtoHAsync(bytes, block, 3000, stream));
    CU(cuMemFreeAsync(block, stream));
    CU(cuStreamSynchronize(stream));
    for (int i = 0; i < 3000; i++) assert_true(back[i] == 0xCD && bytes[i] == 7);
  }
  assert_int_equal(amount(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0);
  assert_int_equal(amount(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), 3072);
  CU(cuMemPoolDestroy(pool));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(bytes));
  CU(cuMemFreeHost(back));
}

CUSIM_TEST(a_stream_reuses_its_own_frees_at_once) {
  CUmemoryPool pool = make_pool();
  forbid_all(pool);
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr first = lend(pool, MIB, stream);
  CU(cuMemsetD8Async(first, 1, MIB, stream));
  CU(cuMemFreeAsync(first, stream));
  const CUdeviceptr second = lend(pool, MIB, stream);
  assert_true(second == first);
  assert_true(cusim_fixture_counts().pending_operations > 0);
  CU(cuMemFreeAsync(second, stream));
  CU(cuStreamSynchronize(stream));
  CU(cuMemPoolDestroy(pool));
  CU(cuStreamDestroy(stream));
}

/* That a free has passed is seen by who has waited for its stream, and not by who has asked. */
CUSIM_TEST(a_trim_gives_back_what_the_host_has_waited_for) {
  CUmemoryPool pool = make_pool();
  keep_everything(pool);
  CUstream stream = cusim_fixture_stream(), other = cusim_fixture_stream();
  CUevent event = NULL;
  CU(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  for (int round = 0; round < 2; round++) {
    CU(cuMemFreeAsync(lend(pool, MIB, stream), stream));
    CU(cuEventRecord(event, stream));
    while (cuStreamQuery(stream) != CUDA_SUCCESS || cuEventQuery(event) != CUDA_SUCCESS) {
    }
    CU(cuStreamSynchronize(other));
    CU(cuMemPoolTrimTo(pool, 0));
    assert_int_equal(reserved(pool), CHUNK);
    if (round == 0) CU(cuStreamSynchronize(stream));
    if (round == 1) CU(cuEventSynchronize(event));
    CU(cuMemPoolTrimTo(pool, 0));
    assert_int_equal(reserved(pool), 0);
  }
  CU(cuEventDestroy(event));
  CU(cuMemPoolDestroy(pool));
  CU(cuStreamDestroy(stream));
  CU(cuStreamDestroy(other));
}

/* A block freed on one stream; then what an allocation on another one is given. */
typedef struct scene {
  CUmemoryPool pool;
  CUstream first;
  CUstream second;
  CUdeviceptr freed;
  CUdeviceptr held[4]; /* so that what another try was given is out of the way */
  int held_count;
} scene;

static scene begin(CUmemPool_attribute allowed) {
  scene made = {
      .pool = make_pool(), .first = cusim_fixture_stream(), .second = cusim_fixture_stream()};
  keep_everything(made.pool);
  forbid_all(made.pool);
  if (allowed != 0) set_policy(made.pool, allowed, 1);
  made.freed = lend(made.pool, CHUNK, made.first);
  CU(cuMemsetD8Async(made.freed, 1, CHUNK, made.first));
  CU(cuMemFreeAsync(made.freed, made.first));
  return made;
}

static bool reuses(scene *self) {
  const CUdeviceptr got = lend(self->pool, CHUNK, self->second);
  CU(cuMemsetD8Async(got, 2, CHUNK, self->second));
  self->held[self->held_count++] = got;
  return got == self->freed;
}

static void finish(scene *self) {
  for (int i = 0; i < self->held_count; i++) CU(cuMemFreeAsync(self->held[i], self->second));
  CU(cuCtxSynchronize());
  CU(cuMemPoolDestroy(self->pool));
  CU(cuStreamDestroy(self->first));
  CU(cuStreamDestroy(self->second));
}

CUSIM_TEST(other_streams_take_new_memory_where_nothing_is_allowed) {
  scene self = begin(0);
  assert_false(reuses(&self));
  cusim_drain(); /* done, and still nobody has seen it */
  assert_false(reuses(&self));
  CU(cuStreamSynchronize(self.first));
  assert_true(reuses(&self));
  finish(&self);
}

CUSIM_TEST(frees_that_are_done_are_reused_opportunistically) {
  scene self = begin(CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC);
  assert_false(reuses(&self));
  finish(&self);
  self = begin(CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC);
  cusim_drain();
  assert_true(reuses(&self));
  finish(&self);
}

CUSIM_TEST(frees_are_reused_behind_an_event) {
  scene self = begin(CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES);
  CUevent event = cusim_fixture_event();
  CUstream third = cusim_fixture_stream();
  assert_false(reuses(&self));
  CU(cuEventRecord(event, self.first));
  CU(cuStreamWaitEvent(third, event, 0)); /* over a third stream */
  CU(cuEventRecord(event, third));
  CU(cuStreamWaitEvent(self.second, event, 0));
  assert_true(reuses(&self));
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(third));
  finish(&self);
}

CUSIM_TEST(an_event_before_the_free_does_not_count) {
  scene self = begin(0);
  CUevent event = cusim_fixture_event();
  CU(cuCtxSynchronize());
  const CUdeviceptr block = lend(self.pool, CHUNK, self.first);
  CU(cuEventRecord(event, self.first));
  CU(cuMemFreeAsync(block, self.first));
  set_policy(self.pool, CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES, 1);
  CU(cuStreamWaitEvent(self.second, event, 0));
  self.freed = block;
  assert_false(reuses(&self));
  CU(cuEventDestroy(event));
  finish(&self);
}

CUSIM_TEST(a_pool_may_add_dependencies_of_its_own) {
  scene self = begin(CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES);
  assert_true(reuses(&self));
  /* Waiting for the second stream waits for the first. */
  CU(cuStreamSynchronize(self.second));
  assert_int_equal(cuStreamQuery(self.first), CUDA_SUCCESS);
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  finish(&self);
}

CUSIM_TEST(unused_memory_goes_back_when_the_host_waits) {
  for (int way = 0; way < 4; way++) {
    CUmemoryPool pool = make_pool();
    CUstream stream = cusim_fixture_stream();
    CUevent event = cusim_fixture_event();
    if (way == 3) keep_everything(pool);
    CU(cuMemFreeAsync(lend(pool, MIB, stream), stream));
    CU(cuEventRecord(event, stream));
    cusim_drain();
    assert_int_equal(reserved(pool), CHUNK);
    if (way == 0 || way == 3) CU(cuStreamSynchronize(stream));
    if (way == 1) CU(cuEventSynchronize(event));
    if (way == 2) CU(cuCtxSynchronize());
    assert_int_equal(reserved(pool), way == 3 ? CHUNK : 0);
    assert_int_equal(amount(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), CHUNK);
    CU(cuEventDestroy(event));
    CU(cuStreamDestroy(stream));
    CU(cuMemPoolDestroy(pool));
  }
}

CUSIM_TEST(a_trim_leaves_what_is_lent_and_what_was_not_seen_to_end) {
  CUmemoryPool pool = make_pool();
  keep_everything(pool);
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr kept = lend(pool, CHUNK, stream);
  CU(cuMemFreeAsync(lend(pool, CHUNK, stream), stream));
  assert_int_equal(reserved(pool), 2 * CHUNK);
  CU(cuMemPoolTrimTo(pool, 0));
  assert_int_equal(reserved(pool), 2 * CHUNK);
  cusim_drain();
  CU(cuMemPoolTrimTo(pool, 0)); /* done, but the host has not seen it */
  assert_int_equal(reserved(pool), 2 * CHUNK);
  CU(cuStreamSynchronize(stream));
  CU(cuMemPoolTrimTo(pool, CHUNK + 1)); /* no less than that would stay */
  assert_int_equal(reserved(pool), 2 * CHUNK);
  CU(cuMemPoolTrimTo(pool, CHUNK));
  assert_int_equal(reserved(pool), CHUNK);
  CU(cuMemPoolTrimTo(pool, 0));
  assert_int_equal(reserved(pool), CHUNK);
  CU(cuMemFreeAsync(kept, stream));
  CU(cuStreamSynchronize(stream));
  CU(cuMemPoolTrimTo(pool, 0));
  assert_int_equal(reserved(pool), 0);
  CU(cuStreamDestroy(stream));
  CU(cuMemPoolDestroy(pool));
}

CUSIM_TEST(a_pool_counts_what_it_holds_and_lends) {
  CUmemoryPool pool = make_pool();
  CUstream stream = cusim_fixture_stream();
  size_t free_before = 0, free_during = 0, total_bytes = 0;
  CU(cuMemGetInfo(&free_before, &total_bytes));
  const CUdeviceptr small = lend(pool, 1, stream), large = lend(pool, CHUNK + 1, stream);
  CU(cuMemGetInfo(&free_during, &total_bytes));
  assert_int_equal(amount(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 512 + CHUNK + 512);
  assert_int_equal(reserved(pool), 2 * CHUNK + 2 * MIB);
  assert_int_equal(free_before - free_during, 2 * CHUNK + 2 * MIB);
  CU(cuMemFreeAsync(large, stream));
  assert_int_equal(amount(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 512);
  cuuint64_t value = 5;
  assert_int_equal(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &value),
                   CUDA_ERROR_INVALID_VALUE);
  value = 0;
  assert_int_equal(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &value),
                   CUDA_ERROR_INVALID_VALUE);
  CU(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &value));
  assert_int_equal(amount(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), 512);
  CU(cuMemFreeAsync(small, stream));
  CU(cuStreamSynchronize(stream));
  CU(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, &value));
  assert_int_equal(amount(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), 0);
  CU(cuStreamDestroy(stream));
  CU(cuMemPoolDestroy(pool));
}

CUSIM_TEST(a_pool_ends_at_its_size_and_at_the_devices) {
  CUdeviceptr block = 0;
  CUmemoryPool small = make_pool_of(5 * MIB), wide = make_pool();
  CUstream stream = cusim_fixture_stream();
  assert_int_equal(cuMemAllocFromPoolAsync(&block, 6 * MIB, small, stream),
                   CUDA_ERROR_OUT_OF_MEMORY);
  const CUdeviceptr first = lend(small, 3 * MIB, stream); /* less than a whole chunk will do */
  assert_int_equal(reserved(small), 4 * MIB);
  assert_int_equal(cuMemAllocFromPoolAsync(&block, 3 * MIB, small, stream),
                   CUDA_ERROR_OUT_OF_MEMORY);
  assert_int_equal(cuMemAllocFromPoolAsync(&block, CUSIM_TEST_CAPACITY, wide, stream),
                   CUDA_ERROR_OUT_OF_MEMORY);
  assert_int_equal(cuMemAllocFromPoolAsync(&block, SIZE_MAX, wide, stream),
                   CUDA_ERROR_OUT_OF_MEMORY);
  CU(cuMemFreeAsync(first, stream));
  CU(cuMemFreeAsync(lend(wide, CUSIM_TEST_CAPACITY / 2, stream), stream));
  CU(cuCtxSynchronize());
  CU(cuStreamDestroy(stream));
  CU(cuMemPoolDestroy(small));
  CU(cuMemPoolDestroy(wide));
}

CUSIM_TEST(a_destroyed_pool_goes_with_its_last_block) {
  CUmemoryPool pool = make_pool(), found = NULL, own = NULL;
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = lend(pool, MIB, stream);
  CU(cuDeviceGetDefaultMemPool(&own, 0));
  CU(cuDeviceSetMemPool(0, pool));
  CU(cuMemPoolDestroy(pool));
  CU(cuDeviceGetMemPool(&found, 0));
  assert_ptr_equal(found, own);
  assert_int_equal(cuMemPoolTrimTo(pool, 0), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr more = 0;
  assert_int_equal(cuMemAllocFromPoolAsync(&more, 1, pool, stream), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemsetD8Async(block, 1, MIB, stream));
  CU(cuMemFreeAsync(block, stream));
  assert_int_equal(cusim_fixture_counts().pool_bytes, CHUNK);
  CU(cuStreamSynchronize(stream));
  assert_int_equal(cusim_fixture_counts().pool_bytes, 0);
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(each_device_has_a_pool_of_its_own) {
  CUmemoryPool own = NULL, current = NULL, other = NULL, made = make_pool(), of = NULL;
  CUdeviceptr block = 0;
  CU(cuDeviceGetDefaultMemPool(&own, 0));
  CU(cuDeviceGetDefaultMemPool(&other, 1));
  assert_ptr_not_equal(own, other);
  CU(cuDeviceGetMemPool(&current, 0));
  assert_ptr_equal(current, own);
  assert_int_equal(cuMemPoolDestroy(own), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuDeviceSetMemPool(1, made), CUDA_ERROR_INVALID_VALUE);
  CU(cuDeviceSetMemPool(0, made));
  CU(cuMemAllocAsync(&block, 100, NULL));
  CU(cuPointerGetAttribute(&of, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, block + 99));
  assert_ptr_equal(of, made);
  CU(cuMemFreeAsync(block, NULL));
  CU(cuDeviceSetMemPool(0, own));
  CU(cuMemAllocAsync(&block, 100, NULL));
  CU(cuPointerGetAttribute(&of, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, block));
  assert_ptr_equal(of, own);
  CU(cuMemFreeAsync(block, NULL));
  CU(cuCtxSynchronize());
  CU(cuMemPoolDestroy(made));
}

CUSIM_TEST(another_device_needs_access_to_the_pool) {
  CUmemoryPool pool = make_pool();
  CUcontext second = NULL;
  CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_READ;
  CUmemAccessDesc access = {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 1},
                            .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  const CUdeviceptr block = lend(pool, 16, NULL);
  CU(cuStreamSynchronize(NULL));
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  assert_int_equal(cuMemsetD8Async(block, 1, 16, NULL), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemPoolGetAccess(&flags, pool, &access.location));
  assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_NONE);
  assert_int_equal(cuMemPoolSetAccess(pool, &access, 1), CUDA_ERROR_INVALID_DEVICE);
  cusim_set_peers(1);
  CU(cuMemPoolSetAccess(pool, &access, 1));
  CU(cuMemsetD8Async(block, 1, 16, NULL));
  CU(cuStreamSynchronize(NULL));
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(1));
  access.location.id = 0; /* its own device keeps its access */
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  assert_int_equal(cuMemPoolSetAccess(pool, &access, 1), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemFree(block)); /* at once, without a stream */
  CU(cuMemPoolDestroy(pool));
}

CUSIM_TEST(misuse_of_a_pool_is_refused) {
  CUmemoryPool pool = make_pool(), none = NULL;
  CUstream stream = cusim_fixture_stream();
  CUdeviceptr address = 0;
  const CUdeviceptr plain = cusim_fixture_device(1000), block = lend(pool, 1000, stream);
  assert_int_equal(cuMemFreeAsync(plain, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemFreeAsync(block + 512, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemAllocFromPoolAsync(&address, 0, pool, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemAllocFromPoolAsync(&address, 1, (CUmemoryPool)&address, stream),
                   CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD8Async(block, 0, 1025, stream), CUDA_ERROR_INVALID_VALUE);
  CUmemPoolProps properties = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                               .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 9}};
  assert_int_equal(cuMemPoolCreate(&none, &properties), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemFreeAsync(block, stream));
  assert_int_equal(cuMemFreeAsync(block, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD8Async(block, 0, 1, stream), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemFree(plain));
  CU(cuStreamSynchronize(stream));
  CU(cuMemPoolDestroy(pool));
  assert_int_equal(cuMemPoolDestroy(pool), CUDA_ERROR_INVALID_VALUE);
  CU(cuStreamDestroy(stream));
}

typedef enum mistake { MISTAKE_EARLY, MISTAKE_LATE, MISTAKE_FREED_EARLY, MISTAKES } mistake;

static int teardown_after_the_mistakes(void **state) {
  (void)state;
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(0));
  assert_int_equal(cusim_fixture_counts().pool_bytes, 0);
  return 0;
}

TEST_WITH(use_outside_of_the_streams_order_breaks_the_context, cusim_setup,
          teardown_after_the_mistakes) {
  static const char *const told[] = {"used before", "was freed", "freed in stream"};
  for (mistake what = MISTAKE_EARLY; what < MISTAKES; what++) {
    CUcontext second = NULL;
    CUmemoryPool pool = NULL;
    CU(cuDevicePrimaryCtxRetain(&second, 1));
    CU(cuCtxPushCurrent(second));
    CU(cuDeviceGetDefaultMemPool(&pool, 1));
    CUstream stream = cusim_fixture_stream(), other = cusim_fixture_stream();
    const CUdeviceptr block = lend(pool, 100, stream);
    if (what == MISTAKE_LATE) {
      CU(cuMemsetD8Async(block, 1, 100, other));
      CU(cuMemFreeAsync(block, stream));
      CU(cuStreamSynchronize(stream));
    }
    if (what == MISTAKE_EARLY) CU(cuMemsetD8Async(block, 1, 100, other));
    if (what == MISTAKE_FREED_EARLY) CU(cuMemFreeAsync(block, other));
    assert_int_equal(cuStreamSynchronize(other), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_non_null(strstr(cusim_fault(), told[what]));
    assert_true(cusim_race_count() > 0); /* on every schedule, not only on this one */
    cusim_forget_races();
    CU(cuCtxPopCurrent(NULL));
    CU(cuDevicePrimaryCtxRelease(1));
  }
}

CUSIM_TEST(work_of_an_earlier_block_may_still_wait_when_the_next_one_begins) {
  CUmemoryPool pool = make_pool();
  CUstream stream = cusim_fixture_stream(), other = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  unsigned char *bytes = cusim_fixture_pinned(2);
  const CUdeviceptr block = lend(pool, 512, stream);
  CU(cuEventRecord(event, stream));
  CU(cuStreamWaitEvent(other, event, 0));
  CU(cuMemsetD8Async(block, 1, 512, other)); /* on another stream, ordered on both sides */
  CU(cuMemcpyDtoHAsync(bytes, block, 1, other));
  CU(cuEventRecord(event, other));
  CU(cuStreamWaitEvent(stream, event, 0));
  CU(cuMemFreeAsync(block, stream));
  const CUdeviceptr again = lend(pool, 512, stream);
  assert_true(again == block);
  CU(cuMemsetD8Async(again, 2, 512, stream));
  CU(cuMemcpyDtoHAsync(bytes + 1, again, 1, stream));
  CU(cuMemFreeAsync(again, stream));
  CU(cuStreamSynchronize(stream));
  assert_int_equal(bytes[0], 1);
  assert_int_equal(bytes[1], 2);
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(stream));
  CU(cuStreamDestroy(other));
  CU(cuMemPoolDestroy(pool));
  CU(cuMemFreeHost(bytes));
}

/* The broken context took its streams with it. */
int run_cusim_pool_tests(void) {
  return run_listed_tests(NULL, NULL);
}
