/* text_decimal.c: digits from the C library, which rounds exactly, and a search for the fewest.
 *
 * printf and strtod know a locale's point. So digits are picked out of what printf wrote, whatever
 * stands between them, and strtod is asked without a point: 12345e-2.
 */
#include "tensor/text_decimal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/float_formats.h"

static void strip_zeros(tarn__decimal *decimal) {
  while (decimal->digit_count > 1 && decimal->digits[decimal->digit_count - 1] == '0') {
    decimal->digit_count--;
  }
  if (decimal->digit_count == 1 && decimal->digits[0] == '0') decimal->exponent = 0;
}

void tarn__decimal_round_digits(double value, int digit_count, tarn__decimal *decimal) {
  char text[TARN__DIGITS_MAX + 16];
  const char *at = text;
  *decimal = (tarn__decimal){.is_negative = signbit(value)};
  snprintf(text, sizeof text, "%.*e", digit_count - 1, fabs(value));
  for (; *at != 'e' && *at != '\0'; at++) {
    if (*at >= '0' && *at <= '9') decimal->digits[decimal->digit_count++] = *at;
  }
  decimal->exponent = *at == 'e' ? atoi(at + 1) : 0;
  strip_zeros(decimal);
}

void tarn__decimal_round_fraction(double value, int precision, tarn__decimal *decimal) {
  char text[TARN__DIGITS_MAX + 16];
  int whole_count = 0, leading = 0;
  *decimal = (tarn__decimal){.is_negative = signbit(value)};
  snprintf(text, sizeof text, "%.*f", precision, fabs(value));
  for (const char *at = text; *at >= '0' && *at <= '9'; at++) whole_count++;
  for (const char *at = text; *at != '\0'; at++) {
    if (*at >= '0' && *at <= '9') decimal->digits[decimal->digit_count++] = *at;
  }
  while (leading < decimal->digit_count - 1 && decimal->digits[leading] == '0') leading++;
  decimal->digit_count -= leading;
  memmove(decimal->digits, decimal->digits + leading, (size_t)decimal->digit_count);
  decimal->exponent = whole_count - 1 - leading;
  strip_zeros(decimal);
}

int tarn__decimal_fraction_digits(const tarn__decimal *decimal) {
  const int digits = decimal->digit_count - 1 - decimal->exponent;
  return digits > 0 ? digits : 0;
}

/* --- the fewest digits --- */

/* Whether the digits, read again, are this value of the format. */
static bool reads_as(const tarn__decimal *decimal, double value, tarn_dtype real) {
  char text[64];
  snprintf(text, sizeof text, "%.*se%d", decimal->digit_count, decimal->digits,
           decimal->exponent - decimal->digit_count + 1);
  const double wanted = fabs(value);
  if (real.code == TARN_CODE_FLOAT && real.bits == 32) return (double)strtof(text, NULL) == wanted;
  const double read = strtod(text, NULL);
  /* So few digits are nowhere near the middle of two values without being it: rounding them to
   * double first does no harm. */
  switch (real.code) {
    case TARN_CODE_BFLOAT:
      return tarn__bf16_to_f64(tarn__bf16_from_f64(read)) == wanted;
    case TARN_CODE_FLOAT8_E4M3FN:
      return tarn__e4m3fn_to_f64(tarn__e4m3fn_from_f64(read)) == wanted;
    case TARN_CODE_FLOAT8_E5M2:
      return tarn__e5m2_to_f64(tarn__e5m2_from_f64(read)) == wanted;
    default:
      return real.bits == 16 ? tarn__f16_to_f64(tarn__f16_from_f64(read)) == wanted
                             : read == wanted;
  }
}

/* The next number of as many digits, away from zero. */
static void step_up(tarn__decimal *decimal) {
  for (int at = decimal->digit_count - 1; at >= 0; at--) {
    if (decimal->digits[at]++ != '9') return;
    decimal->digits[at] = '0';
  }
  decimal->digits[0] = '1';
  decimal->exponent++;
}

/* Below a power of two the values lie twice as close as above it, so that the nearest number of
 * some digits may be another value while the next one up is not. */
static bool next_reads_as(double value, int digit_count, tarn_dtype real, tarn__decimal *decimal) {
  int exponent;
  tarn__decimal next;
  if (frexp(fabs(value), &exponent) != 0.5) return false;
  tarn__decimal_round_digits(value, digit_count, &next);
  while (next.digit_count < digit_count) next.digits[next.digit_count++] = '0';
  step_up(&next);
  if (!reads_as(&next, value, real)) return false;
  strip_zeros(&next);
  *decimal = next;
  return true;
}

void tarn__decimal_shortest(double value, tarn_dtype real, tarn__decimal *decimal) {
  int first = 1, last = 17;
  if (real.code == TARN_CODE_FLOAT && real.bits == 32) last = 9;
  if (real.bits <= 16) last = 5;
  /* A decimal of so few digits survives the way to a normal number and back, so that fewer digits
   * than these show as zeros at the end. */
  if (last == 17 && fabs(value) >= DBL_MIN) first = DBL_DIG;
  if (last == 9 && fabs(value) >= (double)FLT_MIN) first = FLT_DIG;
  for (int count = first; count <= last; count++) {
    tarn__decimal_round_digits(value, count, decimal);
    if (value == 0.0 || reads_as(decimal, value, real)) return;
    if (next_reads_as(value, count, real, decimal)) return;
  }
}
