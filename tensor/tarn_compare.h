/* tarn_compare.h: whether two tensors hold the same values, exactly or nearly. */
#ifndef TARN_COMPARE_H
#define TARN_COMPARE_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TARN_EQUAL_NAN = 1u << 0,  /* a NaN equals a NaN */
  TARN_EQUAL_BITS = 1u << 1, /* the bytes are compared and not the values: -0.0 differs from 0.0, a
                                NaN equals its like; any element type, and one for both */
};

/* Whether the shapes are equal and so are all elements at equal indices; *equal is false where the
 * shapes differ. Strides, devices and, without TARN_EQUAL_BITS, element types may differ: values
 * are compared exactly, so that no float32 equals the int64 2^53 + 1. -0.0 equals 0.0, and a NaN
 * equals nothing, as in NumPy's array_equal.
 *
 * Waits for all that is enqueued on `stream`, which must reach both devices. Host memory is read
 * where it lies; what lies elsewhere is brought into memory of `pool`, host memory that may be NULL
 * where both tensors are the host's, a few megabytes at a time and no further than the first
 * difference. TARN_NOT_SUPPORTED for elements that tarn_scalar_load cannot read. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_equal(const tarn_tensor *a, const tarn_tensor *b,
                                                      uint32_t flags, tarn_pool *pool,
                                                      tarn_stream *stream, bool *equal);

typedef struct tarn_tolerance {
  double relative; /* of the second tensor's value */
  double absolute;
  bool equal_nan;
} tarn_tolerance;

/* NumPy's allclose with its rule: |a - b| <= absolute + relative * |b|, or equal (infinities are),
 * or both NaN where that is asked for; a complex number's distance is that of the plane. All in
 * double, whatever the element types: where NumPy calculates in float32, a value at the very limit
 * may differ. Neither tolerance is negative or NaN. The rest is as for tarn_tensor_equal. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_all_close(const tarn_tensor *a,
                                                          const tarn_tensor *b,
                                                          tarn_tolerance tolerance, tarn_pool *pool,
                                                          tarn_stream *stream, bool *is_close);

#ifdef __cplusplus
}
#endif
#endif
