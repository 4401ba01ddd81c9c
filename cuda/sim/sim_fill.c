/* sim_fill.c: fills of memory with a value of one, two or four bytes, in one line or in rows. */
#include "cuda/sim/sim.h"

#include <string.h>

void sim_fill_run(sim_op *op) {
  const sim_place *dst = &op->as.fill.dst;
  if (!sim_place_is_intact(op, dst, /*is_written=*/true, "a fill")) return;
  const size_t element_bytes = op->as.fill.element_bytes;
  for (size_t row = 0; row < op->as.fill.row_count; row++) {
    char *start = (char *)sim_place_view(dst) + row * dst->pitch;
    if (element_bytes == 1) {
      memset(start, (int)(op->as.fill.value & 0xFF), op->as.fill.width);
      continue;
    }
    for (size_t i = 0; i < op->as.fill.width; i++) {
      /* The first bytes of the value are its lowest: GPUs and their hosts are little-endian. */
      memcpy(start + i * element_bytes, &op->as.fill.value, element_bytes);
    }
  }
}

typedef struct fill {
  CUdeviceptr dst;
  size_t pitch; /* bytes */
  size_t width; /* elements */
  size_t row_count;
  unsigned element_bytes;
  uint32_t value;
} fill;

static CUresult find(const fill *asked, sim_place *place) {
  size_t row_bytes;
  if (__builtin_mul_overflow(asked->width, asked->element_bytes, &row_bytes) ||
      asked->dst % asked->element_bytes != 0 || asked->pitch % asked->element_bytes != 0 ||
      (asked->row_count > 1 && (asked->pitch < row_bytes || asked->pitch > SIM_PITCH_MAX))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *place = (sim_place){.pitch = asked->pitch};
  const CUresult result =
      sim_place_find(asked->dst, row_bytes, asked->row_count, 1, /*is_written=*/true, place);
  const bool is_refused = result == CUDA_SUCCESS && sim_place_is_pageable(place);
  return is_refused ? CUDA_ERROR_INVALID_VALUE : result;
}

static CUresult enqueue(const fill *asked, CUstream stream, bool waits) {
  if (asked->width == 0 || asked->row_count == 0) return CUDA_SUCCESS;
  sim_place place;
  sim_queue *queue;
  CUresult result = find(asked, &place);
  if (result == CUDA_SUCCESS) result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  sim_op *op = sim_op_create(queue, KIND_FILL);
  if (op == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  op->as.fill.dst = place;
  op->as.fill.width = asked->width;
  op->as.fill.row_count = asked->row_count;
  op->as.fill.element_bytes = asked->element_bytes;
  op->as.fill.value = asked->value;
  const int device = queue->device;
  sim_mark *mark = sim_mark_retain(op->mark);
  result = sim_op_enqueue(op);
  if (result == CUDA_SUCCESS && waits && !place.is_device) {
    sim_host_wait_for(mark);
    result = sim_context_error(device);
  }
  sim_mark_release(mark);
  return result;
}

CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream) {
  SIM_ENTER(cuMemsetD8Async, SIM_NEEDS_CONTEXT);
  const fill asked = {dst, 0, count, 1, 1, value};
  return sim_leave(enqueue(&asked, stream, /*waits=*/false));
}

CUresult cuMemsetD16Async(CUdeviceptr dst, unsigned short value, size_t count, CUstream stream) {
  SIM_ENTER(cuMemsetD16Async, SIM_NEEDS_CONTEXT);
  const fill asked = {dst, 0, count, 1, 2, value};
  return sim_leave(enqueue(&asked, stream, /*waits=*/false));
}

CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned value, size_t count, CUstream stream) {
  SIM_ENTER(cuMemsetD32Async, SIM_NEEDS_CONTEXT);
  const fill asked = {dst, 0, count, 1, 4, value};
  return sim_leave(enqueue(&asked, stream, /*waits=*/false));
}

CUresult cuMemsetD2D8Async(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width,
                           size_t height, CUstream stream) {
  SIM_ENTER(cuMemsetD2D8Async, SIM_NEEDS_CONTEXT);
  const fill asked = {dst, pitch, width, height, 1, value};
  return sim_leave(enqueue(&asked, stream, /*waits=*/false));
}

CUresult cuMemsetD2D16Async(CUdeviceptr dst, size_t pitch, unsigned short value, size_t width,
                            size_t height, CUstream stream) {
  SIM_ENTER(cuMemsetD2D16Async, SIM_NEEDS_CONTEXT);
  const fill asked = {dst, pitch, width, height, 2, value};
  return sim_leave(enqueue(&asked, stream, /*waits=*/false));
}

CUresult cuMemsetD2D32Async(CUdeviceptr dst, size_t pitch, unsigned value, size_t width,
                            size_t height, CUstream stream) {
  SIM_ENTER(cuMemsetD2D32Async, SIM_NEEDS_CONTEXT);
  const fill asked = {dst, pitch, width, height, 4, value};
  return sim_leave(enqueue(&asked, stream, /*waits=*/false));
}

/* On the default stream. It waits for page-locked memory only: a fill of device memory is
 * asynchronous to the host in spite of its name. */
CUresult cuMemsetD8(CUdeviceptr dst, unsigned char value, size_t count) {
  SIM_ENTER(cuMemsetD8, SIM_NEEDS_CONTEXT);
  const fill asked = {dst, 0, count, 1, 1, value};
  return sim_leave(enqueue(&asked, NULL, /*waits=*/true));
}
