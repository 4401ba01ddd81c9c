/* tarn_scalar.h: one value on its own, with its kind: what an element holds, in C's own types.
 *
 * Integers stand as 64 bits, floats of every width as double, complex numbers as two doubles: all
 * of them exact. Element types that C has no value for (opaque ones, several lanes, fp8 other than
 * e4m3fn and e5m2, fp6, fp4) are TARN_NOT_SUPPORTED.
 */
#ifndef TARN_SCALAR_H
#define TARN_SCALAR_H

#include "tensor/tarn_dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_scalar_kind {
  TARN_SCALAR_BOOL,
  TARN_SCALAR_INT,
  TARN_SCALAR_UINT,
  TARN_SCALAR_FLOAT,
  TARN_SCALAR_COMPLEX,
} tarn_scalar_kind;

typedef struct tarn_scalar {
  tarn_scalar_kind kind; /* says which member is there */
  union {
    bool boolean;
    int64_t integer;
    uint64_t natural;
    double real;
    double parts[2]; /* real, imaginary */
  } value;
} tarn_scalar;

static inline tarn_scalar tarn_scalar_of_bool(bool value) {
  tarn_scalar scalar;
  scalar.kind = TARN_SCALAR_BOOL;
  scalar.value.integer = 0;
  scalar.value.boolean = value;
  return scalar;
}
static inline tarn_scalar tarn_scalar_of_int(int64_t value) {
  tarn_scalar scalar;
  scalar.kind = TARN_SCALAR_INT;
  scalar.value.integer = value;
  return scalar;
}
static inline tarn_scalar tarn_scalar_of_uint(uint64_t value) {
  tarn_scalar scalar;
  scalar.kind = TARN_SCALAR_UINT;
  scalar.value.natural = value;
  return scalar;
}
static inline tarn_scalar tarn_scalar_of_float(double value) {
  tarn_scalar scalar;
  scalar.kind = TARN_SCALAR_FLOAT;
  scalar.value.real = value;
  return scalar;
}
static inline tarn_scalar tarn_scalar_of_complex(double real, double imaginary) {
  tarn_scalar scalar;
  scalar.kind = TARN_SCALAR_COMPLEX;
  scalar.value.parts[0] = real;
  scalar.value.parts[1] = imaginary;
  return scalar;
}

/* The nearest double, ties to even, and true where that is the value itself (NaN is); of a complex
 * number its real part, exact where the imaginary one is 0. */
TARN_API bool tarn_scalar_as_double(tarn_scalar scalar, double *value);
/* The value without its fraction, held to the ends of int64_t, and true where that is the value
 * itself; NaN gives 0, and false. A complex number as for double. */
TARN_API bool tarn_scalar_as_int64(tarn_scalar scalar, int64_t *value);

/* The value of the element at `element`, which needs no alignment. */
TARN_API TARN_NODISCARD tarn_status tarn_scalar_load(tarn_dtype dtype, const void *element,
                                                     tarn_scalar *scalar);

/* Writes the value as an element of `dtype`; TARN_INVALID_ARGUMENT, with nothing written, where it
 * does not fit. Integers and bool take the value itself or nothing: no 300 and no -1 in uint8, no
 * 1.5 and no NaN in int32, 0 and 1 alone in bool. Floats round to the nearest, ties to even, once;
 * what would become infinite does not fit, infinity itself and NaN do where the format has them. A
 * complex number fits a real type where its imaginary part is 0. */
TARN_API TARN_NODISCARD tarn_status tarn_scalar_store(tarn_scalar scalar, tarn_dtype dtype,
                                                      void *element);

#ifdef __cplusplus
}
#endif
#endif
