/* element.c: reads the one element of a tensor, and fills all of one. */
#include "tensor/tarn_element.h"
#include "tensor/element.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_capture.h"
#include "alloc/tarn_stream_copy.h"
#include "tensor/copy_direct.h"
#include "tensor/tarn_copy.h"

/* The longest element that is one value: complex128. */
enum { VALUE_BYTES_MAX = 16 };

/* What is copied over a device's memory until it is full: large enough for few calls, small enough
 * for the stack. */
enum { SEED_BYTES = 4096 };

tarn_status tarn__element_check(const tarn_tensor *tensor, const char *what) {
  int64_t first, end;
  if (tensor == NULL || tensor->storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s a tensor without a storage", what);
  }
  tarn_status status = tarn_dtype_check(tensor->dtype);
  if (status != TARN_OK) return status;
  const size_t size_bytes = tarn_storage_size_bytes(tensor->storage);
  tarn_layout_bounds(&tensor->layout, &first, &end);
  if (first >= 0 && (uint64_t)end <= size_bytes / tarn_dtype_size_bytes(tensor->dtype)) {
    return TARN_OK;
  }
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "elements %" PRId64 " to %" PRId64 " do not lie in a storage of %zu bytes",
                   first, end - 1, size_bytes);
}

/* --- item --- */

tarn_status tarn_tensor_item(const tarn_tensor *tensor, tarn_stream *stream, tarn_scalar *scalar) {
  char value[VALUE_BYTES_MAX];
  if (scalar == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the value");
  *scalar = tarn_scalar_of_bool(false);
  tarn_status status = tarn__element_check(tensor, "the item of");
  if (status != TARN_OK) return status;
  const int64_t count = tarn_layout_element_count(&tensor->layout);
  if (count != 1) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tensor of %" PRId64 " elements has no one item",
                     count);
  }
  const void *data = tarn_tensor_data(tensor);
  const tarn_device device = tarn_tensor_device(tensor);
  if (tarn_device_is_host(device)) {
    if (stream != NULL) status = tarn_stream_synchronize(stream);
    return status == TARN_OK ? tarn_scalar_load(tensor->dtype, data, scalar) : status;
  }
  const size_t element_bytes = tarn_dtype_size_bytes(tensor->dtype);
  if (element_bytes > sizeof value) return tarn_scalar_load(tensor->dtype, value, scalar);
  /* Into pageable memory: the copy is done when the call returns. */
  status = tarn_stream_copy(stream, value, tarn_device_make(TARN_DEVICE_CPU, 0), data, device,
                            element_bytes);
  if (status == TARN_OK) status = tarn_stream_synchronize(stream);
  return status == TARN_OK ? tarn_scalar_load(tensor->dtype, value, scalar) : status;
}

/* --- fill --- */

/* What a stream's thread fills. Its storages are wrapped around the memory alone: the caller's own
 * may be gone by then, though not the bytes, and a reference must not end on a driver's thread. */
typedef struct fill_job {
  tarn_tensor target;
  tarn_storage *value_storage; /* around `value` */
  _Alignas(VALUE_BYTES_MAX) char value[VALUE_BYTES_MAX];
} fill_job;

static bool is_uniform(const char *value, size_t element_bytes) {
  return memcmp(value, value + 1, element_bytes - 1) == 0;
}

/* The tensor's elements are those of one range of memory, each once. */
static bool dense_range(const tarn_tensor *tensor, size_t element_bytes, size_t *first_byte,
                        size_t *size_bytes) {
  int64_t first, end;
  tarn_layout_bounds(&tensor->layout, &first, &end);
  *first_byte = (size_t)first * element_bytes;
  *size_bytes = (size_t)(end - first) * element_bytes;
  /* As many elements as places, and no place twice. */
  return end - first == tarn_layout_element_count(&tensor->layout);
}

static tarn_status wrap_bytes(void *address, size_t size_bytes, tarn_storage **storage) {
  const tarn_blob blob = {.struct_size = sizeof blob, .address = address, .size_bytes = size_bytes};
  return tarn_storage_wrap(&blob, storage);
}

/* One element is broadcast to all. */
static tarn_status copy_value(const tarn_tensor *tensor, tarn_storage *value, tarn_stream *stream) {
  const tarn_tensor scalar = {.storage = value, .dtype = tensor->dtype};
  return tarn_tensor_copy(tensor, &scalar, stream, NULL);
}

static void drop_job(fill_job *job) {
  tarn_storage_release(job->target.storage);
  tarn_storage_release(job->value_storage);
  free(job);
}

static void run_fill(void *argument) {
  fill_job *job = argument;
  const tarn_status status = copy_value(&job->target, job->value_storage, NULL);
  TARN_ASSERT(status == TARN_OK); /* all that could be wrong was looked at before */
  (void)status;
  drop_job(job);
}

static tarn_status make_job(const tarn_tensor *tensor, const char *value, size_t element_bytes,
                            fill_job **made) {
  *made = NULL;
  fill_job *job = calloc(1, sizeof *job);
  if (job == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to enqueue a fill");
  memcpy(job->value, value, element_bytes);
  job->target = *tensor;
  tarn_status status = wrap_bytes(tarn_storage_data_mutable(tensor->storage),
                                  tarn_storage_size_bytes(tensor->storage), &job->target.storage);
  if (status == TARN_OK) status = wrap_bytes(job->value, element_bytes, &job->value_storage);
  if (status != TARN_OK) {
    drop_job(job);
    return status;
  }
  *made = job;
  return TARN_OK;
}

/* Memory that is in use and cannot be said to be so is waited for; where that fails too, memory
 * that is never freed is the lesser evil. */
static tarn_status note_use(const tarn_tensor *tensor, tarn_stream *stream) {
  if (tarn_storage_note_use(tensor->storage, stream) == TARN_OK) return TARN_OK;
  const tarn_status status = tarn_stream_synchronize(stream);
  if (status != TARN_OK) tarn_storage_retain(tensor->storage);
  return status;
}

static tarn_status enqueue_host_fill(const tarn_tensor *tensor, const char *value,
                                     size_t element_bytes, tarn_stream *stream) {
  if (tarn_stream_is_captured(stream)) {
    /* The job is freed when it has run, and would run at every launch. */
    return tarn_fail(TARN_NOT_SUPPORTED, "a fill by the host on a stream that is being captured");
  }
  fill_job *job = NULL;
  tarn_status status = make_job(tensor, value, element_bytes, &job);
  if (status != TARN_OK) return status;
  status = tarn_stream_call(stream, run_fill, job);
  if (status != TARN_OK) {
    drop_job(job);
    return status;
  }
  return note_use(tensor, stream);
}

static tarn_status fill_host(const tarn_tensor *tensor, char *value, size_t element_bytes,
                             tarn_stream *stream) {
  size_t first_byte, size_bytes;
  if (!tarn_stream_is_synchronous(stream)) {
    return enqueue_host_fill(tensor, value, element_bytes, stream);
  }
  if (is_uniform(value, element_bytes) &&
      dense_range(tensor, element_bytes, &first_byte, &size_bytes)) {
    memset((char *)tarn_storage_data_mutable(tensor->storage) + first_byte, value[0], size_bytes);
    return TARN_OK;
  }
  tarn_storage *value_storage;
  tarn_status status = wrap_bytes(value, element_bytes, &value_storage);
  if (status != TARN_OK) return status;
  status = copy_value(tensor, value_storage, NULL);
  tarn_storage_release(value_storage);
  return status;
}

/* A seed from the host, which then doubles itself on the device. */
static tarn_status fill_by_doubling(char *to, size_t size_bytes, tarn_device device,
                                    const char *value, size_t element_bytes, tarn_stream *stream) {
  char seed[SEED_BYTES];
  size_t done = sizeof seed / element_bytes * element_bytes;
  if (done > size_bytes) done = size_bytes;
  for (size_t at = 0; at < done; at += element_bytes) memcpy(seed + at, value, element_bytes);
  tarn_status status =
      tarn_stream_copy(stream, to, device, seed, tarn_device_make(TARN_DEVICE_CPU, 0), done);
  while (status == TARN_OK && done < size_bytes) {
    const size_t more = done < size_bytes - done ? done : size_bytes - done;
    status = tarn_stream_copy(stream, to + done, device, to, device, more);
    done += more;
  }
  return status;
}

/* By the stream itself, where it has a way for elements: a copy of one that is broadcast. */
static tarn_status fill_by_grid(const tarn_tensor *tensor, char *value, size_t element_bytes,
                                tarn_stream *stream) {
  tarn__copy_plan plan;
  tarn__copy_outcome outcome = {.issued_count = 0};
  const tarn__copy_elements same = {.dst_bytes = element_bytes, .src_bytes = element_bytes};
  const tarn__copy_side dst = {tarn_storage_data_mutable(tensor->storage), tensor->layout,
                               tarn_tensor_device(tensor)};
  tarn__copy_side src = {value, {.rank = 0}, tarn_device_make(TARN_DEVICE_CPU, 0)};
  if ((tarn_stream_copy_abilities(stream) & TARN_STREAM_COPIES_GRIDS) == 0) {
    return TARN_NOT_SUPPORTED;
  }
  const tarn_status status = tarn_layout_expand(&src.layout, dst.layout.rank, dst.layout.shape);
  if (status != TARN_OK) return status;
  tarn__copy_plan_make(&dst.layout, &src.layout, element_bytes, element_bytes, &plan);
  if (!tarn__copy_plan_fits_grid(&plan)) return TARN_NOT_SUPPORTED;
  return tarn__copy_by_grid(&plan, &dst, &src, &same, stream, &outcome);
}

static tarn_status fill_device(const tarn_tensor *tensor, char *value, size_t element_bytes,
                               tarn_stream *stream) {
  size_t first_byte, size_bytes;
  const tarn_device device = tarn_tensor_device(tensor);
  const bool is_dense = dense_range(tensor, element_bytes, &first_byte, &size_bytes);
  if (!is_dense || !is_uniform(value, element_bytes)) {
    const tarn_status status = fill_by_grid(tensor, value, element_bytes, stream);
    if (status != TARN_NOT_SUPPORTED) {
      const tarn_status noted = note_use(tensor, stream); /* a part of it may be under way */
      return status == TARN_OK ? noted : status;
    }
  }
  if (!is_dense) {
    tarn_storage *value_storage;
    tarn_status status = wrap_bytes(value, element_bytes, &value_storage);
    if (status != TARN_OK) return status;
    status = copy_value(tensor, value_storage, stream);
    tarn_storage_release(value_storage);
    return status;
  }
  char *to = (char *)tarn_storage_data_mutable(tensor->storage) + first_byte;
  tarn_status status = TARN_NOT_SUPPORTED;
  if (is_uniform(value, element_bytes)) {
    status = tarn_stream_fill(stream, to, device, (uint8_t)value[0], size_bytes);
  }
  if (status == TARN_NOT_SUPPORTED) {
    status = fill_by_doubling(to, size_bytes, device, value, element_bytes, stream);
  }
  const tarn_status noted = note_use(tensor, stream); /* after a failure in the middle too */
  return status == TARN_OK ? noted : status;
}

static tarn_status check_fill(const tarn_tensor *tensor) {
  tarn_status status = tarn__element_check(tensor, "to fill");
  if (status != TARN_OK) return status;
  if (tarn_storage_is_read_only(tensor->storage)) {
    return tarn_fail(TARN_READ_ONLY, "a read-only storage to fill");
  }
  if (!tarn_layout_is_contiguous(&tensor->layout) && tarn_layout_overlaps_itself(&tensor->layout)) {
    return tarn_fail(TARN_OVERLAP, "a tensor to fill that has an element at two indices");
  }
  return TARN_OK;
}

/* `value` is one element, and the caller's until the call returns. */
static tarn_status fill(const tarn_tensor *tensor, char *value, tarn_stream *stream) {
  const size_t element_bytes = tarn_dtype_size_bytes(tensor->dtype);
  if (tarn_layout_element_count(&tensor->layout) == 0) return TARN_OK;
  if (tarn_device_is_host(tarn_tensor_device(tensor))) {
    return fill_host(tensor, value, element_bytes, stream);
  }
  return fill_device(tensor, value, element_bytes, stream);
}

tarn_status tarn_tensor_fill(const tarn_tensor *tensor, tarn_scalar scalar, tarn_stream *stream) {
  _Alignas(VALUE_BYTES_MAX) char value[VALUE_BYTES_MAX] = {0};
  tarn_status status = check_fill(tensor);
  if (status != TARN_OK) return status;
  status = tarn_scalar_store(scalar, tensor->dtype, value);
  return status == TARN_OK ? fill(tensor, value, stream) : status;
}

/* The same places, counted in bytes: elements of any size are filled so. */
static tarn_status as_bytes(tarn_tensor *tensor) {
  const int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(tensor->dtype);
  tarn_layout *layout = &tensor->layout;
  tarn_layout_squeeze_all(layout);
  tensor->dtype = TARN_U8;
  if (element_bytes == 1) return TARN_OK;
  if (layout->rank == TARN_RANK_MAX) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "zeros into %d dimensions of elements of %" PRId64 " bytes", layout->rank,
                     element_bytes);
  }
  layout->offset *= element_bytes; /* inside the storage, as are all that follow */
  for (int32_t d = 0; d < layout->rank; d++) layout->strides[d] *= element_bytes;
  layout->shape[layout->rank] = element_bytes;
  layout->strides[layout->rank++] = 1;
  return TARN_OK;
}

tarn_status tarn_tensor_fill_zero(const tarn_tensor *tensor, tarn_stream *stream) {
  _Alignas(VALUE_BYTES_MAX) char value[VALUE_BYTES_MAX] = {0};
  tarn_status status = check_fill(tensor);
  if (status != TARN_OK) return status;
  if (tarn_dtype_size_bytes(tensor->dtype) <= sizeof value) return fill(tensor, value, stream);
  tarn_tensor bytes = *tensor;
  status = as_bytes(&bytes);
  return status == TARN_OK ? fill(&bytes, value, stream) : status;
}
