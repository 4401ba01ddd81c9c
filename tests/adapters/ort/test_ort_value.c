/* test_ort_value.c: tensors as values of a stand-in for ONNX Runtime, and back. */
#include "tests/support/pools.h"

#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tests/adapters/ort/ort_stand_in.h"

enum { FLOAT = 1, STRING = 8, INT4 = 22 };

static struct {
  tarn_pool *pool;
  tarn_ort *ort;
  int blobs_gone;
} self;

static int set_up(void **state) {
  (void)state;
  tarn_provider *provider = NULL;
  stand_in_begin();
  self.blobs_gone = 0;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  self.pool = pool_over(provider, NULL);
  assert_ok(tarn_ort_open(stand_in_base(), &self.ort));
  return 0;
}

static uint64_t live(void) {
  tarn_pool_stats stats = stats_of(self.pool);
  return stats.alloc_count - stats.free_count;
}

/* Nothing is left, here or in the runtime. */
static int tear_down(void **state) {
  (void)state;
  assert_int_equal(live(), 0);
  tarn_ort_release(self.ort);
  tarn_pool_release(self.pool);
  assert_int_equal(stand_in.live_objects, 0);
  return 0;
}

static tarn_tensor make_tensor(tarn_dtype dtype) {
  static const int64_t shape[] = {3, 5};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(self.pool, dtype, 2, shape, NULL, &tensor));
  return tensor;
}

/* A tensor of a pretended device, whose memory nobody follows. */
static void count_gone(void *context) {
  (void)context;
  self.blobs_gone++;
}
static tarn_tensor wrap(tarn_device device, uint32_t flags) {
  static float data[4];
  static const int64_t shape[] = {4};
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = data,
                          .size_bytes = sizeof data,
                          .device = device,
                          .flags = flags,
                          .deleter = count_gone};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_F32, 1, shape, NULL, 0, &tensor));
  return tensor;
}

/* --- out --- */

TEST_WITH(value_has_the_tensors_address_and_shape_and_holds_it, set_up, tear_down) {
  tarn_tensor tensor = make_tensor(TARN_F32);
  const void *const address = tarn_tensor_data(&tensor);
  struct OrtValue *value = NULL;
  assert_ok(tarn_ort_value_of_tensor(self.ort, &tensor, 0, &value));
  tarn_tensor_release(&tensor);
  assert_int_equal(live(), 1);
  assert_ptr_equal(value->data, address);
  assert_int_equal(value->type, FLOAT);
  assert_int_equal(value->rank, 2);
  assert_int_equal(value->shape[0], 3);
  assert_int_equal(value->shape[1], 5);
  assert_string_equal(value->info.name, "Cpu");
  stand_in_release(value);
}

TEST_WITH(borrowed_value_holds_nothing_and_needs_no_new_runtime, set_up, tear_down) {
  tarn_ort *old = NULL;
  stand_in.version = "1.21.0";
  assert_ok(tarn_ort_open(stand_in_base(), &old));
  tarn_tensor tensor = make_tensor(TARN_BF16);
  struct OrtValue *value = NULL;
  assert_status(tarn_ort_value_of_tensor(old, &tensor, 0, &value), TARN_NOT_SUPPORTED);
  assert_ok(tarn_ort_value_of_tensor(old, &tensor, TARN_ORT_BORROW, &value));
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  assert_null(value->deleter);
  tarn_tensor_release(&tensor);
  stand_in_release(value);
  tarn_ort_release(old);
}

TEST_WITH(refused_value_leaves_the_tensor_as_it_was, set_up, tear_down) {
  tarn_tensor tensor = make_tensor(TARN_F32);
  for (int late = 0; late < 2; late++) {
    stand_in.deletes_and_fails = late == 1;
    struct OrtValue *value = NULL;
    stand_in.fail_in = 1;
    assert_status(tarn_ort_value_of_tensor(self.ort, &tensor, 0, &value), TARN_SYSTEM_ERROR);
    assert_non_null(strstr(tarn_last_error()->message, "as the test wanted"));
    assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
    stand_in.fail_in = 1;
    assert_status(tarn_ort_value_of_tensor(self.ort, &tensor, TARN_ORT_BORROW, &value),
                  TARN_SYSTEM_ERROR);
    assert_null(value);
  }
  tarn_tensor_release(&tensor);
}

TEST_WITH(what_a_value_cannot_be_is_refused_with_the_reason, set_up, tear_down) {
  tarn_tensor tensor = make_tensor(TARN_C64);
  struct OrtValue *value = NULL;
  assert_status(tarn_ort_value_of_tensor(self.ort, &tensor, 0, &value), TARN_NOT_SUPPORTED);
  assert_non_null(strstr(tarn_last_error()->message, "complex64"));
  tarn_tensor_release(&tensor);
  tensor = make_tensor(tarn_dtype_make(TARN_CODE_FLOAT, 32, 4));
  assert_status(tarn_ort_value_of_tensor(self.ort, &tensor, 0, &value), TARN_NOT_SUPPORTED);
  tarn_tensor_release(&tensor);
  tensor = make_tensor(TARN_F32);
  assert_status(tarn_ort_value_of_tensor(self.ort, &tensor, 1u << 20, &value),
                TARN_INVALID_ARGUMENT);
  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  assert_status(tarn_ort_value_of_tensor(self.ort, &tensor, 0, &value), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "row-major"));
  assert_null(value);
  tarn_tensor_release(&tensor);
}

TEST_WITH(read_only_tensor_is_an_input_alone, set_up, tear_down) {
  tarn_tensor tensor = wrap((tarn_device){0}, TARN_STORAGE_READ_ONLY);
  struct OrtValue *value = NULL;
  assert_status(tarn_ort_value_of_tensor(self.ort, &tensor, 0, &value), TARN_READ_ONLY);
  assert_ok(tarn_ort_value_of_tensor(self.ort, &tensor, TARN_ORT_INPUT, &value));
  assert_ptr_equal(value->data, tarn_tensor_data(&tensor));
  tarn_tensor_release(&tensor);
  assert_int_equal(self.blobs_gone, 0);
  stand_in_release(value);
  assert_int_equal(self.blobs_gone, 1);
}

TEST_WITH(memory_goes_by_the_runtimes_names, set_up, tear_down) {
  static const struct {
    tarn_device device;
    uint32_t flags;
    const char *name; /* NULL: refused */
    int index;
  } rows[] = {{{TARN_DEVICE_CUDA, 3}, 0, "Cuda", 3},
              {{TARN_DEVICE_CUDA_MANAGED, 2}, 0, "Cuda", 2},
              {{TARN_DEVICE_CUDA_HOST, 0}, 0, "CudaPinned", 0},
              {{TARN_DEVICE_CUDA_HOST, 0}, TARN_ORT_AS_CPU, "Cpu", 0},
              {{TARN_DEVICE_CUDA, 0}, TARN_ORT_AS_CPU, NULL, 0},
              {{10, 0}, 0, NULL, 0}};
  for (size_t index = 0; index < COUNT_OF(rows); index++) {
    for (uint32_t borrow = 0; borrow <= TARN_ORT_BORROW; borrow += TARN_ORT_BORROW) {
      tarn_tensor tensor = wrap(rows[index].device, 0);
      struct OrtValue *value = NULL;
      const tarn_status status =
          tarn_ort_value_of_tensor(self.ort, &tensor, rows[index].flags | borrow, &value);
      assert_int_equal(status == TARN_OK, rows[index].name != NULL);
      if (status == TARN_OK) {
        assert_string_equal(value->info.name, rows[index].name);
        assert_int_equal(value->info.index, rows[index].index);
        stand_in_release(value);
      }
      tarn_tensor_release(&tensor);
    }
  }
}

/* --- in --- */

static const int64_t two_by_three[] = {2, 3};
static float elements[6];

TEST_WITH(value_of_the_runtime_becomes_a_tensor_that_holds_it, set_up, tear_down) {
  static const struct {
    const char *name;
    tarn_device device;
  } rows[] = {{"Cpu", {TARN_DEVICE_CPU, 0}},
              {"Cuda", {TARN_DEVICE_CUDA, 1}},
              {"CudaPinned", {TARN_DEVICE_CUDA_HOST, 0}},
              {"Cu of a plug-in", {TARN_DEVICE_CUDA, 1}}};
  for (size_t index = 0; index < COUNT_OF(rows); index++) {
    struct OrtValue *value = stand_in_value(FLOAT, 2, two_by_three, elements, rows[index].name);
    tarn_tensor tensor;
    assert_ok(tarn_ort_tensor_of_value(self.ort, value, &tensor));
    assert_ptr_equal(tarn_tensor_data(&tensor), elements);
    assert_true(tarn_dtype_equal(tensor.dtype, TARN_F32));
    assert_int_equal(tarn_tensor_size_bytes(&tensor), sizeof elements);
    assert_true(tarn_device_equal(tarn_tensor_device(&tensor), rows[index].device));
    tarn_tensor_release(&tensor); /* tear_down counts the value */
  }
}

static void assert_stays_a_value(struct OrtValue *value, tarn_status status) {
  tarn_tensor tensor;
  assert_status(tarn_ort_tensor_of_value(self.ort, value, &tensor), status);
  assert_null(tensor.storage);
  stand_in_release(value);
}

TEST_WITH(value_that_no_tensor_can_be_is_refused_and_stays_the_callers, set_up, tear_down) {
  static const int64_t ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  static const int64_t huge[] = {INT64_MAX / 2, 8};
  assert_stays_a_value(stand_in_value(STRING, 2, two_by_three, elements, "Cpu"),
                       TARN_NOT_SUPPORTED);
  assert_stays_a_value(stand_in_value(INT4, 2, two_by_three, elements, "Cpu"), TARN_NOT_SUPPORTED);
  assert_stays_a_value(stand_in_value(FLOAT, TARN_RANK_MAX + 1, ones, elements, "Cpu"),
                       TARN_NOT_SUPPORTED);
  assert_stays_a_value(stand_in_value(FLOAT, 2, huge, elements, "Cpu"), TARN_TOO_LARGE);
  assert_stays_a_value(stand_in_value(FLOAT, 2, two_by_three, elements, "WebGPU"),
                       TARN_NOT_SUPPORTED);
  struct OrtValue *sequence = stand_in_value(FLOAT, 2, two_by_three, elements, "Cpu");
  sequence->is_tensor = false;
  assert_stays_a_value(sequence, TARN_NOT_SUPPORTED);
}

TEST_WITH(every_call_of_the_runtime_may_fail, set_up, tear_down) {
  int failures = 0;
  for (;; failures++) {
    struct OrtValue *value = stand_in_value(FLOAT, 2, two_by_three, elements, "Cpu");
    tarn_tensor tensor;
    stand_in.fail_in = failures + 1;
    if (tarn_ort_tensor_of_value(self.ort, value, &tensor) == TARN_OK) {
      stand_in.fail_in = 0;
      tarn_tensor_release(&tensor);
      break;
    }
    assert_non_null(strstr(tarn_last_error()->message, "as the test wanted"));
    stand_in_release(value);
  }
  assert_true(failures >= 8);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
