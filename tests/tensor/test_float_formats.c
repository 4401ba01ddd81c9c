/* test_float_formats.c: every code, every tie and its neighbours, against a search by value. */
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>

#include "tensor/float_formats.h"

/* One format, with all of its functions widened to one type. */
typedef struct format {
  const char *name;
  int mantissa, bias, sign_shift;
  uint32_t limit; /* the first code that is no finite number */
  uint32_t nan_of_any;
  bool has_infinity;
  float (*to_f32)(uint32_t code);
  double (*to_f64)(uint32_t code);
  uint32_t (*from_f32)(float value);
  uint32_t (*from_f64)(double value);
} format;

#define FUNCTIONS(name, type)                     \
  static float name##_to_f32(uint32_t code) {     \
    return tarn__##name##_to_f32((type)code);     \
  }                                               \
  static double name##_to_f64(uint32_t code) {    \
    return tarn__##name##_to_f64((type)code);     \
  }                                               \
  static uint32_t name##_from_f32(float value) {  \
    return tarn__##name##_from_f32(value);        \
  }                                               \
  static uint32_t name##_from_f64(double value) { \
    return tarn__##name##_from_f64(value);        \
  }
FUNCTIONS(f16, uint16_t)
FUNCTIONS(bf16, uint16_t)
FUNCTIONS(e4m3fn, uint8_t)
FUNCTIONS(e5m2, uint8_t)

#define NAMED(name) name##_to_f32, name##_to_f64, name##_from_f32, name##_from_f64
static const format formats[] = {
    {"f16", 10, 15, 15, 0x7C00, 0x7E00, true, NAMED(f16)},
    {"bf16", 7, 127, 15, 0x7F80, 0x7FC0, true, NAMED(bf16)},
    {"e4m3fn", 3, 7, 7, 0x7F, 0x7F, false, NAMED(e4m3fn)},
    {"e5m2", 2, 15, 7, 0x7C, 0x7F, true, NAMED(e5m2)},
};

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* What a code is worth by the definition of such formats; beyond the last one, what it would be. */
static double value_of(const format *f, uint32_t code) {
  int exponent = (int)(code >> f->mantissa);
  uint32_t fraction = code & ((1u << f->mantissa) - 1);
  if (exponent == 0) return ldexp((double)fraction, 1 - f->bias - f->mantissa);
  return ldexp((double)(fraction + (1u << f->mantissa)), exponent - f->bias - f->mantissa);
}

/* Of the two codes around a value the nearer one, of two equally near the even one. Every number
 * here, halfway points too, is a double. */
static uint32_t nearest_code(const format *f, double value) {
  const uint32_t sign = signbit(value) ? 1u << f->sign_shift : 0;
  const double magnitude = fabs(value);
  uint32_t low = 0, high = f->limit;
  if (magnitude >= value_of(f, high)) return sign | f->limit;
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    if (value_of(f, middle) <= magnitude) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const double halfway = (value_of(f, low) + value_of(f, high)) / 2;
  if (magnitude < halfway) return sign | low;
  if (magnitude > halfway) return sign | high;
  return sign | (low % 2 == 0 ? low : high);
}

static void check_f32(const format *f, float value) {
  const uint32_t got = f->from_f32(value), wanted = nearest_code(f, (double)value);
  if (got != wanted) fail_msg("%s of %a is %#x, not %#x", f->name, (double)value, got, wanted);
}

static void check_f64(const format *f, double value) {
  const uint32_t got = f->from_f64(value), wanted = nearest_code(f, value);
  if (got != wanted) fail_msg("%s of %a is %#x, not %#x", f->name, value, got, wanted);
}

static void check_around(const format *f, double value) {
  const float single = (float)value;
  for (int negative = 0; negative < 2; negative++) {
    const double d = negative ? -value : value;
    const float s = negative ? -single : single;
    check_f64(f, d);
    check_f64(f, nextafter(d, INFINITY));
    check_f64(f, nextafter(d, -INFINITY));
    check_f32(f, s);
    check_f32(f, nextafterf(s, INFINITY));
    check_f32(f, nextafterf(s, -INFINITY));
  }
}

TEST(every_finite_code_has_its_value) {
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    const format *f = &formats[i];
    for (uint32_t code = 0; code < f->limit; code++) {
      const double value = value_of(f, code);
      const uint32_t minus = 1u << f->sign_shift;
      assert_true(f->to_f64(code) == value);
      assert_int_equal(bits_of(f->to_f32(code)), bits_of((float)value));
      assert_int_equal(bits_of(f->to_f32(minus | code)), bits_of(-(float)value));
    }
  }
}

TEST(every_finite_code_comes_back) {
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    const format *f = &formats[i];
    for (uint32_t code = 0; code < f->limit; code++) {
      const uint32_t minus = code | 1u << f->sign_shift;
      assert_int_equal(f->from_f32(f->to_f32(code)), code);
      assert_int_equal(f->from_f32(f->to_f32(minus)), minus);
      assert_int_equal(f->from_f64(f->to_f64(code)), code);
      assert_int_equal(f->from_f64(f->to_f64(minus)), minus);
    }
  }
}

TEST(every_tie_goes_to_even_and_its_neighbours_do_not) {
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    const format *f = &formats[i];
    for (uint32_t code = 0; code < f->limit; code++) {
      const double value = value_of(f, code);
      check_around(f, value);
      check_around(f, (value + value_of(f, code + 1)) / 2);
    }
  }
}

TEST(random_numbers_become_the_nearest) {
  uint64_t random = 17;
  for (int round = 0; round < 300000; round++) {
    const uint64_t bits = test_random(&random);
    const float single = tarn__f32_of_bits((uint32_t)bits);
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
      const format *f = &formats[i];
      /* Within two powers of two of the format's own range. */
      const int least = -f->bias - f->mantissa - 2, most = (int)(f->limit >> f->mantissa) + 2;
      const double fraction = ldexp((double)(bits >> 11), -53);
      const int exponent = least + (int)(bits % (uint64_t)(most - f->bias - least));
      check_f64(f, ldexp(fraction, exponent));
      if (!isnan(single)) check_f32(f, single);
    }
  }
}

/* Just above a tie by less than a float can tell: rounding twice would make a tie of it. */
TEST(doubles_are_rounded_once) {
  assert_int_equal(tarn__f16_from_f64(1 + 0x1p-11 + 0x1p-40), 0x3C01);
  assert_int_equal(tarn__bf16_from_f64(1 + 0x1p-8 + 0x1p-40), 0x3F81);
  assert_int_equal(tarn__e4m3fn_from_f64(1 + 0x1p-4 + 0x1p-40), 0x39);
  assert_int_equal(tarn__e5m2_from_f64(1 + 0x1p-3 + 0x1p-40), 0x3D);
}

TEST(too_large_is_infinity_or_nan_without_one) {
  assert_int_equal(tarn__f16_from_f32(65519.996f), 0x7BFF);
  assert_int_equal(tarn__f16_from_f32(65520), 0x7C00);
  assert_int_equal(tarn__e5m2_from_f32(61439.996f), 0x7B);
  assert_int_equal(tarn__e5m2_from_f32(61440), 0x7C);
  assert_int_equal(tarn__e4m3fn_from_f32(464), 0x7E);
  assert_int_equal(tarn__e4m3fn_from_f32(464.00003f), 0x7F);
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    const format *f = &formats[i];
    const uint32_t minus = 1u << f->sign_shift;
    assert_int_equal(f->from_f32(INFINITY), f->limit);
    assert_int_equal(f->from_f32(-INFINITY), minus | f->limit);
    assert_int_equal(f->from_f64(-INFINITY), minus | f->limit);
    assert_int_equal(f->from_f64(1e300), f->limit);
    assert_int_equal(f->from_f64(-1e300), minus | f->limit);
    if (f->has_infinity) {
      assert_true(f->to_f32(f->limit) == INFINITY);
      assert_true(f->to_f64(minus | f->limit) == -INFINITY);
    }
  }
}

TEST(too_small_is_zero_with_its_sign) {
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    const format *f = &formats[i];
    assert_int_equal(f->from_f64(5e-324), 0);
    assert_int_equal(f->from_f64(-5e-324), 1u << f->sign_shift);
    assert_int_equal(f->from_f64(-0.0), 1u << f->sign_shift);
    assert_int_equal(f->from_f32(-0.0f), 1u << f->sign_shift);
    assert_int_equal(f->from_f32(1e-45f), 0);
  }
}

TEST(every_nan_stays_one_with_its_sign) {
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    const format *f = &formats[i];
    const uint32_t minus = 1u << f->sign_shift;
    for (uint32_t code = f->limit + f->has_infinity; code < minus; code++) {
      assert_true(isnan(f->to_f32(code)));
      assert_true(isnan(f->to_f64(code)));
      assert_false(signbit(f->to_f32(code)));
      assert_true(signbit(f->to_f32(minus | code)));
    }
    for (uint32_t payload = 1; payload < 0x800000; payload = payload * 2 + 1) {
      const uint32_t got = f->from_f32(tarn__f32_of_bits(0xFF800000u | payload));
      assert_true(isnan(f->to_f32(got)));
      assert_true(got >> f->sign_shift);
      const double wide = tarn__f64_of_bits(0x7FF0000000000000u | payload);
      assert_int_equal(f->from_f64(wide), f->nan_of_any);
    }
    assert_int_equal(f->from_f32(tarn__f32_of_bits(0x7FC00000)), f->nan_of_any);
    assert_int_equal(f->from_f64(tarn__f64_of_bits(0xFFF8000000000000u)), minus | f->nan_of_any);
  }
}

TEST(a_nan_keeps_what_fits_of_its_payload) {
  for (uint32_t half = 0x7C01; half < 0x8000; half++) {
    assert_int_equal(bits_of(tarn__f16_to_f32((uint16_t)half)), 0x7FC00000 | (half & 0x3FF) << 13);
    assert_int_equal(tarn__f16_from_f32(tarn__f16_to_f32((uint16_t)half)), half | 0x200);
    assert_int_equal(tarn__f16_from_f64(tarn__f16_to_f64((uint16_t)half)), half | 0x200);
  }
  for (uint32_t upper = 0x7F81; upper < 0x8000; upper++) {
    assert_int_equal(bits_of(tarn__bf16_to_f32((uint16_t)upper)), upper << 16);
    assert_int_equal(tarn__bf16_from_f32(tarn__bf16_to_f32((uint16_t)upper)), upper | 0x40);
    assert_int_equal(tarn__bf16_from_f64(tarn__bf16_to_f64((uint16_t)upper)), upper | 0x40);
  }
  assert_int_equal(bits_of(tarn__e4m3fn_to_f32(0xFF)), 0xFFF00000u);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
