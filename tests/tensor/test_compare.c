/* test_compare.c: tests of tensor/compare.c on host memory and on a device. */
#include "tests/support/test.h"

#include <math.h>

#include "tensor/tarn_compare.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_element.h"
#include "tests/support/manual_stream.h"
#include "tests/tensor/layout_model.h"
#include "tests/tensor/two_places.h"

/* One row of values in an element type. */
static tarn_tensor row_of(const char *dtype_name, int64_t count, const tarn_scalar *values) {
  tarn_tensor tensor;
  tarn_dtype dtype;
  assert_ok(tarn_dtype_parse(dtype_name, &dtype));
  assert_ok(tarn_tensor_create(pool, dtype, 1, &count, NULL, &tensor));
  char *data = tarn_tensor_data_mutable(&tensor);
  for (int64_t i = 0; i < count; i++) {
    assert_ok(tarn_scalar_store(values[i], dtype, data + (size_t)i * tarn_dtype_size_bytes(dtype)));
  }
  return tensor;
}

static bool are_equal(const tarn_tensor *a, const tarn_tensor *b, uint32_t flags) {
  bool equal;
  assert_ok(tarn_tensor_equal(a, b, flags, pool, device_stream, &equal));
  return equal;
}

static void check_pair(const char *a_name, tarn_scalar a, const char *b_name, tarn_scalar b,
                       uint32_t flags, bool expected) {
  tarn_tensor left = row_of(a_name, 1, &a), right = row_of(b_name, 1, &b);
  if (are_equal(&left, &right, flags) != expected) fail_msg("%s and %s", a_name, b_name);
  if (are_equal(&right, &left, flags) != expected) fail_msg("%s and %s", b_name, a_name);
  tarn_tensor_release(&left);
  tarn_tensor_release(&right);
}

TEST(values_are_compared_exactly_across_types) {
  const tarn_scalar zero = tarn_scalar_of_float(0.0), minus = tarn_scalar_of_float(-0.0);
  const tarn_scalar nan = tarn_scalar_of_float(NAN), three = tarn_scalar_of_int(3);
  static const char *const floats[] = {"float16", "float32", "float64", "bfloat16", "complex64"};
  for (size_t i = 0; i < COUNT_OF(floats); i++) {
    check_pair(floats[i], zero, floats[i], minus, 0, true);
    check_pair(floats[i], zero, floats[i], minus, TARN_EQUAL_BITS, false);
    check_pair(floats[i], nan, floats[i], nan, 0, false);
    check_pair(floats[i], nan, floats[i], nan, TARN_EQUAL_NAN, true);
    check_pair(floats[i], nan, floats[i], nan, TARN_EQUAL_BITS, true);
    check_pair(floats[i], nan, floats[i], zero, TARN_EQUAL_NAN, false);
    check_pair(floats[i], three, "int32", three, 0, true);
    check_pair(floats[i], three, "uint8", tarn_scalar_of_int(4), 0, false);
  }
  check_pair("int64", tarn_scalar_of_int((INT64_C(1) << 53) + 1), "float64",
             tarn_scalar_of_float(9007199254740992.0), 0, false);
  check_pair("uint64", tarn_scalar_of_uint(UINT64_MAX), "int64", tarn_scalar_of_int(-1), 0, false);
  check_pair("uint64", tarn_scalar_of_uint(UINT64_MAX), "uint64", tarn_scalar_of_uint(UINT64_MAX),
             0, true);
  check_pair("uint64", tarn_scalar_of_uint(UINT64_C(1) << 63), "float32",
             tarn_scalar_of_float(0x1p63), 0, true);
  check_pair("bool", tarn_scalar_of_bool(true), "float64", tarn_scalar_of_float(1.0), 0, true);
  check_pair("complex64", tarn_scalar_of_complex(3, 1), "int32", three, 0, false);
  check_pair("complex128", tarn_scalar_of_complex(3, 1), "complex64", tarn_scalar_of_complex(3, 1),
             0, true);
}

/* A random view and a packed copy of it, on either side of the bus, with and without a difference
 * in one element. */
TEST(any_strides_and_places_compare_alike) {
  uint64_t random = 31;
  static const char *const names[] = {"uint8", "float16", "float32", "float64", "complex64"};
  for (int round = 0; round < 600; round++) {
    int64_t shape[TARN_RANK_MAX];
    const int32_t rank = random_shape(&random, 6, 300, shape);
    tarn_tensor view = {0}, packed, far;
    assert_ok(tarn_dtype_parse(names[random_in(&random, 0, 4)], &view.dtype));
    const size_t element_bytes = tarn_dtype_size_bytes(view.dtype);
    view.layout = random_layout_of(&random, rank, shape, /*may_overlap=*/true);
    assert_ok(tarn_storage_create(pool, 1 << 16, NULL, &view.storage));
    unsigned char *bytes = tarn_storage_data_mutable(view.storage);
    for (size_t i = 0; i < 1 << 16; i++) bytes[i] = (unsigned char)(i * 7 % 61); /* no NaN */
    assert_ok(tarn_tensor_create(pool, view.dtype, rank, shape, NULL, &packed));
    assert_ok(tarn_tensor_copy(&packed, &view, NULL, NULL));
    assert_ok(tarn_tensor_create(device_pool, view.dtype, rank, shape, device_stream, &far));
    assert_ok(tarn_tensor_copy(&far, &view, device_stream, NULL));
    const uint32_t flags = random_in(&random, 0, 1) ? TARN_EQUAL_BITS : 0;
    assert_true(are_equal(&view, &packed, flags));
    assert_true(are_equal(&view, &far, flags));
    assert_true(are_equal(&far, &packed, flags));
    const int64_t count = tarn_tensor_element_count(&packed);
    if (count > 0) {
      char *data = tarn_tensor_data_mutable(&packed);
      data[(size_t)random_in(&random, 0, count - 1) * element_bytes] ^= 1;
      assert_false(are_equal(&view, &packed, flags));
      assert_false(are_equal(&packed, &view, flags));
      assert_false(are_equal(&far, &packed, flags));
    }
    tarn_tensor_release(&view);
    tarn_tensor_release(&packed);
    tarn_tensor_release(&far);
  }
}

/* More than is brought over at a time, and a difference in the last element. */
TEST(large_device_tensors_come_in_pieces) {
  tarn_tensor far, near;
  static const int64_t shape[] = {1, 3, 1000, 1001};
  assert_ok(tarn_tensor_create(device_pool, TARN_F32, 4, shape, device_stream, &far));
  assert_ok(tarn_tensor_create(pool, TARN_F32, 4, shape, NULL, &near));
  assert_ok(tarn_tensor_fill(&far, tarn_scalar_of_float(2.5), device_stream));
  assert_ok(tarn_tensor_fill(&near, tarn_scalar_of_float(2.5), NULL));
  fake_copy_calls = 0;
  assert_true(are_equal(&far, &near, 0));
  assert_in_range(fake_copy_calls, 3, 8);
  float *numbers = tarn_tensor_data_mutable(&near);
  numbers[3 * 1000 * 1001 - 1] = 2.0f;
  assert_false(are_equal(&far, &near, 0));
  numbers[0] = 2.0f;
  fake_copy_calls = 0;
  assert_false(are_equal(&near, &far, 0));
  assert_int_equal(fake_copy_calls, 1); /* no further than the first difference */
  tarn_tensor_release(&far);
  tarn_tensor_release(&near);
}

TEST(shapes_count_and_no_elements_are_equal) {
  const tarn_scalar values[6] = {{.kind = TARN_SCALAR_INT}};
  tarn_tensor a = row_of("int32", 6, values), b = a, none = a, other = a;
  assert_ok(tarn_tensor_view(&b, 2, (int64_t[]){2, 3}));
  assert_false(are_equal(&a, &b, 0));
  assert_false(are_equal(&a, &b, TARN_EQUAL_BITS));
  assert_ok(tarn_tensor_narrow(&none, 0, 2, 0));
  assert_ok(tarn_tensor_narrow(&other, 0, 4, 0));
  assert_true(are_equal(&none, &other, 0));
  tarn_tensor_release(&a);
}

TEST(a_comparison_waits_for_the_stream) {
  tarn_stream *late;
  bool equal;
  assert_ok(manual_stream_create(&late));
  const tarn_scalar ones[2] = {tarn_scalar_of_int(1), tarn_scalar_of_int(1)};
  tarn_tensor a = row_of("int32", 2, ones), b = row_of("int32", 2, ones);
  assert_ok(tarn_tensor_fill(&a, tarn_scalar_of_int(5), late));
  assert_ok(tarn_tensor_equal(&a, &b, 0, NULL, late, &equal));
  assert_false(equal);
  tarn_tensor_release(&a);
  tarn_tensor_release(&b);
  tarn_stream_release(late);
}

TEST(nearness_is_numpys) {
  static const struct {
    const char *dtype;
    double a, b, relative, absolute;
    bool equal_nan, expected;
  } cases[] = {
      {"float64", 1.0, 1.00001, 1e-5, 1e-8, false, true},
      {"float64", 1.00002, 1.0, 1e-5, 1e-8, false, false},
      {"float64", 1e10, 1.00001e10, 1e-5, 1e-8, false, true},
      {"float64", 1e-8, 1e-9, 1e-5, 1e-8, false, true},
      {"float64", 1e-7, 1e-8, 1e-5, 1e-8, false, false},
      {"float64", 3.0, 2.0, 0.5, 0.0, false, true}, /* of the second */
      {"float64", 2.0, 3.0, 0.34, 0.0, false, true},
      {"float64", 3.0, 2.0, 0.34, 0.0, false, false},
      {"float64", INFINITY, INFINITY, 0, 0, false, true},
      {"float64", INFINITY, -INFINITY, 1e9, 1e9, false, false},
      {"float64", 1.0, INFINITY, 1.0, 1.0, false, false},
      {"float64", INFINITY, 1.0, 1.0, 1.0, false, false},
      {"float64", NAN, NAN, 1.0, 1.0, false, false},
      {"float64", NAN, NAN, 0.0, 0.0, true, true},
      {"float64", NAN, 1.0, 1.0, 1.0, true, false},
      {"float16", 1.0, 1.001, 1e-2, 0.0, false, true},
      {"int32", 100, 101, 0.0, 1.0, false, true},
      {"int32", 100, 102, 0.0, 1.0, false, false},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    const tarn_scalar x = tarn_scalar_of_float(cases[i].a), y = tarn_scalar_of_float(cases[i].b);
    tarn_tensor a = row_of(cases[i].dtype, 1, &x), b = row_of(cases[i].dtype, 1, &y);
    const tarn_tolerance tolerance = {cases[i].relative, cases[i].absolute, cases[i].equal_nan};
    bool is_close;
    assert_ok(tarn_tensor_all_close(&a, &b, tolerance, NULL, NULL, &is_close));
    if (is_close != cases[i].expected) fail_msg("case %zu", i);
    tarn_tensor_release(&a);
    tarn_tensor_release(&b);
  }
  const tarn_scalar x = tarn_scalar_of_complex(3, 4), y = tarn_scalar_of_complex(3, 3);
  tarn_tensor a = row_of("complex64", 1, &x), b = row_of("complex64", 1, &y);
  bool is_close;
  assert_ok(tarn_tensor_all_close(&a, &b, (tarn_tolerance){0, 1.0, false}, NULL, NULL, &is_close));
  assert_true(is_close);
  assert_ok(tarn_tensor_all_close(&a, &b, (tarn_tolerance){0, 0.9, false}, NULL, NULL, &is_close));
  assert_false(is_close);
  tarn_tensor_release(&a);
  tarn_tensor_release(&b);
}

TEST(mistakes_are_refused) {
  const tarn_scalar one = tarn_scalar_of_int(1);
  tarn_tensor a = row_of("int32", 1, &one), b = row_of("float32", 1, &one), zeroed = {0}, far;
  tarn_tensor opaque = a, beyond = a;
  bool answer = true;
  opaque.dtype = tarn_dtype_make(TARN_CODE_OPAQUE, 32, 1);
  beyond.layout.offset = 1 << 20;
  assert_status(tarn_tensor_equal(&zeroed, &a, 0, NULL, NULL, &answer), TARN_INVALID_ARGUMENT);
  assert_false(answer);
  assert_status(tarn_tensor_equal(&a, &beyond, 0, NULL, NULL, &answer), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_equal(&a, &a, 0, NULL, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_equal(&a, &a, 4, NULL, NULL, &answer), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_equal(&a, &b, TARN_EQUAL_BITS, NULL, NULL, &answer),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_equal(&opaque, &opaque, 0, NULL, NULL, &answer), TARN_NOT_SUPPORTED);
  assert_ok(tarn_tensor_equal(&opaque, &opaque, TARN_EQUAL_BITS, NULL, NULL, &answer));
  assert_true(answer);
  assert_status(tarn_tensor_all_close(&a, &b, (tarn_tolerance){-1, 0, false}, NULL, NULL, &answer),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_all_close(&a, &b, (tarn_tolerance){0, NAN, false}, NULL, NULL, &answer),
                TARN_INVALID_ARGUMENT);
  assert_ok(tarn_tensor_create(device_pool, TARN_I32, 1, (int64_t[]){1}, device_stream, &far));
  assert_status(tarn_tensor_equal(&a, &far, 0, NULL, device_stream, &answer),
                TARN_INVALID_ARGUMENT);
  fake_copies_to_fail = 0;
  assert_status(tarn_tensor_equal(&a, &far, 0, pool, device_stream, &answer), TARN_DEVICE_ERROR);
  fake_copies_to_fail = -1;
  assert_false(answer);
  tarn_tensor_release(&far);
  tarn_tensor_release(&a);
  tarn_tensor_release(&b);
}

int main(void) {
  return run_listed_tests(start, stop);
}
