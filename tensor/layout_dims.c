/* layout_dims.c: views that keep every element and rearrange the dimensions: order, direction,
 * broadcasts, dimensions of size 1.
 */
#include "tensor/tarn_layout.h"
#include "tensor/layout.h"

#include <inttypes.h>

/* The named dimensions as a set of bits; refuses what is no dimension, or comes twice. */
static tarn_status read_dims(int32_t rank, int32_t dim_count, const int32_t *dims, uint32_t *set) {
  *set = 0;
  if (dim_count < 0 || dim_count > rank || (dim_count > 0 && dims == NULL)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d dimensions of a layout of rank %d%s", dim_count,
                     rank, dims == NULL ? ", and none are named" : "");
  }
  for (int32_t i = 0; i < dim_count; i++) {
    int32_t dim = dims[i];
    if (!tarn__resolve_dim(rank, &dim)) return tarn__layout_fail_dim(rank, dims[i]);
    if (*set & (1u << dim))
      return tarn_fail(TARN_INVALID_ARGUMENT, "dimension %d comes twice", dim);
    *set |= 1u << dim;
  }
  return TARN_OK;
}

/* --- order and direction --- */

/* Any rank, dimensions from the end, and every refusal. */
static __attribute__((noinline)) tarn_status permute_any(tarn_layout *layout, int32_t dim_count,
                                                         const int32_t *dims) {
  const int32_t rank = layout->rank;
  int32_t resolved[TARN_RANK_MAX];
  uint32_t seen;
  if (dim_count != rank) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d dimensions to permute a layout of rank %d",
                     dim_count, rank);
  }
  const tarn_status status = read_dims(rank, dim_count, dims, &seen);
  if (status != TARN_OK) return status;
  for (int32_t d = 0; d < rank; d++) resolved[d] = dims[d] < 0 ? dims[d] + rank : dims[d];
  const bool is_permuted = tarn_inline_permute(layout, rank, resolved);
  TARN_ASSERT(is_permuted);
  (void)is_permuted;
  return TARN_OK;
}

tarn_status tarn_layout_permute(tarn_layout *layout, int32_t dim_count, const int32_t *dims) {
  if (dim_count == layout->rank) {
    switch (dim_count) {
      case 2:
        if (tarn_inline_permute(layout, 2, dims)) return TARN_OK;
        break;
      case 3:
        if (tarn_inline_permute(layout, 3, dims)) return TARN_OK;
        break;
      case 4:
        if (tarn_inline_permute(layout, 4, dims)) return TARN_OK;
        break;
      default:
        break;
    }
  }
  return permute_any(layout, dim_count, dims);
}

static inline void swap(int64_t *a, int64_t *b) {
  int64_t held = *a;
  *a = *b;
  *b = held;
}

tarn_status tarn_layout_transpose(tarn_layout *layout, int32_t a, int32_t b) {
  if (tarn_inline_transpose(layout, a, b)) return TARN_OK;
  const int32_t asked_a = a;
  const bool is_a = tarn__resolve_dim(layout->rank, &a);
  return tarn__layout_fail_dim(layout->rank, is_a ? b : asked_a);
}

void tarn_layout_reverse(tarn_layout *layout) {
  for (int32_t a = 0, b = layout->rank - 1; a < b; a++, b--) {
    swap(&layout->shape[a], &layout->shape[b]);
    swap(&layout->strides[a], &layout->strides[b]);
  }
}

tarn_status tarn_layout_movedim(tarn_layout *layout, int32_t dim_count, const int32_t *from,
                                const int32_t *to) {
  const int32_t rank = layout->rank;
  int32_t dims[TARN_RANK_MAX];
  uint32_t moved, taken;
  tarn_status status = read_dims(rank, dim_count, from, &moved);
  if (status == TARN_OK) status = read_dims(rank, dim_count, to, &taken);
  if (status != TARN_OK) return status;
  for (int32_t i = 0; i < dim_count; i++) {
    dims[to[i] < 0 ? to[i] + rank : to[i]] = from[i] < 0 ? from[i] + rank : from[i];
  }
  /* The others keep their order in the places that are left. */
  for (int32_t place = 0, dim = 0; place < rank; place++) {
    if (taken & (1u << place)) continue;
    while (moved & (1u << dim)) dim++;
    dims[place] = dim++;
  }
  return permute_any(layout, rank, dims);
}

tarn_status tarn_layout_flip(tarn_layout *layout, int32_t dim_count, const int32_t *dims) {
  uint32_t set;
  const tarn_status status = read_dims(layout->rank, dim_count, dims, &set);
  if (status != TARN_OK) return status;
  for (int32_t d = 0; d < layout->rank; d++) {
    if (!(set & (1u << d))) continue;
    if (layout->shape[d] > 1) layout->offset += (layout->shape[d] - 1) * layout->strides[d];
    /* One element or none: the direction says nothing, and INT64_MIN has no opposite. */
    if (layout->strides[d] != INT64_MIN) layout->strides[d] = -layout->strides[d];
  }
  return TARN_OK;
}

/* --- broadcasts --- */

/* Says why `layout` does not become `shape`. */
__attribute__((noinline, cold)) static tarn_status fail_expand(const tarn_layout *layout,
                                                               int32_t rank, const int64_t *shape) {
  char text[TARN__NUMBERS_BYTES];
  if (rank < layout->rank || rank > TARN_RANK_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a layout of rank %d cannot be broadcast to rank %d",
                     layout->rank, rank);
  }
  const int32_t new_count = rank - layout->rank;
  if (shape == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "rank %d without a shape", rank);
  for (int32_t d = 0; d < rank; d++) {
    const bool is_new = d < new_count;
    if (shape[d] < -1 || (is_new && shape[d] < 0)) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "size %" PRId64 " for %s dimension %d", shape[d],
                       is_new ? "the new" : "the", d);
    }
    if (is_new || shape[d] == -1) continue;
    const int64_t old_size = layout->shape[d - new_count];
    if (shape[d] == old_size || old_size == 1) continue;
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "dimension %d of size %" PRId64 " cannot be broadcast to size %" PRId64, d,
                     old_size, shape[d]);
  }
  return tarn_fail(TARN_TOO_LARGE, "broadcast to %s, the sizes multiply to more than 2^63 - 1",
                   tarn__numbers_text(shape, rank, text));
}

/* For a constant new_count and the ranks that are asked for every day. */
static inline __attribute__((always_inline)) bool expand_fast(tarn_layout *layout,
                                                              int32_t new_count, int32_t rank,
                                                              const int64_t *shape) {
  switch (rank) {
    case 2:
      return tarn_inline_expand(layout, new_count, 2, shape);
    case 3:
      return tarn_inline_expand(layout, new_count, 3, shape);
    case 4:
      return tarn_inline_expand(layout, new_count, 4, shape);
    case 5:
      return tarn_inline_expand(layout, new_count, 5, shape);
    default:
      return false;
  }
}

/* Any ranks and sizes, and every refusal. */
static __attribute__((noinline)) tarn_status expand_any(tarn_layout *layout, int32_t rank,
                                                        const int64_t *shape) {
  int64_t sizes[TARN_RANK_MAX], strides[TARN_RANK_MAX], product = 1;
  if (rank < layout->rank || rank > TARN_RANK_MAX || (rank > 0 && shape == NULL)) {
    return fail_expand(layout, rank, shape);
  }
  const int32_t new_count = rank - layout->rank;
  for (int32_t d = 0; d < rank; d++) {
    const bool is_new = d < new_count;
    const int64_t old_size = is_new ? 1 : layout->shape[d - new_count];
    sizes[d] = shape[d] == -1 && !is_new ? old_size : shape[d];
    strides[d] = is_new || sizes[d] != old_size ? 0 : layout->strides[d - new_count];
    if (sizes[d] < 0 || (sizes[d] != old_size && old_size != 1) ||
        !tarn_int64_mul(product, tarn__max_one(sizes[d]), &product)) {
      return fail_expand(layout, rank, shape);
    }
  }
  tarn_inline_set(layout, rank, sizes, strides, layout->offset);
  return TARN_OK;
}

tarn_status tarn_layout_expand(tarn_layout *layout, int32_t rank, const int64_t *shape) {
  bool is_done = false;
  if (rank == layout->rank) {
    is_done = expand_fast(layout, 0, rank, shape);
  } else if (rank == layout->rank + 1) {
    is_done = expand_fast(layout, 1, rank, shape);
  }
  return is_done ? TARN_OK : expand_any(layout, rank, shape);
}

tarn_status tarn_layout_expand_as(tarn_layout *layout, const tarn_layout *other) {
  return tarn_layout_expand(layout, other->rank, other->shape);
}

tarn_status tarn_layout_broadcast(tarn_layout *a, tarn_layout *b) {
  char a_text[TARN__NUMBERS_BYTES], b_text[TARN__NUMBERS_BYTES];
  int64_t shape[TARN_RANK_MAX];
  const int32_t rank = a->rank > b->rank ? a->rank : b->rank;
  const int32_t new_a = rank - a->rank, new_b = rank - b->rank;
  for (int32_t d = 0; d < rank; d++) {
    const int64_t size_a = d < new_a ? 1 : a->shape[d - new_a];
    const int64_t size_b = d < new_b ? 1 : b->shape[d - new_b];
    shape[d] = size_a == 1 ? size_b : size_a;
    if (size_a == size_b || size_a == 1 || size_b == 1) continue;
    return tarn_fail(TARN_INVALID_ARGUMENT, "shapes %s and %s do not broadcast together",
                     tarn__numbers_text(a->shape, a->rank, a_text),
                     tarn__numbers_text(b->shape, b->rank, b_text));
  }
  /* Only the product can be refused now, and that is the same for both. */
  const tarn_status status = tarn_layout_expand(a, rank, shape);
  return status == TARN_OK ? tarn_layout_expand(b, rank, shape) : status;
}

/* --- dimensions of size 1 --- */

/* Removes the dimensions in `set` whose size is 1. */
static void squeeze(tarn_layout *layout, uint32_t set) {
  int32_t kept = 0;
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] == 1 && (set & (1u << d))) continue;
    layout->shape[kept] = layout->shape[d];
    layout->strides[kept] = layout->strides[d];
    kept++;
  }
  layout->rank = kept;
}

tarn_status tarn_layout_squeeze(tarn_layout *layout, int32_t dim) {
  const int32_t asked_dim = dim;
  if (!tarn__resolve_dim(layout->rank, &dim)) return tarn__layout_fail_dim(layout->rank, asked_dim);
  if (layout->shape[dim] == 1) tarn_inline_remove_dim(layout, dim);
  return TARN_OK;
}

tarn_status tarn_layout_squeeze_dims(tarn_layout *layout, int32_t dim_count, const int32_t *dims) {
  uint32_t set;
  const tarn_status status = read_dims(layout->rank, dim_count, dims, &set);
  if (status == TARN_OK) squeeze(layout, set);
  return status;
}

void tarn_layout_squeeze_all(tarn_layout *layout) {
  squeeze(layout, ~0u);
}

tarn_status tarn_layout_unsqueeze(tarn_layout *layout, int32_t dim) {
  int32_t at = dim;
  const int32_t rank = layout->rank;
  if (rank == TARN_RANK_MAX) return tarn__layout_fail_rank(rank);
  if (!tarn__resolve_dim(rank + 1, &at)) return tarn__layout_fail_dim(rank, dim);
  /* As PyTorch, where that fits. */
  int64_t stride = 1;
  if (at < rank && !tarn_int64_mul(layout->shape[at], layout->strides[at], &stride)) {
    stride = layout->strides[at];
  }
  tarn_inline_shift_up(layout->shape + at, layout->shape + rank);
  tarn_inline_shift_up(layout->strides + at, layout->strides + rank);
  layout->shape[at] = 1;
  layout->strides[at] = stride;
  layout->rank = rank + 1;
  return TARN_OK;
}
