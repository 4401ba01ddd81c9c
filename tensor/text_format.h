/* text_format.h: how the numbers of one array are written so that they stand in columns.
 *
 * Every number is shown to the format twice before it is written: tarn__format_range learns how
 * large and how small they are, which decides whether exponents are used, and tarn__format_measure
 * how many columns they take.
 */
#ifndef TENSOR_TEXT_FORMAT_H
#define TENSOR_TEXT_FORMAT_H

#include "tensor/tarn_scalar.h"
#include "tensor/text_decimal.h"

enum { TARN__WORD_BYTES = 2 * TARN__DIGITS_MAX + 64 };

/* The columns of one real number. */
typedef struct tarn__real_format {
  tarn_dtype real;
  int precision;
  bool is_suppressing; /* small numbers do not ask for exponents */
  bool is_signed;      /* with a + where there is no - */
  /* learned by range */
  bool has_finite, has_other, has_negative_infinity;
  double largest, smallest; /* without 0; 0 where there is none */
  /* learned by measure */
  int left, right;     /* columns on the two sides of the point */
  int exponent_digits; /* 0: no exponents */
} tarn__real_format;

typedef struct tarn__format {
  tarn_scalar_kind kind;
  bool is_scalar;      /* of rank 0: nothing to stand in a column with */
  int integer_columns; /* of the longest integer */
  tarn__real_format parts[2];
} tarn__format;

void tarn__format_init(tarn__format *format, tarn_scalar_kind kind, tarn_dtype dtype, int precision,
                       bool is_suppressing, bool is_scalar);
void tarn__format_range(tarn__format *format, tarn_scalar scalar);
void tarn__format_measure(tarn__format *format, tarn_scalar scalar);
/* Between the last measure and the first write. */
void tarn__format_finish(tarn__format *format);
/* The columns of one number; returns their count. */
int tarn__format_write(const tarn__format *format, tarn_scalar scalar, char word[TARN__WORD_BYTES]);

/* One number alone, as Python's repr writes it and NumPy's str of a scalar: 1.0, 1e-05, (1+2j).
 * `real` is the format whose values the digits tell apart. Returns the length. */
int tarn__scalar_write(tarn_scalar scalar, tarn_dtype real, char word[TARN__WORD_BYTES]);

/* The format of a number's parts: the dtype itself, or that of a complex number's half. */
tarn_dtype tarn__real_dtype(tarn_dtype dtype);

#endif
