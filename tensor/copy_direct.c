/* copy_direct.c: turns a plan into calls of the stream. */
#include "tensor/copy_direct.h"

/* --- grids --- */

static tarn_element_type element_type(tarn_dtype dtype) {
  return (tarn_element_type){dtype.code, dtype.bits, dtype.lanes};
}

tarn_status tarn__copy_by_grid(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                               const tarn__copy_side *src, const tarn__copy_elements *element,
                               tarn_stream *stream, tarn__copy_outcome *outcome) {
  int64_t shape[TARN_COPY_GRID_RANK_MAX], to[TARN_COPY_GRID_RANK_MAX];
  int64_t from[TARN_COPY_GRID_RANK_MAX];
  tarn_copy_grid grid = {.dst = dst->base + plan->dst_offset,
                         .src = src->base + plan->src_offset,
                         .dst_device = dst->device,
                         .src_device = src->device,
                         .rank = plan->rank,
                         .shape = shape,
                         .dst_strides_bytes = to,
                         .src_strides_bytes = from};
  if (element->convert != NULL) {
    grid.dst_type = element_type(element->dst_type);
    grid.src_type = element_type(element->src_type);
  } else {
    grid.element_bytes = element->dst_bytes;
  }
  for (int32_t d = 0; d < plan->rank; d++) {
    shape[d] = plan->shape[d];
    to[d] = plan->dst_strides[d];
    from[d] = plan->src_strides[d];
  }
  if (plan->unit_count > 1) {
    shape[grid.rank] = (int64_t)plan->unit_count;
    to[grid.rank] = (int64_t)element->dst_bytes;
    from[grid.rank++] = (int64_t)element->src_bytes;
  }
  const tarn_status status = tarn_stream_copy_grid(stream, &grid);
  if (status != TARN_NOT_SUPPORTED) outcome->issued_count++;
  return status;
}

/* --- every run of a plan --- */

typedef struct walk {
  int64_t index[TARN_RANK_MAX];
  char *dst;
  const char *src;
} walk;

/* The next index over all dimensions but two; false after the last. */
static bool step(const tarn__copy_plan *plan, int32_t row_dim, int32_t plane_dim, walk *at) {
  for (int32_t d = plan->rank - 1; d >= 0; d--) {
    if (d == row_dim || d == plane_dim) continue;
    if (++at->index[d] < plan->shape[d]) {
      at->dst += plan->dst_strides[d];
      at->src += plan->src_strides[d];
      return true;
    }
    at->dst -= (plan->shape[d] - 1) * plan->dst_strides[d];
    at->src -= (plan->shape[d] - 1) * plan->src_strides[d];
    at->index[d] = 0;
  }
  return false;
}

static walk walk_of(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                    const tarn__copy_side *src) {
  return (walk){.dst = dst->base + plan->dst_offset, .src = src->base + plan->src_offset};
}

static tarn_status by_batch(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                            const tarn__copy_side *src, tarn_stream *stream,
                            tarn__copy_outcome *outcome) {
  tarn_copy_span spans[TARN__COPY_BATCH_MAX];
  size_t count = 0;
  walk at = walk_of(plan, dst, src);
  bool has_more = true;
  while (has_more) {
    spans[count++] = (tarn_copy_span){at.dst, at.src, plan->unit_bytes, dst->device, src->device};
    has_more = step(plan, -1, -1, &at);
    if (has_more && count < TARN__COPY_BATCH_MAX) continue;
    outcome->issued_count++;
    const tarn_status status = tarn_stream_copy_batch(stream, spans, count);
    if (status != TARN_OK) return status;
    count = 0;
  }
  return TARN_OK;
}

static tarn_copy_planes planes_of(const tarn__copy_plan *plan, int32_t row_dim, int32_t plane_dim,
                                  const tarn__copy_side *dst, const tarn__copy_side *src) {
  tarn_copy_planes planes = {.rows = {.dst_pitch_bytes = plan->unit_bytes,
                                      .src_pitch_bytes = plan->unit_bytes,
                                      .row_bytes = plan->unit_bytes,
                                      .row_count = 1,
                                      .dst_device = dst->device,
                                      .src_device = src->device},
                             .plane_count = 1};
  if (row_dim >= 0) {
    planes.rows.dst_pitch_bytes = (size_t)plan->dst_strides[row_dim];
    planes.rows.src_pitch_bytes = (size_t)plan->src_strides[row_dim];
    planes.rows.row_count = (size_t)plan->shape[row_dim];
  }
  if (plane_dim >= 0) {
    planes.dst_pitch_bytes = plan->dst_strides[plane_dim];
    planes.src_pitch_bytes = plan->src_strides[plane_dim];
    planes.plane_count = (size_t)plan->shape[plane_dim];
  }
  return planes;
}

static tarn_status by_rows(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                           const tarn__copy_side *src, bool has_planes, tarn_stream *stream,
                           tarn__copy_outcome *outcome) {
  int32_t row_dim = tarn__copy_plan_row_dim(plan), plane_dim = -1;
  if (has_planes) (void)tarn__copy_plan_box(plan, &row_dim, &plane_dim);
  tarn_copy_planes planes = planes_of(plan, row_dim, plane_dim, dst, src);
  walk at = walk_of(plan, dst, src);
  do {
    planes.rows.dst = at.dst;
    planes.rows.src = at.src;
    outcome->issued_count++; /* one that fails may have got some of its rows on their way */
    const tarn_status status = plane_dim < 0 ? tarn_stream_copy_rows(stream, &planes.rows)
                                             : tarn_stream_copy_planes(stream, &planes);
    if (status != TARN_OK) return status;
  } while (step(plan, row_dim, plane_dim, &at));
  return TARN_OK;
}

/* --- the choice --- */

tarn_status tarn__copy_by_way(tarn_copy_way way, const tarn__copy_question *question,
                              tarn_stream *stream, tarn__copy_outcome *outcome) {
  const tarn__copy_plan *plan = question->plan;
  const tarn__copy_side *dst = question->dst, *src = question->src;
  outcome->executor = plan->kind == TARN__COPY_MEMCPY ? "memcpy" : tarn_copy_way_name(way);
  if (way == TARN_COPY_BY_KERNEL) {
    return tarn__copy_by_grid(plan, dst, src, question->element, stream, outcome);
  }
  if (way == TARN_COPY_BY_BATCH) return by_batch(plan, dst, src, stream, outcome);
  const bool has_pageable =
      dst->device.type == TARN_DEVICE_CPU || src->device.type == TARN_DEVICE_CPU;
  const bool has_planes = !has_pageable && (question->abilities & TARN_STREAM_COPIES_PLANES) != 0;
  return by_rows(plan, dst, src, has_planes, stream, outcome);
}

tarn_status tarn__copy_directly(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                                const tarn__copy_side *src, size_t element_bytes,
                                tarn_stream *stream, tarn__copy_outcome *outcome) {
  if (plan->kind == TARN__COPY_NONE) return TARN_OK;
  const tarn__copy_elements element = {.dst_bytes = element_bytes, .src_bytes = element_bytes};
  const tarn__copy_question question = {plan, dst, src, &element,
                                        tarn_stream_copy_abilities(stream)};
  /* One run: nothing moves it in fewer steps. */
  if (plan->kind == TARN__COPY_MEMCPY) {
    return tarn__copy_by_way(TARN_COPY_BY_ROWS, &question, stream, outcome);
  }
  uint64_t estimates_ns[TARN_COPY_WAYS];
  tarn__copy_estimate_direct(&question, estimates_ns);
  tarn_status status = TARN_NOT_SUPPORTED;
  for (tarn_copy_way way; tarn__copy_cheapest(estimates_ns, &way);) {
    status = tarn__copy_by_way(way, &question, stream, outcome);
    if (way != TARN_COPY_BY_KERNEL || status != TARN_NOT_SUPPORTED) break;
    estimates_ns[way] = UINT64_MAX;
  }
  return status;
}
