/* convert.h: turns elements of one type into those of another; what becomes what is in tarn_copy.h.
 */
#ifndef TENSOR_CONVERT_H
#define TENSOR_CONVERT_H

#include "tensor/convert_steps.h"
#include "tensor/tarn_dtype.h"

enum { TARN__CONVERT_STEPS_MAX = 4 };

/* How one type becomes another: steps, each of which reads what the one before it wrote. */
typedef struct tarn__convert {
  int step_count;              /* 0: the bytes stay as they are */
  int part_count;              /* of an element: 2 where complex becomes complex */
  size_t dst_bytes, src_bytes; /* of an element */
  tarn__convert_step *steps[TARN__CONVERT_STEPS_MAX];
  /* Past the caches: the one step itself, or lines of its results; NULL where there is none. */
  tarn__convert_step *stream;
  const tarn__convert_kernels *kernels;
} tarn__convert;

/* TARN_NOT_SUPPORTED, with both names, where there is no such conversion; then `convert` is empty.
 * The kernels are those of the processor's level now. */
TARN_NODISCARD tarn_status tarn__convert_find(tarn_dtype dst, tarn_dtype src,
                                              tarn__convert *convert);

/* Converts `count` elements that follow each other on both sides, at any addresses; the two do not
 * overlap. `is_streaming`: dst will not be read soon, so that it should not push other things out
 * of the caches. */
void tarn__convert_row(const tarn__convert *convert, void *dst, const void *src, size_t count,
                       bool is_streaming);

#endif
