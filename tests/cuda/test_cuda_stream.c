/* test_cuda_stream.c: copies, fills and calls of one CUDA stream, and whose stream it is. */
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_share.h"
#include "alloc/tarn_storage.h"
#include "alloc/tarn_stream_copy.h"
#include "tests/cuda/cuda_fixture.h"

#include <pthread.h>
#include <stdlib.h>

enum { SIZE_BYTES = 100003 };

static void fill_pattern(unsigned char *bytes, size_t size_bytes, unsigned seed) {
  for (size_t i = 0; i < size_bytes; i++) bytes[i] = (unsigned char)((i * 31 + seed) >> (i % 3));
}

TEST(bytes_survive_the_way_to_the_device_and_back) {
  tarn_cuda *cuda = *state;
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block source = fixture_pinned_block(cuda, SIZE_BYTES);
  fixture_block result = fixture_pinned_block(cuda, SIZE_BYTES);
  fixture_block there = fixture_device_block(cuda, SIZE_BYTES);
  fixture_block further = fixture_device_block(cuda, SIZE_BYTES);
  fill_pattern(source.address, SIZE_BYTES, 7);
  memset(result.address, 0, SIZE_BYTES);
  fixture_copy(stream, &there, &source, SIZE_BYTES);
  fixture_copy(stream, &further, &there, SIZE_BYTES);
  fixture_copy(stream, &result, &further, SIZE_BYTES);
  OK(tarn_stream_synchronize(stream));
  assert_memory_equal(result.address, source.address, SIZE_BYTES);
  fixture_free(&source);
  fixture_free(&result);
  fixture_free(&there);
  fixture_free(&further);
  tarn_stream_release(stream);
}

/* One rectangle up, one down, with different pitches and an offset; the gaps stay untouched. */
static void copy_rectangles(tarn_cuda *cuda, size_t row_bytes, size_t row_count, size_t host_pitch,
                            size_t device_pitch) {
  tarn_stream *stream = fixture_stream(cuda);
  const size_t host_bytes = host_pitch * row_count;
  fixture_block source = fixture_pinned_block(cuda, host_bytes);
  fixture_block result = fixture_pinned_block(cuda, host_bytes);
  fixture_block device = fixture_device_block(cuda, device_pitch * row_count + 1);
  fill_pattern(source.address, host_bytes, 3);
  memset(result.address, 0xEE, host_bytes);
  OK(tarn_stream_fill(stream, device.address, device.device, 0x11, device.size_bytes));
  tarn_copy_rows rows = {.dst = device.address + 1,
                         .src = source.address,
                         .dst_pitch_bytes = device_pitch,
                         .src_pitch_bytes = host_pitch,
                         .row_bytes = row_bytes,
                         .row_count = row_count,
                         .dst_device = device.device,
                         .src_device = source.device};
  OK(tarn_stream_copy_rows(stream, &rows));
  rows.src = device.address + 1;
  rows.src_pitch_bytes = device_pitch;
  rows.src_device = device.device;
  rows.dst = result.address;
  rows.dst_pitch_bytes = host_pitch;
  rows.dst_device = result.device;
  OK(tarn_stream_copy_rows(stream, &rows));
  OK(tarn_stream_synchronize(stream));
  for (size_t row = 0; row < row_count; row++) {
    const unsigned char *got = result.address + row * host_pitch;
    assert_memory_equal(got, source.address + row * host_pitch, row_bytes);
    for (size_t i = row_bytes; i < host_pitch && row + 1 < row_count; i++) {
      assert_int_equal(got[i], 0xEE);
    }
  }
  fixture_free(&source);
  fixture_free(&result);
  fixture_free(&device);
  tarn_stream_release(stream);
}

TEST(rectangles_keep_their_rows_and_their_gaps) {
  copy_rectangles(*state, 100, 37, 128, 256);
  copy_rectangles(*state, 1, 1000, 3, 2);
  copy_rectangles(*state, 64, 64, 64, 64); /* no gaps: one line */
  copy_rectangles(*state, 4096, 1, 4096, 8192);
}

TEST(pitches_beyond_the_driver_go_row_by_row) {
  tarn_cuda *cuda = *state;
  const size_t pitch_bytes_max = cuda->devices[0].pitch_bytes_max;
  assert_true(pitch_bytes_max >= 1 << 20);
  cuda->devices[0].pitch_bytes_max = 200;
  copy_rectangles(cuda, 100, 37, 128, 256);
  cuda->devices[0].pitch_bytes_max = pitch_bytes_max;
}

TEST(a_copy_with_pageable_memory_is_done_when_it_returns) {
  tarn_cuda *cuda = *state;
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block device = fixture_device_block(cuda, SIZE_BYTES);
  unsigned char *pageable = malloc(SIZE_BYTES);
  unsigned char *expected = malloc(SIZE_BYTES);
  fill_pattern(expected, SIZE_BYTES, 11);
  memcpy(pageable, expected, SIZE_BYTES);
  OK(tarn_stream_copy(stream, device.address, device.device, pageable, cpu, SIZE_BYTES));
  memset(pageable, 0, SIZE_BYTES); /* the source is free again at once */
  if (fixture_sim_control() != NULL) {
    cusim_counts counts; /* and the bytes are not on their way but there */
    counts = counts_now();
    assert_int_equal(counts.pending_operations, 0);
  }
  OK(tarn_stream_copy(stream, pageable, cpu, device.address, device.device, SIZE_BYTES));
  assert_memory_equal(pageable, expected, SIZE_BYTES); /* without waiting */

  memset(pageable, 0, SIZE_BYTES);
  const tarn_copy_rows rows = {.dst = pageable,
                               .src = device.address,
                               .dst_pitch_bytes = 200,
                               .src_pitch_bytes = 100,
                               .row_bytes = 100,
                               .row_count = 400,
                               .dst_device = cpu,
                               .src_device = device.device};
  OK(tarn_stream_copy_rows(stream, &rows));
  for (size_t row = 0; row < rows.row_count; row++) {
    assert_memory_equal(pageable + row * 200, expected + row * 100, 100);
  }
  OK(tarn_stream_copy(stream, pageable, cpu, expected, cpu, SIZE_BYTES));
  assert_memory_equal(pageable, expected, SIZE_BYTES);
  free(pageable);
  free(expected);
  fixture_free(&device);
  tarn_stream_release(stream);
}

TEST(a_fill_reaches_every_memory) {
  tarn_cuda *cuda = *state;
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block device = fixture_device_block(cuda, 4096);
  fixture_block pinned = fixture_pinned_block(cuda, 4096);
  unsigned char pageable[64], expected[4096];
  OK(tarn_stream_fill(stream, device.address, device.device, 0x5A, 4096));
  OK(tarn_stream_fill(stream, device.address + 5, device.device, 0xA5, 3));
  OK(tarn_stream_fill(stream, pinned.address, pinned.device, 0x77, 4096));
  OK(tarn_stream_fill(stream, pageable, cpu, 0x33, sizeof pageable));
  for (size_t i = 0; i < sizeof pageable; i++) assert_int_equal(pageable[i], 0x33);
  OK(tarn_stream_synchronize(stream));
  memset(expected, 0x77, 4096);
  assert_memory_equal(pinned.address, expected, 4096);
  fixture_copy(stream, &pinned, &device, 4096);
  OK(tarn_stream_synchronize(stream));
  memset(expected, 0x5A, 4096);
  memset(expected + 5, 0xA5, 3);
  assert_memory_equal(pinned.address, expected, 4096);
  fixture_free(&device);
  fixture_free(&pinned);
  tarn_stream_release(stream);
}

typedef struct reading {
  const unsigned char *address;
  int found[3];
  int count;
} reading;

static void read_first_byte(void *argument) {
  reading *self = argument;
  self->found[self->count++] = self->address[0];
}

TEST(calls_run_in_the_order_of_the_stream) {
  tarn_cuda *cuda = *state;
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block pinned = fixture_pinned_block(cuda, 4096);
  reading seen = {.address = pinned.address};
  for (uint8_t value = 1; value <= 3; value++) {
    OK(tarn_stream_fill(stream, pinned.address, pinned.device, value, 1));
    OK(tarn_stream_call(stream, read_first_byte, &seen));
  }
  OK(tarn_stream_synchronize(stream));
  assert_int_equal(seen.count, 3);
  for (int i = 0; i < 3; i++) assert_int_equal(seen.found[i], i + 1);
  fixture_free(&pinned);
  tarn_stream_release(stream);
}

TEST(memory_of_another_kind_of_device_is_not_reached) {
  tarn_cuda *cuda = *state;
  tarn_stream *stream = fixture_stream(cuda);
  char byte = 0;
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  const tarn_device strange[] = {tarn_device_make(8, 0), tarn_device_make(TARN_DEVICE_CUDA, -1),
                                 tarn_device_make(TARN_DEVICE_CUDA, tarn_cuda_device_count(cuda))};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(tarn_stream_copy(stream, &byte, strange[i], &byte, cpu, 1),
                     TARN_NOT_SUPPORTED);
    assert_int_equal(tarn_stream_copy(stream, &byte, cpu, &byte, strange[i], 1),
                     TARN_NOT_SUPPORTED);
    assert_int_equal(tarn_stream_fill(stream, &byte, strange[i], 0, 1), TARN_NOT_SUPPORTED);
  }
  tarn_stream_release(stream);
}

TEST(a_copy_past_the_end_of_a_block_is_refused) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block device = fixture_device_block(cuda, 4096);
  fixture_block pinned = fixture_pinned_block(cuda, device.size_bytes + 1);
  assert_int_equal(tarn_stream_copy(stream, device.address, device.device, pinned.address,
                                    pinned.device, device.size_bytes + 1),
                   TARN_INVALID_ARGUMENT);
  assert_string_equal(tarn_last_error()->native_call, "cuMemcpyAsync");
  OK(tarn_stream_synchronize(stream)); /* nothing sticks */
  fixture_free(&device);
  fixture_free(&pinned);
  tarn_stream_release(stream);
}

TEST(a_wrapped_stream_is_the_callers) {
  tarn_cuda *cuda = *state;
  tarn_stream *owner = fixture_stream(cuda);
  void *native = NULL, *again = NULL;
  OK(tarn_cuda_stream_native(owner, &native));
  assert_non_null(native);
  tarn_stream *wrapped = NULL;
  OK(tarn_cuda_stream_wrap(cuda, 0, native, &wrapped));
  OK(tarn_cuda_stream_native(wrapped, &again));
  assert_ptr_equal(native, again);
  assert_string_equal(tarn_stream_name(wrapped), "cuda");
  assert_true(
      tarn_device_equal(tarn_stream_device(wrapped), tarn_device_make(TARN_DEVICE_CUDA, 0)));
  assert_false(tarn_stream_is_synchronous(wrapped));
  tarn_stream_release(wrapped);

  fixture_block pinned = fixture_pinned_block(cuda, 64);
  OK(tarn_stream_fill(owner, pinned.address, pinned.device, 9, 64)); /* it is still there */
  OK(tarn_stream_synchronize(owner));
  assert_int_equal(pinned.address[63], 9);
  fixture_free(&pinned);
  tarn_stream_release(owner);
}

TEST(the_legacy_stream_can_be_wrapped) {
  tarn_cuda *cuda = *state;
  tarn_stream *legacy = NULL;
  OK(tarn_cuda_stream_wrap(cuda, 0, NULL, &legacy));
  void *native = &native;
  OK(tarn_cuda_stream_native(legacy, &native));
  assert_null(native);
  fixture_block pinned = fixture_pinned_block(cuda, 64);
  OK(tarn_stream_fill(legacy, pinned.address, pinned.device, 4, 64));
  OK(tarn_stream_synchronize(legacy));
  assert_int_equal(pinned.address[0], 4);
  fixture_free(&pinned);
  tarn_stream_release(legacy);
}

/* What another thread finds of this one's default stream. */
typedef struct visitor {
  tarn_stream *stream;
  tarn_fence *fence;
  fixture_block *block;
  fixture_gate *gate;
  tarn_provider *provider; /* of a device's block */
  void *shared;
  size_t shared_bytes;
} visitor;

/* Copies within the block, in each of the ways that a stream has. */
static void refuse_copies(tarn_stream *stream, const fixture_block *block) {
  static const int64_t one = 1;
  char *dst = (char *)block->address + 32;
  const tarn_copy_span span = {dst, block->address, 1, block->device, block->device};
  const tarn_copy_planes planes = {.rows = {.dst = dst,
                                            .src = block->address,
                                            .dst_pitch_bytes = 4,
                                            .src_pitch_bytes = 4,
                                            .row_bytes = 1,
                                            .row_count = 2,
                                            .dst_device = block->device,
                                            .src_device = block->device},
                                   .dst_pitch_bytes = 8,
                                   .src_pitch_bytes = 8,
                                   .plane_count = 2};
  const tarn_copy_grid grid = {.dst = dst,
                               .src = block->address,
                               .dst_device = block->device,
                               .src_device = block->device,
                               .rank = 1,
                               .shape = &one,
                               .dst_strides_bytes = &one,
                               .src_strides_bytes = &one,
                               .element_bytes = 1};
  assert_int_equal(tarn_stream_copy_batch(stream, &span, 1), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_stream_copy_planes(stream, &planes), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_stream_copy_grid(stream, &grid), TARN_NOT_SUPPORTED);
}

/* Recorded here, a mark for another process would be one of this thread's own stream. */
static void export_without_a_mark(const visitor *self) {
  tarn_share_memory memory = {.kind = {0}};
  const tarn_status status =
      tarn_provider_share_range(self->provider, self->shared, self->shared_bytes, self->stream,
                                /*may_mark=*/true, &memory);
  if (status != TARN_NOT_SUPPORTED) OK(status);
  assert_false(memory.has_mark);
  free(memory.pieces);
}

static void *visit(void *argument) {
  visitor *self = argument;
  assert_int_equal(tarn_stream_fill(self->stream, self->block->address, self->block->device, 1, 1),
                   TARN_NOT_SUPPORTED);
  refuse_copies(self->stream, self->block);
  assert_int_equal(tarn_fence_record(self->fence, self->stream), TARN_NOT_SUPPORTED);
  fixture_let_go(self->gate);
  OK(tarn_stream_synchronize(self->stream)); /* not for this thread's own, which is idle */
  assert_int_equal(self->block->address[63], 4);
  export_without_a_mark(self);
  return NULL;
}

TEST(a_threads_default_stream_is_no_other_threads) {
  tarn_cuda *cuda = *state;
  fixture_block pinned = fixture_pinned_block(cuda, 64);
  fixture_gate gate;
  visitor other = {.block = &pinned, .gate = &gate};
  OK(tarn_cuda_stream_wrap(cuda, 0, (void *)CU_STREAM_PER_THREAD, &other.stream));
  OK(tarn_fence_create(other.stream, &other.fence));
  OK(tarn_cuda_device_provider_create(cuda, 0, &other.provider));
  other.shared_bytes = tarn_provider_attributes_of(other.provider)->granularity_bytes;
  OK(tarn_provider_alloc(other.provider, other.shared_bytes, &other.shared));
  pinned.address[63] = 0;
  fixture_hold(other.stream, &gate);
  OK(tarn_stream_fill(other.stream, pinned.address, pinned.device, 4, 64));
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, visit, &other), 0);
  pthread_join(thread, NULL);
  OK(tarn_fence_record(other.fence, other.stream));
  OK(tarn_fence_synchronize(other.fence));
  OK(tarn_provider_free(other.provider, other.shared, other.shared_bytes));
  tarn_provider_release(other.provider);
  tarn_fence_destroy(other.fence);
  tarn_stream_release(other.stream);
  fixture_free(&pinned);
}

TEST(a_stream_that_is_none_of_the_device_is_not_wrapped) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM(); /* a GPU's driver trusts the handle */
  tarn_stream *stream = (tarn_stream *)&stream;
  assert_int_equal(tarn_cuda_stream_wrap(cuda, 0, (void *)&cuda, &stream), TARN_INVALID_ARGUMENT);
  assert_null(stream);
  if (tarn_cuda_device_count(cuda) < 2) return;
  tarn_stream *first = fixture_stream(cuda);
  void *native = NULL;
  OK(tarn_cuda_stream_native(first, &native));
  assert_int_equal(tarn_cuda_stream_wrap(cuda, 1, native, &stream), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "primary context of CUDA device 1"));
  tarn_stream_release(first);
}

TEST(other_kinds_of_streams_have_no_native_handle) {
  tarn_stream *host = NULL;
  OK(tarn_host_stream_create(&host));
  void *native = &native;
  assert_int_equal(tarn_cuda_stream_native(host, &native), TARN_INVALID_ARGUMENT);
  assert_null(native);
  assert_int_equal(tarn_cuda_stream_native(NULL, &native), TARN_INVALID_ARGUMENT);
  tarn_stream_release(host);
}

TEST(a_stream_released_with_work_pending_finishes_it) {
  tarn_cuda *cuda = *state;
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block pinned = fixture_pinned_block(cuda, SIZE_BYTES);
  memset(pinned.address, 0, SIZE_BYTES);
  tarn_fence *fence = NULL;
  OK(tarn_fence_create(stream, &fence));
  fixture_gate gate;
  fixture_hold(stream, &gate);
  OK(tarn_stream_fill(stream, pinned.address, pinned.device, 0x42, SIZE_BYTES));
  OK(tarn_fence_record(fence, stream));
  tarn_stream_release(stream);
  assert_int_equal(tarn_fence_query(fence), TARN_NOT_READY);
  fixture_let_go(&gate);
  OK(tarn_fence_synchronize(fence));
  assert_int_equal(pinned.address[SIZE_BYTES - 1], 0x42);
  tarn_fence_destroy(fence);
  fixture_free(&pinned);
}

TEST(a_closed_wrapper_looks_at_its_native_stream_no_more) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM(); /* a real driver may crash on what is looked for here */
  PFN_cuStreamCreate_v2000 create;
  PFN_cuStreamDestroy_v4000 destroy;
  void *found = fixture_driver_function("cuStreamCreate");
  memcpy(&create, &found, sizeof found);
  found = fixture_driver_function("cuStreamDestroy_v2");
  memcpy(&destroy, &found, sizeof found);
  CUcontext context;
  CUstream native = NULL, again = NULL;
  tarn__cuda_scope scope;
  OK(tarn__cuda_context(cuda, 0, &context));
  OK(tarn__cuda_enter(cuda, context, &scope));
  assert_int_equal(create(&native, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
  tarn_stream *wrapped = NULL, *other = fixture_stream(cuda);
  OK(tarn_cuda_stream_wrap(cuda, 0, native, &wrapped));
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_storage *storage = NULL;
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = 2 << 20};
  OK(tarn_cuda_device_provider_create(cuda, 0, &provider));
  OK(tarn_caching_pool_create(provider, &options, &pool));
  OK(tarn_storage_create(pool, 2 << 20, wrapped, &storage));
  fixture_gate gate;
  fixture_hold(wrapped, &gate);
  OK(tarn_stream_fill(wrapped, tarn_storage_data_mutable(storage),
                      tarn_device_make(TARN_DEVICE_CUDA, 0), 1, 2 << 20));
  OK(tarn_stream_close(wrapped));
  assert_int_equal(destroy(native), CUDA_SUCCESS);
  assert_int_equal(create(&again, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
  assert_ptr_equal(again, native); /* the handle is another stream now */
  void *none = native;
  assert_int_equal(tarn_cuda_stream_native(wrapped, &none), TARN_INVALID_ARGUMENT);
  tarn_storage_release(storage);
  void *block = NULL;
  OK(tarn_pool_alloc(pool, 2 << 20, other, &block)); /* behind the fill, by the final fence */
  OK(tarn_stream_fill(other, block, tarn_device_make(TARN_DEVICE_CUDA, 0), 2, 2 << 20));
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(wrapped));
  OK(tarn_stream_synchronize(other));
  OK(tarn_pool_free(pool, block, other));
  tarn_stream_release(wrapped);
  tarn_stream_release(other);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  assert_int_equal(destroy(again), CUDA_SUCCESS);
  tarn__cuda_leave(&scope);
}

int run_cuda_stream_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
