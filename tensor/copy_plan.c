/* copy_plan.c: the reduction: drop, flip, sort, merge, and name what is left. */
#include "tensor/copy_plan.h"

static void remove_dim(tarn__copy_plan *plan, int32_t dim) {
  plan->rank--;
  for (int32_t d = dim; d < plan->rank; d++) {
    plan->shape[d] = plan->shape[d + 1];
    plan->dst_strides[d] = plan->dst_strides[d + 1];
    plan->src_strides[d] = plan->src_strides[d + 1];
  }
}

/* True where dimension `outer` goes on exactly where one of `size` and these strides ends, on both
 * sides. A destination's stride is positive, and none is as large as a product that did not fit. */
static inline bool goes_on(const tarn__copy_plan *plan, int32_t outer, int64_t size, int64_t dst,
                           int64_t src) {
  int64_t src_end;
  return (uint64_t)plan->dst_strides[outer] == (uint64_t)dst * (uint64_t)size &&
         tarn_int64_mul(src, size, &src_end) && plan->src_strides[outer] == src_end;
}

/* Puts a dimension where its destination stride belongs, behind wider ones. */
static inline void insert_dim(tarn__copy_plan *plan, int64_t size, int64_t dst, int64_t src) {
  int32_t at = plan->rank++;
  for (; at > 0 && plan->dst_strides[at - 1] < dst; at--) {
    plan->shape[at] = plan->shape[at - 1];
    plan->dst_strides[at] = plan->dst_strides[at - 1];
    plan->src_strides[at] = plan->src_strides[at - 1];
  }
  plan->shape[at] = size;
  plan->dst_strides[at] = dst;
  plan->src_strides[at] = src;
}

static bool has_no_elements(const tarn_layout *layout) {
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] == 0) return true;
  }
  return false;
}

/* Takes over what has more than one index, in bytes, as one with the dimension before where that is
 * so. A dimension that is flipped in the destination is walked backwards: the same pairs of
 * elements, and what is flipped on both sides is then flipped on none. */
static void load_dims(const tarn_layout *dst, const tarn_layout *src, int64_t dst_element,
                      int64_t src_element, tarn__copy_plan *plan) {
  for (int32_t d = 0; d < dst->rank; d++) {
    int64_t size = dst->shape[d];
    if (size == 1) continue;
    int64_t to = dst->strides[d] * dst_element, from = src->strides[d] * src_element;
    if (to < 0) {
      plan->dst_offset += (size - 1) * to;
      plan->src_offset += (size - 1) * from;
      to = -to;
      from = -from;
    }
    const int32_t last = plan->rank - 1;
    if (last >= 0 && goes_on(plan, last, size, to, from)) {
      plan->shape[last] *= size;
      plan->dst_strides[last] = to;
      plan->src_strides[last] = from;
    } else {
      insert_dim(plan, size, to, from);
    }
  }
}

static void merge_dims(tarn__copy_plan *plan) {
  for (int32_t inner = plan->rank - 1; inner > 0; inner--) {
    for (int32_t outer = inner - 1; outer >= 0; outer--) {
      if (!goes_on(plan, outer, plan->shape[inner], plan->dst_strides[inner],
                   plan->src_strides[inner])) {
        continue;
      }
      plan->shape[inner] *= plan->shape[outer];
      remove_dim(plan, outer);
      inner--;
      outer = inner; /* a longer dimension may reach the next one */
    }
  }
}

/* A dimension that is consecutive on both sides becomes part of the run. */
static void absorb_unit(int64_t dst_element, int64_t src_element, tarn__copy_plan *plan) {
  int32_t last = plan->rank - 1;
  if (last < 0 || plan->dst_strides[last] != dst_element ||
      plan->src_strides[last] != src_element) {
    return;
  }
  plan->unit_count = (size_t)plan->shape[last];
  plan->unit_bytes *= plan->unit_count;
  remove_dim(plan, last);
}

static bool is_row_dim(const tarn__copy_plan *plan, int32_t dim) {
  int64_t unit = (int64_t)plan->unit_bytes;
  return plan->dst_strides[dim] >= unit && plan->src_strides[dim] >= unit;
}

void tarn__copy_plan_make(const tarn_layout *dst, const tarn_layout *src, size_t dst_element_bytes,
                          size_t src_element_bytes, tarn__copy_plan *plan) {
  int64_t dst_element = (int64_t)dst_element_bytes, src_element = (int64_t)src_element_bytes;
  /* Field by field: clearing the arrays would cost more than a small copy's planning. */
  plan->kind = TARN__COPY_NONE;
  plan->rank = 0;
  plan->unit_count = 1;
  plan->unit_bytes = dst_element_bytes;
  plan->run_count = 0;
  plan->dst_offset = plan->src_offset = 0;
  /* Without elements, offset and strides are no bytes of any memory and may not fit. */
  if (has_no_elements(dst)) return;
  plan->dst_offset = dst->offset * dst_element;
  plan->src_offset = src->offset * src_element;
  load_dims(dst, src, dst_element, src_element, plan);
  merge_dims(plan);
  absorb_unit(dst_element, src_element, plan);
  plan->run_count = 1;
  for (int32_t d = 0; d < plan->rank; d++) plan->run_count *= (uint64_t)plan->shape[d];
  plan->kind = plan->rank == 0                          ? TARN__COPY_MEMCPY
               : plan->rank == 1 && is_row_dim(plan, 0) ? TARN__COPY_ROWS
                                                        : TARN__COPY_STRIDED;
}

int32_t tarn__copy_plan_row_dim(const tarn__copy_plan *plan) {
  int32_t best = -1;
  for (int32_t d = 0; d < plan->rank; d++) {
    if (is_row_dim(plan, d) && (best < 0 || plan->shape[d] > plan->shape[best])) best = d;
  }
  return best;
}

uint64_t tarn__copy_plan_call_count(const tarn__copy_plan *plan) {
  int32_t row_dim = tarn__copy_plan_row_dim(plan);
  return row_dim < 0 ? plan->run_count : plan->run_count / (uint64_t)plan->shape[row_dim];
}

static bool holds_rows(int64_t plane_pitch, int64_t row_pitch, int64_t row_count) {
  return plane_pitch > 0 && plane_pitch % row_pitch == 0 && plane_pitch / row_pitch >= row_count;
}

static bool is_plane_dim(const tarn__copy_plan *plan, int32_t dim, int32_t row_dim) {
  return dim != row_dim &&
         holds_rows(plan->dst_strides[dim], plan->dst_strides[row_dim], plan->shape[row_dim]) &&
         holds_rows(plan->src_strides[dim], plan->src_strides[row_dim], plan->shape[row_dim]);
}

uint64_t tarn__copy_plan_box(const tarn__copy_plan *plan, int32_t *row_dim, int32_t *plane_dim) {
  *row_dim = tarn__copy_plan_row_dim(plan);
  *plane_dim = -1;
  uint64_t fewest = tarn__copy_plan_call_count(plan);
  for (int32_t row = 0; row < plan->rank; row++) {
    if (!is_row_dim(plan, row)) continue;
    for (int32_t plane = 0; plane < plan->rank; plane++) {
      if (!is_plane_dim(plan, plane, row)) continue;
      const uint64_t calls =
          plan->run_count / (uint64_t)plan->shape[row] / (uint64_t)plan->shape[plane];
      if (calls >= fewest) continue;
      fewest = calls;
      *row_dim = row;
      *plane_dim = plane;
    }
  }
  return fewest;
}
