/* test_dlpack_cuda.c: tensors exchanged through a CUDA driver, a GPU's or the simulated one.
 *
 * usage: test_dlpack_cuda [path of a libcuda.so.1]; without one the machine's own, and exit status
 * 77 where there is none.
 */
#include "tests/support/pools.h"

#include <stdio.h>

#include "cuda/tarn_cuda.h"
#include "tensor/tarn_dlpack.h"

enum { BYTES = 4096, ROUND_COUNT = 40, PLACES = 3 };
enum { PAGEABLE, PINNED, DEVICE };

static const int64_t shape[] = {BYTES};
static tarn_cuda *cuda;
static tarn_stream *producer, *consumer;
static tarn_pool *pools[PLACES];

static int start(void **state) {
  (void)state;
  tarn_provider *provider;
  assert_ok(tarn_cuda_stream_create(cuda, 0, &producer));
  assert_ok(tarn_cuda_stream_create(cuda, 0, &consumer));
  pools[PAGEABLE] = pages_pool(NULL);
  assert_ok(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  pools[PINNED] = pool_over(provider, NULL);
  assert_ok(tarn_cuda_device_provider_create(cuda, 0, &provider));
  pools[DEVICE] = pool_over(provider, NULL);
  return 0;
}

static int stop(void **state) {
  (void)state;
  tarn_stream_release(producer);
  tarn_stream_release(consumer);
  for (int place = 0; place < PLACES; place++) {
    tarn_pool_stats stats = stats_of(pools[place]);
    assert_int_equal(stats.alloc_count, stats.free_count);
    tarn_pool_release(pools[place]);
  }
  return 0;
}

static tarn_tensor bytes_of(int place, tarn_stream *stream) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pools[place], TARN_U8, 1, shape, stream, &tensor));
  return tensor;
}

static void enqueue_fill(tarn_stream *stream, const tarn_tensor *tensor, int value) {
  assert_ok(tarn_stream_fill(stream, tarn_tensor_data_mutable(tensor), tarn_tensor_device(tensor),
                             (uint8_t)value, BYTES));
}

static void all_are(const void *bytes, int value) {
  for (int i = 0; i < BYTES; i++) {
    if (((const uint8_t *)bytes)[i] != (uint8_t)value) {
      fail_msg("byte %d is %d, not %d", i, ((const uint8_t *)bytes)[i], value);
    }
  }
}

/* The consumer reads what the producer wrote, and the memory is not the producer's again before
 * that: without a wait of the host anywhere. The simulator knows every race. */
TEST(a_consumers_stream_sees_whole_data_and_keeps_it) {
  const tarn_dlpack_export_options options = {
      .struct_size = sizeof options, .producer = producer, .consumer = consumer};
  const tarn_device pinned = {TARN_DEVICE_CUDA_HOST, 0};
  tarn_tensor seen[ROUND_COUNT];
  for (int round = 0; round < ROUND_COUNT; round++) {
    tarn_dl_managed_tensor_versioned *managed;
    tarn_tensor tensor = bytes_of(DEVICE, producer);
    seen[round] = bytes_of(PINNED, NULL);
    enqueue_fill(producer, &tensor, round);
    assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
    tarn_tensor_release(&tensor);
    assert_int_equal(managed->dl_tensor.device.type, TARN_DEVICE_CUDA);
    assert_ok(tarn_stream_copy(consumer, tarn_tensor_data_mutable(&seen[round]), pinned,
                               managed->dl_tensor.data, managed->dl_tensor.device, BYTES));
    managed->deleter(managed); /* the copy may not even have begun */
  }
  assert_ok(tarn_stream_synchronize(consumer));
  for (int round = 0; round < ROUND_COUNT; round++) {
    all_are(tarn_tensor_data(&seen[round]), round);
    tarn_tensor_release(&seen[round]);
  }
}

TEST(an_export_to_another_memory_is_a_copy_in_stream_order) {
  for (int round = 0; round < ROUND_COUNT; round++) {
    const int from = round % PLACES, to = round / PLACES % PLACES;
    const tarn_device target = tarn_pool_attributes_of(pools[to])->device;
    const tarn_dlpack_export_options options = {.struct_size = sizeof options,
                                                .copy = TARN_DLPACK_COPY_ALWAYS,
                                                .device = target,
                                                .pool = pools[to],
                                                .producer = producer,
                                                .consumer = consumer};
    tarn_dl_managed_tensor_versioned *managed;
    tarn_tensor tensor = bytes_of(from, producer), seen = bytes_of(PINNED, NULL);
    enqueue_fill(producer, &tensor, round);
    assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
    tarn_tensor_release(&tensor);
    assert_int_equal(managed->flags, TARN_DL_IS_COPIED);
    assert_int_equal(managed->dl_tensor.device.type, target.type);
    assert_ok(tarn_stream_copy(consumer, tarn_tensor_data_mutable(&seen), tarn_tensor_device(&seen),
                               managed->dl_tensor.data, target, BYTES));
    managed->deleter(managed);
    assert_ok(tarn_stream_synchronize(consumer));
    all_are(tarn_tensor_data(&seen), round);
    tarn_tensor_release(&seen);
  }
}

TEST(device_memory_reaches_the_cpu_by_a_copy_alone) {
  tarn_dlpack_export_options options = {.struct_size = sizeof options,
                                        .copy = TARN_DLPACK_COPY_NEVER,
                                        .device = {TARN_DEVICE_CPU, 0},
                                        .pool = pools[PAGEABLE],
                                        .producer = producer};
  tarn_dl_managed_tensor_versioned *managed;
  tarn_tensor tensor = bytes_of(DEVICE, producer);
  enqueue_fill(producer, &tensor, 77);
  assert_status(tarn_dlpack_export(&tensor, &options, &managed), TARN_NOT_SUPPORTED);
  options.copy = TARN_DLPACK_COPY_IF_NEEDED;
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  all_are(managed->dl_tensor.data, 77); /* a NULL consumer is the CPU, now */
  managed->deleter(managed);
  tarn_tensor_release(&tensor);
}

TEST(pinned_memory_says_so) {
  tarn_dl_managed_tensor_versioned *managed;
  tarn_tensor tensor = bytes_of(PINNED, NULL);
  assert_ok(tarn_dlpack_export(&tensor, NULL, &managed));
  assert_int_equal(managed->dl_tensor.device.type, TARN_DEVICE_CUDA_HOST);
  assert_int_equal(managed->dl_tensor.device.index, 0);
  managed->deleter(managed);
  tarn_tensor_release(&tensor);
}

static tarn_status on_the_producers_stream(void *context, tarn_device device, tarn_stream **stream,
                                           void **native) {
  (void)context;
  if (device.type != TARN_DEVICE_CUDA) return TARN_OK;
  *stream = producer;
  return tarn_cuda_stream_native(producer, native);
}

TEST(the_exchange_table_allocates_on_the_stream_that_it_names) {
  const tarn_device gpu = {TARN_DEVICE_CUDA, 0};
  tarn_dl_exchange_api api;
  int64_t numbers[] = {BYTES};
  tarn_dl_tensor prototype = {.device = gpu, .ndim = 1, .dtype = TARN_U8, .shape = numbers};
  tarn_dl_managed_tensor_versioned *made;
  tarn_tensor tensor, seen = bytes_of(PINNED, NULL);
  void *native = NULL, *expected = NULL;
  tarn_dlpack_exchange_init(&api);
  tarn_dlpack_set_work_stream(on_the_producers_stream, NULL);
  assert_ok(tarn_dlpack_set_exchange_pool(gpu, pools[DEVICE]));
  assert_int_equal(api.current_work_stream(TARN_DEVICE_CUDA, 0, &native), 0);
  assert_ok(tarn_cuda_stream_native(producer, &expected));
  assert_ptr_equal(native, expected);
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, NULL, NULL), 0);
  assert_ok(tarn_dlpack_import(made, NULL, &tensor));
  enqueue_fill(producer, &tensor, 5);
  assert_ok(tarn_stream_copy(producer, tarn_tensor_data_mutable(&seen), tarn_tensor_device(&seen),
                             tarn_tensor_data(&tensor), gpu, BYTES));
  tarn_tensor_release(&tensor);
  assert_ok(tarn_stream_synchronize(producer));
  all_are(tarn_tensor_data(&seen), 5);
  tarn_tensor_release(&seen);
  assert_ok(tarn_dlpack_set_exchange_pool(gpu, NULL));
  tarn_dlpack_set_work_stream(NULL, NULL);
}

int main(int argument_count, char **arguments) {
  const char *driver_path = argument_count > 1 ? arguments[1] : NULL;
  const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = driver_path};
  const tarn_status status = tarn_cuda_open(&options, &cuda);
  if (status != TARN_OK) {
    printf("%s: %s\n", tarn_status_name(status), tarn_last_error()->message);
    return driver_path == NULL ? 77 : 1;
  }
  const int failed = run_listed_tests(start, stop);
  tarn_cuda_release(cuda);
  return failed;
}
