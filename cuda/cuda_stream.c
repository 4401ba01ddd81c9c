/* cuda_stream.c: a CUDA stream behind the stream seam.
 *
 * Page-locked and device memory moves in the stream's order. Pageable memory (TARN_DEVICE_CPU) is
 * never left to a copy that is still under way: the call waits for the stream before it returns.
 */
#include "cuda/copy_grid.h"
#include "cuda/cuda_copy.h"
#include "cuda/cuda_fence.h"
#include "cuda/cuda_peer.h"

#include <stdlib.h>
#include <string.h>

typedef struct cuda_stream {
  tarn_cuda *cuda; /* retained */
  int32_t device;
  CUcontext context;
  CUstream native;
  bool is_owned;   /* created here, so destroyed here */
  uint64_t thread; /* the one whose default stream it is; 0: any thread may name it */
} cuda_stream;

/* --- what is enqueued --- */

static CUdeviceptr device_address(const void *address) {
  return (CUdeviceptr)(uintptr_t)address;
}

static tarn_status check_reach(const cuda_stream *self, tarn_device device) {
  if (device.type == TARN_DEVICE_CPU || device.type == TARN_DEVICE_CUDA_HOST) return TARN_OK;
  if ((device.type == TARN_DEVICE_CUDA || device.type == TARN_DEVICE_CUDA_MANAGED) &&
      device.index >= 0 && device.index < self->cuda->device_count) {
    return TARN_OK;
  }
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "a stream of CUDA device %d does not reach device type %d index %d",
                   (int)self->device, (int)device.type, (int)device.index);
}

static bool is_pageable(tarn_device device) {
  return device.type == TARN_DEVICE_CPU;
}

static tarn_status wait_for_stream(const cuda_stream *self, const char *what) {
  const CUresult result = self->cuda->driver.StreamSynchronize(self->native);
  return tarn__cuda_status(&self->cuda->driver, result, "cuStreamSynchronize",
                           "%s on CUDA device %d", what, (int)self->device);
}

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

static size_t room_at(const cuda_stream *self, const void *dst, const void *src) {
  tarn__seams *seams = &self->cuda->seams;
  return smaller(tarn__seams_room(seams, dst), tarn__seams_room(seams, src));
}

static tarn_status copy_piece(const cuda_stream *self, void *dst, const void *src,
                              size_t size_bytes) {
  const CUresult result = self->cuda->driver.MemcpyAsync(device_address(dst), device_address(src),
                                                         size_bytes, self->native);
  return tarn__cuda_status(&self->cuda->driver, result, "cuMemcpyAsync",
                           "a copy of %zu bytes from %p to %p on CUDA device %d", size_bytes, src,
                           dst, (int)self->device);
}

/* Cut at the seams of page-locked memory. Where a piece fails, those before it stay enqueued: the
 * destination is the copy's to write anyway. */
static tarn_status copy_line(const cuda_stream *self, void *dst, const void *src,
                             size_t size_bytes) {
  tarn_status status = TARN_OK;
  for (size_t done = 0; done < size_bytes && status == TARN_OK;) {
    char *const to = (char *)dst + done;
    const char *const from = (const char *)src + done;
    const size_t piece_bytes = smaller(size_bytes - done, room_at(self, to, from));
    status = copy_piece(self, to, from, piece_bytes);
    done += piece_bytes;
  }
  return status;
}

static tarn_status copy_rectangle(const cuda_stream *self, const tarn_copy_rows *rows) {
  const CUDA_MEMCPY2D copy = {.srcMemoryType = tarn__cuda_memory_type(rows->src_device),
                              .srcHost = rows->src,
                              .srcDevice = device_address(rows->src),
                              .srcPitch = rows->src_pitch_bytes,
                              .dstMemoryType = tarn__cuda_memory_type(rows->dst_device),
                              .dstHost = rows->dst,
                              .dstDevice = device_address(rows->dst),
                              .dstPitch = rows->dst_pitch_bytes,
                              .WidthInBytes = rows->row_bytes,
                              .Height = rows->row_count};
  const CUresult result = self->cuda->driver.Memcpy2DAsync(&copy, self->native);
  return tarn__cuda_status(&self->cuda->driver, result, "cuMemcpy2DAsync",
                           "a copy of %zu rows of %zu bytes, pitches %zu and %zu, from %p to %p on "
                           "CUDA device %d",
                           rows->row_count, rows->row_bytes, rows->src_pitch_bytes,
                           rows->dst_pitch_bytes, rows->src, rows->dst, (int)self->device);
}

/* How many rows, from the first one on, lie before the next seam; 0 where the first is cut. */
static size_t rows_before_seam(size_t room_bytes, const tarn_copy_rows *rows, size_t pitch_bytes) {
  if (room_bytes < rows->row_bytes) return 0;
  return pitch_bytes == 0
             ? rows->row_count
             : smaller((room_bytes - rows->row_bytes) / pitch_bytes + 1, rows->row_count);
}

/* Cut at the seams as well: rectangles, and lines where a seam goes through a row. */
static tarn_status copy_rectangles(const cuda_stream *self, tarn_copy_rows rows) {
  tarn__seams *seams = &self->cuda->seams;
  tarn_status status = TARN_OK;
  while (rows.row_count > 0 && status == TARN_OK) {
    tarn_copy_rows piece = rows;
    piece.row_count =
        smaller(rows_before_seam(tarn__seams_room(seams, rows.dst), &rows, rows.dst_pitch_bytes),
                rows_before_seam(tarn__seams_room(seams, rows.src), &rows, rows.src_pitch_bytes));
    if (piece.row_count == 0) {
      piece.row_count = 1;
      status = copy_line(self, rows.dst, rows.src, rows.row_bytes);
    } else {
      status = copy_rectangle(self, &piece);
    }
    rows.row_count -= piece.row_count;
    rows.dst = (char *)rows.dst + piece.row_count * rows.dst_pitch_bytes;
    rows.src = (const char *)rows.src + piece.row_count * rows.src_pitch_bytes;
  }
  return status;
}

/* Pitches beyond what the driver takes. */
static tarn_status copy_row_by_row(const cuda_stream *self, const tarn_copy_rows *rows) {
  tarn_status status = TARN_OK;
  for (size_t row = 0; row < rows->row_count && status == TARN_OK; row++) {
    status = copy_line(self, (char *)rows->dst + row * rows->dst_pitch_bytes,
                       (const char *)rows->src + row * rows->src_pitch_bytes, rows->row_bytes);
  }
  return status;
}

/* On memory that this stream's device may reach. */
static tarn_status enqueue_plain_copy(const cuda_stream *self, const tarn_copy_rows *rows) {
  const bool is_contiguous = rows->row_count == 1 || (rows->dst_pitch_bytes == rows->row_bytes &&
                                                      rows->src_pitch_bytes == rows->row_bytes);
  size_t total_bytes;
  if (!tarn_size_mul(rows->row_bytes, rows->row_count, &total_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "a copy of %zu rows of %zu bytes", rows->row_count,
                     rows->row_bytes);
  }
  if (is_contiguous) return copy_line(self, rows->dst, rows->src, total_bytes);
  const size_t pitch_bytes_max = self->cuda->devices[self->device].pitch_bytes_max;
  if (rows->dst_pitch_bytes > pitch_bytes_max || rows->src_pitch_bytes > pitch_bytes_max) {
    return copy_row_by_row(self, rows);
  }
  return copy_rectangles(self, *rows);
}

typedef struct fill {
  char *dst;
  size_t size_bytes;
  uint8_t value;
} fill;

static tarn_status enqueue_plain_fill(const cuda_stream *self, const fill *what) {
  CUresult result = CUDA_SUCCESS;
  for (size_t done = 0; done < what->size_bytes && result == CUDA_SUCCESS;) {
    const size_t piece_bytes =
        smaller(what->size_bytes - done, tarn__seams_room(&self->cuda->seams, what->dst + done));
    result = self->cuda->driver.MemsetD8Async(device_address(what->dst + done), what->value,
                                              piece_bytes, self->native);
    done += piece_bytes;
  }
  return tarn__cuda_status(&self->cuda->driver, result, "cuMemsetD8Async",
                           "a fill of %zu bytes at %p on CUDA device %d", what->size_bytes,
                           (void *)what->dst, (int)self->device);
}

/* --- by another device --- */

/* One of the two. */
typedef struct errand {
  const tarn_copy_rows *rows;
  const fill *fill;
} errand;

static tarn_status run_errand(const cuda_stream *self, const errand *what) {
  return what->rows != NULL ? enqueue_plain_copy(self, what->rows)
                            : enqueue_plain_fill(self, what->fill);
}

/* On the other device's stream, whose context becomes current: behind the fence, and the fence
 * behind it, even where it failed, for some of it may be under way. */
static tarn_status run_behind(const cuda_stream *other, tarn__cuda_fence *fence,
                              const errand *what) {
  tarn_cuda *cuda = other->cuda;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter(cuda, other->context, &scope);
  if (status != TARN_OK) return status;
  status = tarn__cuda_fence_wait(fence, cuda, other->native);
  if (status == TARN_OK) {
    status = run_errand(other, what);
    const tarn_error cause = *tarn_last_error();
    const tarn_status marked = tarn__cuda_fence_record(fence, cuda, other->device, other->native);
    if (marked != TARN_OK) cuda->driver.StreamSynchronize(other->native);
    if (status != TARN_OK) {
      status = tarn_fail_again(&cause);
    } else {
      status = marked;
    }
  }
  tarn__cuda_leave(&scope);
  return status;
}

/* Memory of another device may be closed to this stream's: virtual memory and that of pools is,
 * unless somebody opens it, and then a driver refuses copies with the host as well (seen with
 * cudaMallocAsync: NVIDIA's bug 3446335). What is not between two devices the other one does
 * itself, in its stream for this thread, at this stream's turn. */
static tarn_status enqueue_elsewhere(const cuda_stream *self, int32_t device, const errand *what) {
  cuda_stream other = {.cuda = self->cuda, .device = device, .native = CU_STREAM_PER_THREAD};
  tarn__cuda_fence *fence = NULL;
  tarn_status status = tarn__cuda_context(self->cuda, device, &other.context);
  if (status == TARN_OK) status = tarn__cuda_fence_create(self->cuda, self->device, &fence);
  if (status != TARN_OK) return status;
  status = tarn__cuda_fence_record(fence, self->cuda, self->device, self->native);
  if (status == TARN_OK) {
    status = run_behind(&other, fence, what);
    const tarn_error cause = *tarn_last_error();
    const tarn_status joined = tarn__cuda_fence_wait(fence, self->cuda, self->native);
    if (joined != TARN_OK) (void)!tarn__cuda_fence_synchronize(fence);
    if (status != TARN_OK) {
      status = tarn_fail_again(&cause);
    } else {
      status = joined;
    }
  }
  tarn__cuda_fence_destroy(fence);
  return status;
}

static tarn_status enqueue_copy(const cuda_stream *self, const tarn_copy_rows *rows) {
  const tarn_device dst = rows->dst_device, src = rows->src_device;
  if (!tarn__cuda_is_elsewhere(self->device, dst, src)) return enqueue_plain_copy(self, rows);
  if (dst.type == TARN_DEVICE_CUDA && src.type == TARN_DEVICE_CUDA) {
    return tarn__cuda_can_copy_between(self->cuda)
               ? tarn__cuda_copy_between(self->cuda, self->native, rows)
               : enqueue_plain_copy(self, rows);
  }
  const int32_t owner = dst.type == TARN_DEVICE_CUDA ? dst.index : src.index;
  return enqueue_elsewhere(self, owner, &(errand){.rows = rows});
}

static tarn_status enqueue_fill(const cuda_stream *self, tarn_device device, const fill *what) {
  return tarn__cuda_is_elsewhere(self->device, device, device)
             ? enqueue_elsewhere(self, device.index, &(errand){.fill = what})
             : enqueue_plain_fill(self, what);
}

/* --- which thread and context --- */

/* Never used again, unlike what pthread_self says. */
static uint64_t thread_number(void) {
  static _Atomic uint64_t thread_count;
  static _Thread_local uint64_t number;
  if (number == 0) number = atomic_fetch_add(&thread_count, 1) + 1;
  return number;
}

static bool is_elsewhere(const cuda_stream *self) {
  return self->thread != 0 && self->thread != thread_number();
}

/* To another thread the handle names another stream. */
static tarn_status check_thread(const cuda_stream *self) {
  if (!is_elsewhere(self)) return TARN_OK;
  return tarn_fail(
      TARN_NOT_SUPPORTED,
      "CU_STREAM_PER_THREAD was wrapped in another thread: it is not that stream here");
}

/* Makes the stream's context current, for calls that wait and for those that do not. */
static tarn_status enter(const cuda_stream *self, bool waits, tarn__cuda_scope *scope) {
  const tarn_status status = check_thread(self);
  if (status != TARN_OK) return status;
  return waits ? tarn__cuda_enter_relaxed(self->cuda, self->context, scope)
               : tarn__cuda_enter(self->cuda, self->context, scope);
}

static tarn_status stream_copy(void *context, const tarn_copy_rows *rows) {
  const cuda_stream *self = context;
  tarn_status status = check_reach(self, rows->dst_device);
  if (status == TARN_OK) status = check_reach(self, rows->src_device);
  if (status != TARN_OK) return status;
  tarn__cuda_scope scope;
  status =
      enter(self, /*waits=*/is_pageable(rows->dst_device) || is_pageable(rows->src_device), &scope);
  if (status != TARN_OK) return status;
  status = enqueue_copy(self, rows);
  if (status == TARN_OK && (is_pageable(rows->dst_device) || is_pageable(rows->src_device))) {
    status = wait_for_stream(self, "the end of a copy with pageable memory");
  }
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status stream_copy_planes(void *context, const tarn_copy_planes *planes) {
  const cuda_stream *self = context;
  const tarn__cuda_stream stream = {self->cuda, self->device, self->native};
  tarn_status status = check_reach(self, planes->rows.dst_device);
  if (status == TARN_OK) status = check_reach(self, planes->rows.src_device);
  tarn__cuda_scope scope;
  if (status == TARN_OK) status = enter(self, /*waits=*/false, &scope);
  if (status != TARN_OK) return status;
  status = tarn__cuda_copy_planes(&stream, planes);
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status stream_copy_batch(void *context, const tarn_copy_span *spans, size_t count) {
  const cuda_stream *self = context;
  const tarn__cuda_stream stream = {self->cuda, self->device, self->native};
  tarn_status status = TARN_OK;
  for (size_t i = 0; i < count && status == TARN_OK; i++) {
    status = check_reach(self, spans[i].dst_device);
    if (status == TARN_OK) status = check_reach(self, spans[i].src_device);
  }
  tarn__cuda_scope scope;
  if (status == TARN_OK) status = enter(self, /*waits=*/false, &scope);
  if (status != TARN_OK) return status;
  status = tarn__cuda_copy_batch(&stream, spans, count);
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status stream_copy_grid(void *context, const tarn_copy_grid *grid) {
  const cuda_stream *self = context;
  const tarn_status status = check_thread(self);
  if (status != TARN_OK) return status;
  return tarn__cuda_copy_grid(self->cuda, self->device, self->context, self->native, grid);
}

static tarn_status stream_fill(void *context, void *dst, tarn_device dst_device, uint8_t value,
                               size_t size_bytes) {
  const cuda_stream *self = context;
  tarn_status status = check_reach(self, dst_device);
  if (status != TARN_OK) return status;
  tarn__cuda_scope scope;
  status = enter(self, /*waits=*/is_pageable(dst_device), &scope);
  if (status != TARN_OK) return status;
  if (is_pageable(dst_device)) {
    /* No device writes there; in the stream's order all the same. */
    status = wait_for_stream(self, "the work before a fill of pageable memory");
    if (status == TARN_OK) memset(dst, value, size_bytes);
  } else {
    status = enqueue_fill(self, dst_device, &(fill){dst, size_bytes, value});
  }
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status stream_call(void *context, tarn_host_function function, void *argument) {
  const cuda_stream *self = context;
  tarn__cuda_scope scope;
  const tarn_status status = enter(self, /*waits=*/false, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = self->cuda->driver.LaunchHostFunc(self->native, function, argument);
  tarn__cuda_leave(&scope);
  return tarn__cuda_status(&self->cuda->driver, result, "cuLaunchHostFunc",
                           "a host function on CUDA device %d", (int)self->device);
}

/* Another thread's default stream cannot be named here: all of the device is waited for. */
static tarn_status wait_for_device(const cuda_stream *self) {
  const tarn__driver *driver = &self->cuda->driver;
  tarn__cuda_scope scope;
  const tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result =
      driver->CtxSynchronize != NULL ? driver->CtxSynchronize() : CUDA_ERROR_NOT_SUPPORTED;
  tarn__cuda_leave(&scope);
  return tarn__cuda_status(driver, result, "cuCtxSynchronize",
                           "another thread's default stream on CUDA device %d", (int)self->device);
}

static tarn_status stream_synchronize(void *context) {
  const cuda_stream *self = context;
  if (is_elsewhere(self)) return wait_for_device(self);
  tarn__cuda_scope scope;
  tarn_status status = enter(self, /*waits=*/true, &scope);
  if (status != TARN_OK) return status;
  status = wait_for_stream(self, "a stream");
  tarn__cuda_leave(&scope);
  return status;
}

/* --- fences --- */

static tarn_status stream_fence_create(void *context, void **fence) {
  const cuda_stream *self = context;
  *fence = NULL;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  tarn__cuda_fence *made;
  status = tarn__cuda_fence_create(self->cuda, self->device, &made);
  tarn__cuda_leave(&scope);
  if (status == TARN_OK) *fence = made;
  return status;
}

static tarn_status stream_fence_record(void *context, void *fence) {
  const cuda_stream *self = context;
  tarn__cuda_scope scope;
  tarn_status status = enter(self, /*waits=*/false, &scope);
  if (status != TARN_OK) return status;
  status = tarn__cuda_fence_record(fence, self->cuda, self->device, self->native);
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status stream_fence_wait(void *context, void *fence) {
  const cuda_stream *self = context;
  tarn__cuda_scope scope;
  tarn_status status = enter(self, /*waits=*/false, &scope);
  if (status != TARN_OK) return status;
  status = tarn__cuda_fence_wait(fence, self->cuda, self->native);
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status fence_query(void *fence) {
  return tarn__cuda_fence_query(fence);
}

static tarn_status fence_synchronize(void *fence) {
  return tarn__cuda_fence_synchronize(fence);
}

static void fence_destroy(void *fence) {
  tarn__cuda_fence_destroy(fence);
}

static tarn_status stream_is_capturing(void *context, bool *is_capturing) {
  const cuda_stream *self = context;
  *is_capturing = false;
  if (self->cuda->driver.StreamIsCapturing == NULL) return TARN_OK; /* older than captures */
  tarn__cuda_scope scope;
  const tarn_status status = enter(self, /*waits=*/false, &scope);
  if (status != TARN_OK) return status;
  CUstreamCaptureStatus found = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult result = self->cuda->driver.StreamIsCapturing(self->native, &found);
  tarn__cuda_leave(&scope);
  *is_capturing = found != CU_STREAM_CAPTURE_STATUS_NONE;
  return tarn__cuda_status(&self->cuda->driver, result, "cuStreamIsCapturing",
                           "a stream of CUDA device %d", (int)self->device);
}

/* --- life --- */

/* cuStreamDestroy returns at once; what is enqueued finishes. Tried twice, for a stream that stays
 * is lost. */
static void destroy_native(tarn_cuda *cuda, CUcontext context, CUstream native) {
  tarn__cuda_scope scope;
  if (tarn__cuda_is_left_behind(cuda)) return;
  tarn_status status = TARN_NOT_READY;
  for (int attempt = 0; status != TARN_OK && attempt < 2; attempt++) {
    status = tarn__cuda_enter(cuda, context, &scope);
  }
  if (status != TARN_OK) return;
  if (cuda->driver.StreamDestroy(native) != CUDA_SUCCESS) cuda->driver.StreamDestroy(native);
  tarn__cuda_leave(&scope);
}

static void stream_destroy(void *context) {
  cuda_stream *self = context;
  if (self->is_owned) destroy_native(self->cuda, self->context, self->native);
  tarn_cuda_release(self->cuda);
  free(self);
}

static const tarn_stream_ops cuda_stream_ops = {
    .struct_size = sizeof cuda_stream_ops,
    .name = "cuda",
    .copy = stream_copy,
    .fill = stream_fill,
    .call = stream_call,
    .synchronize = stream_synchronize,
    .destroy = stream_destroy,
    .fence_create = stream_fence_create,
    .fence_record = stream_fence_record,
    .fence_wait = stream_fence_wait,
    .fence_query = fence_query,
    .fence_synchronize = fence_synchronize,
    .fence_destroy = fence_destroy,
    .is_capturing = stream_is_capturing,
    .copy_planes = stream_copy_planes,
    .copy_batch = stream_copy_batch,
    .copy_grid = stream_copy_grid,
};

/* Puts `native` behind the seam; takes it, where it is owned, only from TARN_OK on. */
static tarn_status make_stream(tarn_cuda *cuda, int32_t device, CUcontext context, CUstream native,
                               bool is_owned, tarn_stream **stream) {
  cuda_stream *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a CUDA stream's handle");
  *made = (cuda_stream){.cuda = cuda,
                        .device = device,
                        .context = context,
                        .native = native,
                        .is_owned = is_owned,
                        .thread = native == CU_STREAM_PER_THREAD ? thread_number() : 0};
  const tarn_stream_options options = {.struct_size = sizeof options,
                                       .device = tarn_device_make(TARN_DEVICE_CUDA, device)};
  const tarn_status status = tarn_stream_create(&cuda_stream_ops, made, &options, stream);
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  tarn_cuda_retain(cuda);
  return TARN_OK;
}

tarn_status tarn_cuda_stream_create(tarn_cuda *cuda, int32_t device, tarn_stream **stream) {
  if (stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "stream is NULL");
  *stream = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  CUcontext context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__cuda_enter(cuda, context, &scope);
  if (status != TARN_OK) return status;
  CUstream native = NULL;
  const CUresult result = cuda->driver.StreamCreate(&native, CU_STREAM_NON_BLOCKING);
  tarn__cuda_leave(&scope);
  status = tarn__cuda_status(&cuda->driver, result, "cuStreamCreate", "a stream on CUDA device %d",
                             (int)device);
  if (status != TARN_OK) return status;
  status = make_stream(cuda, device, context, native, /*is_owned=*/true, stream);
  if (status != TARN_OK) destroy_native(cuda, context, native);
  return status;
}

/* A stream of another context is refused here rather than at every use. */
static tarn_status check_native(tarn_cuda *cuda, int32_t device, CUcontext context,
                                CUstream native) {
  if (cuda->driver.StreamGetCtx == NULL) return TARN_OK;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter(cuda, context, &scope);
  if (status != TARN_OK) return status;
  CUcontext owner = NULL;
  const CUresult result = cuda->driver.StreamGetCtx(native, &owner);
  tarn__cuda_leave(&scope);
  status =
      tarn__cuda_status(&cuda->driver, result, "cuStreamGetCtx", "the CUstream %p", (void *)native);
  if (status != TARN_OK || owner == context) return status;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "the CUstream %p does not belong to the primary context of CUDA device %d",
                   (void *)native, (int)device);
}

tarn_status tarn_cuda_stream_wrap(tarn_cuda *cuda, int32_t device, void *native_stream,
                                  tarn_stream **stream) {
  if (stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "stream is NULL");
  *stream = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  CUcontext context;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = check_native(cuda, device, context, native_stream);
  if (status != TARN_OK) return status;
  return make_stream(cuda, device, context, native_stream, /*is_owned=*/false, stream);
}

bool tarn__cuda_stream_of(const tarn_stream *stream, tarn__cuda_stream *found) {
  const cuda_stream *self = stream != NULL ? tarn_stream_context(stream, &cuda_stream_ops) : NULL;
  if (self == NULL || is_elsewhere(self)) return false;
  *found = (tarn__cuda_stream){self->cuda, self->device, self->native};
  return true;
}

tarn_status tarn_cuda_stream_native(const tarn_stream *stream, void **native_stream) {
  if (native_stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "native_stream is NULL");
  *native_stream = NULL;
  const cuda_stream *self = tarn_stream_context(stream, &cuda_stream_ops);
  if (self == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a %s stream has no CUstream",
                     tarn_stream_name(stream));
  }
  *native_stream = self->native;
  return TARN_OK;
}
