/* copy_staged.c: device to packed host memory, the CPU's part, and packed host memory to device. */
#include "tensor/copy_staged.h"

#include "tensor/copy_convert.h"
#include "tensor/copy_direct.h"
#include "tensor/copy_host.h"

/* --- staging --- */

static int64_t magnitude(int64_t value) {
  return value < 0 ? -value : value;
}

/* The dimension of more than one element that `layout` has widest, not counting `done`; -1. */
static int32_t narrowest_dim(const tarn_layout *layout, uint32_t done) {
  int32_t found = -1;
  for (int32_t d = 0; d < layout->rank; d++) {
    if ((done & (1u << d)) || layout->shape[d] == 1 || layout->strides[d] == 0) continue;
    if (found < 0 || magnitude(layout->strides[d]) < magnitude(layout->strides[found])) found = d;
  }
  return found;
}

int64_t tarn__copy_pack(const tarn_layout *layout, tarn_layout *packed) {
  uint32_t done = 0;
  int64_t count = 1;
  *packed = *layout;
  packed->offset = 0;
  for (int32_t d; (d = narrowest_dim(layout, done)) >= 0; done |= 1u << d) {
    packed->strides[d] = layout->strides[d] < 0 ? -count : count;
    if (layout->strides[d] < 0) packed->offset += (layout->shape[d] - 1) * count;
    count *= layout->shape[d];
  }
  return count;
}

tarn_layout tarn__copy_without_broadcast(const tarn_layout *layout, const tarn_layout *src) {
  tarn_layout once = *layout;
  for (int32_t d = 0; d < once.rank; d++) {
    if (src->strides[d] == 0) once.shape[d] = 1;
  }
  return once;
}

void tarn__copy_on_host(const tarn__copy_side *dst, const tarn__copy_side *src,
                        const tarn__copy_elements *element) {
  tarn__copy_plan plan;
  tarn__copy_plan_make(&dst->layout, &src->layout, element->dst_bytes, element->src_bytes, &plan);
  if (element->convert != NULL) {
    tarn__copy_convert_run(element->convert, &plan, dst->base, src->base);
  } else {
    tarn__copy_host_run(&plan, dst->base, src->base);
  }
}

tarn__copy_side tarn__copy_staging_side(const tarn__copy_side *model, size_t element_bytes,
                                        size_t *size_bytes) {
  tarn__copy_side side = {.device = tarn_device_make(TARN_DEVICE_CPU, 0)};
  *size_bytes = (size_t)tarn__copy_pack(&model->layout, &side.layout) * element_bytes;
  return side;
}

static tarn_status enqueue(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                           const tarn__copy_side *src, size_t element_bytes, tarn_stream *stream,
                           tarn__copy_outcome *outcome) {
  const char *executor = outcome->executor; /* of the whole, not of this step */
  const tarn_status status = tarn__copy_directly(plan, dst, src, element_bytes, stream, outcome);
  outcome->executor = executor;
  return status;
}

tarn_status tarn__copy_pull(const tarn__copy_side *staging, const tarn__copy_side *src,
                            size_t element_bytes, tarn_stream *stream,
                            tarn__copy_outcome *outcome) {
  tarn__copy_plan plan;
  tarn_layout to = tarn__copy_without_broadcast(&staging->layout, &src->layout);
  tarn_layout from = tarn__copy_without_broadcast(&src->layout, &src->layout);
  tarn__copy_plan_make(&to, &from, element_bytes, element_bytes, &plan);
  return enqueue(&plan, staging, src, element_bytes, stream, outcome);
}

tarn_status tarn__copy_push(const tarn__copy_side *dst, const tarn__copy_side *staging,
                            size_t element_bytes, tarn_stream *stream,
                            tarn__copy_outcome *outcome) {
  tarn__copy_plan plan;
  tarn__copy_plan_make(&dst->layout, &staging->layout, element_bytes, element_bytes, &plan);
  return enqueue(&plan, dst, staging, element_bytes, stream, outcome);
}

/* --- pieces --- */

int32_t tarn__copy_widest_dim(const tarn_layout *layout) {
  int32_t widest = -1;
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] < 2) continue;
    if (widest < 0 || magnitude(layout->strides[d]) > magnitude(layout->strides[widest])) {
      widest = d;
    }
  }
  return widest;
}

tarn__copy_side tarn__copy_half(const tarn__copy_side *side, int32_t dim, int part) {
  tarn__copy_side half = *side;
  const int64_t size = side->layout.shape[dim], lower = size / 2;
  half.layout.shape[dim] = part == 0 ? lower : size - lower;
  if (part != 0) half.layout.offset += lower * side->layout.strides[dim];
  return half;
}
