/* layout.c: making layouts, and what can be said of one: bounds, contiguity, equality.
 *
 * Two promises hold for every layout that init, init_strided and the views made, and let the views
 * calculate without checks: the product of all sizes, a size of 0 counted as 1, fits int64_t; and
 * so does offset + the sum of (size - 1) * stride over any choice of dimensions with a size above
 * 0, and one more than that.
 */
#include "tensor/tarn_layout.h"
#include "tensor/layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

char *tarn__numbers_text(const int64_t *numbers, int32_t count, char text[TARN__NUMBERS_BYTES]) {
  size_t used = 0;
  text[used++] = '[';
  for (int32_t i = 0; i < count && i < TARN_RANK_MAX; i++) {
    used += (size_t)snprintf(text + used, TARN__NUMBERS_BYTES - used, "%s%" PRId64,
                             i > 0 ? ", " : "", numbers[i]);
  }
  snprintf(text + used, TARN__NUMBERS_BYTES - used, "]");
  return text;
}

tarn_status tarn__layout_fail_dim(int32_t rank, int32_t dim) {
  return tarn_fail(TARN_INVALID_ARGUMENT, "dimension %d of a layout of rank %d", dim, rank);
}

tarn_status tarn__layout_fail_rank(int32_t rank) {
  return tarn_fail(TARN_INVALID_ARGUMENT, "a layout of rank %d takes no dimension more", rank);
}

tarn_status tarn__layout_check_shape(int32_t rank, const int64_t *shape) {
  char text[TARN__NUMBERS_BYTES];
  int64_t product = 1;
  if (rank < 0 || rank > TARN_RANK_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "rank %d is not in 0 to %d", rank, TARN_RANK_MAX);
  }
  if (rank > 0 && shape == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "rank %d without a shape", rank);
  }
  for (int32_t d = 0; d < rank; d++) {
    if (shape[d] < 0) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "size %" PRId64 " of dimension %d is negative",
                       shape[d], d);
    }
  }
  for (int32_t d = 0; d < rank; d++) {
    if (!tarn_int64_mul(product, tarn__max_one(shape[d]), &product)) {
      return tarn_fail(TARN_TOO_LARGE, "the sizes %s multiply to more than 2^63 - 1",
                       tarn__numbers_text(shape, rank, text));
    }
  }
  return TARN_OK;
}

void tarn__layout_row_major(int32_t rank, const int64_t *shape, int64_t *strides) {
  int64_t stride = 1;
  for (int32_t d = rank - 1; d >= 0; d--) {
    strides[d] = stride;
    stride *= tarn__max_one(shape[d]);
  }
}

tarn_status tarn__layout_fail_strided(int32_t rank, const int64_t *shape, const int64_t *strides,
                                      int64_t offset) {
  char shape_text[TARN__NUMBERS_BYTES], strides_text[TARN__NUMBERS_BYTES];
  const tarn_status status = tarn__layout_check_shape(rank, shape);
  if (status != TARN_OK) return status;
  if (rank > 0 && strides == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "rank %d without strides", rank);
  }
  return tarn_fail(
      TARN_TOO_LARGE, "offset %" PRId64 ", sizes %s and strides %s reach beyond 63 bits", offset,
      tarn__numbers_text(shape, rank, shape_text), tarn__numbers_text(strides, rank, strides_text));
}

tarn_status tarn__layout_make_strided(int32_t rank, const int64_t *shape, const int64_t *strides,
                                      int64_t offset, tarn_layout *layout, tarn__reach *reach) {
  if (!tarn_inline_reach(rank, shape, strides, offset, &reach->first, &reach->end)) {
    return tarn__layout_fail_strided(rank, shape, strides, offset);
  }
  tarn_inline_set(layout, rank, shape, strides, offset);
  return TARN_OK;
}

tarn_status tarn__layout_make_row_major(int32_t rank, const int64_t *shape, int64_t offset,
                                        tarn_layout *layout, tarn__reach *reach) {
  int64_t stride = 1, end;
  bool has_none = false;
  if (TARN_RARELY(rank < 0 || rank > TARN_RANK_MAX || (rank > 0 && shape == NULL))) {
    return tarn__layout_check_shape(rank, shape);
  }
  for (int32_t i = 1; i <= rank && i <= TARN_RANK_MAX; i++) {
    const int64_t size = shape[rank - i];
    layout->strides[rank - i] = stride;
    if (TARN_RARELY(size <= 0)) {
      if (size < 0) return tarn__layout_check_shape(rank, shape);
      has_none = true;
    } else if (TARN_RARELY(!tarn_int64_mul(stride, size, &stride))) {
      return tarn__layout_check_shape(rank, shape);
    }
  }
  if (TARN_RARELY(!tarn_int64_add(offset, stride, &end))) {
    return tarn__layout_fail_strided(rank, shape, layout->strides, offset);
  }
  layout->rank = rank;
  layout->offset = offset;
  for (int32_t d = 0; d < rank && d < TARN_RANK_MAX; d++) {
    layout->shape[d] = shape[d];
    TARN_ONE_BY_ONE();
  }
  reach->first = has_none ? 0 : offset;
  reach->end = has_none ? 0 : end;
  return TARN_OK;
}

tarn_status tarn_layout_init(tarn_layout *layout, int32_t rank, const int64_t *shape) {
  tarn_layout made = {0};
  tarn__reach reach;
  const tarn_status status = tarn__layout_make_row_major(rank, shape, 0, &made, &reach);
  *layout = status == TARN_OK ? made : (tarn_layout){0};
  return status;
}

tarn_status tarn_layout_init_strided(tarn_layout *layout, int32_t rank, const int64_t *shape,
                                     const int64_t *strides, int64_t offset) {
  tarn_layout made = {0};
  tarn__reach reach;
  const tarn_status status = tarn__layout_make_strided(rank, shape, strides, offset, &made, &reach);
  *layout = status == TARN_OK ? made : (tarn_layout){0};
  return status;
}

int64_t tarn_layout_element_count(const tarn_layout *layout) {
  int64_t count = 1;
  for (int32_t d = 0; d < layout->rank; d++) count *= layout->shape[d];
  return count;
}

void tarn_layout_bounds(const tarn_layout *layout, int64_t *first, int64_t *end) {
  int64_t low = layout->offset, high = layout->offset;
  *first = *end = 0;
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] == 0) return;
    int64_t span = (layout->shape[d] - 1) * layout->strides[d];
    if (span < 0) {
      low += span;
    } else {
      high += span;
    }
  }
  *first = low;
  *end = high + 1;
}

static bool has_no_elements(const tarn_layout *layout) {
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] == 0) return true;
  }
  return false;
}

bool tarn_layout_is_contiguous(const tarn_layout *layout) {
  int64_t expected = 1;
  for (int32_t d = layout->rank - 1; d >= 0; d--) {
    int64_t size = layout->shape[d];
    if (size == 1) continue;
    if (size == 0) return true;
    if (layout->strides[d] != expected) return has_no_elements(layout);
    expected *= size;
  }
  return true;
}

/* Dense layouts are few-dimensional chains: starting from stride 1, each next dimension must begin
 * exactly where the one before ends. Looking it up is quadratic in a rank of at most 12. */
bool tarn_layout_is_dense(const tarn_layout *layout) {
  int64_t expected = 1, count = 1;
  if (has_no_elements(layout)) return true;
  count = tarn_layout_element_count(layout);
  while (expected < count) {
    int64_t size = 0;
    for (int32_t d = 0; d < layout->rank && size == 0; d++) {
      if (layout->shape[d] > 1 && layout->strides[d] == expected) size = layout->shape[d];
    }
    if (size == 0) return false;
    expected *= size;
  }
  return true;
}

bool tarn_layout_same_shape(const tarn_layout *a, const tarn_layout *b) {
  return a->rank == b->rank && memcmp(a->shape, b->shape, sizeof(int64_t) * (size_t)a->rank) == 0;
}

bool tarn_layout_equal(const tarn_layout *a, const tarn_layout *b) {
  return tarn_layout_same_shape(a, b) &&
         memcmp(a->strides, b->strides, sizeof(int64_t) * (size_t)a->rank) == 0;
}
