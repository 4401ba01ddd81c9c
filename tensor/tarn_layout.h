/* tarn_layout.h: shapes, strides and views as pure arithmetic: no memory, no reference, no lock.
 *
 * A layout maps an index (i0, i1, ...) to the element  offset + i0*strides[0] + i1*strides[1] + ...
 * All three count elements. Strides may be 0 (broadcast) and negative (a flipped dimension). Every
 * view function changes the layout in place, checks everything before it changes anything, and
 * leaves the layout as it was when it fails. A negative dimension counts from the end, as in NumPy;
 * one that does not exist, or that is named twice in a list, is TARN_INVALID_ARGUMENT. A shape that
 * a view is given may be a layout's own, also the same one's. Entries from `rank` on mean nothing.
 *
 * A view costs a few nanoseconds; each of those below takes time linear in the rank.
 *
 * What differs from PyTorch and NumPy:
 * - slice and flip make views with negative strides, and as_strided takes them, as in NumPy;
 *   PyTorch copies or refuses.
 * - narrow, as PyTorch's, clamps nothing, and neither takes a start from the end.
 * - squeeze of a dimension that is not of size 1 changes nothing, as in PyTorch; NumPy refuses.
 * - unfold of a scalar, and windows that together name 2^63 elements, are refused.
 * - a split has no piece after its last one: an index beyond it is refused, where a list of all
 *   pieces would just end.
 * - channels-last with a negative stride is not recognised.
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

/* Without gaps, the dimensions in memory in the order `order`, the outermost first: {0, 2, 3, 1} is
 * NHWC memory for an NCHW shape. Each dimension comes once in it. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_init_permuted(tarn_layout *layout, int32_t rank,
                                                              const int64_t *shape,
                                                              const int32_t *order);
/* The channels of an NCHW or NCDHW shape innermost; TARN_INVALID_ARGUMENT for other ranks. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_init_channels_last(tarn_layout *layout,
                                                                   int32_t rank,
                                                                   const int64_t *shape);

/* Product of the shape; 1 for rank 0. Cannot overflow for a layout that init accepted. */
TARN_API int64_t tarn_layout_element_count(const tarn_layout *layout);

/* The elements that the layout reaches are all in [*first, *end); both 0 where there are none. */
TARN_API void tarn_layout_bounds(const tarn_layout *layout, int64_t *first, int64_t *end);

/* Row-major without gaps; size-1 dimensions are ignored; no elements counts as contiguous. */
TARN_API bool tarn_layout_is_contiguous(const tarn_layout *layout);
/* The same in the order `order` of the dimensions, a permutation as init_permuted takes it, rank
 * numbers long. */
TARN_API bool tarn_layout_is_contiguous_in(const tarn_layout *layout, const int32_t *order);
/* Whether an NCHW or NCDHW layout is to be treated as channels-last: what PyTorch suggests as its
 * memory format, by the strides alone. From the channels outwards, no dimension may begin before
 * the one inside it ends; gaps are welcome, as after slicing with a step. Where sizes of 1 let both
 * formats fit, the strides of those dimensions decide; N x 1 x 1 x 1 whose strides do not tell is
 * row-major. False for an empty layout, broadcast channels, and any other rank. */
TARN_API bool tarn_layout_is_channels_last(const tarn_layout *layout);
/* Some order of the dimensions is row-major without gaps. */
TARN_API bool tarn_layout_is_dense(const tarn_layout *layout);
/* True where two indices reach one element. Exact for every layout. Cost grows with the number of
 * elements only where the strides interleave; see layout_overlap.c. */
TARN_API bool tarn_layout_overlaps_itself(const tarn_layout *layout);
TARN_API bool tarn_layout_equal(const tarn_layout *a, const tarn_layout *b); /* shape and strides */
TARN_API bool tarn_layout_same_shape(const tarn_layout *a, const tarn_layout *b);

/* --- views that leave elements out --- */

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

/* Piece number `index` of a dimension cut into pieces of piece_size, the last one being what is
 * left: there are max(1, ceil(size / piece_size)). 0 where the dimension is empty too. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_split(tarn_layout *layout, int32_t dim,
                                                      int64_t piece_size, int64_t index);
/* The same with pieces of ceil(size / chunk_count), as PyTorch's chunk: there may be fewer than
 * chunk_count. An empty dimension has chunk_count empty ones. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_chunk(tarn_layout *layout, int32_t dim,
                                                      int64_t chunk_count, int64_t index);
/* The same with exactly part_count parts whose sizes differ by at most 1, the longer ones first, as
 * NumPy's array_split and PyTorch's tensor_split. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_array_split(tarn_layout *layout, int32_t dim,
                                                            int64_t part_count, int64_t index);

/* All windows of `size` along `dim`, one every `step` > 0: the dimension now counts windows, and a
 * new last one runs through each. Where step < size, elements are seen several times. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_unfold(tarn_layout *layout, int32_t dim,
                                                       int64_t size, int64_t step);
/* The elements at equal indices along dim1 and dim2, `offset` further along dim2 (negative: along
 * dim1). Both dimensions go, and the diagonal is a new last one; empty where it lies outside. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_diagonal(tarn_layout *layout, int64_t offset,
                                                         int32_t dim1, int32_t dim2);

/* --- views that rearrange dimensions --- */

/* New dimension d is the old dims[d]; each old one exactly once. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_permute(tarn_layout *layout, int32_t dim_count,
                                                        const int32_t *dims);
/* Swaps two dimensions (NumPy's swapaxes); -2 and -1 transpose matrices (mT). */
TARN_API TARN_NODISCARD tarn_status tarn_layout_transpose(tarn_layout *layout, int32_t a,
                                                          int32_t b);
/* The dimensions in reverse order: NumPy's T. */
TARN_API void tarn_layout_reverse(tarn_layout *layout);
/* Dimension from[i] becomes dimension to[i]; the others keep their order in the places left. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_movedim(tarn_layout *layout, int32_t dim_count,
                                                        const int32_t *from, const int32_t *to);
/* Runs through each of the named dimensions from its other end. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_flip(tarn_layout *layout, int32_t dim_count,
                                                     const int32_t *dims);

/* Broadcasts to `shape`: a new leading dimension, or one of size 1, gets stride 0; -1 keeps an old
 * dimension's size. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_expand(tarn_layout *layout, int32_t rank,
                                                       const int64_t *shape);
TARN_API TARN_NODISCARD tarn_status tarn_layout_expand_as(tarn_layout *layout,
                                                          const tarn_layout *other);
/* Broadcasts both to the shape that they have in common by NumPy's rules; changes neither where
 * there is none. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_broadcast(tarn_layout *a, tarn_layout *b);

/* Removes dimension `dim` where its size is 1, else changes nothing (as PyTorch). */
TARN_API TARN_NODISCARD tarn_status tarn_layout_squeeze(tarn_layout *layout, int32_t dim);
TARN_API TARN_NODISCARD tarn_status tarn_layout_squeeze_dims(tarn_layout *layout, int32_t dim_count,
                                                             const int32_t *dims);
TARN_API void tarn_layout_squeeze_all(tarn_layout *layout);
/* Inserts a dimension of size 1 before `dim`; dim may be rank (or -1) for the end. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_unsqueeze(tarn_layout *layout, int32_t dim);

/* --- views that cut dimensions anew --- */

/* The same elements in the same order with another shape, without moving any; one size may be -1
 * and is inferred. TARN_NOT_SUPPORTED exactly where no strides can express it (a copy is needed),
 * TARN_INVALID_ARGUMENT where the number of elements differs. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_view(tarn_layout *layout, int32_t rank,
                                                     const int64_t *shape);
/* Makes one dimension of start_dim to end_dim, both included; a scalar becomes one of size 1.
 * TARN_NOT_SUPPORTED as view. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_flatten(tarn_layout *layout, int32_t start_dim,
                                                        int32_t end_dim);
/* Makes `rank` >= 1 dimensions of one, as view would of it alone; one size may be -1. */
TARN_API TARN_NODISCARD tarn_status tarn_layout_unflatten(tarn_layout *layout, int32_t dim,
                                                          int32_t rank, const int64_t *shape);
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
