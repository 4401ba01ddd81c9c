/* text_format.c: columns for bools, integers, floats and complex numbers, by NumPy's conventions.
 *
 * The conventions are those of NumPy 2.3 and later with its default options: exponents where the
 * largest number has as many digits as its format holds (8 at most), the smallest is below 0.0001,
 * or the largest is more than a thousand times the smallest, each compared in the array's own
 * format; at most `precision` digits behind the point, and fewer where they suffice.
 */
#include "tensor/text_format.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/float_formats.h"

tarn_dtype tarn__real_dtype(tarn_dtype dtype) {
  if (dtype.code != TARN_CODE_COMPLEX) return dtype;
  return tarn_dtype_make(TARN_CODE_FLOAT, dtype.bits / 2, 1);
}

static int max_int(int a, int b) {
  return a > b ? a : b;
}

/* --- one real number --- */

static bool is_double(tarn_dtype real) {
  return real.code == TARN_CODE_FLOAT && real.bits == 64;
}

/* As many digits as the format tells apart, but for float64, of which a column shows eight. */
static double limit(tarn_dtype real) {
  const bool is_half = real.code == TARN_CODE_FLOAT && real.bits == 16;
  return is_double(real) ? 1e8 : is_half ? 1e3 : 1e6;
}

/* A quotient as the format would have it. */
static double round_to(tarn_dtype real, double value) {
  if (is_double(real)) return value;
  if (real.code == TARN_CODE_FLOAT && real.bits == 16) {
    return tarn__f16_to_f64(tarn__f16_from_f32((float)value));
  }
  return (double)(float)value;
}

static bool wants_exponents(const tarn__real_format *format) {
  const tarn_dtype real = format->real;
  if (format->largest == 0.0) return false;
  if (format->largest >= limit(real)) return true;
  return !format->is_suppressing && (format->smallest < round_to(real, 0.0001) ||
                                     round_to(real, format->largest / format->smallest) > 1000.0);
}

static void range_real(tarn__real_format *format, double value) {
  if (!isfinite(value)) {
    format->has_other = true;
    format->has_negative_infinity |= isinf(value) && value < 0;
    return;
  }
  format->has_finite = true;
  const double magnitude = fabs(value);
  if (magnitude == 0.0) return;
  if (magnitude > format->largest) format->largest = magnitude;
  if (format->smallest == 0.0 || magnitude < format->smallest) format->smallest = magnitude;
}

/* The digits of a finite number under the format's precision. */
static void digits_of(const tarn__real_format *format, bool with_exponent, double value,
                      tarn__decimal *decimal) {
  tarn__decimal_shortest(value, format->real, decimal);
  if (with_exponent) {
    if (decimal->digit_count - 1 > format->precision) {
      tarn__decimal_round_digits(value, format->precision + 1, decimal);
    }
  } else if (tarn__decimal_fraction_digits(decimal) > format->precision) {
    tarn__decimal_round_fraction(value, format->precision, decimal);
  }
}

static int digit_count_of(int number) {
  int count = 1;
  for (number = number < 0 ? -number : number; number >= 10; number /= 10) count++;
  return count;
}

static void measure_real(tarn__real_format *format, double value) {
  tarn__decimal decimal;
  if (!isfinite(value)) return;
  const bool with_exponent = wants_exponents(format);
  digits_of(format, with_exponent, value, &decimal);
  const int sign = decimal.is_negative || format->is_signed;
  if (with_exponent) {
    format->left = max_int(format->left, sign + 1);
    format->right = max_int(format->right, decimal.digit_count - 1);
    format->exponent_digits =
        max_int(format->exponent_digits, max_int(2, digit_count_of(decimal.exponent)));
  } else {
    format->left = max_int(format->left, sign + max_int(1, decimal.exponent + 1));
    format->right = max_int(format->right, tarn__decimal_fraction_digits(&decimal));
  }
}

/* Columns behind the point, an exponent among them. */
static int right_columns(const tarn__real_format *format) {
  return format->right + (format->exponent_digits > 0 ? format->exponent_digits + 2 : 0);
}

static void finish_real(tarn__real_format *format) {
  if (!format->has_other) return;
  const int beside = right_columns(format) + 1;
  const int sign = format->is_signed || format->has_negative_infinity;
  format->left = max_int(format->left, 3 + sign - beside);
}

/* Digit number `at` of the decimal, 0 being the one in front of the exponent's point. */
static char digit_at(const tarn__decimal *decimal, int at) {
  return at >= 0 && at < decimal->digit_count ? decimal->digits[at] : '0';
}

static int pad(char *word, int used, int columns) {
  memset(word + used, ' ', (size_t)max_int(0, columns));
  return used + max_int(0, columns);
}

static int write_other(const tarn__real_format *format, double value, char *word) {
  const char *text = isnan(value) ? (format->is_signed ? "+nan" : "nan")
                     : value < 0  ? "-inf"
                                  : (format->is_signed ? "+inf" : "inf");
  const int length = (int)strlen(text);
  const int used = pad(word, 0, format->left + right_columns(format) + 1 - length);
  memcpy(word + used, text, (size_t)length);
  return used + length;
}

static int write_real(const tarn__real_format *format, double value, char *word) {
  tarn__decimal decimal;
  if (!isfinite(value)) return write_other(format, value, word);
  const bool with_exponent = wants_exponents(format);
  digits_of(format, with_exponent, value, &decimal);
  if (with_exponent && decimal.digit_count - 1 < format->right) {
    /* Columns that others need are filled with the value's own digits, not with zeros. */
    tarn__decimal_round_digits(value, format->right + 1, &decimal);
  }
  const bool has_sign = decimal.is_negative || format->is_signed;
  const int last = with_exponent ? 0 : max_int(0, decimal.exponent); /* in front of the point */
  int used = pad(word, 0, format->left - has_sign - last - 1);
  if (has_sign) word[used++] = decimal.is_negative ? '-' : '+';
  const int shift = with_exponent ? 0 : decimal.exponent;
  for (int place = last; place >= 0; place--) word[used++] = digit_at(&decimal, shift - place);
  word[used++] = '.';
  const int fraction = with_exponent ? format->right : tarn__decimal_fraction_digits(&decimal);
  for (int place = 1; place <= fraction; place++) {
    word[used++] = digit_at(&decimal, shift + place);
  }
  if (!with_exponent) return pad(word, used, format->right - fraction);
  return used + snprintf(word + used, 16, "e%c%0*d", decimal.exponent < 0 ? '-' : '+',
                         format->exponent_digits,
                         decimal.exponent < 0 ? -decimal.exponent : decimal.exponent);
}

/* --- any number --- */

void tarn__format_init(tarn__format *format, tarn_scalar_kind kind, tarn_dtype dtype, int precision,
                       bool is_suppressing, bool is_scalar) {
  *format = (tarn__format){.kind = kind, .is_scalar = is_scalar};
  for (int part = 0; part < 2; part++) {
    format->parts[part] = (tarn__real_format){.real = tarn__real_dtype(dtype),
                                              .precision = precision,
                                              .is_suppressing = is_suppressing,
                                              .is_signed = part == 1};
  }
}

void tarn__format_range(tarn__format *format, tarn_scalar scalar) {
  switch (format->kind) {
    case TARN_SCALAR_BOOL:
    case TARN_SCALAR_INT:
    case TARN_SCALAR_UINT:
      return;
    case TARN_SCALAR_FLOAT:
      range_real(&format->parts[0], scalar.value.real);
      return;
    case TARN_SCALAR_COMPLEX:
      range_real(&format->parts[0], scalar.value.parts[0]);
      range_real(&format->parts[1], scalar.value.parts[1]);
      return;
  }
}

static int write_integer(tarn_scalar scalar, char *word) {
  if (scalar.kind == TARN_SCALAR_UINT) {
    return snprintf(word, TARN__WORD_BYTES, "%" PRIu64, scalar.value.natural);
  }
  return snprintf(word, TARN__WORD_BYTES, "%" PRId64, scalar.value.integer);
}

void tarn__format_measure(tarn__format *format, tarn_scalar scalar) {
  char word[TARN__WORD_BYTES];
  switch (format->kind) {
    case TARN_SCALAR_BOOL:
      return;
    case TARN_SCALAR_INT:
    case TARN_SCALAR_UINT:
      format->integer_columns = max_int(format->integer_columns, write_integer(scalar, word));
      return;
    case TARN_SCALAR_FLOAT:
      measure_real(&format->parts[0], scalar.value.real);
      return;
    case TARN_SCALAR_COMPLEX:
      measure_real(&format->parts[0], scalar.value.parts[0]);
      measure_real(&format->parts[1], scalar.value.parts[1]);
      return;
  }
}

void tarn__format_finish(tarn__format *format) {
  finish_real(&format->parts[0]);
  finish_real(&format->parts[1]);
}

/* The j stands before the blanks that fill the imaginary part's columns. */
static int write_complex(const tarn__format *format, tarn_scalar scalar, char *word) {
  const int start = write_real(&format->parts[0], scalar.value.parts[0], word);
  const int end = start + write_real(&format->parts[1], scalar.value.parts[1], word + start);
  int at = end;
  while (at > start && word[at - 1] == ' ') at--;
  memmove(word + at + 1, word + at, (size_t)(end - at));
  word[at] = 'j';
  return end + 1;
}

int tarn__format_write(const tarn__format *format, tarn_scalar scalar,
                       char word[TARN__WORD_BYTES]) {
  char digits[TARN__WORD_BYTES];
  switch (format->kind) {
    case TARN_SCALAR_BOOL:
      return snprintf(word, TARN__WORD_BYTES, "%*s", format->is_scalar ? 0 : 5,
                      scalar.value.boolean ? "True" : "False");
    case TARN_SCALAR_INT:
    case TARN_SCALAR_UINT: {
      const int length = write_integer(scalar, digits);
      const int used = pad(word, 0, format->integer_columns - length);
      memcpy(word + used, digits, (size_t)length);
      return used + length;
    }
    case TARN_SCALAR_FLOAT:
      return write_real(&format->parts[0], scalar.value.real, word);
    case TARN_SCALAR_COMPLEX:
      return write_complex(format, scalar, word);
  }
  return 0;
}

/* --- one number alone --- */

/* `is_whole_bare`: 1 and not 1.0, as in a complex number. */
static int write_alone(double value, tarn_dtype real, bool is_signed, bool is_whole_bare,
                       char *word) {
  tarn__decimal decimal;
  int used = 0;
  if (!isfinite(value)) {
    const char *text = isnan(value) ? (is_signed ? "+nan" : "nan")
                       : value < 0  ? "-inf"
                                    : (is_signed ? "+inf" : "inf");
    return snprintf(word, 8, "%s", text);
  }
  tarn__decimal_shortest(value, real, &decimal);
  if (decimal.is_negative || is_signed) word[used++] = decimal.is_negative ? '-' : '+';
  const double magnitude = fabs(value);
  const bool with_exponent =
      magnitude != 0.0 &&
      (magnitude < 0.0001 || magnitude >= (is_double(real) ? 1e16 : limit(real)));
  const int shift = with_exponent ? 0 : decimal.exponent;
  for (int place = max_int(0, shift); place >= 0; place--) {
    word[used++] = digit_at(&decimal, shift - place);
  }
  int fraction = with_exponent ? decimal.digit_count - 1 : tarn__decimal_fraction_digits(&decimal);
  if (fraction == 0 && !with_exponent && !is_whole_bare) fraction = 1;
  if (fraction > 0) word[used++] = '.';
  for (int place = 1; place <= fraction; place++) {
    word[used++] = digit_at(&decimal, shift + place);
  }
  if (!with_exponent) return used;
  return used + snprintf(word + used, 16, "e%c%02d", decimal.exponent < 0 ? '-' : '+',
                         decimal.exponent < 0 ? -decimal.exponent : decimal.exponent);
}

int tarn__scalar_write(tarn_scalar scalar, tarn_dtype real, char word[TARN__WORD_BYTES]) {
  int used = 0;
  switch (scalar.kind) {
    case TARN_SCALAR_BOOL:
      return snprintf(word, TARN__WORD_BYTES, "%s", scalar.value.boolean ? "True" : "False");
    case TARN_SCALAR_INT:
    case TARN_SCALAR_UINT:
      return write_integer(scalar, word);
    case TARN_SCALAR_FLOAT:
      return write_alone(scalar.value.real, real, /*is_signed=*/false, /*is_whole_bare=*/false,
                         word);
    case TARN_SCALAR_COMPLEX: {
      const double first = scalar.value.parts[0];
      const bool is_alone = first == 0.0 && !signbit(first);
      if (!is_alone) {
        word[used++] = '(';
        used += write_alone(first, real, false, true, word + used);
      }
      used += write_alone(scalar.value.parts[1], real, !is_alone, true, word + used);
      word[used++] = 'j';
      if (!is_alone) word[used++] = ')';
      return used;
    }
  }
  return 0;
}
