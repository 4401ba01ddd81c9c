/* copy_transpose.h: one plane of elements, turned: consecutive in the source along one dimension,
 * in the destination along the other.
 *
 *            src                        dst
 *      r0c0 r1c0 r2c0            r0c0 r0c1 r0c2 r0c3
 *      r0c1 r1c1 r2c1     ->     r1c0 r1c1 r1c2 r1c3
 *      r0c2 r1c2 r2c2            r2c0 r2c1 r2c2 r2c3
 *      r0c3 r1c3 r2c3
 */
#ifndef TENSOR_COPY_TRANSPOSE_H
#define TENSOR_COPY_TRANSPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The element (row, column) goes
 *
 *     from  src + column * src_pitch_bytes + row * element_bytes
 *     to    dst + row * dst_pitch_bytes + column * element_bytes
 *
 * Pitches may be negative and need no alignment, nor do addresses. No two elements of the
 * destination overlap, and none overlaps the source. */
typedef struct tarn__transpose {
  int64_t row_count, column_count; /* 1 or more */
  int64_t dst_pitch_bytes, src_pitch_bytes;
  size_t element_bytes; /* 1, 2, 4, 8 or 16 */
  bool is_streaming;    /* written around the caches: for a destination that they would not keep */
} tarn__transpose;

/* Costs some nanoseconds besides the moves, so that small planes may be turned one by one. Streamed
 * bytes are in order with the caller's later stores when it returns. */
void tarn__transpose_run(const tarn__transpose *plane, char *dst, const char *src);

/* A plane for each index of `shape`, the last dimension fastest; `dst` and `src` are those of index
 * 0, strides are in bytes. Planes smaller than a tile gain most by coming together: each calls for
 * the source of the next, which does best where the last stride of the source is the narrowest, and
 * streamed bytes are waited for once. */
void tarn__transpose_run_all(const tarn__transpose *plane, int32_t rank, const int64_t *shape,
                             const int64_t *dst_strides, const int64_t *src_strides, char *dst,
                             const char *src);

static inline bool tarn__transpose_can(size_t element_bytes) {
  return element_bytes <= 16 && element_bytes != 0 && (element_bytes & (element_bytes - 1)) == 0;
}

#endif
