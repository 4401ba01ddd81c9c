/* layout_view.c: views that leave elements out: each checks, then changes the layout in place.
 *
 * No view can leave the range that layout.c promises, so sums are checked only where a size-1 or
 * empty dimension carries a stride that nothing bounds.
 */
#include "tensor/tarn_layout.h"
#include "tensor/layout.h"

#include <inttypes.h>

tarn_status tarn_layout_select(tarn_layout *layout, int32_t dim, int64_t index) {
  if (tarn_inline_select(layout, dim, index)) return TARN_OK;
  const int32_t asked_dim = dim;
  if (!tarn__resolve_dim(layout->rank, &dim)) return tarn__layout_fail_dim(layout->rank, asked_dim);
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "index %" PRId64 " is outside of dimension %d of size %" PRId64, index, dim,
                   layout->shape[dim]);
}

/* A step may be absurd where at most one element is left; then the old stride does as well. */
static inline void scale_stride(int64_t *stride, int64_t step) {
  int64_t scaled;
  if (tarn_int64_mul(*stride, step, &scaled)) *stride = scaled;
}

tarn_status tarn_layout_slice(tarn_layout *layout, int32_t dim, int64_t start, int64_t stop,
                              int64_t step) {
  if (step > 0 && tarn_inline_slice(layout, dim, start, stop, step)) return TARN_OK;
  const int32_t asked_dim = dim;
  if (!tarn__resolve_dim(layout->rank, &dim)) return tarn__layout_fail_dim(layout->rank, asked_dim);
  if (step == 0) return tarn_fail(TARN_INVALID_ARGUMENT, "step 0 in dimension %d", dim);
  const int64_t size = layout->shape[dim];
  uint64_t length = 0;
  start = start == TARN_SLICE_OPEN ? size - 1 : tarn_inline_bound(start, size, -1, size - 1);
  stop = stop == TARN_SLICE_OPEN ? -1 : tarn_inline_bound(stop, size, -1, size - 1);
  if (stop < start) {
    length = (uint64_t)(start - stop - 1) / (0 - (uint64_t)step) + 1;
    layout->offset += start * layout->strides[dim];
  }
  layout->shape[dim] = (int64_t)length;
  scale_stride(&layout->strides[dim], step);
  return TARN_OK;
}

tarn_status tarn_layout_narrow(tarn_layout *layout, int32_t dim, int64_t start, int64_t length) {
  if (tarn_inline_narrow(layout, dim, start, length)) return TARN_OK;
  const int32_t asked_dim = dim;
  if (!tarn__resolve_dim(layout->rank, &dim)) return tarn__layout_fail_dim(layout->rank, asked_dim);
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "%" PRId64 " elements from %" PRId64
                   " do not lie in dimension %d of size %" PRId64,
                   length, start, dim, layout->shape[dim]);
}

/* --- pieces --- */

static tarn_status fail_piece(int64_t index, int64_t count) {
  return tarn_fail(TARN_INVALID_ARGUMENT, "piece %" PRId64 " of %" PRId64, index, count);
}

tarn_status tarn_layout_split(tarn_layout *layout, int32_t dim, int64_t piece_size, int64_t index) {
  const int32_t asked_dim = dim;
  if (!tarn__resolve_dim(layout->rank, &dim)) return tarn__layout_fail_dim(layout->rank, asked_dim);
  const int64_t size = layout->shape[dim];
  if (piece_size < 0 || (piece_size == 0 && size != 0)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pieces of size %" PRId64 " of a dimension of %" PRId64,
                     piece_size, size);
  }
  const int64_t count = size == 0 ? 1 : (size - 1) / piece_size + 1;
  if (index < 0 || index >= count) return fail_piece(index, count);
  const int64_t start = index * piece_size, left = size - start;
  return tarn_layout_narrow(layout, dim, start, left < piece_size ? left : piece_size);
}

tarn_status tarn_layout_chunk(tarn_layout *layout, int32_t dim, int64_t chunk_count,
                              int64_t index) {
  const int32_t asked_dim = dim;
  if (!tarn__resolve_dim(layout->rank, &dim)) return tarn__layout_fail_dim(layout->rank, asked_dim);
  if (chunk_count <= 0) return fail_piece(index, chunk_count);
  const int64_t size = layout->shape[dim];
  if (size > 0) return tarn_layout_split(layout, dim, (size - 1) / chunk_count + 1, index);
  /* As PyTorch: of nothing there are as many chunks as are asked for. */
  if (index < 0 || index >= chunk_count) return fail_piece(index, chunk_count);
  return TARN_OK;
}

tarn_status tarn_layout_array_split(tarn_layout *layout, int32_t dim, int64_t part_count,
                                    int64_t index) {
  const int32_t asked_dim = dim;
  if (!tarn__resolve_dim(layout->rank, &dim)) return tarn__layout_fail_dim(layout->rank, asked_dim);
  if (part_count <= 0 || index < 0 || index >= part_count) return fail_piece(index, part_count);
  const int64_t least = layout->shape[dim] / part_count, longer = layout->shape[dim] % part_count;
  const int64_t start = index * least + (index < longer ? index : longer);
  return tarn_layout_narrow(layout, dim, start, least + (index < longer ? 1 : 0));
}

/* --- windows and diagonals --- */

tarn_status tarn_layout_unfold(tarn_layout *layout, int32_t dim, int64_t size, int64_t step) {
  const int32_t asked_dim = dim, rank = layout->rank;
  if (!tarn__resolve_dim(rank, &dim)) return tarn__layout_fail_dim(rank, asked_dim);
  if (rank == TARN_RANK_MAX) return tarn__layout_fail_rank(rank);
  const int64_t old_size = layout->shape[dim], stride = layout->strides[dim];
  if (size < 0 || size > old_size || step <= 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "windows of size %" PRId64 " at step %" PRId64 " in dimension %d of %" PRId64,
                     size, step, dim, old_size);
  }
  int64_t shape[TARN_RANK_MAX];
  for (int32_t d = 0; d < rank; d++) shape[d] = layout->shape[d];
  shape[dim] = (old_size - size) / step + 1;
  shape[rank] = size;
  /* Windows that overlap name elements more than once. */
  const tarn_status status = tarn__layout_check_shape(rank + 1, shape);
  if (status != TARN_OK) return status;
  layout->rank = rank + 1;
  layout->shape[dim] = shape[dim];
  layout->shape[rank] = size;
  layout->strides[rank] = stride;
  scale_stride(&layout->strides[dim], step);
  return TARN_OK;
}

tarn_status tarn_layout_diagonal(tarn_layout *layout, int64_t offset, int32_t dim1, int32_t dim2) {
  const int32_t asked_dim1 = dim1, asked_dim2 = dim2, rank = layout->rank;
  if (!tarn__resolve_dim(rank, &dim1)) return tarn__layout_fail_dim(rank, asked_dim1);
  if (!tarn__resolve_dim(rank, &dim2)) return tarn__layout_fail_dim(rank, asked_dim2);
  if (dim1 == dim2) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "the diagonal of dimension %d and itself", dim1);
  }
  /* Where it begins: at (0, offset), or below the main diagonal at (-offset, 0). */
  const int64_t first1 = offset >= 0 ? 0 : offset < -INT64_MAX ? INT64_MAX : -offset;
  const int64_t first2 = offset >= 0 ? offset : 0;
  const int64_t length1 = layout->shape[dim1] - first1, length2 = layout->shape[dim2] - first2;
  int64_t length = length1 < length2 ? length1 : length2, stride;
  if (length < 0) length = 0;
  if (!tarn_int64_add(layout->strides[dim1], layout->strides[dim2], &stride)) {
    if (length > 1) return tarn_fail(TARN_TOO_LARGE, "a diagonal's stride leaves 63 bits");
    stride = layout->strides[dim1];
  }
  if (length > 0) {
    layout->offset += first1 * layout->strides[dim1];
    layout->offset += first2 * layout->strides[dim2];
  }
  tarn_inline_remove_dim(layout, dim1 > dim2 ? dim1 : dim2);
  tarn_inline_remove_dim(layout, dim1 > dim2 ? dim2 : dim1);
  layout->shape[rank - 2] = length;
  layout->strides[rank - 2] = stride;
  layout->rank = rank - 1;
  return TARN_OK;
}
