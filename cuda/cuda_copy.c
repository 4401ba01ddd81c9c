/* cuda_copy.c: three-dimensional copies and batches of the driver. */
#include "cuda/cuda_copy.h"

#include "cuda/cuda_peer.h"

/* --- planes --- */

typedef struct plane_side {
  const void *address;
  size_t row_pitch;
  int64_t plane_pitch;
} plane_side;

/* The driver counts from plane to plane in rows. */
static bool find_height(const plane_side *side, const tarn_copy_planes *planes, size_t *height) {
  *height = 0;
  if (side->row_pitch < planes->rows.row_bytes || side->plane_pitch < 0) return false;
  const size_t plane_pitch = (size_t)side->plane_pitch;
  *height = plane_pitch / side->row_pitch;
  return plane_pitch % side->row_pitch == 0 && *height >= planes->rows.row_count;
}

/* Whether everything lies before the next seam. */
static bool is_in_one_piece(tarn__seams *seams, const plane_side *side,
                            const tarn_copy_planes *planes) {
  size_t row_span, plane_span, extent;
  return tarn_size_mul(planes->rows.row_count - 1, side->row_pitch, &row_span) &&
         tarn_size_mul(planes->plane_count - 1, (size_t)side->plane_pitch, &plane_span) &&
         tarn_size_add(row_span, plane_span, &extent) &&
         tarn_size_add(extent, planes->rows.row_bytes, &extent) &&
         tarn__seams_room(seams, side->address) >= extent;
}

CUmemorytype tarn__cuda_memory_type(tarn_device device) {
  return tarn_device_is_host(device)       ? CU_MEMORYTYPE_HOST
         : device.type == TARN_DEVICE_CUDA ? CU_MEMORYTYPE_DEVICE
                                           : CU_MEMORYTYPE_UNIFIED;
}

static CUdeviceptr address_of(const void *address) {
  return (CUdeviceptr)(uintptr_t)address;
}

tarn_status tarn__cuda_copy_planes(const tarn__cuda_stream *stream,
                                   const tarn_copy_planes *planes) {
  const tarn_copy_rows *rows = &planes->rows;
  tarn_cuda *cuda = stream->cuda;
  const plane_side dst = {rows->dst, rows->dst_pitch_bytes, planes->dst_pitch_bytes};
  const plane_side src = {rows->src, rows->src_pitch_bytes, planes->src_pitch_bytes};
  const size_t pitch_bytes_max = cuda->devices[stream->device].pitch_bytes_max;
  CUDA_MEMCPY3D copy = {.WidthInBytes = rows->row_bytes,
                        .Height = rows->row_count,
                        .Depth = planes->plane_count,
                        .srcMemoryType = tarn__cuda_memory_type(rows->src_device),
                        .srcHost = rows->src,
                        .srcDevice = address_of(rows->src),
                        .srcPitch = rows->src_pitch_bytes,
                        .dstMemoryType = tarn__cuda_memory_type(rows->dst_device),
                        .dstHost = rows->dst,
                        .dstDevice = address_of(rows->dst),
                        .dstPitch = rows->dst_pitch_bytes};
  if (tarn__cuda_is_elsewhere(stream->device, rows->dst_device, rows->src_device) ||
      cuda->driver.Memcpy3DAsync == NULL || rows->dst_pitch_bytes > pitch_bytes_max ||
      rows->src_pitch_bytes > pitch_bytes_max || !find_height(&dst, planes, &copy.dstHeight) ||
      !find_height(&src, planes, &copy.srcHeight) || !is_in_one_piece(&cuda->seams, &dst, planes) ||
      !is_in_one_piece(&cuda->seams, &src, planes)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "no copy of the driver's for %zu planes of %zu rows",
                     planes->plane_count, rows->row_count);
  }
  const CUresult result = cuda->driver.Memcpy3DAsync(&copy, stream->native);
  return tarn__cuda_status(&cuda->driver, result, "cuMemcpy3DAsync",
                           "a copy of %zu planes of %zu rows of %zu bytes from %p to %p on CUDA "
                           "device %d",
                           planes->plane_count, rows->row_count, rows->row_bytes, rows->src,
                           rows->dst, (int)stream->device);
}

/* --- batches --- */

/* Copies in one call of the driver; more are several calls. Their arrays lie on the stack. */
enum { BATCH_MAX = 512 };

typedef struct batch {
  CUdeviceptr dsts[BATCH_MAX];
  CUdeviceptr srcs[BATCH_MAX];
  size_t sizes[BATCH_MAX];
  size_t count;
  CUmemcpyAttributes attributes; /* of all of them */
} batch;

static CUresult send(const tarn__cuda_stream *stream, batch *self) {
  const tarn__driver *driver = &stream->cuda->driver;
  size_t first = 0, failed = SIZE_MAX;
  const size_t count = self->count;
  self->count = 0;
  if (driver->MemcpyBatchAsync != NULL) {
    return driver->MemcpyBatchAsync(self->dsts, self->srcs, self->sizes, count, &self->attributes,
                                    &first, 1, stream->native);
  }
  return driver->MemcpyBatchAsyncOfCuda12(self->dsts, self->srcs, self->sizes, count,
                                          &self->attributes, &first, 1, &failed, stream->native);
}

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

/* A driver looks at these only for managed memory and for what it did not allocate itself, which
 * registered memory is. */
static CUmemLocation location(const tarn_cuda *cuda, tarn_device device) {
  if (tarn_device_is_host(device)) return (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_HOST};
  return (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_DEVICE,
                         .id = cuda->devices[device.index].native};
}

static bool goes_elsewhere(const tarn_copy_span *a, const tarn_copy_span *b) {
  return !tarn_device_equal(a->dst_device, b->dst_device) ||
         !tarn_device_equal(a->src_device, b->src_device);
}

/* Adds the bytes of one span from `done` on that lie before the next seam; returns how many. */
static size_t add(batch *self, tarn__seams *seams, const tarn_copy_span *span, size_t done) {
  char *const to = (char *)span->dst + done;
  const char *const from = (const char *)span->src + done;
  const size_t room = smaller(tarn__seams_room(seams, to), tarn__seams_room(seams, from));
  const size_t size_bytes = smaller(span->size_bytes - done, room);
  self->dsts[self->count] = address_of(to);
  self->srcs[self->count] = address_of(from);
  self->sizes[self->count++] = size_bytes;
  return size_bytes;
}

static bool may_batch(const tarn__cuda_stream *stream) {
  const tarn__driver *driver = &stream->cuda->driver;
  if (driver->MemcpyBatchAsync == NULL && driver->MemcpyBatchAsyncOfCuda12 == NULL) return false;
  if (stream->native == NULL || stream->native == CU_STREAM_LEGACY ||
      driver->StreamIsCapturing == NULL) {
    return false;
  }
  CUstreamCaptureStatus found = CU_STREAM_CAPTURE_STATUS_NONE;
  return driver->StreamIsCapturing(stream->native, &found) == CUDA_SUCCESS &&
         found == CU_STREAM_CAPTURE_STATUS_NONE;
}

/* Managed memory, for which the driver wants to be told where it lies best, and tarn does not know;
 * memory of other GPUs, which calls copy that know each side's. */
static bool has_special(int32_t own, const tarn_copy_span *spans, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const tarn_device dst = spans[i].dst_device;
    const tarn_device src = spans[i].src_device;
    if (dst.type == TARN_DEVICE_CUDA_MANAGED || src.type == TARN_DEVICE_CUDA_MANAGED) return true;
    if (tarn__cuda_is_elsewhere(own, dst, src)) return true;
  }
  return false;
}

tarn_status tarn__cuda_copy_batch(const tarn__cuda_stream *stream, const tarn_copy_span *spans,
                                  size_t count) {
  if (!may_batch(stream) || has_special(stream->device, spans, count)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "no batch of copies on this stream of CUDA device %d",
                     (int)stream->device);
  }
  batch self = {.count = 0};
  size_t sent = 0;
  CUresult result = CUDA_SUCCESS;
  for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
    self.attributes =
        (CUmemcpyAttributes){.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM,
                             .srcLocHint = location(stream->cuda, spans[i].src_device),
                             .dstLocHint = location(stream->cuda, spans[i].dst_device)};
    const bool is_last_of_kind = i + 1 == count || goes_elsewhere(&spans[i], &spans[i + 1]);
    for (size_t done = 0; done < spans[i].size_bytes && result == CUDA_SUCCESS;) {
      done += add(&self, &stream->cuda->seams, &spans[i], done);
      const bool is_full = self.count == BATCH_MAX;
      if (!is_full && !(is_last_of_kind && done == spans[i].size_bytes)) continue;
      result = send(stream, &self);
      sent += result == CUDA_SUCCESS;
    }
  }
  /* What a driver takes in a batch is not what it takes one by one, which will tell; and copied
   * twice is copied. */
  if (result == CUDA_ERROR_INVALID_VALUE && sent == 0) result = CUDA_ERROR_NOT_SUPPORTED;
  const tarn_status status =
      tarn__cuda_status(&stream->cuda->driver, result, "cuMemcpyBatchAsync",
                        "a batch of %zu copies on CUDA device %d", count, (int)stream->device);
  /* Not an answer any more: some of it is under way. */
  return status == TARN_NOT_SUPPORTED && sent > 0 ? TARN_DEVICE_ERROR : status;
}
