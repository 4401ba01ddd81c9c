/* test_convert.c: every pair of types on every level of the processor, against a plain model. */
#include "tests/support/test.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/convert.h"
#include "tensor/cpu_level.h"
#include "tensor/float_formats.h"

/* Larger than a whole run of the longest strands, and no multiple of anything. */
enum { COUNT_MAX = 70001, GUARD_BYTES = 64, TYPE_COUNT = 17 };

typedef enum family { BOOLEAN, SIGNED, UNSIGNED, FLOATING, COMPLEX } family;

typedef struct type {
  const char *name;
  family family;
  size_t bytes;
} type;

static const type types[TYPE_COUNT] = {
    {"bool", BOOLEAN, 1},         {"int8", SIGNED, 1},         {"int16", SIGNED, 2},
    {"int32", SIGNED, 4},         {"int64", SIGNED, 8},        {"uint8", UNSIGNED, 1},
    {"uint16", UNSIGNED, 2},      {"uint32", UNSIGNED, 4},     {"uint64", UNSIGNED, 8},
    {"float16", FLOATING, 2},     {"bfloat16", FLOATING, 2},   {"float8_e4m3fn", FLOATING, 1},
    {"float8_e5m2", FLOATING, 1}, {"float32", FLOATING, 4},    {"float64", FLOATING, 8},
    {"complex64", COMPLEX, 8},    {"complex128", COMPLEX, 16},
};

static tarn_dtype dtype_of(const char *name) {
  tarn_dtype dtype;
  assert_ok(tarn_dtype_parse(name, &dtype));
  return dtype;
}

/* --- the model: one element at a time --- */

/* An integer as its 64 bits, a float as a double; which of them counts is the family's matter. */
typedef struct number {
  uint64_t bits;
  double re, im;
} number;

static double float_of(const type *from, const char *bytes) {
  uint16_t half;
  float single;
  double wide;
  if (strcmp(from->name, "float8_e4m3fn") == 0) return tarn__e4m3fn_to_f64((uint8_t)*bytes);
  if (strcmp(from->name, "float8_e5m2") == 0) return tarn__e5m2_to_f64((uint8_t)*bytes);
  memcpy(&half, bytes, 2);
  if (strcmp(from->name, "float16") == 0) return tarn__f16_to_f64(half);
  if (strcmp(from->name, "bfloat16") == 0) return tarn__bf16_to_f64(half);
  memcpy(&single, bytes, 4);
  if (strcmp(from->name, "float32") == 0) return (double)single;
  memcpy(&wide, bytes, 8);
  return wide;
}

static number load(const type *from, const char *bytes) {
  number x = {0};
  switch (from->family) {
    case BOOLEAN:
      x.bits = *bytes != 0;
      break;
    case SIGNED:
    case UNSIGNED:
      memcpy(&x.bits, bytes, from->bytes);
      if (from->family == SIGNED && from->bytes < 8) {
        const int shift = 64 - 8 * (int)from->bytes;
        x.bits = (uint64_t)((int64_t)(x.bits << shift) >> shift);
      }
      break;
    case FLOATING:
      x.re = float_of(from, bytes);
      break;
    case COMPLEX: {
      const type half = {from->bytes == 8 ? "float32" : "float64", FLOATING, from->bytes / 2};
      x.re = float_of(&half, bytes);
      x.im = float_of(&half, bytes + half.bytes);
      break;
    }
  }
  return x;
}

static uint64_t saturated(const type *to, double x) {
  const int bits = 8 * (int)to->bytes - (to->family == SIGNED);
  const double end = ldexp(1, bits), start = to->family == SIGNED ? -end : 0;
  const uint64_t highest = UINT64_MAX >> (64 - bits);
  if (isnan(x)) return 0;
  if (x >= end) return highest;
  if (x <= start) return to->family == SIGNED ? ~highest : 0;
  return to->family == SIGNED ? (uint64_t)(int64_t)x : (uint64_t)x;
}

static uint32_t narrow_of(const type *to, double x) {
  if (strcmp(to->name, "float8_e4m3fn") == 0) return tarn__e4m3fn_from_f64(x);
  if (strcmp(to->name, "float8_e5m2") == 0) return tarn__e5m2_from_f64(x);
  if (strcmp(to->name, "float16") == 0) return tarn__f16_from_f64(x);
  return tarn__bf16_from_f64(x);
}

/* The code nearest to an integer that no double may hold: the one of the nearest double, or a
 * neighbour of it. */
static uint32_t narrow_of_integer(const type *to, long double x) {
  const uint32_t guess = narrow_of(to, (double)x);
  uint32_t best = guess;
  char bytes[2];
  long double least = INFINITY;
  for (int64_t code = (int64_t)guess - 1; code <= (int64_t)guess + 1; code++) {
    const uint16_t word = (uint16_t)code;
    memcpy(bytes, &word, 2);
    const long double value = float_of(to, bytes), distance = fabsl(value - x);
    if (code < 0 || !isfinite(value)) continue;
    if (distance > least || (distance == least && code % 2 != 0)) continue;
    least = distance;
    best = (uint32_t)code;
  }
  return isfinite(float_of(to, (const char *)&guess)) ? best : guess;
}

static void store_float(const type *to, const type *from, number x, char *bytes) {
  const bool is_integer = from->family != FLOATING && from->family != COMPLEX;
  const bool is_signed = from->family == SIGNED;
  const long double integer = is_signed ? (long double)(int64_t)x.bits : (long double)x.bits;
  if (strcmp(to->name, "float64") == 0) {
    const double value = is_integer ? (double)integer : x.re;
    memcpy(bytes, &value, 8);
  } else if (strcmp(to->name, "float32") == 0) {
    const float value = is_integer ? (float)integer : (float)x.re;
    memcpy(bytes, &value, 4);
  } else {
    const uint32_t code = is_integer ? narrow_of_integer(to, integer) : narrow_of(to, x.re);
    memcpy(bytes, &code, to->bytes);
  }
}

static void model_convert(const type *to, char *dst, const type *from, const char *src) {
  number x = load(from, src);
  const bool is_float = from->family == FLOATING || from->family == COMPLEX;
  switch (to->family) {
    case BOOLEAN:
      *dst = is_float ? x.re != 0 || x.im != 0 : x.bits != 0;
      break;
    case SIGNED:
    case UNSIGNED:
      if (is_float) x.bits = saturated(to, x.re);
      memcpy(dst, &x.bits, to->bytes);
      break;
    case FLOATING:
      store_float(to, from, x, dst);
      break;
    case COMPLEX: {
      const type half = {to->bytes == 8 ? "float32" : "float64", FLOATING, to->bytes / 2};
      store_float(&half, from, x, dst);
      x.re = x.im;
      if (from->family != COMPLEX) x.bits = 0;
      store_float(&half, from, x, dst + half.bytes);
      break;
    }
  }
  /* Where a float's bits are only moved, a signalling NaN stays one. */
  if (strcmp(to->name, "float32") == 0 || strcmp(to->name, "complex64") == 0) {
    if (strcmp(from->name, "bfloat16") == 0) {
      memset(dst, 0, 2);
      memcpy(dst + 2, src, 2);
    } else if (strcmp(from->name, "float32") == 0) {
      memcpy(dst, src, 4);
    }
  }
}

static bool is_refused(const type *to, const type *from) {
  return from->family == COMPLEX && to->family != COMPLEX && to->family != BOOLEAN;
}

/* --- sources --- */

static const double edges[] = {0.0,
                               -0.0,
                               0.5,
                               -0.5,
                               0.99,
                               -0.99,
                               1,
                               -1,
                               127.5,
                               128,
                               -128.5,
                               -129,
                               255.5,
                               256,
                               257,
                               32767.5,
                               32768,
                               -32769,
                               65504,
                               65519.99,
                               65520,
                               65535.5,
                               65536,
                               2147483520,
                               2147483647.5,
                               2147483648,
                               -2147483648.5,
                               -2147483649,
                               4294967295.5,
                               4294967296,
                               9223372036854774784.0,
                               9223372036854775808.0,
                               -9223372036854775808.0,
                               -9223372036854777856.0,
                               18446744073709549568.0,
                               18446744073709551616.0,
                               1e30,
                               -1e30,
                               3.4028235677973366e38,
                               1e300,
                               1e-45,
                               5e-324,
                               448,
                               464,
                               480,
                               57344,
                               61440,
                               0x1p-24,
                               0x1p-25,
                               0x1.8p-25,
                               INFINITY,
                               -INFINITY,
                               NAN};

/* Integers of random length around powers of two, floats near integers and of any bits. */
static void fill_source(const type *from, char *src, size_t count) {
  uint64_t random = 71;
  for (size_t i = 0; i < count; i++) {
    const uint64_t bits = test_random(&random), other = test_random(&random);
    uint64_t word = bits >> (other % 64);
    if (from->family == SIGNED && bits % 3 == 0) word = 0 - word;
    if (bits % 5 == 0) word = (UINT64_C(1) << (other % 64)) + (other >> 32) % 3 - 1;
    if (from->family == BOOLEAN && i % 2 == 0) word = 0;
    for (size_t part = 0; part < from->bytes; part += 8) memcpy(src + part, &bits, 8);
    if (from->family != FLOATING && from->family != COMPLEX) {
      memcpy(src, &word, from->bytes);
    } else if (i % 3 != 0) {
      const double near =
          i / 3 < COUNT_OF(edges) ? edges[i / 3] : ldexp((double)(int64_t)bits, -(int)(other % 70));
      const type wide = {"float64", FLOATING, 8};
      char bytes[8];
      memcpy(bytes, &near, 8);
      if (from->family == FLOATING) model_convert(from, src, &wide, bytes);
      if (from->family == COMPLEX) model_convert(from, src, &wide, bytes);
    }
    src += from->bytes;
  }
}

static char src[(COUNT_MAX + 8) * 16], expected[COUNT_MAX * 16], buffer[COUNT_MAX * 16 + 4096];

static void check_row(const tarn__convert *convert, const type *to, const type *from, size_t offset,
                      size_t count, bool is_streaming) {
  char *dst = buffer + GUARD_BYTES + offset;
  const size_t size = count * to->bytes;
  memset(buffer, 0x5A, size + offset + 2 * GUARD_BYTES);
  tarn__convert_row(convert, dst, src, count, is_streaming);
  for (size_t i = 0; i < size; i += to->bytes) {
    if (memcmp(dst + i, expected + i, to->bytes) == 0) continue;
    uint64_t was = 0, got = 0, wanted = 0;
    memcpy(&was, src + i / to->bytes * from->bytes, from->bytes < 8 ? from->bytes : 8);
    memcpy(&got, dst + i, to->bytes < 8 ? to->bytes : 8);
    memcpy(&wanted, expected + i, to->bytes < 8 ? to->bytes : 8);
    fail_msg("%s of %s %#llx is %#llx, not %#llx (element %zu of %zu, offset %zu, level %d)",
             to->name, from->name, (unsigned long long)was, (unsigned long long)got,
             (unsigned long long)wanted, i / to->bytes, count, offset, (int)tarn__cpu_level_now());
  }
  for (size_t i = 0; i < GUARD_BYTES; i++) {
    assert_int_equal(dst[-1 - (int)i], 0x5A);
    assert_int_equal(dst[size + i], 0x5A);
  }
}

static void check_pair(const type *to, const type *from) {
  static const size_t counts[] = {0, 1, 7, 31, 32, 33, 63, 100, 511, 545, 1030, 4100, 9999};
  tarn__convert convert;
  assert_ok(tarn__convert_find(dtype_of(to->name), dtype_of(from->name), &convert));
  assert_int_equal(convert.dst_bytes, to->bytes);
  assert_int_equal(convert.src_bytes, from->bytes);
  for (size_t i = 0; i < COUNT_OF(counts); i++) {
    check_row(&convert, to, from, 0, counts[i], /*is_streaming=*/false);
    check_row(&convert, to, from, 3 * to->bytes, counts[i], /*is_streaming=*/true);
    check_row(&convert, to, from, 1, counts[i], /*is_streaming=*/true); /* not aligned at all */
  }
  check_row(&convert, to, from, to->bytes, COUNT_MAX, /*is_streaming=*/true);
}

static void pairs_equal_the_model_up_to(tarn__cpu_level level) {
  tarn__cpu_level_limit(level);
  for (size_t f = 0; f < TYPE_COUNT; f++) {
    fill_source(&types[f], src, COUNT_MAX);
    for (size_t t = 0; t < TYPE_COUNT; t++) {
      if (t == f || is_refused(&types[t], &types[f])) continue;
      for (size_t i = 0; i < COUNT_MAX; i++) {
        model_convert(&types[t], expected + i * types[t].bytes, &types[f],
                      src + i * types[f].bytes);
      }
      check_pair(&types[t], &types[f]);
    }
  }
  tarn__cpu_level_limit(TARN__CPU_AVX512);
}

TEST(every_pair_equals_the_model_in_portable_code) {
  pairs_equal_the_model_up_to(TARN__CPU_PORTABLE);
}

TEST(every_pair_equals_the_model_with_avx2) {
  if (tarn__cpu_level_detect() < TARN__CPU_AVX2) skip();
  pairs_equal_the_model_up_to(TARN__CPU_AVX2);
}

TEST(every_pair_equals_the_model_with_avx512) {
  if (tarn__cpu_level_detect() < TARN__CPU_AVX512) skip();
  pairs_equal_the_model_up_to(TARN__CPU_AVX512);
}

/* --- what the model itself says, in numbers --- */

static void convert_one(const char *to, void *dst, const char *from, const void *value) {
  tarn__convert convert;
  assert_ok(tarn__convert_find(dtype_of(to), dtype_of(from), &convert));
  tarn__convert_row(&convert, dst, value, 1, /*is_streaming=*/false);
}

TEST(integers_wrap) {
  int8_t narrow;
  uint64_t wide;
  convert_one("int8", &narrow, "int32", &(int32_t){300});
  assert_int_equal(narrow, 44);
  convert_one("uint64", &wide, "int8", &(int8_t){-1});
  assert_true(wide == UINT64_MAX);
  convert_one("int8", &narrow, "uint64", &(uint64_t){UINT64_MAX - 1});
  assert_int_equal(narrow, -2);
}

TEST(floats_are_cut_and_saturate_and_nan_is_zero) {
  int32_t whole;
  uint8_t byte;
  convert_one("int32", &whole, "float32", &(float){-1.9f});
  assert_int_equal(whole, -1);
  convert_one("int32", &whole, "float32", &(float){3e9f});
  assert_int_equal(whole, INT32_MAX);
  convert_one("int32", &whole, "float64", &(double){-3e9});
  assert_int_equal(whole, INT32_MIN);
  convert_one("int32", &whole, "float32", &(float){NAN});
  assert_int_equal(whole, 0);
  convert_one("uint8", &byte, "float32", &(float){-1});
  assert_int_equal(byte, 0);
  convert_one("uint8", &byte, "float16", &(uint16_t){0x7C00}); /* infinity */
  assert_int_equal(byte, 255);
}

TEST(whatever_is_not_zero_is_true) {
  bool truth;
  uint8_t byte;
  convert_one("bool", &truth, "float32", &(float){NAN});
  assert_true(truth);
  convert_one("bool", &truth, "float64", &(double){-0.0});
  assert_false(truth);
  convert_one("bool", &truth, "float64", &(double){5e-324});
  assert_true(truth);
  convert_one("bool", &truth, "int32", &(int32_t){256});
  assert_true(truth);
  convert_one("bool", &truth, "complex64", &(float[2]){0, 1});
  assert_true(truth);
  convert_one("uint8", &byte, "bool", &(uint8_t){7});
  assert_int_equal(byte, 1);
}

/* 2^60 + 2^52 is halfway between two bfloat16; one more is above. By way of a double it would be
 * the same number. */
TEST(large_integers_are_rounded_once) {
  const int64_t halfway = (INT64_C(1) << 60) + (INT64_C(1) << 52);
  uint16_t upper;
  convert_one("bfloat16", &upper, "int64", &halfway);
  assert_int_equal(upper, 0x5D80);
  convert_one("bfloat16", &upper, "int64", &(int64_t){halfway + 1});
  assert_int_equal(upper, 0x5D81);
  convert_one("bfloat16", &upper, "int64", &(int64_t){-halfway - 1});
  assert_int_equal(upper, 0xDD81);
}

TEST(conversions_without_a_meaning_are_refused) {
  tarn__convert convert;
  assert_status(tarn__convert_find(TARN_F32, TARN_C64, &convert), TARN_NOT_SUPPORTED);
  assert_non_null(strstr(tarn_last_error()->message, "complex64 to float32"));
  assert_status(tarn__convert_find(TARN_F32, tarn_dtype_make(TARN_CODE_INT, 32, 3), &convert),
                TARN_NOT_SUPPORTED);
  assert_status(tarn__convert_find(tarn_dtype_make(TARN_CODE_OPAQUE, 8, 1), TARN_U8, &convert),
                TARN_NOT_SUPPORTED);
  assert_int_equal(convert.step_count, 0);
  for (size_t f = 0; f < TYPE_COUNT; f++) {
    for (size_t t = 0; t < TYPE_COUNT; t++) {
      const tarn_status status =
          tarn__convert_find(dtype_of(types[t].name), dtype_of(types[f].name), &convert);
      assert_status(status, is_refused(&types[t], &types[f]) ? TARN_NOT_SUPPORTED : TARN_OK);
    }
  }
}

TEST(integers_of_one_width_keep_their_bytes) {
  tarn__convert convert;
  assert_ok(tarn__convert_find(TARN_U32, TARN_I32, &convert));
  assert_int_equal(convert.step_count, 0);
  assert_ok(tarn__convert_find(TARN_I8, TARN_BOOL, &convert)); /* these may be other than 0 and 1 */
  assert_int_equal(convert.step_count, 1);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
