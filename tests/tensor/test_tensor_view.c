/* test_tensor_view.c: tests of tensor/tensor_view.c, and of the views that run in the caller. */
#include <complex.h>

#include "tensor/tarn_tensor.h"
#include "tests/support/test.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})

static tarn_tensor wrap(void *address, size_t size_bytes, tarn_dtype dtype, size_t rank,
                        const int64_t *shape) {
  const tarn_blob blob = {.struct_size = sizeof blob, .address = address, .size_bytes = size_bytes};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, dtype, (int32_t)rank, shape, NULL, 0, &tensor));
  return tensor;
}

#define REFUSED(call)                                     \
  do {                                                    \
    const tarn_tensor before = tensor;                    \
    assert_int_equal(call, TARN_INVALID_ARGUMENT);        \
    assert_memory_equal(&tensor, &before, sizeof tensor); \
  } while (0)

/* --- as another dtype --- */

TEST(elements_of_one_size_keep_the_layout) {
  float numbers[6] = {1, 2, 3, 4, 5, 6};
  tarn_tensor tensor = wrap(numbers, sizeof numbers, TARN_F32, SHAPE(2, 3));
  tarn_tensor_reverse(&tensor);
  assert_ok(tarn_tensor_view_as_dtype(&tensor, TARN_I32));
  assert_int_equal(tensor.layout.strides[0], 1);
  assert_int_equal(*(const int32_t *)tarn_tensor_data(&tensor), 0x3f800000);
  assert_true(tarn_dtype_equal(tensor.dtype, TARN_I32));
  tarn_tensor_release(&tensor);
}

TEST(smaller_elements_lengthen_the_last_dimension) {
  uint32_t numbers[12];
  for (uint32_t i = 0; i < 12; i++) numbers[i] = 0x01010101u * i;
  tarn_tensor tensor = wrap(numbers, sizeof numbers, TARN_U32, SHAPE(3, 4));
  assert_ok(tarn_tensor_slice(&tensor, 0, 2, TARN_SLICE_OPEN, -2));
  assert_ok(tarn_tensor_narrow(&tensor, 1, 1, 2));
  assert_ok(tarn_tensor_view_as_dtype(&tensor, TARN_U8));
  assert_int_equal(tensor.layout.offset, 36);
  assert_memory_equal(tensor.layout.shape, ((int64_t[]){2, 8}), 16);
  assert_memory_equal(tensor.layout.strides, ((int64_t[]){-32, 1}), 16);
  const uint8_t *data = tarn_tensor_data(&tensor);
  assert_int_equal(data[7], 10);
  assert_int_equal(data[-32 + 3], 1);
  assert_ok(tarn_tensor_view_as_dtype(&tensor, TARN_U32)); /* and back */
  assert_int_equal(tensor.layout.offset, 9);
  assert_memory_equal(tensor.layout.shape, ((int64_t[]){2, 2}), 16);
  assert_memory_equal(tensor.layout.strides, ((int64_t[]){-8, 1}), 16);
  tarn_tensor_release(&tensor);
}

TEST(what_does_not_divide_is_refused) {
  _Alignas(16) int16_t numbers[64] = {0};
  tarn_tensor tensor = wrap(numbers, sizeof numbers, TARN_I16, SHAPE(4, 6));
  REFUSED(tarn_tensor_view_as_dtype(&tensor, TARN_F64)); /* 6 is no multiple of 4 */
  REFUSED(tarn_tensor_view_as_dtype(&tensor, tarn_dtype_make(TARN_CODE_UINT, 8, 3)));
  assert_int_equal(tarn_tensor_view_as_dtype(&tensor, tarn_dtype_make(TARN_CODE_INT, 12, 1)),
                   TARN_NOT_SUPPORTED);
  assert_ok(tarn_tensor_narrow(&tensor, 1, 1, 4));
  REFUSED(tarn_tensor_view_as_dtype(&tensor, TARN_F32)); /* at an odd offset */
  assert_ok(tarn_tensor_narrow(&tensor, 1, 1, 2));
  assert_ok(tarn_tensor_view_as_dtype(&tensor, TARN_F32));
  tarn_tensor_release(&tensor);
  tensor = wrap(numbers, sizeof numbers, TARN_I16, SHAPE(3, 5));
  assert_ok(tarn_tensor_narrow(&tensor, 1, 0, 4));
  REFUSED(tarn_tensor_view_as_dtype(&tensor, TARN_F32)); /* rows start at odd places */
  assert_ok(tarn_tensor_narrow(&tensor, 0, 0, 1));
  assert_ok(tarn_tensor_view_as_dtype(&tensor, TARN_F32)); /* nobody sees the second row */
  tarn_tensor_release(&tensor);
  tensor = wrap(numbers, sizeof numbers, TARN_I16, SHAPE(4, 4));
  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  REFUSED(tarn_tensor_view_as_dtype(&tensor, TARN_U8)); /* the last dimension is not packed */
  assert_ok(tarn_tensor_select(&tensor, 0, 0));
  assert_ok(tarn_tensor_select(&tensor, 0, 0));
  REFUSED(tarn_tensor_view_as_dtype(&tensor, TARN_U8)); /* a scalar has no last dimension */
  tarn_tensor_release(&tensor);
  tensor = wrap(numbers + 1, 16, TARN_I16, SHAPE(8));
  REFUSED(tarn_tensor_view_as_dtype(&tensor, TARN_I32)); /* the address is not aligned */
  tarn_tensor_release(&tensor);
}

TEST(a_size_1_dimension_of_any_stride_is_packed) {
  int32_t numbers[12] = {0};
  tarn_tensor tensor = wrap(numbers, sizeof numbers, TARN_I32, SHAPE(3, 4));
  assert_ok(tarn_tensor_as_strided(&tensor, 2, (int64_t[]){3, 1}, (int64_t[]){4, 9}, 0));
  assert_ok(tarn_tensor_view_as_dtype(&tensor, TARN_I16));
  assert_memory_equal(tensor.layout.shape, ((int64_t[]){3, 2}), 16);
  assert_memory_equal(tensor.layout.strides, ((int64_t[]){8, 1}), 16);
  tarn_tensor_release(&tensor);
}

TEST(no_elements_have_every_dtype) {
  tarn_tensor tensor = wrap(NULL, 0, TARN_I64, SHAPE(3, 0));
  assert_ok(tarn_tensor_view_as_dtype(&tensor, TARN_U8));
  assert_memory_equal(tensor.layout.shape, ((int64_t[]){3, 0}), 16);
  assert_ok(tarn_tensor_view_as_dtype(&tensor, TARN_C128));
  tarn_tensor_release(&tensor);
  tensor = wrap(NULL, 0, TARN_I64, SHAPE(INT64_MAX, 0));
  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  assert_int_equal(tarn_tensor_view_as_dtype(&tensor, TARN_U8), TARN_TOO_LARGE);
  assert_int_equal(tensor.layout.shape[1], INT64_MAX);
  tarn_tensor_release(&tensor);
}

/* --- complex numbers --- */

TEST(complex_numbers_are_pairs) {
  float complex numbers[6] = {1 + 2 * I, 3 + 4 * I, 5 + 6 * I, 7 + 8 * I, 9 + 10 * I, 11 + 12 * I};
  tarn_tensor tensor = wrap(numbers, sizeof numbers, TARN_C64, SHAPE(2, 3)), part;
  assert_ok(tarn_tensor_slice(&tensor, 1, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -2));
  part = tensor;
  assert_ok(tarn_tensor_real(&part));
  assert_true(tarn_dtype_equal(part.dtype, TARN_F32));
  const float *data = tarn_tensor_data(&part);
  assert_true(data[0] == 5 && data[part.layout.strides[1]] == 1 &&
              data[part.layout.strides[0]] == 11);
  assert_ok(tarn_tensor_real(&part)); /* its own real part */
  REFUSED(tarn_tensor_view_as_complex(&tensor));
  part = tensor;
  assert_ok(tarn_tensor_imag(&part));
  data = tarn_tensor_data(&part);
  assert_true(data[0] == 6 && data[part.layout.strides[1]] == 2);
  assert_int_equal(tarn_tensor_imag(&part), TARN_INVALID_ARGUMENT);
  part = tensor;
  assert_ok(tarn_tensor_view_as_real(&part));
  assert_int_equal(part.layout.rank, 3);
  assert_memory_equal(part.layout.shape, ((int64_t[]){2, 2, 2}), 24);
  assert_memory_equal(part.layout.strides, ((int64_t[]){6, -4, 1}), 24);
  assert_ok(tarn_tensor_view_as_complex(&part));
  assert_true(tarn_dtype_equal(part.dtype, TARN_C64));
  assert_true(tarn_layout_equal(&part.layout, &tensor.layout));
  assert_int_equal(part.layout.offset, tensor.layout.offset);
  tarn_tensor_release(&tensor);
}

TEST(odd_places_are_no_complex_numbers) {
  double numbers[12] = {0};
  tarn_tensor tensor = wrap(numbers, sizeof numbers, TARN_F64, SHAPE(4, 3));
  REFUSED(tarn_tensor_view_as_complex(&tensor)); /* not two */
  REFUSED(tarn_tensor_view_as_real(&tensor));
  assert_ok(tarn_tensor_narrow(&tensor, 1, 0, 2));
  REFUSED(tarn_tensor_view_as_complex(&tensor)); /* rows three apart */
  assert_ok(tarn_tensor_slice(&tensor, 0, 0, TARN_SLICE_OPEN, 2));
  assert_ok(tarn_tensor_view_as_complex(&tensor));
  assert_true(tarn_dtype_equal(tensor.dtype, TARN_C128));
  assert_memory_equal(tensor.layout.strides, ((int64_t[]){3}), 8);
  tarn_tensor_release(&tensor);
  tensor = wrap(numbers, sizeof numbers, TARN_F64, SHAPE(12));
  assert_ok(tarn_tensor_narrow(&tensor, 0, 1, 2));
  REFUSED(tarn_tensor_view_as_complex(&tensor)); /* from an odd place */
  tarn_tensor_release(&tensor);
}

/* --- in the caller, where the rank is a constant --- */

TEST(constants_and_variables_give_the_same_views) {
  int32_t numbers[480];
  volatile int32_t one = 1, two = 2, four = 4, five = 5;
  const tarn_tensor base = wrap(numbers, sizeof numbers, TARN_I32, SHAPE(4, 6, 4, 5));
  tarn_tensor a = base, b = base;
  assert_ok(tarn_tensor_select(&a, 1, 5));
  assert_ok(tarn_tensor_select(&b, one, 5));
  assert_ok(tarn_tensor_slice(&a, 2, 1, -1, 2));
  assert_ok(tarn_tensor_slice(&b, two, 1, -1, two));
  assert_ok(tarn_tensor_narrow(&a, 1, 2, 2));
  assert_ok(tarn_tensor_narrow(&b, one, 2, 2));
  assert_ok(tarn_tensor_transpose(&a, -1, 1));
  assert_ok(tarn_tensor_transpose(&b, -one, 1));
  assert_true(tarn_layout_equal(&a.layout, &b.layout) && a.layout.offset == b.layout.offset);
  a = b = base;
  assert_ok(tarn_tensor_permute(&a, 4, (int32_t[]){3, 0, 2, 1}));
  assert_ok(tarn_tensor_permute(&b, four, (int32_t[]){3, 0, 2, 1}));
  assert_ok(tarn_tensor_expand(&a, 5, (int64_t[]){3, 5, 4, 4, 6}));
  assert_ok(tarn_tensor_expand(&b, five, (int64_t[]){3, 5, 4, 4, 6}));
  assert_true(tarn_layout_equal(&a.layout, &b.layout));
  a = b = base;
  assert_ok(tarn_tensor_view(&a, 2, (int64_t[]){24, -1}));
  assert_ok(tarn_tensor_view(&b, two, (int64_t[]){24, 20}));
  assert_true(tarn_layout_equal(&a.layout, &b.layout));
  assert_ok(tarn_tensor_as_strided(&a, 2, (int64_t[]){3, 4}, (int64_t[]){-7, 9}, 100));
  assert_ok(tarn_tensor_as_strided(&b, two, (int64_t[]){3, 4}, (int64_t[]){-7, 9}, 100));
  assert_true(tarn_layout_equal(&a.layout, &b.layout) && a.layout.offset == b.layout.offset);
  tarn_tensor owner = base;
  tarn_tensor_release(&owner);
}

TEST(constants_are_refused_as_variables_are) {
  int32_t numbers[24];
  tarn_tensor tensor = wrap(numbers, sizeof numbers, TARN_I32, SHAPE(4, 6));
  REFUSED(tarn_tensor_select(&tensor, 2, 0));
  REFUSED(tarn_tensor_select(&tensor, 1, 6));
  REFUSED(tarn_tensor_slice(&tensor, 2, 0, 1, 1));
  REFUSED(tarn_tensor_slice(&tensor, 0, 0, 1, 0));
  REFUSED(tarn_tensor_narrow(&tensor, -3, 0, 1));
  REFUSED(tarn_tensor_narrow(&tensor, 0, 3, 2));
  REFUSED(tarn_tensor_transpose(&tensor, 0, 2));
  REFUSED(tarn_tensor_transpose(&tensor, -3, 0));
  REFUSED(tarn_tensor_permute(&tensor, 2, (int32_t[]){1, 1}));
  REFUSED(tarn_tensor_permute(&tensor, 2, NULL));
  REFUSED(tarn_tensor_permute(&tensor, 1, (int32_t[]){0}));
  REFUSED(tarn_tensor_expand(&tensor, 2, (int64_t[]){4, 7}));
  REFUSED(tarn_tensor_expand(&tensor, 3, (int64_t[]){-1, 4, 6}));
  REFUSED(tarn_tensor_expand(&tensor, 3, NULL));
  REFUSED(tarn_tensor_expand(&tensor, 1, (int64_t[]){24}));
  REFUSED(tarn_tensor_view(&tensor, 2, (int64_t[]){4, 7}));
  REFUSED(tarn_tensor_view(&tensor, 2, NULL));
  REFUSED(tarn_tensor_as_strided(&tensor, 1, (int64_t[]){25}, (int64_t[]){1}, 0));
  REFUSED(tarn_tensor_as_strided(&tensor, 1, (int64_t[]){2}, (int64_t[]){-1}, 0));
  REFUSED(tarn_tensor_as_strided(&tensor, 1, NULL, (int64_t[]){1}, 0));
  REFUSED(tarn_tensor_as_strided(&tensor, 1, (int64_t[]){1}, NULL, 0));
  tarn_tensor_release(&tensor);
}

TEST(a_tensor_knows_its_capacity_and_its_order) {
  _Alignas(16) char bytes[50];
  tarn_tensor tensor = wrap(bytes, sizeof bytes, TARN_I32, SHAPE(2, 3)), none = {0};
  assert_int_equal(tarn_tensor_capacity(&tensor), 12);
  assert_int_equal(tarn_tensor_capacity(&none), -1);
  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  assert_true(tarn_tensor_is_dense(&tensor));
  assert_false(tarn_tensor_overlaps_itself(&tensor));
  assert_ok(tarn_tensor_unfold(&tensor, 0, 2, 1));
  assert_true(tarn_tensor_overlaps_itself(&tensor));
  assert_false(tarn_tensor_is_dense(&tensor));
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
