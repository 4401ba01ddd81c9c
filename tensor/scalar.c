/* scalar.c: values and their conversions, each to the last bit. */
#include "tensor/tarn_scalar.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/float_formats.h"

static const double TWO_TO_63 = 9223372036854775808.0;
static const double TWO_TO_64 = 18446744073709551616.0;

/* --- to C's types --- */

bool tarn_scalar_as_double(tarn_scalar scalar, double *value) {
  switch (scalar.kind) {
    case TARN_SCALAR_BOOL:
      *value = scalar.value.boolean ? 1.0 : 0.0;
      return true;
    case TARN_SCALAR_INT:
      *value = (double)scalar.value.integer;
      /* 2^63 itself does not go back. */
      return *value != TWO_TO_63 && (int64_t)*value == scalar.value.integer;
    case TARN_SCALAR_UINT:
      *value = (double)scalar.value.natural;
      return *value != TWO_TO_64 && (uint64_t)*value == scalar.value.natural;
    case TARN_SCALAR_FLOAT:
      *value = scalar.value.real;
      return true;
    case TARN_SCALAR_COMPLEX:
      *value = scalar.value.parts[0];
      return scalar.value.parts[1] == 0.0;
  }
  *value = 0.0;
  return false;
}

static bool double_as_int64(double real, int64_t *value) {
  *value = 0;
  if (isnan(real)) return false;
  if (real >= TWO_TO_63 || real < -TWO_TO_63) {
    *value = real > 0 ? INT64_MAX : INT64_MIN;
    return false;
  }
  *value = (int64_t)real;
  return (double)*value == real;
}

bool tarn_scalar_as_int64(tarn_scalar scalar, int64_t *value) {
  switch (scalar.kind) {
    case TARN_SCALAR_BOOL:
      *value = scalar.value.boolean;
      return true;
    case TARN_SCALAR_INT:
      *value = scalar.value.integer;
      return true;
    case TARN_SCALAR_UINT:
      *value = scalar.value.natural > INT64_MAX ? INT64_MAX : (int64_t)scalar.value.natural;
      return scalar.value.natural <= INT64_MAX;
    case TARN_SCALAR_FLOAT:
      return double_as_int64(scalar.value.real, value);
    case TARN_SCALAR_COMPLEX:
      return double_as_int64(scalar.value.parts[0], value) && scalar.value.parts[1] == 0.0;
  }
  *value = 0;
  return false;
}

/* --- elements --- */

static tarn_status fail_dtype(tarn_dtype dtype) {
  char name[64];
  return tarn_fail(TARN_NOT_SUPPORTED, "an element of %s is no single value",
                   tarn_dtype_name(dtype, name, sizeof name));
}

static int64_t load_signed(const void *element, unsigned bits) {
  int8_t i8;
  int16_t i16;
  int32_t i32;
  int64_t i64;
  if (bits == 8) return memcpy(&i8, element, sizeof i8), i8;
  if (bits == 16) return memcpy(&i16, element, sizeof i16), i16;
  if (bits == 32) return memcpy(&i32, element, sizeof i32), i32;
  memcpy(&i64, element, sizeof i64);
  return i64;
}

static uint64_t load_unsigned(const void *element, unsigned bits) {
  const uint64_t all = (uint64_t)load_signed(element, bits);
  return bits == 64 ? all : all & ((UINT64_C(1) << bits) - 1);
}

/* One real number of a format of `bits`; false where there is none such. */
static bool load_real(unsigned code, unsigned bits, const void *element, double *real) {
  float single;
  switch (code) {
    case TARN_CODE_FLOAT:
      if (bits == 16) return *real = tarn__f16_to_f64((uint16_t)load_unsigned(element, 16)), true;
      if (bits == 32) return memcpy(&single, element, sizeof single), *real = single, true;
      return memcpy(real, element, sizeof *real), true;
    case TARN_CODE_BFLOAT:
      return *real = tarn__bf16_to_f64((uint16_t)load_unsigned(element, 16)), true;
    case TARN_CODE_FLOAT8_E4M3FN:
      return *real = tarn__e4m3fn_to_f64((uint8_t)load_unsigned(element, 8)), true;
    case TARN_CODE_FLOAT8_E5M2:
      return *real = tarn__e5m2_to_f64((uint8_t)load_unsigned(element, 8)), true;
    default:
      return false;
  }
}

tarn_status tarn_scalar_load(tarn_dtype dtype, const void *element, tarn_scalar *scalar) {
  double real, imaginary;
  if (scalar == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the value");
  *scalar = tarn_scalar_of_bool(false);
  if (element == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no element to load");
  tarn_status status = tarn_dtype_check(dtype);
  if (status != TARN_OK) return status;
  if (dtype.lanes != 1 || dtype.bits < 8) return fail_dtype(dtype);
  if (dtype.code == TARN_CODE_BOOL) {
    *scalar = tarn_scalar_of_bool(load_unsigned(element, 8) != 0);
  } else if (dtype.code == TARN_CODE_INT) {
    *scalar = tarn_scalar_of_int(load_signed(element, dtype.bits));
  } else if (dtype.code == TARN_CODE_UINT) {
    *scalar = tarn_scalar_of_uint(load_unsigned(element, dtype.bits));
  } else if (dtype.code == TARN_CODE_COMPLEX) {
    const unsigned half = dtype.bits / 2u;
    if (!load_real(TARN_CODE_FLOAT, half, element, &real)) return fail_dtype(dtype);
    if (!load_real(TARN_CODE_FLOAT, half, (const char *)element + half / 8, &imaginary)) {
      return fail_dtype(dtype);
    }
    *scalar = tarn_scalar_of_complex(real, imaginary);
  } else if (load_real(dtype.code, dtype.bits, element, &real)) {
    *scalar = tarn_scalar_of_float(real);
  } else {
    return fail_dtype(dtype);
  }
  return TARN_OK;
}

static void store_bits(void *element, uint64_t all, unsigned bits) {
  const uint8_t u8 = (uint8_t)all;
  const uint16_t u16 = (uint16_t)all;
  const uint32_t u32 = (uint32_t)all;
  if (bits == 8) memcpy(element, &u8, sizeof u8);
  if (bits == 16) memcpy(element, &u16, sizeof u16);
  if (bits == 32) memcpy(element, &u32, sizeof u32);
  if (bits == 64) memcpy(element, &all, sizeof all);
}

/* The number as the bits of a format; false where the format has no such number. */
static bool real_bits(unsigned code, unsigned bits, double real, uint64_t *all) {
  double back = real;
  switch (code) {
    case TARN_CODE_FLOAT:
      if (bits == 16) {
        *all = tarn__f16_from_f64(real);
        back = tarn__f16_to_f64((uint16_t)*all);
      } else if (bits == 32) {
        *all = tarn__f32_bits((float)real);
        back = (double)(float)real;
      } else {
        *all = tarn__f64_bits(real);
      }
      break;
    case TARN_CODE_BFLOAT:
      *all = tarn__bf16_from_f64(real);
      back = tarn__bf16_to_f64((uint16_t)*all);
      break;
    case TARN_CODE_FLOAT8_E4M3FN:
      *all = tarn__e4m3fn_from_f64(real);
      back = tarn__e4m3fn_to_f64((uint8_t)*all);
      break;
    case TARN_CODE_FLOAT8_E5M2:
      *all = tarn__e5m2_from_f64(real);
      back = tarn__e5m2_to_f64((uint8_t)*all);
      break;
    default:
      return false;
  }
  /* What overflowed came back infinite, or NaN from e4m3fn. */
  return isnan(real) ? isnan(back) : isinf(real) ? isinf(back) : isfinite(back);
}

static bool is_real_format(tarn_dtype dtype) {
  return dtype.code == TARN_CODE_FLOAT || dtype.code == TARN_CODE_BFLOAT ||
         dtype.code == TARN_CODE_FLOAT8_E4M3FN || dtype.code == TARN_CODE_FLOAT8_E5M2;
}

/* The integer rounded to odd: what is cut off leaves its mark in the last bit, so that rounding the
 * double once more, to a format of at most 51 bits, gives what rounding the integer would. */
static double natural_to_odd(uint64_t natural) {
  if (natural < UINT64_C(1) << 53) return (double)natural;
  const int cut = 11 - __builtin_clzll(natural);
  const bool is_lossy = (natural & ((UINT64_C(1) << cut) - 1)) != 0;
  return ldexp((double)(natural >> cut | is_lossy), cut);
}

/* What a float format is to round: for float64 the nearest double, for the others one that does not
 * spoil their own rounding. */
static double real_of(tarn_scalar scalar, bool is_wide) {
  double value;
  if (!is_wide && scalar.kind == TARN_SCALAR_UINT) return natural_to_odd(scalar.value.natural);
  if (!is_wide && scalar.kind == TARN_SCALAR_INT) {
    const bool is_negative = scalar.value.integer < 0;
    const uint64_t bits = (uint64_t)scalar.value.integer;
    const double magnitude = natural_to_odd(is_negative ? 0 - bits : bits);
    return is_negative ? -magnitude : magnitude;
  }
  (void)tarn_scalar_as_double(scalar, &value);
  return value;
}

/* The value as a 64-bit pattern, where it is a whole number that fits the type. */
static bool whole_bits(tarn_scalar scalar, tarn_dtype dtype, uint64_t *all) {
  int64_t integer;
  const unsigned bits = dtype.bits;
  const bool is_signed = dtype.code == TARN_CODE_INT;
  if (!tarn_scalar_as_int64(scalar, &integer)) {
    /* Above int64_t there is uint64_t. */
    double real;
    if (is_signed || bits != 64 || dtype.code == TARN_CODE_BOOL) return false;
    if (scalar.kind == TARN_SCALAR_UINT) return *all = scalar.value.natural, true;
    if (scalar.kind == TARN_SCALAR_INT || !tarn_scalar_as_double(scalar, &real)) return false;
    if (!(real >= TWO_TO_63 && real < TWO_TO_64)) return false;
    return *all = (uint64_t)real, true;
  }
  *all = (uint64_t)integer;
  if (dtype.code == TARN_CODE_BOOL) return integer == 0 || integer == 1;
  if (is_signed) {
    return bits == 64 ||
           (integer >= -(INT64_C(1) << (bits - 1)) && integer < INT64_C(1) << (bits - 1));
  }
  return integer >= 0 && (bits == 64 || integer < INT64_C(1) << bits);
}

static tarn_status fail_fit(tarn_scalar scalar, tarn_dtype dtype) {
  char name[64], text[80];
  switch (scalar.kind) {
    case TARN_SCALAR_BOOL:
      snprintf(text, sizeof text, "%s", scalar.value.boolean ? "true" : "false");
      break;
    case TARN_SCALAR_INT:
      snprintf(text, sizeof text, "%" PRId64, scalar.value.integer);
      break;
    case TARN_SCALAR_UINT:
      snprintf(text, sizeof text, "%" PRIu64, scalar.value.natural);
      break;
    case TARN_SCALAR_FLOAT:
      snprintf(text, sizeof text, "%.17g", scalar.value.real);
      break;
    case TARN_SCALAR_COMPLEX:
      snprintf(text, sizeof text, "%.17g%+.17gj", scalar.value.parts[0], scalar.value.parts[1]);
      break;
  }
  return tarn_fail(TARN_INVALID_ARGUMENT, "%s does not fit an element of %s", text,
                   tarn_dtype_name(dtype, name, sizeof name));
}

static tarn_status store_complex(tarn_scalar scalar, tarn_dtype dtype, void *element) {
  const unsigned half = dtype.bits / 2u;
  uint64_t real, imaginary;
  const double first = real_of(scalar, half == 64);
  const double second = scalar.kind == TARN_SCALAR_COMPLEX ? scalar.value.parts[1] : 0.0;
  if (!real_bits(TARN_CODE_FLOAT, half, first, &real) ||
      !real_bits(TARN_CODE_FLOAT, half, second, &imaginary)) {
    return fail_fit(scalar, dtype);
  }
  store_bits(element, real, half);
  store_bits((char *)element + half / 8, imaginary, half);
  return TARN_OK;
}

tarn_status tarn_scalar_store(tarn_scalar scalar, tarn_dtype dtype, void *element) {
  uint64_t all;
  if (element == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no element to store to");
  tarn_status status = tarn_dtype_check(dtype);
  if (status != TARN_OK) return status;
  if ((unsigned)scalar.kind > TARN_SCALAR_COMPLEX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "scalar kind %d", (int)scalar.kind);
  }
  if (dtype.lanes != 1 || dtype.bits < 8) return fail_dtype(dtype);
  if (dtype.code == TARN_CODE_COMPLEX) return store_complex(scalar, dtype, element);
  const bool is_real = scalar.kind != TARN_SCALAR_COMPLEX || scalar.value.parts[1] == 0.0;
  if (dtype.code <= TARN_CODE_UINT || dtype.code == TARN_CODE_BOOL) {
    if (!is_real || !whole_bits(scalar, dtype, &all)) return fail_fit(scalar, dtype);
  } else if (is_real_format(dtype)) {
    const double real = real_of(scalar, dtype.bits == 64);
    if (!is_real || !real_bits(dtype.code, dtype.bits, real, &all)) return fail_fit(scalar, dtype);
  } else {
    return fail_dtype(dtype);
  }
  store_bits(element, all, dtype.bits);
  return TARN_OK;
}
