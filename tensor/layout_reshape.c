/* layout_reshape.c: views that cut the dimensions anew: other shapes over the same elements, and
 * any strides at all. */
#include "tensor/tarn_layout.h"
#include "tensor/layout.h"

#include <inttypes.h>
#include <string.h>

/* Says why `shape` does not take the elements of `layout`. */
static __attribute__((noinline, cold)) tarn_status fail_resolve(const tarn_layout *layout,
                                                                int32_t rank,
                                                                const int64_t *shape) {
  char old_text[TARN__NUMBERS_BYTES], new_text[TARN__NUMBERS_BYTES];
  int64_t sizes[TARN_RANK_MAX], product = 1;
  int32_t open_dim = -1;
  if (rank < 0 || rank > TARN_RANK_MAX || (rank > 0 && shape == NULL)) {
    return tarn__layout_check_shape(rank, shape);
  }
  for (int32_t d = 0; d < rank; d++) {
    sizes[d] = shape[d] == -1 ? 1 : shape[d];
    if (shape[d] != -1) continue;
    if (open_dim >= 0) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "sizes %d and %d are both -1", open_dim, d);
    }
    open_dim = d;
  }
  const tarn_status status = tarn__layout_check_shape(rank, sizes);
  if (status != TARN_OK) return status;
  for (int32_t d = 0; d < rank; d++) product *= sizes[d];
  if (open_dim >= 0 && product == 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "size -1 of dimension %d is ambiguous beside a size of 0", open_dim);
  }
  return tarn_fail(TARN_INVALID_ARGUMENT, "%" PRId64 " elements of shape %s do not fill shape %s",
                   tarn_layout_element_count(layout),
                   tarn__numbers_text(layout->shape, layout->rank, old_text),
                   tarn__numbers_text(shape, rank, new_text));
}

tarn_status tarn__layout_resolve_shape(const tarn_layout *layout, int32_t rank,
                                       const int64_t *shape, int64_t resolved[TARN_RANK_MAX]) {
  int64_t product = 1; /* of all sizes but the open one, 0 counting as 1 */
  int32_t open_count = 0, zero_count = 0;
  if (rank < 0 || rank > TARN_RANK_MAX || (rank > 0 && shape == NULL)) {
    return fail_resolve(layout, rank, shape);
  }
  for (int32_t d = 0; d < rank && d < TARN_RANK_MAX; d++) {
    if (TARN_RARELY(shape[d] <= 0)) {
      if (shape[d] < -1) return fail_resolve(layout, rank, shape);
      open_count += shape[d] == -1;
      zero_count += shape[d] == 0;
    } else if (!tarn_int64_mul(product, shape[d], &product)) {
      return fail_resolve(layout, rank, shape);
    }
  }
  const int64_t count = tarn_layout_element_count(layout);
  int64_t open_size = 1;
  if (open_count > 0) {
    if (open_count > 1 || zero_count > 0) return fail_resolve(layout, rank, shape);
    open_size = count / product;
  }
  if ((zero_count > 0 ? 0 : product * open_size) != count) return fail_resolve(layout, rank, shape);
  for (int32_t d = 0; d < rank && d < TARN_RANK_MAX; d++) {
    resolved[d] = shape[d] == -1 ? open_size : shape[d];
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
  tarn_layout old;
  tarn_inline_set(&old, layout->rank, layout->shape, layout->strides, layout->offset);
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

static __attribute__((noinline)) tarn_status view_any(tarn_layout *layout, int32_t rank,
                                                      const int64_t *shape) {
  char old_text[TARN__NUMBERS_BYTES], strides_text[TARN__NUMBERS_BYTES];
  char new_text[TARN__NUMBERS_BYTES];
  int64_t resolved[TARN_RANK_MAX] = {0}, strides[TARN_RANK_MAX];
  const tarn_status status = tarn__layout_resolve_shape(layout, rank, shape, resolved);
  if (status != TARN_OK) return status;
  if (tarn_inline_view(layout, rank, resolved)) return TARN_OK;
  if (!tarn__layout_view_strides(layout, rank, resolved, strides)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "shape %s with strides %s has no view of shape %s",
                     tarn__numbers_text(layout->shape, layout->rank, old_text),
                     tarn__numbers_text(layout->strides, layout->rank, strides_text),
                     tarn__numbers_text(resolved, rank, new_text));
  }
  tarn_inline_set(layout, rank, resolved, strides, layout->offset);
  return TARN_OK;
}

tarn_status tarn_layout_view(tarn_layout *layout, int32_t rank, const int64_t *shape) {
  bool is_done = false;
  switch (rank) {
    case 1:
      is_done = tarn_inline_view(layout, 1, shape);
      break;
    case 2:
      is_done = tarn_inline_view(layout, 2, shape);
      break;
    case 3:
      is_done = tarn_inline_view(layout, 3, shape);
      break;
    case 4:
      is_done = tarn_inline_view(layout, 4, shape);
      break;
    default:
      break;
  }
  return is_done ? TARN_OK : view_any(layout, rank, shape);
}

tarn_status tarn_layout_flatten(tarn_layout *layout, int32_t start_dim, int32_t end_dim) {
  const int32_t rank = layout->rank;
  int32_t start = start_dim, end = end_dim;
  int64_t shape[TARN_RANK_MAX], size = 1;
  if (rank == 0 && start >= -1 && start <= 0 && end >= -1 && end <= 0) {
    return tarn_layout_unsqueeze(layout, 0);
  }
  if (!tarn__resolve_dim(rank, &start)) return tarn__layout_fail_dim(rank, start_dim);
  if (!tarn__resolve_dim(rank, &end)) return tarn__layout_fail_dim(rank, end_dim);
  if (start > end) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "dimensions %d to %d to flatten", start, end);
  }
  for (int32_t d = 0; d < start; d++) shape[d] = layout->shape[d];
  for (int32_t d = start; d <= end; d++) size *= layout->shape[d];
  shape[start] = size;
  for (int32_t d = end + 1; d < rank; d++) shape[d - (end - start)] = layout->shape[d];
  return tarn_layout_view(layout, rank - (end - start), shape);
}

tarn_status tarn_layout_unflatten(tarn_layout *layout, int32_t dim, int32_t rank,
                                  const int64_t *shape) {
  const int32_t asked_dim = dim, old_rank = layout->rank;
  if (!tarn__resolve_dim(old_rank, &dim)) return tarn__layout_fail_dim(old_rank, asked_dim);
  if (rank < 1 || rank > TARN_RANK_MAX + 1 - old_rank || shape == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d dimensions instead of one in a layout of rank %d",
                     rank, old_rank);
  }
  /* By itself, so that the numbers in a message are its own; one dimension is always evenly spaced,
   * and has every view. */
  tarn_layout alone = {.rank = 1, .shape = {layout->shape[dim]}, .strides = {layout->strides[dim]}};
  const tarn_status status = tarn_layout_view(&alone, rank, shape);
  if (status != TARN_OK) return status;
  for (int32_t d = old_rank - 1; d > dim; d--) {
    layout->shape[d + rank - 1] = layout->shape[d];
    layout->strides[d + rank - 1] = layout->strides[d];
  }
  for (int32_t d = 0; d < rank; d++) {
    layout->shape[dim + d] = alone.shape[d];
    layout->strides[dim + d] = alone.strides[d];
  }
  layout->rank = old_rank + rank - 1;
  return TARN_OK;
}

/* --- any strides --- */

static __attribute__((noinline, cold)) tarn_status fail_as_strided(int32_t rank,
                                                                   const int64_t *shape,
                                                                   const int64_t *strides,
                                                                   int64_t offset,
                                                                   int64_t element_count) {
  char shape_text[TARN__NUMBERS_BYTES], strides_text[TARN__NUMBERS_BYTES];
  int64_t first, end;
  if (!tarn_inline_reach(rank, shape, strides, offset, &first, &end)) {
    return tarn__layout_fail_strided(rank, shape, strides, offset);
  }
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "shape %s, strides %s and offset %" PRId64 " reach elements %" PRId64
                   " to %" PRId64 " of a storage of %" PRId64,
                   tarn__numbers_text(shape, rank, shape_text),
                   tarn__numbers_text(strides, rank, strides_text), offset, first, end - 1,
                   element_count);
}

tarn_status tarn_layout_as_strided(tarn_layout *layout, int32_t rank, const int64_t *shape,
                                   const int64_t *strides, int64_t offset, int64_t element_count) {
  bool is_done = false;
  switch (rank) {
    case 1:
      is_done = tarn_inline_as_strided(layout, 1, shape, strides, offset, element_count);
      break;
    case 2:
      is_done = tarn_inline_as_strided(layout, 2, shape, strides, offset, element_count);
      break;
    case 3:
      is_done = tarn_inline_as_strided(layout, 3, shape, strides, offset, element_count);
      break;
    case 4:
      is_done = tarn_inline_as_strided(layout, 4, shape, strides, offset, element_count);
      break;
    default:
      is_done = tarn_inline_as_strided(layout, rank, shape, strides, offset, element_count);
      break;
  }
  return is_done ? TARN_OK : fail_as_strided(rank, shape, strides, offset, element_count);
}
