/* test_scalar.c: tests of tensor/scalar.c: what fits, and that what fits is exact. */
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#include "tensor/float_formats.h"
#include "tensor/tarn_scalar.h"

static tarn_dtype dtype_of(const char *name) {
  tarn_dtype dtype;
  assert_ok(tarn_dtype_parse(name, &dtype));
  return dtype;
}

TEST(scalars_become_doubles_and_say_when_they_are_not_exact) {
  static const struct {
    int64_t integer;
    double expected;
    bool is_exact;
  } ints[] = {{0, 0, true},
              {-5, -5, true},
              {(INT64_C(1) << 53) + 1, 9007199254740992.0, false},
              {(INT64_C(1) << 53) + 2, 9007199254740994.0, true},
              {INT64_MAX, 9223372036854775808.0, false},
              {INT64_MIN, -9223372036854775808.0, true}};
  double value;
  for (size_t i = 0; i < COUNT_OF(ints); i++) {
    assert_int_equal(tarn_scalar_as_double(tarn_scalar_of_int(ints[i].integer), &value),
                     ints[i].is_exact);
    assert_true(value == ints[i].expected);
  }
  assert_false(tarn_scalar_as_double(tarn_scalar_of_uint(UINT64_MAX), &value));
  assert_true(value == 18446744073709551616.0);
  assert_true(tarn_scalar_as_double(tarn_scalar_of_bool(true), &value));
  assert_true(value == 1.0);
  assert_true(tarn_scalar_as_double(tarn_scalar_of_float(NAN), &value));
  assert_true(isnan(value));
  assert_true(tarn_scalar_as_double(tarn_scalar_of_complex(2.5, 0.0), &value));
  assert_false(tarn_scalar_as_double(tarn_scalar_of_complex(2.5, 1.0), &value));
  assert_true(value == 2.5);
}

TEST(scalars_become_integers_and_say_when_they_are_not_exact) {
  static const struct {
    double real;
    int64_t expected;
    bool is_exact;
  } reals[] = {{3.0, 3, true},
               {-3.7, -3, false},
               {9223372036854775808.0, INT64_MAX, false},
               {-9223372036854775808.0, INT64_MIN, true},
               {-1e300, INT64_MIN, false},
               {INFINITY, INT64_MAX, false},
               {NAN, 0, false}};
  int64_t value;
  for (size_t i = 0; i < COUNT_OF(reals); i++) {
    assert_int_equal(tarn_scalar_as_int64(tarn_scalar_of_float(reals[i].real), &value),
                     reals[i].is_exact);
    assert_true(value == reals[i].expected);
  }
  assert_false(tarn_scalar_as_int64(tarn_scalar_of_uint(UINT64_MAX), &value));
  assert_true(value == INT64_MAX);
  assert_true(tarn_scalar_as_int64(tarn_scalar_of_uint(7), &value));
  assert_int_equal(value, 7);
  assert_true(tarn_scalar_as_int64(tarn_scalar_of_bool(true), &value));
  assert_int_equal(value, 1);
  assert_false(tarn_scalar_as_int64(tarn_scalar_of_complex(4.0, 1.0), &value));
}

TEST(what_does_not_fit_is_refused_and_nothing_is_written) {
  const tarn_scalar nan = tarn_scalar_of_float(NAN), infinite = tarn_scalar_of_float(INFINITY);
  const struct {
    tarn_scalar scalar;
    const char *name;
  } cases[] = {
      {tarn_scalar_of_int(300), "uint8"},
      {tarn_scalar_of_int(256), "uint8"},
      {tarn_scalar_of_int(-1), "uint8"},
      {tarn_scalar_of_int(128), "int8"},
      {tarn_scalar_of_int(-129), "int8"},
      {tarn_scalar_of_int(-1), "uint64"},
      {tarn_scalar_of_uint(UINT64_MAX), "int64"},
      {tarn_scalar_of_float(18446744073709551616.0), "uint64"},
      {tarn_scalar_of_float(1.5), "int32"},
      {nan, "int32"},
      {infinite, "int64"},
      {nan, "bool"},
      {tarn_scalar_of_int(2), "bool"},
      {tarn_scalar_of_float(0.5), "bool"},
      {tarn_scalar_of_float(65520.0), "float16"},
      {tarn_scalar_of_float(1e39), "float32"},
      {tarn_scalar_of_float(-1e39), "bfloat16"},
      {tarn_scalar_of_float(1e39), "complex64"},
      {tarn_scalar_of_complex(0, 1e39), "complex64"},
      {tarn_scalar_of_float(480.0), "float8_e4m3fn"},
      {infinite, "float8_e4m3fn"},
      {tarn_scalar_of_float(65536.0), "float8_e5m2"},
      {tarn_scalar_of_complex(1.0, 1.0), "float64"},
      {tarn_scalar_of_complex(1.0, 1.0), "int32"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char element[17], before[17];
    memset(element, 0x5A, sizeof element);
    memcpy(before, element, sizeof element);
    if (tarn_scalar_store(cases[i].scalar, dtype_of(cases[i].name), element) !=
        TARN_INVALID_ARGUMENT) {
      fail_msg("case %zu fits %s", i, cases[i].name);
    }
    assert_memory_equal(element, before, sizeof element);
    assert_non_null(strstr(tarn_last_error()->message, cases[i].name));
  }
}

/* Stores and loads it again; what comes back is what was rounded. */
static void check_round(tarn_scalar scalar, const char *name, tarn_scalar expected) {
  char element[20];
  tarn_scalar back;
  memset(element, 0x5A, sizeof element);
  char *odd = element + 1; /* no alignment is needed */
  assert_ok(tarn_scalar_store(scalar, dtype_of(name), odd));
  for (size_t i = tarn_dtype_size_bytes(dtype_of(name)) + 1; i < sizeof element; i++) {
    assert_int_equal(element[i], 0x5A);
  }
  assert_ok(tarn_scalar_load(dtype_of(name), odd, &back));
  assert_int_equal(back.kind, expected.kind);
  const size_t bytes = expected.kind == TARN_SCALAR_COMPLEX ? 16 : 8;
  if (expected.kind == TARN_SCALAR_BOOL) {
    assert_int_equal(back.value.boolean, expected.value.boolean);
  } else if (memcmp(&back.value, &expected.value, bytes) != 0) {
    fail_msg("%s: %.17g", name, back.value.real);
  }
}

TEST(what_fits_comes_back) {
  const tarn_scalar nan = tarn_scalar_of_float(NAN), infinite = tarn_scalar_of_float(-INFINITY);
  check_round(tarn_scalar_of_int(255), "uint8", tarn_scalar_of_uint(255));
  check_round(tarn_scalar_of_float(-128.0), "int8", tarn_scalar_of_int(-128));
  check_round(tarn_scalar_of_int(INT64_MIN), "int64", tarn_scalar_of_int(INT64_MIN));
  check_round(tarn_scalar_of_uint(UINT64_MAX), "uint64", tarn_scalar_of_uint(UINT64_MAX));
  check_round(tarn_scalar_of_float(9223372036854775808.0), "uint64",
              tarn_scalar_of_uint(UINT64_C(1) << 63));
  check_round(tarn_scalar_of_complex(-7.0, -0.0), "int16", tarn_scalar_of_int(-7));
  check_round(tarn_scalar_of_bool(true), "int32", tarn_scalar_of_int(1));
  check_round(tarn_scalar_of_float(1.0), "bool", tarn_scalar_of_bool(true));
  check_round(tarn_scalar_of_float(0.1), "float32", tarn_scalar_of_float((double)0.1f));
  check_round(tarn_scalar_of_float(0.1), "float16",
              tarn_scalar_of_float(tarn__f16_to_f64(tarn__f16_from_f64(0.1))));
  check_round(tarn_scalar_of_float(65519.0), "float16", tarn_scalar_of_float(65504.0));
  check_round(tarn_scalar_of_float(3.0), "bfloat16", tarn_scalar_of_float(3.0));
  check_round(tarn_scalar_of_float(448.0), "float8_e4m3fn", tarn_scalar_of_float(448.0));
  check_round(nan, "float64", nan);
  check_round(infinite, "float16", infinite);
  check_round(infinite, "float8_e5m2", infinite);
  check_round(tarn_scalar_of_int(3), "complex128", tarn_scalar_of_complex(3.0, 0.0));
  check_round(tarn_scalar_of_complex(0.5, -2.0), "complex64", tarn_scalar_of_complex(0.5, -2.0));
  check_round(tarn_scalar_of_complex(0.5, -2.0), "complex32", tarn_scalar_of_complex(0.5, -2.0));
}

/* 2^60 + 2^36 is in the middle of two floats; one more bit far below decides. By way of double that
 * bit is lost. */
TEST(integers_round_once_to_single_precision) {
  const int64_t middle = (INT64_C(1) << 60) + (INT64_C(1) << 36);
  check_round(tarn_scalar_of_int(middle), "float32", tarn_scalar_of_float(0x1p60));
  check_round(tarn_scalar_of_int(middle + 1), "float32", tarn_scalar_of_float(0x1.000002p60));
  check_round(tarn_scalar_of_int(-middle - 1), "float32", tarn_scalar_of_float(-0x1.000002p60));
  check_round(tarn_scalar_of_uint((uint64_t)middle + 1), "float32",
              tarn_scalar_of_float(0x1.000002p60));
  uint64_t random = 5;
  for (int i = 0; i < 20000; i++) {
    const uint64_t natural = test_random(&random) >> (i % 64);
    check_round(tarn_scalar_of_uint(natural), "float32", tarn_scalar_of_float((float)natural));
    const int64_t integer = (int64_t)test_random(&random) >> (i % 64);
    check_round(tarn_scalar_of_int(integer), "float32", tarn_scalar_of_float((float)integer));
    check_round(tarn_scalar_of_int(integer), "float64", tarn_scalar_of_float((double)integer));
  }
}

TEST(types_that_are_no_value_are_not_supported) {
  static const char *const names[] = {"opaque64",        "float32x4",     "float8_e8m0fnu",
                                      "float4_e2m1fnx2", "float6_e2m3fn", "int4x2",
                                      "float8_e4m3"};
  char element[16] = {0};
  tarn_scalar scalar;
  for (size_t i = 0; i < COUNT_OF(names); i++) {
    assert_status(tarn_scalar_load(dtype_of(names[i]), element, &scalar), TARN_NOT_SUPPORTED);
    assert_status(tarn_scalar_store(tarn_scalar_of_int(0), dtype_of(names[i]), element),
                  TARN_NOT_SUPPORTED);
  }
  assert_status(tarn_scalar_load(TARN_F32, NULL, &scalar), TARN_INVALID_ARGUMENT);
  assert_status(tarn_scalar_load(TARN_F32, element, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_scalar_store(tarn_scalar_of_int(0), TARN_F32, NULL), TARN_INVALID_ARGUMENT);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
