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

/* Takes over what has more than one index, in bytes. */
static void load_dims(const tarn_layout *dst, const tarn_layout *src, int64_t dst_element,
                      int64_t src_element, tarn__copy_plan *plan) {
  for (int32_t d = 0; d < dst->rank; d++) {
    if (dst->shape[d] == 1) continue;
    plan->shape[plan->rank] = dst->shape[d];
    plan->dst_strides[plan->rank] = dst->strides[d] * dst_element;
    plan->src_strides[plan->rank] = src->strides[d] * src_element;
    plan->rank++;
  }
}

/* Walks a dimension backwards where the destination is flipped: the same pairs of elements, and a
 * dimension that is flipped on both sides is then flipped on none. */
static void flip_dims(tarn__copy_plan *plan) {
  for (int32_t d = 0; d < plan->rank; d++) {
    if (plan->dst_strides[d] >= 0) continue;
    plan->dst_offset += (plan->shape[d] - 1) * plan->dst_strides[d];
    plan->src_offset += (plan->shape[d] - 1) * plan->src_strides[d];
    plan->dst_strides[d] = -plan->dst_strides[d];
    plan->src_strides[d] = -plan->src_strides[d];
  }
}

static void sort_dims(tarn__copy_plan *plan) {
  for (int32_t i = 1; i < plan->rank; i++) {
    int64_t size = plan->shape[i], dst = plan->dst_strides[i], src = plan->src_strides[i];
    int32_t at = i;
    for (; at > 0 && plan->dst_strides[at - 1] < dst; at--) {
      plan->shape[at] = plan->shape[at - 1];
      plan->dst_strides[at] = plan->dst_strides[at - 1];
      plan->src_strides[at] = plan->src_strides[at - 1];
    }
    plan->shape[at] = size;
    plan->dst_strides[at] = dst;
    plan->src_strides[at] = src;
  }
}

/* True where `outer` goes on exactly where `inner` ends, on both sides. */
static bool can_merge(const tarn__copy_plan *plan, int32_t outer, int32_t inner) {
  int64_t dst_end, src_end;
  return tarn_int64_mul(plan->dst_strides[inner], plan->shape[inner], &dst_end) &&
         tarn_int64_mul(plan->src_strides[inner], plan->shape[inner], &src_end) &&
         plan->dst_strides[outer] == dst_end && plan->src_strides[outer] == src_end;
}

static void merge_dims(tarn__copy_plan *plan) {
  for (int32_t inner = plan->rank - 1; inner > 0; inner--) {
    for (int32_t outer = inner - 1; outer >= 0; outer--) {
      if (!can_merge(plan, outer, inner)) continue;
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
  *plan = (tarn__copy_plan){.unit_count = 1, .unit_bytes = dst_element_bytes};
  if (tarn_layout_element_count(dst) == 0) return;
  plan->dst_offset = dst->offset * dst_element;
  plan->src_offset = src->offset * src_element;
  load_dims(dst, src, dst_element, src_element, plan);
  flip_dims(plan);
  sort_dims(plan);
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
