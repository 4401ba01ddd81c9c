/* test_faults.c: every allocation of the library fails once; nothing breaks and nothing is lost.
 *
 * Each scenario uses a part of the library from its creation to its end. It is run again and again,
 * with the first allocation failing, then the second, until a run meets no failure. A run may fail
 * or succeed (where the library has another way); either way it gives back all that it made, and
 * LeakSanitizer looks whether anything is left.
 * With the argument --sites the program prints where allocations failed; check_sites.py compares
 * them with the library's sources. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_pool_trace.h"
#include "alloc/tarn_capture.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pool_provider.h"
#include "numa/tarn_numa.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_copy_costs.h"
#include "tensor/tarn_element.h"
#include "tensor/tarn_linear.h"
#include "tests/faults/fault.h"
#include "tests/faults/scenarios.h"
#include "tests/support/open_cuda.h"
#include "tests/support/saved_machine.h"

enum { STREAM_COUNT = 5, RUNS_MAX = 5000, QUIET_RUNS = 16 };

static void do_nothing(void *argument) {
  (void)argument;
}

/* --- alloc/ --- */

/* Several streams use the same few blocks of a small pool, so that stamps, joins, fences and waits
 * are all needed. */
static tarn_status share_pool(tarn_pool *pool, tarn_stream **streams) {
  tarn_status status = TARN_OK;
  void *blocks[4] = {NULL};
  for (int round = 0; round < 3; round++) {
    for (int index = 0; index < 4; index++) {
      tarn_stream *stream = streams[(index + round) % STREAM_COUNT];
      TRY(tarn_pool_alloc(pool, 900 * 1024, stream, &blocks[index]));
      for (int other = 0; other < STREAM_COUNT; other++) {
        TRY(tarn_stream_call(streams[other], do_nothing, NULL));
        TRY(tarn_pool_note_use(pool, blocks[index], streams[other]));
      }
    }
    for (int index = 0; index < 4; index++) {
      assert_ok(tarn_pool_free(pool, blocks[index], streams[index]));
      blocks[index] = NULL;
    }
    void *large = NULL;
    TRY(tarn_pool_alloc(pool, 3 << 20, streams[round], &large));
    assert_ok(tarn_pool_free(pool, large, streams[round]));
  }
  TRY(tarn_pool_trim(pool, 0, NULL));
done:
  for (int index = 0; index < 4; index++) {
    if (blocks[index] != NULL) assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  }
  return status;
}

static tarn_status make_worker(tarn_stream **stream) {
  return tarn_worker_stream_create(stream);
}

static tarn_status use_pool(tarn_status (*make_provider)(tarn_provider **),
                            tarn_status (*make_stream)(tarn_stream **), size_t limit_bytes) {
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_stream *streams[STREAM_COUNT] = {NULL};
  tarn_status status = TARN_OK;
  TRY(make_provider(&provider));
  TRY(tarn_caching_pool_create(provider, &options, &pool));
  for (int index = 0; index < STREAM_COUNT; index++) TRY(make_stream(&streams[index]));
  TRY(share_pool(pool, streams));
done:
  for (int index = 0; index < STREAM_COUNT; index++) tarn_stream_release(streams[index]);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}

static tarn_status make_pages(tarn_provider **provider) {
  return tarn_pages_provider_create(NULL, provider);
}

static tarn_status use_range_pool(void) {
  return use_pool(make_pages, make_worker, 4 << 20);
}

static tarn_status make_block(tarn_provider **provider) {
  static _Alignas(4096) char range[8 << 20];
  return tarn_fixed_provider_create(range, sizeof range, NULL, provider);
}

static tarn_status use_segment_pool(void) {
  return use_pool(make_block, make_worker, 4 << 20);
}

static tarn_status make_over_pool(tarn_provider **provider) {
  tarn_provider *below = NULL;
  tarn_pool *pool = NULL;
  tarn_status status = make_block(&below);
  if (status == TARN_OK) status = tarn_caching_pool_create(below, NULL, &pool);
  if (status == TARN_OK) status = tarn_pool_provider_create(pool, NULL, provider);
  tarn_pool_release(pool);
  tarn_provider_release(below);
  return status;
}

static tarn_status use_pool_over_pool(void) {
  return use_pool(make_over_pool, make_worker, 4 << 20);
}

/* Two pools share a budget that is too small for both. */
static tarn_status drop_text(void *context, const char *text, size_t text_bytes) {
  (void)context;
  (void)text;
  (void)text_bytes;
  return TARN_OK;
}

static tarn_status use_records(void) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_status status = TARN_OK;
  TRY(make_block(&provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(tarn_pool_trace_start(pool, 100));
  void *block = NULL;
  TRY(tarn_pool_alloc(pool, 4096, NULL, &block));
  assert_ok(tarn_pool_free(pool, block, NULL));
  TRY(tarn_pool_trace_write(pool, TARN_TRACE_COMPLETE, drop_text, NULL));
  TRY(tarn_pool_snapshot(pool, drop_text, NULL));
done:
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}

static void *use_pool_in_thread(void *status) {
  *(tarn_status *)status = use_range_pool();
  return NULL;
}

/* What a thread keeps begins with its first free. */
static tarn_status use_fresh_thread(void) {
  pthread_t thread;
  tarn_status status = TARN_OK;
  assert_int_equal(pthread_create(&thread, NULL, use_pool_in_thread, &status), 0);
  pthread_join(thread, NULL);
  return status;
}

static tarn_status use_streams(void) {
  tarn_stream *host = NULL;
  tarn_stream *first = NULL;
  tarn_stream *second = NULL;
  tarn_fence *fence = NULL;
  tarn_storage *blob = NULL;
  char bytes[64] = {0};
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  const tarn_blob wrapped = {
      .struct_size = sizeof wrapped, .address = bytes, .size_bytes = sizeof bytes};
  tarn_status status = TARN_OK;
  TRY(tarn_host_stream_create(&host));
  TRY(tarn_worker_stream_create(&first));
  TRY(tarn_worker_stream_create(&second));
  TRY(tarn_storage_wrap(&wrapped, &blob));
  TRY(tarn_stream_fill(first, bytes, cpu, 1, 32));
  TRY(tarn_stream_copy(first, bytes + 32, cpu, bytes, cpu, 32));
  TRY(tarn_fence_create(first, &fence));
  TRY(tarn_fence_record(fence, first));
  TRY(tarn_fence_record(fence, first));
  TRY(tarn_stream_wait(second, fence));
  TRY(tarn_storage_note_use(blob, first));
  TRY(tarn_storage_note_use(blob, second));
  TRY(tarn_stream_synchronize(second));
done:
  /* What is enqueued works on this function's memory, and waiting for it needs none. */
  if (first != NULL) assert_ok(tarn_stream_synchronize(first));
  tarn_fence_destroy(fence);
  tarn_storage_release(blob);
  tarn_stream_release(host);
  tarn_stream_release(first);
  tarn_stream_release(second);
  return status;
}

/* A stream kind without a fill: the seam fills by a call. */
static tarn_status bare_copy(void *context, const tarn_copy_rows *rows) {
  (void)context;
  return tarn_stream_copy_rows(NULL, rows);
}

static tarn_status bare_call(void *context, tarn_host_function function, void *argument) {
  (void)context;
  function(argument);
  return TARN_OK;
}

static tarn_status bare_synchronize(void *context) {
  (void)context;
  return TARN_OK;
}

static tarn_status use_bare_stream(void) {
  static const tarn_stream_ops ops = {.struct_size = sizeof ops,
                                      .name = "bare",
                                      .copy = bare_copy,
                                      .call = bare_call,
                                      .synchronize = bare_synchronize};
  const tarn_stream_options options = {.struct_size = sizeof options,
                                       .flags = TARN_STREAM_SYNCHRONOUS};
  char byte = 0;
  tarn_stream *stream = NULL;
  tarn_status status = tarn_stream_create(&ops, NULL, &options, &stream);
  if (status != TARN_OK) return status;
  status = tarn_stream_fill(stream, &byte, tarn_device_make(TARN_DEVICE_CPU, 0), 1, 1);
  tarn_stream_release(stream);
  return status;
}

/* Streams drawn into a capture one after the other, blocks used by all of them, several
 * launches. */
static tarn_status use_capture(tarn_pool *pool, tarn_stream **streams) {
  tarn_capture *capture = NULL;
  tarn_fence *fence = NULL;
  void *blocks[2] = {NULL};
  tarn_status status = TARN_OK;
  TRY(tarn_pool_alloc(pool, 1 << 20, streams[0], &blocks[0]));
  TRY(tarn_fence_create(streams[0], &fence));
  TRY(tarn_capture_begin(streams[0], &capture));
  TRY(tarn_fence_record(fence, streams[0]));
  for (int index = 1; index < STREAM_COUNT; index++) {
    TRY(tarn_stream_wait(streams[index], fence));
  }
  TRY(tarn_pool_alloc(pool, 1 << 20, streams[1], &blocks[1]));
  for (int index = 0; index < STREAM_COUNT; index++) {
    TRY(tarn_pool_note_use(pool, blocks[0], streams[index]));
    TRY(tarn_pool_note_use(pool, blocks[1], streams[index]));
  }
  TRY(tarn_capture_end(capture));
  for (int index = 0; index < STREAM_COUNT; index++) {
    TRY(tarn_stream_call(streams[index], do_nothing, NULL));
    TRY(tarn_capture_note_launch(capture, streams[index]));
  }
done:
  for (int index = 0; index < 2; index++) {
    if (blocks[index] != NULL) assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  }
  assert_ok(tarn_capture_destroy(capture));
  tarn_fence_destroy(fence);
  return status;
}

static tarn_status use_captures(void) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_stream *streams[STREAM_COUNT] = {NULL};
  tarn_status status = TARN_OK;
  TRY(make_pages(&provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  for (int index = 0; index < STREAM_COUNT; index++) TRY(make_worker(&streams[index]));
  TRY(use_capture(pool, streams));
done:
  for (int index = 0; index < STREAM_COUNT; index++) tarn_stream_release(streams[index]);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}

/* --- tensor/ --- */

/* Copies there and back through a transposed view, and opens it linearly. */
static tarn_status use_tensors(tarn_pool *pool, tarn_pool *host_pool, tarn_stream *stream) {
  static const int64_t shape[] = {24, 40};
  static const int64_t turned[] = {40, 24};
  tarn_tensor source = {0};
  tarn_tensor target = {0};
  tarn_tensor packed = {0};
  tarn_tensor reshaped = {0};
  tarn_linear_span span = {0};
  tarn_status status = TARN_OK;
  TRY(tarn_tensor_create(host_pool, TARN_F32, 2, shape, NULL, &source));
  TRY(tarn_tensor_create(pool, TARN_F32, 2, turned, stream, &target));
  TRY(tarn_tensor_create(pool, TARN_F32, 2, shape, stream, &packed));
  memset(tarn_tensor_data_mutable(&source), 1, tarn_tensor_size_bytes(&source));
  tarn_tensor view = target;
  TRY(tarn_tensor_transpose(&view, 0, 1));
  TRY(tarn_tensor_copy(&view, &source, stream, NULL));
  TRY(tarn_tensor_copy(&packed, &view, stream, NULL));
  TRY(tarn_tensor_copy(&source, &view, stream, NULL));
  static const int64_t flat[] = {960};
  TRY(tarn_tensor_reshape(&view, 1, flat, pool, stream, &reshaped, NULL));
  TRY(tarn_tensor_fill(&reshaped, tarn_scalar_of_float(1.5), stream));
  TRY(tarn_linear_begin(&view, TARN_LINEAR_READ | TARN_LINEAR_WRITE, host_pool, stream, &span));
  assert_int_equal(((unsigned char *)span.data)[17], 1);
  TRY(tarn_linear_end(&span, stream));
done:
  if (status != TARN_OK) {
    const tarn_status ended = tarn_linear_end(&span, stream);
    (void)ended; /* already failing */
  }
  tarn_tensor_release(&source);
  tarn_tensor_release(&target);
  tarn_tensor_release(&packed);
  tarn_tensor_release(&reshaped);
  return status;
}

static tarn_status use_host_tensors(void) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_stream *stream = NULL;
  tarn_status status = TARN_OK;
  TRY(make_pages(&provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(tarn_worker_stream_create(&stream));
  TRY(use_tensors(pool, pool, stream));
done:
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}

/* --- numa/ --- */

static tarn_status first_node(tarn_topology *topology, int32_t *node) {
  tarn_node_info info = {.struct_size = sizeof info};
  const tarn_status status = tarn_topology_node(topology, 0, &info);
  *node = info.node;
  return status;
}

static tarn_status use_node(void) {
  tarn_topology *topology = NULL;
  tarn_node_pool_options options = {.struct_size = sizeof options};
  tarn_pool *pool = NULL;
  tarn_stream *streams[STREAM_COUNT] = {NULL};
  void *blocks[64] = {NULL};
  void *kept = NULL;
  int32_t node = 0;
  tarn_status status = TARN_OK;
  TRY(tarn_topology_create(NULL, &topology));
  TRY(first_node(topology, &node));
  const tarn_node_options on_node = tarn_node_options_on(node);
  TRY(tarn_node_provider_create(topology, &on_node, &options.provider));
  TRY(tarn_node_pool_create(topology, &options, &pool));
  /* Kept by the thread; before other threads allocate, so that the order is always the same. */
  TRY(tarn_pool_alloc(pool, 100, NULL, &kept));
  assert_ok(tarn_pool_free(pool, kept, NULL));
  for (int index = 0; index < STREAM_COUNT; index++) TRY(make_worker(&streams[index]));
  for (int index = 0; index < 64; index++) {
    TRY(tarn_pool_alloc(pool, (size_t)64 << (index % 16), NULL, &blocks[index]));
    TRY(tarn_stream_call(streams[index % STREAM_COUNT], do_nothing, NULL));
    TRY(tarn_pool_note_use(pool, blocks[index], streams[index % STREAM_COUNT]));
    TRY(tarn_pool_note_use(pool, blocks[index], streams[(index + 1) % STREAM_COUNT]));
  }
done:
  for (int index = 0; index < 64; index++) {
    assert_ok(tarn_pool_free(pool, blocks[index], streams[index % STREAM_COUNT]));
  }
  for (int index = 0; index < STREAM_COUNT; index++) tarn_stream_release(streams[index]);
  tarn_pool_release(pool);
  tarn_provider_release(options.provider);
  tarn_topology_release(topology);
  return status;
}

static tarn_status use_synthetic_topology(void) {
  const tarn_topology_options options = {.struct_size = sizeof options,
                                         .synthetic = "numa:4 core:2 pu:1"};
  tarn_topology *topology = NULL;
  const tarn_status status = tarn_topology_create(&options, &topology);
  tarn_topology_release(topology);
  return status;
}

/* With the firmware's tables, which this machine may lack. */
static tarn_status use_saved_topology(void) {
  char path[] = SAVED_MACHINE_TEMPLATE;
  assert_true(save_machine(path));
  const tarn_topology_options options = {.struct_size = sizeof options, .xml_path = path};
  tarn_topology *topology = NULL;
  const tarn_status status = tarn_topology_create(&options, &topology);
  tarn_topology_release(topology);
  unlink(path);
  return status;
}

/* --- cuda/ --- */

static tarn_cuda *opened; /* for the makers below */

static tarn_status make_device(tarn_provider **provider) {
  return tarn_cuda_device_provider_create(opened, 0, provider);
}

static tarn_status make_pinned(tarn_provider **provider) {
  return tarn_cuda_pinned_provider_create(opened, NULL, provider);
}

/* In pieces, and with one of each size made ahead. */
static tarn_status make_virtual(tarn_provider **provider) {
  const tarn_cuda_virtual_options options = {.struct_size = sizeof options,
                                             .piece_bytes = (size_t)4 << 20};
  tarn_status status = tarn_cuda_virtual_provider_create(opened, 0, &options, provider);
  if (status == TARN_OK) status = tarn_provider_prepare(*provider, (size_t)8 << 20, NULL);
  if (status == TARN_OK) return TARN_OK;
  tarn_provider_release(*provider);
  *provider = NULL;
  return status;
}

static tarn_status make_cuda_stream(tarn_stream **stream) {
  return tarn_cuda_stream_create(opened, 0, stream);
}

/* From device to device: turned, by a kernel and, as if that cost more, staged; and moved over
 * itself by one element. */
static tarn_status move_on_device(tarn_pool *pool, tarn_stream *stream) {
  static const int64_t shape[] = {128, 96};
  static const int64_t turned[] = {96, 128};
  tarn_tensor a = {0};
  tarn_tensor b = {0};
  tarn_status status = TARN_OK;
  TRY(tarn_tensor_create(pool, TARN_F32, 2, shape, stream, &a));
  TRY(tarn_tensor_create(pool, TARN_F32, 2, turned, stream, &b));
  TRY(tarn_stream_fill(stream, tarn_tensor_data_mutable(&a), tarn_tensor_device(&a), 1,
                       tarn_tensor_size_bytes(&a)));
  tarn_tensor view = b;
  TRY(tarn_tensor_transpose(&view, 0, 1));
  TRY(tarn_tensor_copy(&view, &a, stream, NULL));
  TRY(tarn_copy_cost_set(TARN_COPY_COST_KERNEL_CALL, UINT64_C(1000000000000)));
  TRY(tarn_tensor_copy(&view, &a, stream, NULL));
  static const int64_t flat[] = {128 * 96};
  TRY(tarn_tensor_view(&a, 1, flat));
  tarn_tensor from = a;
  tarn_tensor to = a;
  TRY(tarn_tensor_narrow(&from, 0, 0, 128 * 96 - 1));
  TRY(tarn_tensor_narrow(&to, 0, 1, 128 * 96 - 1));
  TRY(tarn_tensor_copy(&to, &from, stream, NULL));
done:
  (void)!tarn_copy_cost_set(TARN_COPY_COST_KERNEL_CALL, 0);
  tarn_tensor_release(&a);
  tarn_tensor_release(&b);
  return status;
}

static tarn_status copy_cuda_tensors(void) {
  tarn_provider *device = NULL;
  tarn_provider *pinned = NULL;
  tarn_pool *device_pool = NULL;
  tarn_pool *pinned_pool = NULL;
  tarn_stream *stream = NULL;
  tarn_status status = TARN_OK;
  TRY(make_device(&device));
  TRY(make_pinned(&pinned));
  TRY(tarn_caching_pool_create(device, NULL, &device_pool));
  TRY(tarn_caching_pool_create(pinned, NULL, &pinned_pool));
  TRY(make_cuda_stream(&stream));
  TRY(use_tensors(device_pool, pinned_pool, stream));
  TRY(move_on_device(device_pool, stream));
done:
  tarn_stream_release(stream);
  tarn_pool_release(device_pool);
  tarn_pool_release(pinned_pool);
  tarn_provider_release(device);
  tarn_provider_release(pinned);
  return status;
}

static tarn_status with_cuda(tarn_status (*use)(void)) {
  tarn_status status = test_open_cuda(&opened);
  if (status != TARN_OK) return status;
  status = use();
  tarn_cuda_release(opened);
  return status;
}

static tarn_status use_driver_blocks(void) {
  tarn_pool *pool = NULL;
  tarn_stream *first = NULL, *second = NULL;
  void *block = NULL, *other = NULL;
  tarn_status status = TARN_OK;
  TRY(tarn_cuda_driver_pool_create(opened, 0, NULL, &pool));
  TRY(make_cuda_stream(&first));
  TRY(make_cuda_stream(&second));
  TRY(tarn_pool_alloc(pool, 1000, first, &block));
  TRY(tarn_pool_alloc(pool, 1000, NULL, &other));
  TRY(tarn_stream_synchronize(first));
  TRY(tarn_pool_note_use(pool, block, second));
done:
  if (block != NULL && tarn_pool_free(pool, block, first) != TARN_OK) status = TARN_DEVICE_ERROR;
  if (other != NULL && tarn_pool_free(pool, other, second) != TARN_OK) status = TARN_DEVICE_ERROR;
  tarn_stream_release(first);
  tarn_stream_release(second);
  tarn_pool_release(pool);
  return status;
}

static tarn_status use_cuda_driver_pool(void) {
  return with_cuda(use_driver_blocks);
}

static tarn_status share_device_pool(void) {
  return use_pool(make_device, make_cuda_stream, 4 << 20);
}

static tarn_status share_virtual_pool(void) {
  return use_pool(make_virtual, make_cuda_stream, 4 << 20);
}

static tarn_status use_cuda_virtual(void) {
  return with_cuda(share_virtual_pool);
}

static tarn_status use_cuda_device(void) {
  return with_cuda(share_device_pool);
}

static tarn_status use_cuda_tensors(void) {
  return with_cuda(copy_cuda_tensors);
}

/* --- running --- */

static void fail_each_allocation_of(tarn_status (*scenario)(void), const char *name) {
  const tarn_status plain = scenario();
  if (plain == TARN_UNAVAILABLE || plain == TARN_NOT_SUPPORTED) {
    print_message("skipped: %s: %s\n", name, tarn_last_error()->message);
    skip();
  }
  if (plain != TARN_OK) fail_msg("%s: %s", name, tarn_last_error()->message);
  /* How many allocations a run makes depends a little on its threads, so several runs must go by
   * without a failure before the end is believed. */
  int quiet_count = 0;
  for (long fail_at = 1; quiet_count < QUIET_RUNS; fail_at++) {
    if (fail_at > RUNS_MAX) fail_msg("%s allocates without end", name);
    fault_arm(fail_at);
    const tarn_status status = scenario();
    const bool has_failed = fault_disarm();
    if (!has_failed) assert_int_equal(status, TARN_OK);
    quiet_count = has_failed ? 0 : quiet_count + 1;
  }
}

/* Before anything is warm: what is allocated once in the process fails too. */
TEST(cold_caches_fail) {
  static tarn_status (*const scenarios[])(void) = {use_streams, use_range_pool, use_host_tensors};
  for (size_t index = 0; index < COUNT_OF(scenarios); index++) {
    bool has_failed = true;
    for (long fail_at = 1; has_failed; fail_at++) {
      fault_arm(fail_at);
      const tarn_status status = scenarios[index]();
      has_failed = fault_disarm();
      if (!has_failed) assert_int_equal(status, TARN_OK);
    }
  }
}

/* From one allocation on, none succeeds any more: what is pending must still be waited for. */
TEST(memory_that_ends_for_good_ends_no_promise) {
  static tarn_status (*const scenarios[])(void) = {
      use_captures,     use_fixed_provider, use_range_pool,  use_segment_pool,
      use_fresh_thread, use_streams,        use_host_tensors};
  for (size_t index = 0; index < COUNT_OF(scenarios); index++) {
    int quiet_count = 0;
    for (long fail_at = 1; quiet_count < QUIET_RUNS; fail_at++) {
      if (fail_at > RUNS_MAX) fail_msg("scenario %zu allocates without end", index);
      fault_arm_for_good(fail_at);
      const tarn_status status = scenarios[index]();
      const bool has_failed = fault_disarm();
      if (!has_failed) assert_int_equal(status, TARN_OK);
      quiet_count = has_failed ? 0 : quiet_count + 1;
    }
  }
}

#define SCENARIO(function)                              \
  TEST(function##_survives) {                           \
    fail_each_allocation_of(use_##function, #function); \
  }

SCENARIO(adaptors)
SCENARIO(fixed_provider)
SCENARIO(shared_pages)
SCENARIO(range_pool)
SCENARIO(segment_pool)
SCENARIO(fresh_thread)
SCENARIO(pool_over_pool)
SCENARIO(budgets)
SCENARIO(records)
SCENARIO(streams)
SCENARIO(captures)
SCENARIO(bare_stream)
SCENARIO(host_tensors)
SCENARIO(growing_storage)
SCENARIO(share)
SCENARIO(cuda_share)
SCENARIO(maintenance)
SCENARIO(fallback)
SCENARIO(callbacks)
SCENARIO(ort)
SCENARIO(pause)
SCENARIO(dlpack)
SCENARIO(npy_files)
SCENARIO(umf)
SCENARIO(node)
SCENARIO(synthetic_topology)
SCENARIO(saved_topology)
SCENARIO(cuda_device)
SCENARIO(cuda_pinned)
SCENARIO(torch)
SCENARIO(cuda_virtual)
SCENARIO(cuda_driver_pool)
SCENARIO(cuda_tensors)

int main(int argc, char **argv) {
  /* No dice in the simulated driver: the n-th allocation is the same one every time. */
  setenv("CUSIM_POLICY", "eager", /*overwrite=*/0);
  setenv("CUSIM_DEVICES", "2", /*overwrite=*/0);
  const int failed = run_listed_tests(NULL, NULL);
  if (argc > 1 && strcmp(argv[1], "--sites") == 0) fault_print_sites();
  return failed;
}
