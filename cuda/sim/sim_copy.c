/* sim_copy.c: copies and fills: checked when they are enqueued, moved when they run. */
#include "cuda/sim/sim.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- places --- */

/* Bytes from the first row's start to the last row's end; false where that overflows. */
static bool measure(const sim_place *place, size_t row_bytes, size_t row_count, size_t plane_count,
                    size_t *extent) {
  size_t planes;
  return !__builtin_mul_overflow(place->pitch, row_count - 1, extent) &&
         !__builtin_mul_overflow(place->plane_pitch, plane_count - 1, &planes) &&
         !__builtin_add_overflow(*extent, planes, extent) &&
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

CUresult sim_place_find(uintptr_t address, size_t row_bytes, size_t row_count, size_t plane_count,
                        bool is_written, sim_place *place) {
  return sim_place_find_of(sim_current()->device, address, row_bytes, row_count, plane_count,
                           is_written, place);
}

CUresult sim_place_find_of(int device, uintptr_t address, size_t row_bytes, size_t row_count,
                           size_t plane_count, bool is_written, sim_place *place) {
  size_t extent;
  uintptr_t end;
  if (address == 0 || !measure(place, row_bytes, row_count, plane_count, &extent) ||
      __builtin_add_overflow(address, extent, &end)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  place->address = address;
  place->device = device;
  place->extent_bytes = extent;
  place->range_id = 0;
  place->is_device = sim_window_holds(address);
  const sim_range *range = sim_range_after(address);
  if (range == NULL || range->start >= end) {
    return place->is_device ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
  }
  place->range_id = find_ranges(address, end, device, is_written);
  return place->range_id != 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

bool sim_place_is_pageable(const sim_place *place) {
  return place->range_id == 0;
}

void *sim_place_view(const sim_place *place) {
  return place->is_device ? sim_window_view(place->address) : (void *)place->address;
}

static bool break_by(const sim_op *op, const sim_place *place, const char *what, const char *why) {
  sim_break(op->queue->device, CUDA_ERROR_ILLEGAL_ADDRESS, "%s at %p in stream %llu: %s", what,
            (void *)place->address, (unsigned long long)op->queue->id, why);
  return false;
}

bool sim_place_is_intact(const sim_op *op, const sim_place *place, bool is_written,
                         const char *what) {
  if (sim_place_is_pageable(place)) return true;
  const uint64_t id =
      find_ranges(place->address, place->address + place->extent_bytes, place->device, is_written);
  if (id != 0 && id <= place->range_id) {
    if (sim_pool_has_begun(sim_range_find(place->address))) return true;
    return break_by(op, place, what,
                    "the pool's block was used before its allocation in stream order");
  }
  if (sim_pool_is_ending(place->range_id)) return true;
  return break_by(op, place, what,
                  "the memory was freed, unmapped or closed to the device after the operation was "
                  "enqueued and before it ran");
}

/* --- running --- */

typedef struct box {
  char *start;
  size_t pitch;
  size_t plane_pitch;
} box;

static box box_of(const sim_place *place) {
  return (box){sim_place_view(place), place->pitch, place->plane_pitch};
}

static box box_of_staged(const sim_op *op) {
  const size_t row_bytes = op->as.copy.row_bytes;
  return (box){op->as.copy.staged, row_bytes, row_bytes * op->as.copy.row_count};
}

static void move(const sim_op *op, box dst, box src) {
  for (size_t plane = 0; plane < op->as.copy.plane_count; plane++) {
    for (size_t row = 0; row < op->as.copy.row_count; row++) {
      memmove(dst.start + plane * dst.plane_pitch + row * dst.pitch,
              src.start + plane * src.plane_pitch + row * src.pitch, op->as.copy.row_bytes);
    }
  }
}

void sim_copy_run(sim_op *op) {
  const sim_place *dst = &op->as.copy.dst;
  const sim_place *src = &op->as.copy.src;
  const bool is_staged = op->as.copy.staged != NULL;
  if (!sim_place_is_intact(op, dst, /*is_written=*/true, "the destination of a copy")) return;
  if (!is_staged && !sim_place_is_intact(op, src, /*is_written=*/false, "the source of a copy"))
    return;
  move(op, box_of(dst), is_staged ? box_of_staged(op) : box_of(src));
}

/* --- enqueuing --- */

typedef enum manner {
  MANNER_AS_ASKED,
  MANNER_WAIT,  /* the call returns when the copy is done */
  MANNER_STAGE, /* the source is read before the call returns */
} manner;

typedef struct shape {
  size_t row_bytes;
  size_t row_count;
  size_t plane_count;
} shape;

/* Reads the pageable source now, as the driver does into its own page-locked buffers. */
static bool stage(sim_op *op) {
  op->as.copy.staged =
      malloc(op->as.copy.row_bytes * op->as.copy.row_count * op->as.copy.plane_count);
  if (op->as.copy.staged == NULL) return false;
  move(op, box_of_staged(op), box_of(&op->as.copy.src));
  return true;
}

/* Whether a program may rely on it that the copy is done when the call returns; see cusim.h. */
static bool returns_when_done(const sim_place *dst, const sim_place *src, manner how) {
  if (how == MANNER_WAIT || sim_place_is_pageable(dst)) return true;
  return how == MANNER_AS_ASKED && sim_place_is_pageable(src) && !dst->is_device;
}

/* Whether the call waits for the copy all the same, as a driver may. */
static bool waits_by_chance(const sim_place *src, manner how) {
  return how == MANNER_AS_ASKED && sim_place_is_pageable(src) && sim.policy == CUSIM_RANDOM &&
         sim_random() % 2 == 0;
}

static CUresult enqueue_copy(CUstream stream, const sim_place *dst, const sim_place *src,
                             shape size, manner how) {
  sim_queue *queue;
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  /* Stricter than a driver may be: a graph would find pageable memory, or none, at its launch. */
  if (sim_place_is_pageable(dst) || sim_place_is_pageable(src) || how != MANNER_AS_ASKED) {
    const CUresult refused = sim_capture_refuse(queue);
    if (refused != CUDA_SUCCESS) return refused;
  }
  const int device = queue->device;
  sim_op *op = sim_op_create(queue, KIND_COPY);
  if (op == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  op->as.copy.dst = *dst;
  op->as.copy.src = *src;
  op->as.copy.row_bytes = size.row_bytes;
  op->as.copy.row_count = size.row_count;
  op->as.copy.plane_count = size.plane_count;
  const bool is_staged = how == MANNER_STAGE || sim_place_is_pageable(src);
  op->as.copy.is_read_by_call = how == MANNER_STAGE || (is_staged && dst->is_device);
  const bool is_done_on_return = returns_when_done(dst, src, how);
  const bool waits = is_done_on_return || waits_by_chance(src, how);
  if (!waits && is_staged && !stage(op)) {
    sim_op_discard(op);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  sim_mark *mark = sim_mark_retain(op->mark);
  const CUresult enqueued = sim_op_enqueue(op);
  if (enqueued == CUDA_SUCCESS && waits) sim_wait_for(mark);
  if (enqueued == CUDA_SUCCESS && is_done_on_return) sim_clock_host_learns(mark);
  sim_mark_release(mark);
  return enqueued != CUDA_SUCCESS ? enqueued : sim_context_error(device);
}

/* Both ends of a copy in one line. */
static CUresult find_line(CUdeviceptr dst, CUdeviceptr src, size_t size_bytes, sim_place *to,
                          sim_place *from) {
  *to = *from = (sim_place){.pitch = size_bytes};
  const CUresult result = sim_place_find(dst, size_bytes, 1, 1, /*is_written=*/true, to);
  if (result != CUDA_SUCCESS) return result;
  return sim_place_find(src, size_bytes, 1, 1, /*is_written=*/false, from);
}

static CUresult copy_line(CUdeviceptr dst, CUdeviceptr src, size_t size_bytes, CUstream stream,
                          manner how) {
  if (size_bytes == 0) return CUDA_SUCCESS;
  sim_place to, from;
  const CUresult result = find_line(dst, src, size_bytes, &to, &from);
  if (result != CUDA_SUCCESS) return result;
  return enqueue_copy(stream, &to, &from, (shape){size_bytes, 1, 1}, how);
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

/* Each side is reached by its own device, whatever the stream's one may use. */
CUresult cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dst_context, CUdeviceptr src,
                           CUcontext src_context, size_t size_bytes, CUstream stream) {
  SIM_ENTER(cuMemcpyPeerAsync, SIM_NEEDS_CONTEXT);
  if (!sim_context_exists(dst_context) || !sim_context_exists(src_context)) {
    return sim_leave(CUDA_ERROR_INVALID_CONTEXT);
  }
  if (size_bytes == 0) return sim_leave(CUDA_SUCCESS);
  sim_place to = {.pitch = size_bytes}, from = to;
  CUresult result = sim_place_find_of(dst_context->device, dst, size_bytes, 1, 1,
                                      /*is_written=*/true, &to);
  if (result == CUDA_SUCCESS) {
    result =
        sim_place_find_of(src_context->device, src, size_bytes, 1, 1, /*is_written=*/false, &from);
  }
  if (result != CUDA_SUCCESS) return sim_leave(result);
  return sim_leave(enqueue_copy(stream, &to, &from, (shape){size_bytes, 1, 1}, MANNER_AS_ASKED));
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

/* Between two places of device memory the manual promises nothing to the host. */
CUresult cuMemcpyDtoD(CUdeviceptr dst, CUdeviceptr src, size_t size_bytes) {
  SIM_ENTER(cuMemcpyDtoD, SIM_NEEDS_CONTEXT);
  return sim_leave(copy_line(dst, src, size_bytes, NULL, MANNER_AS_ASKED));
}

/* --- batches --- */

/* The attributes that hold for the copy: those whose index is the last one at or before it. */
static const CUmemcpyAttributes *attributes_at(const CUmemcpyAttributes *attributes,
                                               const size_t *starts, size_t count, size_t copy) {
  size_t chosen = 0;
  while (chosen + 1 < count && starts[chosen + 1] <= copy) chosen++;
  return &attributes[chosen];
}

static CUresult check_attributes(const CUmemcpyAttributes *attributes, const size_t *starts,
                                 size_t count, size_t copy_count) {
  if (attributes == NULL || starts == NULL || count == 0 || starts[0] != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < count; i++) {
    const CUmemcpySrcAccessOrder order = attributes[i].srcAccessOrder;
    if (order < CU_MEMCPY_SRC_ACCESS_ORDER_STREAM || order > CU_MEMCPY_SRC_ACCESS_ORDER_ANY ||
        starts[i] >= copy_count || (i > 0 && starts[i] <= starts[i - 1])) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return CUDA_SUCCESS;
}

/* Drivers up to 13.0 capture no batch: they refuse it, and the capture goes on without it. */
static CUresult refuse_captured_batch(CUstream stream) {
  sim_queue *queue;
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  return queue->capture != NULL ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

/* The copies of a batch have no order among themselves; where the policy is random they get one at
 * random. All are checked before the first is enqueued. Never on the legacy stream. */
static CUresult copy_batch(const CUdeviceptr *dsts, const CUdeviceptr *srcs, const size_t *sizes,
                           size_t count, const CUmemcpyAttributes *attributes, const size_t *starts,
                           size_t attribute_count, CUstream stream) {
  if (dsts == NULL || srcs == NULL || sizes == NULL || count == 0 || stream == CU_STREAM_LEGACY ||
      (stream == NULL && !sim_null_is_per_thread())) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  CUresult result = check_attributes(attributes, starts, attribute_count, count);
  if (result == CUDA_SUCCESS) result = refuse_captured_batch(stream);
  sim_place to, from;
  for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
    result = sizes[i] == 0 ? CUDA_ERROR_INVALID_VALUE
                           : find_line(dsts[i], srcs[i], sizes[i], &to, &from);
  }
  if (result != CUDA_SUCCESS) return result;
  const size_t first = sim.policy == CUSIM_RANDOM ? (size_t)(sim_random() % count) : 0;
  for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
    const size_t copy = (first + i) % count;
    const CUmemcpySrcAccessOrder order =
        attributes_at(attributes, starts, attribute_count, copy)->srcAccessOrder;
    const bool is_read_now = order == CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL;
    result = copy_line(dsts[copy], srcs[copy], sizes[copy], stream,
                       is_read_now ? MANNER_STAGE : MANNER_AS_ASKED);
  }
  return result;
}

CUresult cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
                            CUmemcpyAttributes *attributes, size_t *starts, size_t attribute_count,
                            CUstream stream) {
  SIM_ENTER(cuMemcpyBatchAsync, SIM_NEEDS_CONTEXT);
  return sim_leave(
      copy_batch(dsts, srcs, sizes, count, attributes, starts, attribute_count, stream));
}

CUresult sim_memcpy_batch_v12080(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
                                 CUmemcpyAttributes *attributes, size_t *starts,
                                 size_t attribute_count, size_t *failed, CUstream stream) {
  SIM_ENTER(cuMemcpyBatchAsync, SIM_NEEDS_CONTEXT);
  if (failed == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  *failed = SIZE_MAX; /* no copy in particular */
  return sim_leave(
      copy_batch(dsts, srcs, sizes, count, attributes, starts, attribute_count, stream));
}

/* --- two and three dimensions --- */

/* One side of a copy as the program describes it. */
typedef struct corner {
  CUmemorytype type;
  const void *host;
  CUdeviceptr device;
  size_t x;
  size_t y;
  size_t z;
  size_t pitch;
  size_t height;     /* rows from plane to plane */
  CUcontext context; /* whose device reaches it; NULL: the current one's */
} corner;

static bool skip(size_t count, size_t step, size_t *offset) {
  size_t skipped;
  return !__builtin_mul_overflow(count, step, &skipped) &&
         !__builtin_add_overflow(*offset, skipped, offset);
}

/* Finds one side, or says that its memory is of another kind than it says. */
static CUresult find_corner(const corner *side, shape size, bool is_written, sim_place *place) {
  size_t plane_pitch;
  size_t offset = side->x;
  if (side->pitch < size.row_bytes || side->pitch > SIM_PITCH_MAX ||
      (size.plane_count > 1 && side->height < size.row_count) ||
      __builtin_mul_overflow(side->pitch, side->height, &plane_pitch) ||
      !skip(side->y, side->pitch, &offset) || !skip(side->z, plane_pitch, &offset)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  uintptr_t start = (uintptr_t)side->device;
  switch (side->type) {
    case CU_MEMORYTYPE_HOST:
      if (!is_on_host(side->host)) return CUDA_ERROR_INVALID_VALUE;
      start = (uintptr_t)side->host;
      break;
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
      break;
    case CU_MEMORYTYPE_ARRAY:
      return CUDA_ERROR_NOT_SUPPORTED;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  *place = (sim_place){.pitch = side->pitch, .plane_pitch = plane_pitch};
  const CUcontext context = side->context != NULL ? side->context : sim_current();
  const CUresult result = sim_place_find_of(context->device, start + offset, size.row_bytes,
                                            size.row_count, size.plane_count, is_written, place);
  /* Addresses of a device type are device memory or page-locked. */
  const bool is_wrong = side->type == CU_MEMORYTYPE_DEVICE && sim_place_is_pageable(place);
  return result == CUDA_SUCCESS && is_wrong ? CUDA_ERROR_INVALID_VALUE : result;
}

static CUresult copy_box(const corner *dst, const corner *src, shape size, CUstream stream) {
  if (size.row_bytes == 0 || size.row_count == 0 || size.plane_count == 0) return CUDA_SUCCESS;
  sim_place to, from;
  CUresult result = find_corner(dst, size, /*is_written=*/true, &to);
  if (result == CUDA_SUCCESS) result = find_corner(src, size, /*is_written=*/false, &from);
  if (result != CUDA_SUCCESS) return result;
  return enqueue_copy(stream, &to, &from, size, MANNER_AS_ASKED);
}

CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream) {
  SIM_ENTER(cuMemcpy2DAsync, SIM_NEEDS_CONTEXT);
  if (copy == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const corner dst = {.type = copy->dstMemoryType,
                      .host = copy->dstHost,
                      .device = copy->dstDevice,
                      .x = copy->dstXInBytes,
                      .y = copy->dstY,
                      .pitch = copy->dstPitch};
  const corner src = {.type = copy->srcMemoryType,
                      .host = copy->srcHost,
                      .device = copy->srcDevice,
                      .x = copy->srcXInBytes,
                      .y = copy->srcY,
                      .pitch = copy->srcPitch};
  return sim_leave(copy_box(&dst, &src, (shape){copy->WidthInBytes, copy->Height, 1}, stream));
}

/* By a description that has the contexts where the plain one has what must be NULL. */
static CUresult copy_volume(const CUDA_MEMCPY3D_PEER *copy, CUstream stream) {
  const corner dst = {.type = copy->dstMemoryType,
                      .host = copy->dstHost,
                      .device = copy->dstDevice,
                      .x = copy->dstXInBytes,
                      .y = copy->dstY,
                      .z = copy->dstZ,
                      .pitch = copy->dstPitch,
                      .height = copy->dstHeight,
                      .context = copy->dstContext};
  const corner src = {.type = copy->srcMemoryType,
                      .host = copy->srcHost,
                      .device = copy->srcDevice,
                      .x = copy->srcXInBytes,
                      .y = copy->srcY,
                      .z = copy->srcZ,
                      .pitch = copy->srcPitch,
                      .height = copy->srcHeight,
                      .context = copy->srcContext};
  if (copy->srcLOD != 0 || copy->dstLOD != 0) return CUDA_ERROR_INVALID_VALUE;
  const shape size = {copy->WidthInBytes, copy->Height, copy->Depth};
  return copy_box(&dst, &src, size, stream);
}

CUresult cuMemcpy3DAsync(const CUDA_MEMCPY3D *copy, CUstream stream) {
  SIM_ENTER(cuMemcpy3DAsync, SIM_NEEDS_CONTEXT);
  if (copy == NULL || copy->reserved0 != NULL || copy->reserved1 != NULL) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  CUDA_MEMCPY3D_PEER same;
  static_assert(
      sizeof same == sizeof *copy &&
          offsetof(CUDA_MEMCPY3D, reserved0) == offsetof(CUDA_MEMCPY3D_PEER, srcContext) &&
          offsetof(CUDA_MEMCPY3D, reserved1) == offsetof(CUDA_MEMCPY3D_PEER, dstContext),
      "the two differ in the contexts alone");
  memcpy(&same, copy, sizeof same);
  return sim_leave(copy_volume(&same, stream));
}

/* Each side is reached by its own device. */
CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *copy, CUstream stream) {
  SIM_ENTER(cuMemcpy3DPeerAsync, SIM_NEEDS_CONTEXT);
  if (copy == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!sim_context_exists(copy->srcContext) || !sim_context_exists(copy->dstContext)) {
    return sim_leave(CUDA_ERROR_INVALID_CONTEXT);
  }
  return sim_leave(copy_volume(copy, stream));
}
