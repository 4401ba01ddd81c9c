/* test_cuda_absent.c: a build without CUDA answers every call, and says why it cannot. */
#include "cuda/tarn_cuda.h"

#include <string.h>

#include "tests/support/test.h"

TEST(every_call_says_that_cuda_was_left_out) {
  tarn_cuda *cuda = (tarn_cuda *)&cuda;
  assert_int_equal(tarn_cuda_open(NULL, &cuda), TARN_NOT_SUPPORTED);
  assert_null(cuda);
  assert_non_null(strstr(tarn_last_error()->message, "no CUDA"));

  assert_int_equal(tarn_cuda_synchronize(NULL, 0), TARN_NOT_SUPPORTED);
  void *start = &start;
  size_t size_bytes = 1;
  assert_int_equal(tarn_cuda_address_range(NULL, 0, NULL, &start, &size_bytes), TARN_NOT_SUPPORTED);
  assert_null(start);
  assert_int_equal(size_bytes, 0);
  tarn_stream *stream = (tarn_stream *)&stream;
  assert_int_equal(tarn_cuda_stream_create(NULL, 0, &stream), TARN_NOT_SUPPORTED);
  assert_null(stream);
  stream = (tarn_stream *)&stream;
  assert_int_equal(tarn_cuda_stream_wrap(NULL, 0, NULL, &stream), TARN_NOT_SUPPORTED);
  assert_null(stream);
  void *native = &native;
  assert_int_equal(tarn_cuda_stream_native(NULL, &native), TARN_NOT_SUPPORTED);
  assert_null(native);

  tarn_provider *provider = (tarn_provider *)&provider;
  assert_int_equal(tarn_cuda_device_provider_create(NULL, 0, &provider), TARN_NOT_SUPPORTED);
  assert_null(provider);
  provider = (tarn_provider *)&provider;
  assert_int_equal(tarn_cuda_virtual_provider_create(NULL, 0, NULL, &provider), TARN_NOT_SUPPORTED);
  assert_null(provider);
  tarn_pool *pool = (tarn_pool *)&pool;
  assert_int_equal(tarn_cuda_driver_pool_create(NULL, 0, NULL, &pool), TARN_NOT_SUPPORTED);
  assert_null(pool);
  provider = (tarn_provider *)&provider;
  tarn_cuda_memory memory = TARN_CUDA_MEMORY_VIRTUAL;
  assert_int_equal(tarn_cuda_memory_provider_create(NULL, 0, &memory, &provider),
                   TARN_NOT_SUPPORTED);
  assert_null(provider);
  assert_int_equal(memory, TARN_CUDA_MEMORY_NONE);
  tarn_cuda_memory_choice choice = {.struct_size = sizeof choice,
                                    .memory = TARN_CUDA_MEMORY_VIRTUAL};
  assert_int_equal(tarn_cuda_memory_choose(NULL, 0, &choice), TARN_NOT_SUPPORTED);
  assert_int_equal(choice.memory, TARN_CUDA_MEMORY_NONE);
  tarn_cuda_virtual_stats stats = {.struct_size = sizeof stats, .mapped_bytes = 1};
  assert_int_equal(tarn_cuda_virtual_stats_of(NULL, &stats), TARN_NOT_SUPPORTED);
  assert_int_equal(stats.mapped_bytes, 0);
  provider = (tarn_provider *)&provider;
  assert_int_equal(tarn_cuda_pinned_provider_create(NULL, NULL, &provider), TARN_NOT_SUPPORTED);
  assert_null(provider);

  bool can = true;
  assert_int_equal(tarn_cuda_can_access_peer(NULL, 0, 1, &can), TARN_NOT_SUPPORTED);
  assert_false(can);
  assert_int_equal(tarn_cuda_enable_peer(NULL, 0, 1), TARN_NOT_SUPPORTED);

  tarn_cuda_pointer_info pointer = {.struct_size = sizeof pointer, .range_bytes = 1};
  assert_int_equal(tarn_cuda_pointer_info_of(NULL, &pointer, &pointer), TARN_NOT_SUPPORTED);
  assert_int_equal(pointer.range_bytes, 0);
  tarn_blob blob = {.struct_size = sizeof blob, .address = &blob, .size_bytes = 1};
  assert_int_equal(tarn_cuda_blob_check(NULL, &blob), TARN_NOT_SUPPORTED);
  assert_int_equal(blob.device.type, 0);

  tarn_cuda_device_info info = {.struct_size = sizeof info, .total_bytes = 1};
  assert_int_equal(tarn_cuda_device_info_of(NULL, 0, &info), TARN_NOT_SUPPORTED);
  assert_int_equal(info.total_bytes, 0);
}

TEST(nothing_is_there_to_be_counted_or_released) {
  tarn_cuda_retain(NULL);
  tarn_cuda_release(NULL);
  assert_int_equal(tarn_cuda_device_count(NULL), 0);
  assert_int_equal(tarn_cuda_driver_version(NULL), 0);
  assert_false(tarn_cuda_is_simulated(NULL));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
