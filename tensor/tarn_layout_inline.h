/* tarn_layout_inline.h: the usual cases of the busiest views as straight code without a call.
 *
 * Where a caller writes the rank of a view as a constant, the compiler unrolls its loops into the
 * caller and forgets the checks that its constants pass. Each function here does a view whole, or
 * returns false with nothing changed; then the function of tarn_layout.h has the answer, be it a
 * rarer case or a refusal. Programs use the views of tarn_tensor.h, which do both.
 *
 * What makes a view cheap, all measured: a loop whose bound the compiler can see becomes one
 * straight piece of code; stores to one array after the other leave two at a time; and nothing is
 * read in wider words than it was just written in, as copying a layout as a whole would.
 */
#ifndef TARN_LAYOUT_INLINE_H
#define TARN_LAYOUT_INLINE_H

#include "tensor/tarn_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TARN_INLINE static inline __attribute__((always_inline))
#define TARN_RARELY(condition) __builtin_expect((condition), false)
#define TARN_IS_CONSTANT(value) __builtin_constant_p(value)
/* In a loop: what it moves is not moved in wider words. */
#define TARN_ONE_BY_ONE() __asm__ volatile("" : : : "memory")
#else
#define TARN_INLINE static inline
#define TARN_RARELY(condition) (condition)
#define TARN_IS_CONSTANT(value) false
#define TARN_ONE_BY_ONE() ((void)0)
#endif

/* The ranks that are worth code of their own. */
TARN_INLINE bool tarn_inline_is_worth(int32_t rank) {
  return TARN_IS_CONSTANT(rank) && rank > 0 && rank <= 5;
}

/* shape and strides may be the layout's own, or begin some dimensions behind. */
TARN_INLINE void tarn_inline_set(tarn_layout *layout, int32_t rank, const int64_t *shape,
                                 const int64_t *strides, int64_t offset) {
  layout->rank = rank;
  layout->offset = offset;
  for (int32_t d = 0; d < rank && d < TARN_RANK_MAX; d++) {
    layout->shape[d] = shape[d];
    if (!TARN_IS_CONSTANT(rank)) TARN_ONE_BY_ONE();
  }
  for (int32_t d = 0; d < rank && d < TARN_RANK_MAX; d++) {
    layout->strides[d] = strides[d];
    if (!TARN_IS_CONSTANT(rank)) TARN_ONE_BY_ONE();
  }
}

/* Moves the numbers of [to, end) one place down, or up. */
TARN_INLINE void tarn_inline_shift_down(int64_t *to, const int64_t *end) {
  for (; to < end; to++) {
    to[0] = to[1];
    TARN_ONE_BY_ONE();
  }
}

TARN_INLINE void tarn_inline_shift_up(const int64_t *begin, int64_t *to) {
  for (; to > begin; to--) {
    to[0] = to[-1];
    TARN_ONE_BY_ONE();
  }
}

TARN_INLINE void tarn_inline_remove_dim(tarn_layout *layout, int32_t dim) {
  const int32_t rank = layout->rank - 1;
  layout->rank = rank;
  tarn_inline_shift_down(layout->shape + dim, layout->shape + rank);
  tarn_inline_shift_down(layout->strides + dim, layout->strides + rank);
}

TARN_INLINE bool tarn_inline_select(tarn_layout *layout, int32_t dim, int64_t index) {
  if (dim < 0) dim += layout->rank;
  if (TARN_RARELY(dim < 0 || dim >= layout->rank)) return false;
  const int64_t size = layout->shape[dim];
  if (index < 0) index += size;
  if (TARN_RARELY(index < 0 || index >= size)) return false;
  layout->offset += index * layout->strides[dim];
  tarn_inline_remove_dim(layout, dim);
  return true;
}

/* Where a slice's bound stands: counted from the end where negative, clamped to [low, high]. */
TARN_INLINE int64_t tarn_inline_bound(int64_t bound, int64_t size, int64_t low, int64_t high) {
  if (bound < 0) bound += size;
  if (bound < low) return low;
  return bound > high ? high : bound;
}

/* step > 0 */
TARN_INLINE bool tarn_inline_slice(tarn_layout *layout, int32_t dim, int64_t start, int64_t stop,
                                   int64_t step) {
  if (dim < 0) dim += layout->rank;
  if (TARN_RARELY(dim < 0 || dim >= layout->rank)) return false;
  const int64_t size = layout->shape[dim], stride = layout->strides[dim];
  int64_t length = 0, scaled;
  start = start == TARN_SLICE_OPEN ? 0 : tarn_inline_bound(start, size, 0, size);
  stop = stop == TARN_SLICE_OPEN ? size : tarn_inline_bound(stop, size, 0, size);
  if (start < stop) {
    length = (int64_t)((uint64_t)(stop - start - 1) / (uint64_t)step + 1);
    layout->offset += start * stride;
  }
  layout->shape[dim] = length;
  /* A step may be absurd where at most one element is left; then the old stride does as well. */
  if (tarn_int64_mul(stride, step, &scaled)) layout->strides[dim] = scaled;
  return true;
}

TARN_INLINE bool tarn_inline_narrow(tarn_layout *layout, int32_t dim, int64_t start,
                                    int64_t length) {
  if (dim < 0) dim += layout->rank;
  if (TARN_RARELY(dim < 0 || dim >= layout->rank)) return false;
  const int64_t size = layout->shape[dim];
  if (TARN_RARELY(start < 0 || length < 0 || start > size || length > size - start)) return false;
  layout->shape[dim] = length;
  if (length > 0) layout->offset += start * layout->strides[dim];
  return true;
}

TARN_INLINE bool tarn_inline_transpose(tarn_layout *layout, int32_t a, int32_t b) {
  if (a < 0) a += layout->rank;
  if (b < 0) b += layout->rank;
  if (TARN_RARELY(a < 0 || a >= layout->rank || b < 0 || b >= layout->rank)) return false;
  const int64_t size = layout->shape[a], stride = layout->strides[a];
  layout->shape[a] = layout->shape[b];
  layout->shape[b] = size;
  layout->strides[a] = layout->strides[b];
  layout->strides[b] = stride;
  return true;
}

/* No dimension from the end, and none twice. */
TARN_INLINE bool tarn_inline_permute(tarn_layout *layout, int32_t rank, const int32_t *dims) {
  int64_t shape[TARN_RANK_MAX], strides[TARN_RANK_MAX];
  uint32_t seen = 0;
  if (TARN_RARELY(rank != layout->rank || dims == NULL)) return false;
  for (int32_t d = 0; d < rank; d++) {
    if (TARN_RARELY((uint32_t)dims[d] >= (uint32_t)rank)) return false;
    seen |= 1u << dims[d];
    shape[d] = layout->shape[dims[d]];
    strides[d] = layout->strides[dims[d]];
  }
  if (TARN_RARELY(seen != (1u << rank) - 1)) return false;
  for (int32_t d = 0; d < rank; d++) {
    layout->shape[d] = shape[d];
    if (!TARN_IS_CONSTANT(dims[0])) TARN_ONE_BY_ONE();
  }
  for (int32_t d = 0; d < rank; d++) {
    layout->strides[d] = strides[d];
    if (!TARN_IS_CONSTANT(dims[0])) TARN_ONE_BY_ONE();
  }
  return true;
}

/* By new_count dimensions to `rank`; no size left open, and none 0, which a product would hide. */
TARN_INLINE bool tarn_inline_expand(tarn_layout *layout, int32_t new_count, int32_t rank,
                                    const int64_t *shape) {
  int64_t product = 1;
  uint32_t stretched = 0;
  if (TARN_RARELY(shape == NULL)) return false;
  for (int32_t d = 0; d < rank; d++) {
    if (d >= new_count && TARN_RARELY(shape[d] != layout->shape[d - new_count])) {
      if (layout->shape[d - new_count] != 1) return false;
      stretched |= 1u << d;
    }
    if (TARN_RARELY(shape[d] <= 0)) return false;
    if (TARN_RARELY(!tarn_int64_mul(product, shape[d], &product))) return false;
  }
  layout->rank = rank;
  for (int32_t d = rank - 1; d >= new_count; d--) {
    layout->strides[d] = layout->strides[d - new_count];
  }
  for (int32_t d = 0; d < new_count; d++) layout->strides[d] = 0;
  for (int32_t d = 0; d < rank; d++) layout->shape[d] = shape[d];
  if (TARN_RARELY(stretched != 0)) {
    for (int32_t d = new_count; d < rank; d++) {
      if (stretched & (1u << d)) layout->strides[d] = 0;
    }
  }
  return true;
}

/* Elements in order stay in order, whatever the shape. No size left open or 0, no dimension of size
 * 1 with a stride of its own. */
TARN_INLINE bool tarn_inline_view(tarn_layout *layout, int32_t rank, const int64_t *shape) {
  int64_t count = 1, product = 1, stride = 1;
  const int32_t old_rank = layout->rank;
  if (TARN_RARELY(shape == NULL)) return false;
  for (int32_t i = 1; i <= old_rank && i <= TARN_RANK_MAX; i++) {
    const int32_t d = old_rank - i;
    if (TARN_RARELY(layout->strides[d] != count)) return false;
    count *= layout->shape[d];
  }
  for (int32_t d = 0; d < rank; d++) {
    if (TARN_RARELY(shape[d] <= 0)) return false;
    if (TARN_RARELY(!tarn_int64_mul(product, shape[d], &product))) return false;
  }
  if (TARN_RARELY(product != count)) return false;
  layout->rank = rank;
  for (int32_t d = rank - 1; d >= 0; d--) {
    layout->strides[d] = stride;
    stride *= shape[d];
  }
  for (int32_t d = 0; d < rank; d++) layout->shape[d] = shape[d];
  return true;
}

/* The elements reached are in [*first, *end), both 0 where there are none. False where the number
 * of elements, or of one of them, does not fit, or this is no layout at all. */
TARN_INLINE bool tarn_inline_reach(int32_t rank, const int64_t *shape, const int64_t *strides,
                                   int64_t offset, int64_t *first, int64_t *end) {
  int64_t product = 1, low = offset, high, span;
  bool has_none = false;
  *first = *end = 0;
  if (rank < 0 || rank > TARN_RANK_MAX || (rank > 0 && (shape == NULL || strides == NULL))) {
    return false;
  }
  /* Both directions grow from the offset, so that no sum of some of the dimensions can leave the
   * range either. */
  if (TARN_RARELY(!tarn_int64_add(offset, 1, &high))) return false;
  for (int32_t d = 0; d < rank && d < TARN_RANK_MAX; d++) {
    if (TARN_RARELY(shape[d] <= 0)) {
      if (shape[d] < 0) return false;
      has_none = true;
      continue;
    }
    if (TARN_RARELY(!tarn_int64_mul(product, shape[d], &product))) return false;
    if (TARN_RARELY(!tarn_int64_mul(shape[d] - 1, strides[d], &span))) return false;
    if (TARN_RARELY(span < 0)) {
      if (!tarn_int64_add(low, span, &low)) return false;
    } else if (TARN_RARELY(!tarn_int64_add(high, span, &high))) {
      return false;
    }
  }
  if (has_none) return true;
  *first = low;
  *end = high;
  return true;
}

/* Inside a storage of element_count elements. */
TARN_INLINE bool tarn_inline_as_strided(tarn_layout *layout, int32_t rank, const int64_t *shape,
                                        const int64_t *strides, int64_t offset,
                                        int64_t element_count) {
  int64_t first, end;
  if (!tarn_inline_reach(rank, shape, strides, offset, &first, &end)) return false;
  if (TARN_RARELY(first < 0 || end > element_count)) return false;
  tarn_inline_set(layout, rank, shape, strides, offset);
  return true;
}

#ifdef __cplusplus
}
#endif
#endif
