/* text_decimal.h: binary floating-point numbers as decimal digits, in no locale. */
#ifndef TENSOR_TEXT_DECIMAL_H
#define TENSOR_TEXT_DECIMAL_H

#include "tensor/tarn_dtype.h"

/* The integer part of the largest double, and a fraction of TARN__PRECISION_MAX digits. */
enum { TARN__PRECISION_MAX = 64, TARN__DIGITS_MAX = 310 + TARN__PRECISION_MAX };

/* d.ddd * 10^exponent, without zeros at the end; zero is one digit 0 and exponent 0. */
typedef struct tarn__decimal {
  bool is_negative; /* of -0.0 too */
  int exponent;
  int digit_count;
  char digits[TARN__DIGITS_MAX];
} tarn__decimal;

/* The fewest digits that tell the value from every other of its format, and of these the nearest to
 * it. `real` says which format: float16, float32, float64, bfloat16, float8_e4m3fn or float8_e5m2;
 * `value` is finite and one of its values. */
void tarn__decimal_shortest(double value, tarn_dtype real, tarn__decimal *decimal);

/* The exact value rounded to at most so many digits: behind the point, or in all. Half goes to
 * even. 0 <= precision <= TARN__PRECISION_MAX. */
void tarn__decimal_round_fraction(double value, int precision, tarn__decimal *decimal);
void tarn__decimal_round_digits(double value, int digit_count, tarn__decimal *decimal);

/* Digits behind the point, where the number is written without an exponent. */
int tarn__decimal_fraction_digits(const tarn__decimal *decimal);

#endif
