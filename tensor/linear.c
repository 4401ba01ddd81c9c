/* linear.c: linear access: the tensor's own memory where it lies in order, else a gathered copy. */
#include "tensor/tarn_linear.h"

#include "tensor/tarn_copy.h"

static tarn_status check_access(const tarn_tensor *tensor, uint32_t access) {
  const uint32_t known = TARN_LINEAR_READ | TARN_LINEAR_WRITE;
  if ((access & known) == 0 || (access & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "linear access 0x%x is neither READ nor WRITE", access);
  }
  if (tensor == NULL || tensor->storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "linear access to a tensor without a storage");
  }
  tarn_status status = tarn_dtype_check(tensor->dtype);
  if (status != TARN_OK) return status;
  if ((access & TARN_LINEAR_WRITE) == 0) return TARN_OK;
  if (tarn_storage_is_read_only(tensor->storage)) {
    return tarn_fail(TARN_READ_ONLY, "linear access to write a read-only storage");
  }
  if (!tarn_layout_is_contiguous(&tensor->layout) && tarn_layout_overlaps_itself(&tensor->layout)) {
    return tarn_fail(TARN_OVERLAP, "linear access to write a tensor that overlaps itself");
  }
  return TARN_OK;
}

static bool lies_in_order(const tarn_tensor *tensor) {
  return tarn_layout_element_count(&tensor->layout) == 0 ||
         (tarn_device_is_host(tarn_tensor_device(tensor)) &&
          tarn_layout_is_contiguous(&tensor->layout));
}

/* The staging copy as a tensor: row-major in span->staging. Borrows it. */
static tarn_status staging_tensor(const tarn_linear_span *span, tarn_tensor *packed) {
  *packed = (tarn_tensor){.storage = span->staging, .dtype = span->tensor.dtype};
  return tarn_layout_init(&packed->layout, span->tensor.layout.rank, span->tensor.layout.shape);
}

/* Brings the tensor's elements into the staging copy and waits for them. */
static tarn_status gather(tarn_linear_span *span, tarn_stream *stream) {
  tarn_tensor packed;
  tarn_copy_report report = {.struct_size = sizeof report};
  tarn_status status = staging_tensor(span, &packed);
  if (status != TARN_OK) return status;
  status = tarn_tensor_copy(&packed, &span->tensor, stream, &report);
  if (status != TARN_OK) return status;
  span->moved_bytes += report.moved_bytes;
  return report.was_synchronous ? TARN_OK : tarn_stream_synchronize(stream);
}

static tarn_status check_pool(tarn_pool *pool, size_t size_bytes) {
  if (pool == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "%zu bytes do not lie in order on the host, and no pool to stage them in",
                     size_bytes);
  }
  const tarn_pool_attributes *attributes = tarn_pool_attributes_of(pool);
  if (!tarn_device_is_host(attributes->device)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s of device type %d cannot stage for the host",
                     tarn_pool_name(pool), attributes->device.type);
  }
  return TARN_OK;
}

static tarn_status begin_staged(uint32_t access, tarn_pool *pool, tarn_stream *stream,
                                tarn_linear_span *span) {
  tarn_status status = check_pool(pool, span->size_bytes);
  if (status != TARN_OK) return status;
  /* In the order of no stream: the CPU is the one who touches it. */
  status = tarn_storage_create(pool, span->size_bytes, /*stream=*/NULL, &span->staging);
  if (status != TARN_OK) return status;
  if (access & TARN_LINEAR_READ) status = gather(span, stream);
  if (status != TARN_OK) {
    tarn_storage_release(span->staging);
    return status;
  }
  span->data = tarn_storage_data_mutable(span->staging);
  return TARN_OK;
}

tarn_status tarn_linear_begin(const tarn_tensor *tensor, uint32_t access, tarn_pool *pool,
                              tarn_stream *stream, tarn_linear_span *span) {
  if (span == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the span");
  *span = (tarn_linear_span){0};
  tarn_status status = check_access(tensor, access);
  if (status != TARN_OK) return status;
  tarn_linear_span made = {
      .size_bytes = tarn_tensor_size_bytes(tensor), .tensor = *tensor, .access = access};
  if (lies_in_order(tensor)) {
    made.is_zero_copy = true;
    made.data = (void *)(uintptr_t)tarn_tensor_data(tensor);
    status = tarn_stream_synchronize(stream);
  } else {
    status = begin_staged(access, pool, stream, &made);
  }
  if (status != TARN_OK) return status;
  tarn_storage_retain(tensor->storage);
  *span = made;
  return TARN_OK;
}

/* Sends what was written back to where it belongs. */
static tarn_status scatter(tarn_linear_span *span, tarn_stream *stream) {
  tarn_tensor packed;
  tarn_copy_report report = {.struct_size = sizeof report};
  tarn_status status = staging_tensor(span, &packed);
  if (status != TARN_OK) return status;
  status = tarn_tensor_copy(&span->tensor, &packed, stream, &report);
  span->moved_bytes += report.moved_bytes;
  return status;
}

tarn_status tarn_linear_end(tarn_linear_span *span, tarn_stream *stream) {
  tarn_status status = TARN_OK;
  if (span == NULL || span->tensor.storage == NULL) return TARN_OK;
  if (span->staging != NULL && (span->access & TARN_LINEAR_WRITE)) status = scatter(span, stream);
  tarn_storage_release(span->staging);
  tarn_storage_release(span->tensor.storage);
  *span = (tarn_linear_span){.size_bytes = span->size_bytes,
                             .is_zero_copy = span->is_zero_copy,
                             .moved_bytes = span->moved_bytes};
  return status;
}
