/* tarn_layout.h: shapes, strides and views as pure arithmetic: no memory, no reference, no lock.
 *
 * A layout maps an index (i0, i1, ...) to the element  offset + i0*strides[0] + i1*strides[1] + ...
 * All three count elements. Strides may be 0 (broadcast) and negative (a flipped dimension). Every
 * view function changes the layout in place, checks everything before it changes anything, and
 * leaves the layout as it was when it fails. A negative dimension counts from the end, as in NumPy.
 */
#ifndef TARN_LAYOUT_H
#define TARN_LAYOUT_H

#include "alloc/tarn_status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TARN_RANK_MAX = 12 };

typedef struct tarn_layout {
  int32_t rank;   /* 0 is a scalar: one element */
  int64_t offset; /* of the element at index (0, 0, ...) */
  int64_t shape[TARN_RANK_MAX];
  int64_t strides[TARN_RANK_MAX];
} tarn_layout;

/* Row-major, offset 0. Sizes are >= 0. TARN_TOO_LARGE where the number of elements overflows. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_init(tarn_layout *layout, int32_t rank,
                                                     const int64_t *shape);
/* Any strides. TARN_TOO_LARGE where an element's number does not fit int64_t. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_init_strided(tarn_layout *layout, int32_t rank,
                                                             const int64_t *shape,
                                                             const int64_t *strides,
                                                             int64_t offset);

/* Product of the shape; 1 for rank 0. Cannot overflow for a layout that init accepted. */
TARN_API int64_t tarn_layout_element_count(const tarn_layout *layout);

/* The elements that the layout reaches are all in [*first, *end); both 0 where there are none. */
TARN_API void tarn_layout_bounds(const tarn_layout *layout, int64_t *first, int64_t *end);

/* Row-major without gaps; size-1 dimensions are ignored; no elements counts as contiguous. */
TARN_API bool tarn_layout_is_contiguous(const tarn_layout *layout);
/* Some order of the dimensions is row-major without gaps. */
TARN_API bool tarn_layout_is_dense(const tarn_layout *layout);
/* True where two indices reach one element. Exact for every layout. Cost grows with the number of
 * elements only where the strides interleave; see layout_overlap.c. */
TARN_API bool tarn_layout_overlaps_itself(const tarn_layout *layout);
TARN_API bool tarn_layout_equal(const tarn_layout *a, const tarn_layout *b); /* shape and strides */
TARN_API bool tarn_layout_same_shape(const tarn_layout *a, const tarn_layout *b);

/* --- views --- */

/* Fixes dimension `dim` at `index` (negative: from the end) and removes it. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_select(tarn_layout *layout, int32_t dim,
                                                       int64_t index);
/* NumPy's start:stop:step along `dim`: negative start and stop count from the end, both are
 * clamped, step may be negative and is never 0. TARN_SLICE_OPEN stands for a start or stop left
 * out. */
#define TARN_SLICE_OPEN INT64_MIN
TARN_API TARN_NODISCARD tarn_status tarn_layout_slice(tarn_layout *layout, int32_t dim,
                                                      int64_t start, int64_t stop, int64_t step);
/* [start, start + length) along `dim`, nothing clamped. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_narrow(tarn_layout *layout, int32_t dim,
                                                       int64_t start, int64_t length);
/* New dimension d is the old dims[d]; each old one exactly once. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_permute(tarn_layout *layout, int32_t dim_count,
                                                        const int32_t *dims);
TARN_API TARN_NODISCARD tarn_status tarn_layout_transpose(tarn_layout *layout, int32_t a,
                                                          int32_t b);
/* Broadcasts to `shape`: a new leading dimension, or one of size 1, gets stride 0; -1 keeps an old
 * dimension's size. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_expand(tarn_layout *layout, int32_t rank,
                                                       const int64_t *shape);
/* Removes dimension `dim` where its size is 1, else changes nothing (as PyTorch). */
TARN_API TARN_NODISCARD tarn_status tarn_layout_squeeze(tarn_layout *layout, int32_t dim);
TARN_API void tarn_layout_squeeze_all(tarn_layout *layout);
/* Inserts a dimension of size 1 before `dim`; dim may be rank (or -1) for the end. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_unsqueeze(tarn_layout *layout, int32_t dim);
/* The same elements in the same order with another shape, without moving any; one size may be -1
 * and is inferred. TARN_NOT_SUPPORTED exactly where no strides can express it (a copy is needed),
 * TARN_INVALID_ARGUMENT where the number of elements differs. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_view(tarn_layout *layout, int32_t rank,
                                                     const int64_t *shape);
/* Any shape, strides and offset over a storage of element_count elements; TARN_INVALID_ARGUMENT,
 * with all the numbers, where an element would lie outside. Negative strides are welcome. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_as_strided(tarn_layout *layout, int32_t rank,
                                                           const int64_t *shape,
                                                           const int64_t *strides, int64_t offset,
                                                           int64_t element_count);

#ifdef __cplusplus
}
#endif
#endif
