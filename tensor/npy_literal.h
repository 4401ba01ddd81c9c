/* npy_literal.h: the three values that a .npy header spells as a literal of Python. */
#ifndef TENSOR_NPY_LITERAL_H
#define TENSOR_NPY_LITERAL_H

#include "tensor/tarn_layout.h"

typedef struct tarn__npy_literal {
  const char *descr; /* in the text: a string without its quotes, anything else as it stands */
  size_t descr_bytes;
  bool descr_is_string;
  bool is_fortran;
  int32_t rank;
  int64_t shape[TARN_RANK_MAX];
} tarn__npy_literal;

/* Reads {'descr': ..., 'fortran_order': ..., 'shape': ...}: keys in any order, each once and no
 * other; either kind of quotes; a comma behind the last item; white space where Python has it, and
 * around the dictionary; an L behind a number where `allows_long`, as Python 2 wrote it. Stricter
 * than Python: no escapes or prefixes of strings, no other bases of numbers, no key twice.
 * TARN_BAD_FORMAT says at which byte; TARN_TOO_LARGE for a size beyond 63 bits; TARN_NOT_SUPPORTED
 * for more than TARN_RANK_MAX sizes. One pass, no recursion. */
TARN_NODISCARD tarn_status tarn__npy_literal_read(const char *text, size_t size, bool allows_long,
                                                  tarn__npy_literal *literal);

#endif
