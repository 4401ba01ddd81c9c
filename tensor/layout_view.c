/* layout_view.c: the views: each checks, then changes shape, strides and offset in place.
 *
 * No view can leave the range that layout.c promises, so sums are checked only where a size-1 or
 * empty dimension carries a stride that nothing bounds.
 */
#include "tensor/tarn_layout.h"
#include "tensor/layout.h"

#include <inttypes.h>
#include <string.h>

/* The message stays out of the way of the views that succeed. */
__attribute__((noinline, cold)) static tarn_status fail_dim(const tarn_layout *layout,
                                                            int32_t dim) {
  return tarn_fail(TARN_INVALID_ARGUMENT, "dimension %d of a layout of rank %d", dim, layout->rank);
}

/* Turns a dimension counted from the end into one counted from the front. */
static inline bool resolve_dim(int32_t rank, int32_t *dim) {
  if (*dim < 0) *dim += rank;
  return *dim >= 0 && *dim < rank;
}

static inline void remove_dim(tarn_layout *layout, int32_t dim) {
  layout->rank--;
  for (int32_t d = dim; d < layout->rank; d++) {
    layout->shape[d] = layout->shape[d + 1];
    layout->strides[d] = layout->strides[d + 1];
  }
}

__attribute__((noinline, cold)) static tarn_status fail_index(int64_t index, int32_t dim,
                                                              int64_t size) {
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "index %" PRId64 " is outside of dimension %d of size %" PRId64, index, dim,
                   size);
}

tarn_status tarn_layout_select(tarn_layout *layout, int32_t dim, int64_t index) {
  int32_t asked_dim = dim;
  if (!resolve_dim(layout->rank, &dim)) return fail_dim(layout, asked_dim);
  int64_t size = layout->shape[dim];
  int64_t at = index < 0 ? index + size : index;
  if (at < 0 || at >= size) return fail_index(index, dim, size);
  layout->offset += at * layout->strides[dim];
  remove_dim(layout, dim);
  return TARN_OK;
}

/* Where a slice's bound stands after NumPy's rules: counted from the end where negative, clamped to
 * [low, high]. */
static inline int64_t clamp_bound(int64_t bound, int64_t size, int64_t low, int64_t high) {
  if (bound < 0) bound += size;
  if (bound < low) return low;
  return bound > high ? high : bound;
}

tarn_status tarn_layout_slice(tarn_layout *layout, int32_t dim, int64_t start, int64_t stop,
                              int64_t step) {
  int32_t asked_dim = dim;
  if (!resolve_dim(layout->rank, &dim)) return fail_dim(layout, asked_dim);
  if (step == 0) return tarn_fail(TARN_INVALID_ARGUMENT, "step 0 in dimension %d", dim);
  int64_t size = layout->shape[dim];
  uint64_t length = 0;
  if (step > 0) {
    start = start == TARN_SLICE_OPEN ? 0 : clamp_bound(start, size, 0, size);
    stop = stop == TARN_SLICE_OPEN ? size : clamp_bound(stop, size, 0, size);
    if (start < stop) length = (uint64_t)(stop - start - 1) / (uint64_t)step + 1;
  } else {
    start = start == TARN_SLICE_OPEN ? size - 1 : clamp_bound(start, size, -1, size - 1);
    stop = stop == TARN_SLICE_OPEN ? -1 : clamp_bound(stop, size, -1, size - 1);
    if (stop < start) length = (uint64_t)(start - stop - 1) / (0 - (uint64_t)step) + 1;
  }
  layout->shape[dim] = (int64_t)length;
  if (length > 0) layout->offset += start * layout->strides[dim];
  /* A step may be absurd where at most one element is left; then the old stride does as well. */
  int64_t stride;
  if (tarn_int64_mul(layout->strides[dim], step, &stride)) layout->strides[dim] = stride;
  return TARN_OK;
}

tarn_status tarn_layout_narrow(tarn_layout *layout, int32_t dim, int64_t start, int64_t length) {
  int32_t asked_dim = dim;
  if (!resolve_dim(layout->rank, &dim)) return fail_dim(layout, asked_dim);
  int64_t size = layout->shape[dim];
  if (start < 0 || length < 0 || start > size || length > size - start) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "%" PRId64 " elements from %" PRId64
                     " do not lie in dimension %d of size %" PRId64,
                     length, start, dim, size);
  }
  layout->shape[dim] = length;
  if (length > 0) layout->offset += start * layout->strides[dim];
  return TARN_OK;
}

tarn_status tarn_layout_permute(tarn_layout *layout, int32_t dim_count, const int32_t *dims) {
  tarn_layout permuted = {.rank = layout->rank, .offset = layout->offset};
  uint32_t seen = 0;
  if (dim_count != layout->rank) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d dimensions to permute a layout of rank %d",
                     dim_count, layout->rank);
  }
  if (dim_count > 0 && dims == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d dimensions to permute, and none are named",
                     dim_count);
  }
  for (int32_t d = 0; d < dim_count; d++) {
    int32_t dim = dims[d];
    if (!resolve_dim(layout->rank, &dim)) return fail_dim(layout, dims[d]);
    if (seen & (1u << dim)) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "dimension %d comes twice in a permutation", dim);
    }
    seen |= 1u << dim;
    permuted.shape[d] = layout->shape[dim];
    permuted.strides[d] = layout->strides[dim];
  }
  *layout = permuted;
  return TARN_OK;
}

static inline void swap(int64_t *a, int64_t *b) {
  int64_t held = *a;
  *a = *b;
  *b = held;
}

tarn_status tarn_layout_transpose(tarn_layout *layout, int32_t a, int32_t b) {
  int32_t asked_a = a, asked_b = b;
  if (!resolve_dim(layout->rank, &a)) return fail_dim(layout, asked_a);
  if (!resolve_dim(layout->rank, &b)) return fail_dim(layout, asked_b);
  swap(&layout->shape[a], &layout->shape[b]);
  swap(&layout->strides[a], &layout->strides[b]);
  return TARN_OK;
}

/* What dimension `dim` (size and stride, or a new one) becomes when it is asked to have `size`. */
static tarn_status expand_dim(bool is_new, int64_t old_size, int64_t old_stride, int32_t dim,
                              int64_t *size, int64_t *stride) {
  *stride = is_new ? 0 : old_stride;
  if (*size == -1 && !is_new) *size = old_size;
  if (*size < 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "size %" PRId64 " for %s dimension %d", *size,
                     is_new ? "the new" : "the", dim);
  }
  if (is_new || *size == old_size) return TARN_OK;
  if (old_size != 1) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "dimension %d of size %" PRId64 " cannot be broadcast to size %" PRId64, dim,
                     old_size, *size);
  }
  *stride = 0;
  return TARN_OK;
}

tarn_status tarn_layout_expand(tarn_layout *layout, int32_t rank, const int64_t *shape) {
  if (rank < layout->rank || rank > TARN_RANK_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a layout of rank %d cannot be broadcast to rank %d",
                     layout->rank, rank);
  }
  if (rank > 0 && shape == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "rank %d without a shape", rank);
  }
  tarn_layout expanded = {.rank = rank, .offset = layout->offset};
  int32_t new_count = rank - layout->rank;
  for (int32_t d = 0; d < rank; d++) {
    bool is_new = d < new_count;
    int64_t old_size = is_new ? 1 : layout->shape[d - new_count];
    int64_t old_stride = is_new ? 0 : layout->strides[d - new_count];
    expanded.shape[d] = shape[d];
    tarn_status status =
        expand_dim(is_new, old_size, old_stride, d, &expanded.shape[d], &expanded.strides[d]);
    if (status != TARN_OK) return status;
  }
  tarn_status status = tarn__layout_check_shape(rank, expanded.shape);
  if (status == TARN_OK) *layout = expanded;
  return status;
}

tarn_status tarn_layout_squeeze(tarn_layout *layout, int32_t dim) {
  int32_t asked_dim = dim;
  if (!resolve_dim(layout->rank, &dim)) return fail_dim(layout, asked_dim);
  if (layout->shape[dim] == 1) remove_dim(layout, dim);
  return TARN_OK;
}

void tarn_layout_squeeze_all(tarn_layout *layout) {
  int32_t kept = 0;
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] == 1) continue;
    layout->shape[kept] = layout->shape[d];
    layout->strides[kept] = layout->strides[d];
    kept++;
  }
  layout->rank = kept;
}

tarn_status tarn_layout_unsqueeze(tarn_layout *layout, int32_t dim) {
  int32_t at = dim, rank = layout->rank;
  if (rank == TARN_RANK_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a layout of rank %d takes no dimension more", rank);
  }
  if (!resolve_dim(rank + 1, &at)) return fail_dim(layout, dim);
  int64_t stride = 1;
  if (at < rank && !tarn_int64_mul(layout->shape[at], layout->strides[at], &stride)) {
    stride = layout->strides[at];
  }
  for (int32_t d = rank; d > at; d--) {
    layout->shape[d] = layout->shape[d - 1];
    layout->strides[d] = layout->strides[d - 1];
  }
  layout->shape[at] = 1;
  layout->strides[at] = stride;
  layout->rank = rank + 1;
  return TARN_OK;
}

/* Finds the -1, if any, and the product of the other sizes. */
static tarn_status read_shape(int32_t rank, const int64_t *shape, int64_t resolved[TARN_RANK_MAX],
                              int32_t *open_dim) {
  *open_dim = -1;
  if (rank < 0 || rank > TARN_RANK_MAX || (rank > 0 && shape == NULL)) {
    return tarn__layout_check_shape(rank, shape);
  }
  for (int32_t d = 0; d < rank; d++) {
    resolved[d] = shape[d];
    if (shape[d] != -1) continue;
    if (*open_dim >= 0) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "sizes %d and %d are both -1", *open_dim, d);
    }
    *open_dim = d;
    resolved[d] = 1;
  }
  return tarn__layout_check_shape(rank, resolved);
}

tarn_status tarn__layout_resolve_shape(const tarn_layout *layout, int32_t rank,
                                       const int64_t *shape, int64_t resolved[TARN_RANK_MAX]) {
  char old_text[TARN__NUMBERS_BYTES], new_text[TARN__NUMBERS_BYTES];
  int32_t open_dim;
  tarn_status status = read_shape(rank, shape, resolved, &open_dim);
  if (status != TARN_OK) return status;
  int64_t count = tarn_layout_element_count(layout), product = 1;
  for (int32_t d = 0; d < rank; d++) product *= resolved[d];
  if (open_dim >= 0 && product == 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "size -1 of dimension %d is ambiguous beside a size of 0", open_dim);
  }
  if (open_dim >= 0 && count % product == 0) {
    resolved[open_dim] = count / product;
    return tarn__layout_check_shape(rank, resolved);
  }
  if (product != count) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%" PRId64 " elements of shape %s do not fill shape %s",
                     count, tarn__numbers_text(layout->shape, layout->rank, old_text),
                     tarn__numbers_text(shape, rank, new_text));
  }
  return TARN_OK;
}

/* The last `*old_dim` dimensions that are one run of evenly spaced elements:
 *
 *     sizes    2  3 | 4  5        a run goes on as long as  stride[d - 1] == size[d] * stride[d];
 *     strides 90 30 | 5  1        the new dimensions have to be cut out of whole runs
 */
static int64_t take_run(int32_t *old_dim, const int64_t *sizes, const int64_t *strides) {
  int64_t run = sizes[*old_dim], base = strides[*old_dim], next;
  for ((*old_dim)--; *old_dim >= 0; (*old_dim)--) {
    if (!tarn_int64_mul(run, base, &next) || strides[*old_dim] != next) break;
    run *= sizes[*old_dim];
  }
  return run;
}

bool tarn__layout_view_strides(const tarn_layout *layout, int32_t rank, const int64_t *shape,
                               int64_t strides[TARN_RANK_MAX]) {
  if (tarn_layout_element_count(layout) == 0) {
    if (rank == layout->rank && memcmp(shape, layout->shape, sizeof(int64_t) * (size_t)rank) == 0) {
      memcpy(strides, layout->strides, sizeof(int64_t) * (size_t)rank);
    } else {
      tarn__layout_row_major(rank, shape, strides);
    }
    return true;
  }
  /* Dimensions of size 1 say nothing, whatever their stride. */
  tarn_layout old = *layout;
  tarn_layout_squeeze_all(&old);
  int32_t old_dim = old.rank - 1;
  int64_t next_stride = 1, left = 1; /* of the run that new dimensions are being cut out of */
  for (int32_t d = rank - 1; d >= 0; d--) {
    if (left == 1 && shape[d] != 1) {
      next_stride = old.strides[old_dim];
      left = take_run(&old_dim, old.shape, old.strides);
    }
    if (left % shape[d] != 0) return false;
    strides[d] = next_stride;
    left /= shape[d];
    /* Where the run ends here, the stride behind it is of use to size-1 dimensions only. */
    if (!tarn_int64_mul(next_stride, shape[d], &next_stride)) next_stride = strides[d];
  }
  return true;
}

tarn_status tarn_layout_view(tarn_layout *layout, int32_t rank, const int64_t *shape) {
  char old_text[TARN__NUMBERS_BYTES], strides_text[TARN__NUMBERS_BYTES];
  char new_text[TARN__NUMBERS_BYTES];
  tarn_layout viewed = {.rank = rank, .offset = layout->offset};
  tarn_status status = tarn__layout_resolve_shape(layout, rank, shape, viewed.shape);
  if (status != TARN_OK) return status;
  if (!tarn__layout_view_strides(layout, rank, viewed.shape, viewed.strides)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "shape %s with strides %s has no view of shape %s",
                     tarn__numbers_text(layout->shape, layout->rank, old_text),
                     tarn__numbers_text(layout->strides, layout->rank, strides_text),
                     tarn__numbers_text(viewed.shape, rank, new_text));
  }
  *layout = viewed;
  return TARN_OK;
}

tarn_status tarn_layout_as_strided(tarn_layout *layout, int32_t rank, const int64_t *shape,
                                   const int64_t *strides, int64_t offset, int64_t element_count) {
  char shape_text[TARN__NUMBERS_BYTES], strides_text[TARN__NUMBERS_BYTES];
  tarn_layout made;
  int64_t first, end;
  tarn_status status = tarn__layout_make_strided(rank, shape, strides, offset, &made);
  if (status != TARN_OK) return status;
  tarn_layout_bounds(&made, &first, &end);
  if (first < 0 || end > element_count) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "shape %s, strides %s and offset %" PRId64 " reach elements %" PRId64
                     " to %" PRId64 " of a storage of %" PRId64,
                     tarn__numbers_text(shape, rank, shape_text),
                     tarn__numbers_text(strides, rank, strides_text), offset, first, end - 1,
                     element_count);
  }
  *layout = made;
  return TARN_OK;
}
