/* sim_copy.c: copies and fills: checked when they are enqueued, moved when they run. */
#include "cuda/sim/sim.h"

#include <stdlib.h>
#include <string.h>

/* --- places --- */

/* Bytes from the first row's start to the last row's end; false where that overflows. */
static bool measure(size_t pitch, size_t row_bytes, size_t row_count, size_t *extent) {
  return !__builtin_mul_overflow(pitch, row_count - 1, extent) &&
         !__builtin_add_overflow(*extent, row_bytes, extent);
}

/* Whether work of `device` may use all of [address, end): one allocation, or mappings side by side
 * in one reservation. Answers the latest range's id; 0 where not. */
static uint64_t find_ranges(uintptr_t address, uintptr_t end, int device, bool is_written) {
  const sim_range *range = sim_range_find(address);
  const sim_reservation *reservation = range != NULL ? range->reservation : NULL;
  uint64_t latest_id = 0;
  while (range != NULL && sim_range_allows(range, device, is_written)) {
    if (range->id > latest_id) latest_id = range->id;
    address = range->start + range->size_bytes;
    if (address >= end) return latest_id;
    if (range->kind != RANGE_MAPPED) return 0;
    range = sim_range_find(address);
    if (range != NULL && range->reservation != reservation) return 0;
  }
  return 0;
}

/* What lies at the address. A copy must stay inside of one allocation, or outside of all. */
static CUresult find_place(uintptr_t address, size_t pitch, size_t row_bytes, size_t row_count,
                           bool is_written, sim_place *place) {
  size_t extent;
  uintptr_t end;
  if (address == 0 || !measure(pitch, row_bytes, row_count, &extent) ||
      __builtin_add_overflow(address, extent, &end)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *place = (sim_place){.address = address,
                       .pitch = pitch,
                       .extent_bytes = extent,
                       .is_device = sim_window_holds(address)};
  const sim_range *range = sim_range_after(address);
  if (range == NULL || range->start >= end) {
    return place->is_device ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
  }
  place->range_id = find_ranges(address, end, sim_current()->device, is_written);
  return place->range_id != 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static bool is_pageable(const sim_place *place) {
  return place->range_id == 0;
}

static char *view(const sim_place *place) {
  return place->is_device ? sim_window_view(place->address) : (char *)place->address;
}

/* Whether the memory is still the one that was there; breaks the context where not. What came in
 * its place has a greater id. */
static bool is_intact(const sim_op *op, const sim_place *place, bool is_written, const char *what) {
  if (is_pageable(place)) return true;
  const uint64_t id = find_ranges(place->address, place->address + place->extent_bytes,
                                  op->queue->device, is_written);
  if (id != 0 && id <= place->range_id) return true;
  sim_break(op->queue->device, CUDA_ERROR_ILLEGAL_ADDRESS,
            "%s at %p in stream %llu: the memory was freed, unmapped or closed to the device after "
            "the operation was enqueued and before it ran",
            what, (void *)place->address, (unsigned long long)op->queue->id);
  return false;
}

/* --- running --- */

static void move_rows(char *dst, size_t dst_pitch, const char *src, size_t src_pitch,
                      size_t row_bytes, size_t row_count) {
  for (size_t row = 0; row < row_count; row++) {
    memmove(dst + row * dst_pitch, src + row * src_pitch, row_bytes);
  }
}

void sim_copy_run(sim_op *op) {
  const sim_place *dst = &op->as.copy.dst;
  const sim_place *src = &op->as.copy.src;
  if (!is_intact(op, dst, /*is_written=*/true, "the destination of a copy")) return;
  if (op->as.copy.staged == NULL &&
      !is_intact(op, src, /*is_written=*/false, "the source of a copy")) {
    return;
  }
  const bool is_staged = op->as.copy.staged != NULL;
  move_rows(view(dst), dst->pitch, is_staged ? op->as.copy.staged : view(src),
            is_staged ? op->as.copy.row_bytes : src->pitch, op->as.copy.row_bytes,
            op->as.copy.row_count);
}

void sim_fill_run(sim_op *op) {
  if (!is_intact(op, &op->as.fill.dst, /*is_written=*/true, "a fill")) return;
  memset(view(&op->as.fill.dst), op->as.fill.value, op->as.fill.size_bytes);
}

/* --- enqueuing --- */

typedef enum manner { MANNER_AS_ASKED, MANNER_WAIT } manner;

/* Reads the pageable source now, as the driver does into its own page-locked buffers. */
static bool stage(sim_op *op) {
  const size_t row_bytes = op->as.copy.row_bytes;
  op->as.copy.staged = malloc(row_bytes * op->as.copy.row_count);
  if (op->as.copy.staged == NULL) return false;
  move_rows(op->as.copy.staged, row_bytes, view(&op->as.copy.src), op->as.copy.src.pitch, row_bytes,
            op->as.copy.row_count);
  return true;
}

/* Whether the call returns only when the copy is done; see cusim.h. */
static bool must_wait(const sim_place *dst, const sim_place *src) {
  if (is_pageable(dst) || (is_pageable(src) && !dst->is_device)) return true;
  if (is_pageable(src)) return sim.policy == CUSIM_RANDOM && sim_random() % 2 == 0;
  return false;
}

static CUresult enqueue_copy(CUstream stream, const sim_place *dst, const sim_place *src,
                             size_t row_bytes, size_t row_count, manner how) {
  sim_queue *queue;
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  const int device = queue->device;
  sim_op *op = sim_op_create(queue, KIND_COPY);
  if (op == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  op->as.copy.dst = *dst;
  op->as.copy.src = *src;
  op->as.copy.row_bytes = row_bytes;
  op->as.copy.row_count = row_count;
  const bool waits = how == MANNER_WAIT || must_wait(dst, src);
  if (!waits && is_pageable(src) && !stage(op)) {
    sim_op_discard(op);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  sim_mark *mark = sim_mark_retain(op->mark);
  const CUresult enqueued = sim_op_enqueue(op);
  if (enqueued == CUDA_SUCCESS && waits) sim_wait_for(mark);
  sim_mark_release(mark);
  return enqueued != CUDA_SUCCESS ? enqueued : sim_context_error(device);
}

static CUresult copy_line(CUdeviceptr dst, CUdeviceptr src, size_t size_bytes, CUstream stream,
                          manner how) {
  if (size_bytes == 0) return CUDA_SUCCESS;
  sim_place to, from;
  CUresult result = find_place(dst, size_bytes, size_bytes, 1, /*is_written=*/true, &to);
  if (result == CUDA_SUCCESS)
    result = find_place(src, size_bytes, size_bytes, 1, /*is_written=*/false, &from);
  if (result != CUDA_SUCCESS) return result;
  return enqueue_copy(stream, &to, &from, size_bytes, 1, how);
}

static bool is_on_host(const void *address) {
  return !sim_window_holds((uintptr_t)address);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t size_bytes, CUstream stream) {
  SIM_ENTER(cuMemcpyAsync, SIM_NEEDS_CONTEXT);
  return sim_leave(copy_line(dst, src, size_bytes, stream, MANNER_AS_ASKED));
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr dst, const void *src, size_t size_bytes, CUstream stream) {
  SIM_ENTER(cuMemcpyHtoDAsync, SIM_NEEDS_CONTEXT);
  if (!is_on_host(src)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(copy_line(dst, (uintptr_t)src, size_bytes, stream, MANNER_AS_ASKED));
}

CUresult cuMemcpyDtoHAsync(void *dst, CUdeviceptr src, size_t size_bytes, CUstream stream) {
  SIM_ENTER(cuMemcpyDtoHAsync, SIM_NEEDS_CONTEXT);
  if (!is_on_host(dst)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(copy_line((uintptr_t)dst, src, size_bytes, stream, MANNER_AS_ASKED));
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr dst, CUdeviceptr src, size_t size_bytes, CUstream stream) {
  SIM_ENTER(cuMemcpyDtoDAsync, SIM_NEEDS_CONTEXT);
  return sim_leave(copy_line(dst, src, size_bytes, stream, MANNER_AS_ASKED));
}

/* The synchronous ones go through the default stream and wait. */

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t size_bytes) {
  SIM_ENTER(cuMemcpy, SIM_NEEDS_CONTEXT);
  return sim_leave(copy_line(dst, src, size_bytes, NULL, MANNER_WAIT));
}

CUresult cuMemcpyHtoD(CUdeviceptr dst, const void *src, size_t size_bytes) {
  SIM_ENTER(cuMemcpyHtoD, SIM_NEEDS_CONTEXT);
  if (!is_on_host(src)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(copy_line(dst, (uintptr_t)src, size_bytes, NULL, MANNER_WAIT));
}

CUresult cuMemcpyDtoH(void *dst, CUdeviceptr src, size_t size_bytes) {
  SIM_ENTER(cuMemcpyDtoH, SIM_NEEDS_CONTEXT);
  if (!is_on_host(dst)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(copy_line((uintptr_t)dst, src, size_bytes, NULL, MANNER_WAIT));
}

/* --- two dimensions --- */

/* The first row's address on one side, or an error where its kind is another than it says. */
static CUresult find_corner(CUmemorytype type, const void *host, CUdeviceptr device, size_t x,
                            size_t y, size_t pitch, uintptr_t *address) {
  size_t skipped;
  if (__builtin_mul_overflow(y, pitch, &skipped) || __builtin_add_overflow(skipped, x, &skipped)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  switch (type) {
    case CU_MEMORYTYPE_HOST:
      *address = (uintptr_t)host + skipped;
      return is_on_host(host) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
      *address = (uintptr_t)device + skipped;
      return CUDA_SUCCESS;
    case CU_MEMORYTYPE_ARRAY:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

static CUresult copy_rectangle(const CUDA_MEMCPY2D *copy, CUstream stream) {
  const size_t width = copy->WidthInBytes;
  const size_t height = copy->Height;
  if (width == 0 || height == 0) return CUDA_SUCCESS;
  if (copy->srcPitch < width || copy->dstPitch < width || copy->srcPitch > SIM_PITCH_MAX ||
      copy->dstPitch > SIM_PITCH_MAX) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  uintptr_t dst, src;
  sim_place to, from;
  CUresult result = find_corner(copy->dstMemoryType, copy->dstHost, copy->dstDevice,
                                copy->dstXInBytes, copy->dstY, copy->dstPitch, &dst);
  if (result == CUDA_SUCCESS) {
    result = find_corner(copy->srcMemoryType, copy->srcHost, copy->srcDevice, copy->srcXInBytes,
                         copy->srcY, copy->srcPitch, &src);
  }
  if (result == CUDA_SUCCESS)
    result = find_place(dst, copy->dstPitch, width, height, /*is_written=*/true, &to);
  if (result == CUDA_SUCCESS)
    result = find_place(src, copy->srcPitch, width, height, /*is_written=*/false, &from);
  if (result != CUDA_SUCCESS) return result;
  /* Addresses of a device type are device memory or page-locked. */
  if ((copy->dstMemoryType == CU_MEMORYTYPE_DEVICE && is_pageable(&to)) ||
      (copy->srcMemoryType == CU_MEMORYTYPE_DEVICE && is_pageable(&from))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return enqueue_copy(stream, &to, &from, width, height, MANNER_AS_ASKED);
}

CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream) {
  SIM_ENTER(cuMemcpy2DAsync, SIM_NEEDS_CONTEXT);
  if (copy == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(copy_rectangle(copy, stream));
}

/* --- fills --- */

CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t size_bytes, CUstream stream) {
  SIM_ENTER(cuMemsetD8Async, SIM_NEEDS_CONTEXT);
  if (size_bytes == 0) return sim_leave(CUDA_SUCCESS);
  sim_place place;
  CUresult result = find_place(dst, size_bytes, size_bytes, 1, /*is_written=*/true, &place);
  if (result == CUDA_SUCCESS && is_pageable(&place)) result = CUDA_ERROR_INVALID_VALUE;
  sim_queue *queue = NULL;
  if (result == CUDA_SUCCESS) result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  sim_op *op = sim_op_create(queue, KIND_FILL);
  if (op == NULL) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  op->as.fill.dst = place;
  op->as.fill.size_bytes = size_bytes;
  op->as.fill.value = value;
  return sim_leave(sim_op_enqueue(op));
}
