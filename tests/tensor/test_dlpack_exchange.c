/* test_dlpack_exchange.c: tests of tensor/dlpack_exchange.c. */
#include "tests/tensor/dlpack_foreign.h"

#include <stdio.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "tests/support/manual_stream.h"
#include "tests/support/pools.h"

static _Alignas(4096) char ranges[TARN_DLPACK_EXCHANGE_POOLS_MAX + 1][4096];

static tarn_pool *pool_on(tarn_device device, int number) {
  const tarn_fixed_options options = {.struct_size = sizeof options, .device = device};
  tarn_provider *provider;
  assert_ok(tarn_fixed_provider_create(ranges[number], sizeof ranges[0], &options, &provider));
  return pool_over(provider, NULL);
}

static tarn_device cpu(void) {
  return tarn_device_make(TARN_DEVICE_CPU, 0);
}

static tarn_dl_exchange_api table(void) {
  tarn_dl_exchange_api api;
  memset(&api, 0xff, sizeof api);
  tarn_dlpack_exchange_init(&api);
  return api;
}

/* What the allocator said of its failure. */
typedef struct said {
  int call_count;
  char kind[32];
  char message[512];
} said;

static void set_error(void *error_ctx, const char *kind, const char *message) {
  said *self = error_ctx;
  self->call_count++;
  snprintf(self->kind, sizeof self->kind, "%s", kind);
  snprintf(self->message, sizeof self->message, "%s", message);
}

static tarn_dl_tensor prototype_of(int64_t *shape, int32_t ndim, tarn_device device) {
  return (tarn_dl_tensor){.device = device, .ndim = ndim, .dtype = TARN_F32, .shape = shape};
}

TEST(the_table_says_its_version_and_leaves_python_to_the_binding) {
  const tarn_dl_exchange_api api = table();
  assert_int_equal(api.header.version.major, 1);
  assert_int_equal(api.header.version.minor, 3);
  assert_null(api.header.prev_api);
  assert_non_null(api.managed_tensor_allocator);
  assert_non_null(api.current_work_stream);
  assert_null(api.managed_tensor_from_py_object_no_sync);
  assert_null(api.managed_tensor_to_py_object_no_sync);
  assert_null(api.dltensor_from_py_object_no_sync);
}

TEST(the_allocator_takes_memory_of_the_pool_that_was_set) {
  const tarn_dl_exchange_api api = table();
  tarn_pool *pool = pool_on(cpu(), 0);
  assert_ok(tarn_dlpack_set_exchange_pool(cpu(), pool));
  int64_t shape[] = {2, 3};
  tarn_dl_tensor prototype = prototype_of(shape, 2, cpu());
  tarn_dl_managed_tensor_versioned *made;
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, NULL, NULL), 0);
  assert_int_equal(made->flags, 0);
  assert_int_equal(made->dl_tensor.shape[1], 3);
  assert_int_equal(made->dl_tensor.strides[0], 3);
  assert_true((char *)made->dl_tensor.data >= ranges[0]);
  assert_true((char *)made->dl_tensor.data < ranges[1]);
  assert_ok(tarn_dlpack_set_exchange_pool(cpu(), NULL));
  tarn_pool_release(pool); /* the tensor keeps it */
  memset(made->dl_tensor.data, 1, 24);
  made->deleter(made);
}

TEST(without_a_pool_for_the_device_the_allocator_says_so) {
  const tarn_dl_exchange_api api = table();
  tarn_pool *pool = pool_on(tarn_device_make(TARN_DEVICE_CUDA, 1), 0);
  assert_ok(tarn_dlpack_set_exchange_pool(tarn_device_make(TARN_DEVICE_CUDA, 1), pool));
  int64_t shape[] = {2, 3};
  tarn_dl_tensor prototype = prototype_of(shape, 2, tarn_device_make(TARN_DEVICE_CUDA, 0));
  tarn_dl_managed_tensor_versioned *made = (void *)shape;
  said error = {0};
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, &error, set_error), -1);
  assert_null(made);
  assert_int_equal(error.call_count, 1);
  assert_string_equal(error.kind, "BufferError");
  assert_non_null(strstr(error.message, "device type 2 index 0"));
  prototype.device.index = 1;
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, &error, set_error), 0);
  assert_int_equal(error.call_count, 1);
  made->deleter(made);
  assert_ok(tarn_dlpack_set_exchange_pool(tarn_device_make(TARN_DEVICE_CUDA, 1), NULL));
  tarn_pool_release(pool);
}

TEST(a_prototype_that_cannot_be_is_refused) {
  const tarn_dl_exchange_api api = table();
  tarn_pool *pool = pool_on(cpu(), 0);
  assert_ok(tarn_dlpack_set_exchange_pool(cpu(), pool));
  int64_t shape[] = {-2, 3};
  tarn_dl_tensor prototype = prototype_of(shape, 2, cpu());
  tarn_dl_managed_tensor_versioned *made;
  said error = {0};
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, &error, set_error), -1);
  assert_string_equal(error.kind, "BufferError");
  shape[0] = 1 << 20; /* more than the pool has */
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, &error, set_error), -1);
  assert_string_equal(error.kind, "MemoryError");
  prototype.ndim = 99;
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, &error, set_error), -1);
  assert_int_equal(api.managed_tensor_allocator(NULL, &made, &error, set_error), -1);
  assert_int_equal(api.managed_tensor_allocator(&prototype, NULL, &error, set_error), -1);
  assert_int_equal(api.managed_tensor_allocator(NULL, NULL, NULL, NULL), -1);
  assert_int_equal(error.call_count, 5);
  assert_ok(tarn_dlpack_set_exchange_pool(cpu(), NULL));
  tarn_pool_release(pool);
}

TEST(a_pool_lies_on_the_device_that_it_is_set_for) {
  tarn_pool *pool = pool_on(cpu(), 0);
  assert_status(tarn_dlpack_set_exchange_pool(tarn_device_make(TARN_DEVICE_CUDA, 0), pool),
                TARN_INVALID_ARGUMENT);
  assert_ok(tarn_dlpack_set_exchange_pool(tarn_device_make(TARN_DEVICE_CUDA, 0), NULL));
  tarn_pool_release(pool);
}

TEST(the_later_pool_replaces_the_earlier_one) {
  const tarn_dl_exchange_api api = table();
  for (int number = 0; number < 2; number++) {
    tarn_pool *pool = pool_on(cpu(), number);
    assert_ok(tarn_dlpack_set_exchange_pool(cpu(), pool));
    tarn_pool_release(pool); /* it is retained */
  }
  int64_t shape[] = {4};
  tarn_dl_tensor prototype = prototype_of(shape, 1, cpu());
  tarn_dl_managed_tensor_versioned *made;
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, NULL, NULL), 0);
  assert_true((char *)made->dl_tensor.data >= ranges[1]);
  made->deleter(made);
  assert_ok(tarn_dlpack_set_exchange_pool(cpu(), NULL));
}

TEST(there_is_room_for_so_many_devices_and_no_more) {
  for (int number = 0; number <= TARN_DLPACK_EXCHANGE_POOLS_MAX; number++) {
    const tarn_device device = tarn_device_make(TARN_DEVICE_CUDA, number);
    tarn_pool *pool = pool_on(device, number);
    assert_status(tarn_dlpack_set_exchange_pool(device, pool),
                  number < TARN_DLPACK_EXCHANGE_POOLS_MAX ? TARN_OK : TARN_NOT_SUPPORTED);
    tarn_pool_release(pool);
  }
  for (int number = 0; number <= TARN_DLPACK_EXCHANGE_POOLS_MAX; number++) {
    assert_ok(tarn_dlpack_set_exchange_pool(tarn_device_make(TARN_DEVICE_CUDA, number), NULL));
  }
}

/* --- streams --- */

typedef struct work_place {
  tarn_status answer;
  tarn_stream *stream;
  void *native;
  tarn_device asked;
} work_place;

static tarn_status find_stream(void *context, tarn_device device, tarn_stream **stream,
                               void **native) {
  work_place *self = context;
  self->asked = device;
  if (self->answer != TARN_OK) return tarn_fail(self->answer, "the test knows no stream");
  *stream = self->stream;
  *native = self->native;
  return TARN_OK;
}

TEST(without_a_hook_the_cpus_stream_is_null_and_a_gpus_unknown) {
  const tarn_dl_exchange_api api = table();
  void *stream = &stream;
  assert_int_equal(api.current_work_stream(TARN_DEVICE_CPU, 0, &stream), 0);
  assert_null(stream);
  assert_int_equal(api.current_work_stream(TARN_DEVICE_CUDA_HOST, 0, &stream), 0);
  assert_int_equal(api.current_work_stream(TARN_DEVICE_CUDA, 0, &stream), -1);
  assert_null(stream);
  assert_int_equal(tarn_last_error()->status, TARN_UNAVAILABLE);
  assert_int_equal(api.current_work_stream(TARN_DEVICE_CPU, 0, NULL), -1);
}

TEST(the_hook_tells_the_stream_and_its_failure_is_told) {
  const tarn_dl_exchange_api api = table();
  int native;
  work_place place = {.native = &native};
  void *stream = NULL;
  tarn_dlpack_set_work_stream(find_stream, &place);
  assert_int_equal(api.current_work_stream(TARN_DEVICE_CUDA, 5, &stream), 0);
  assert_ptr_equal(stream, &native);
  assert_int_equal(place.asked.index, 5);
  place.answer = TARN_DEVICE_ERROR;
  assert_int_equal(api.current_work_stream(TARN_DEVICE_CUDA, 5, &stream), -1);
  assert_null(stream);
  tarn_dlpack_set_work_stream(NULL, NULL);
}

TEST(what_is_allocated_is_freed_in_the_order_of_the_hooks_stream) {
  const tarn_dl_exchange_api api = table();
  const tarn_device device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  tarn_pool *pool = pool_on(device, 0);
  work_place place = {.answer = TARN_OK};
  assert_ok(manual_stream_create_on(device, &place.stream));
  assert_ok(tarn_dlpack_set_exchange_pool(device, pool));
  tarn_dlpack_set_work_stream(find_stream, &place);
  int64_t shape[] = {4};
  tarn_dl_tensor prototype = prototype_of(shape, 1, device);
  tarn_dl_managed_tensor_versioned *made;
  tarn_tensor tensor;
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, NULL, NULL), 0);
  assert_ok(tarn_dlpack_import(made, NULL, &tensor));
  assert_ptr_equal(tarn_storage_stream(tensor.storage), place.stream);
  assert_ptr_equal(tarn_storage_pool(tensor.storage), pool);
  tarn_tensor_release(&tensor);
  place.answer = TARN_DEVICE_ERROR;
  said error = {0};
  assert_int_equal(api.managed_tensor_allocator(&prototype, &made, &error, set_error), -1);
  assert_string_equal(error.kind, "BufferError");
  tarn_dlpack_set_work_stream(NULL, NULL);
  assert_ok(tarn_dlpack_set_exchange_pool(device, NULL));
  tarn_stream_release(place.stream);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
