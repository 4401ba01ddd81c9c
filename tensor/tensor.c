/* tensor.c: making tensors from pools, storages and blobs, and asking about them. */
#include "tensor/tarn_tensor.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <string.h>

#include "tensor/layout.h"
#include "tensor/tarn_copy.h"

__attribute__((noinline, cold)) static tarn_status fail_without_storage(void) {
  return tarn_fail(TARN_INVALID_ARGUMENT, "a tensor without a storage");
}

tarn_status tarn__tensor_check_alignment(const void *address, tarn_dtype dtype) {
  char name[64];
  const size_t alignment = tarn_dtype_alignment_bytes(dtype); /* a power of two */
  if (((uintptr_t)address & (alignment - 1)) == 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "%p is not aligned to the %zu bytes that %s needs",
                   address, alignment, tarn_dtype_name(dtype, name, sizeof name));
}

/* Bytes in whole elements: an offset that is none is refused, so that a layout can count it. */
static tarn_status offset_in_elements(size_t offset_bytes, size_t element_bytes, int64_t *offset) {
  *offset = 0;
  if (offset_bytes == 0) return TARN_OK;
  if (offset_bytes % element_bytes != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "offset of %zu bytes is no multiple of the %zu of an element", offset_bytes,
                     element_bytes);
  }
  if (offset_bytes > PTRDIFF_MAX) {
    return tarn_fail(TARN_TOO_LARGE, "offset of %zu bytes", offset_bytes);
  }
  *offset = (int64_t)(offset_bytes / element_bytes);
  return TARN_OK;
}

/* What elements of `dtype` at `address` and a place behind it have to fulfil. */
static tarn_status check_place(const void *address, tarn_dtype dtype, size_t offset_bytes,
                               size_t *element_bytes, int64_t *offset) {
  *element_bytes = tarn_dtype_size_bytes(dtype);
  if (*element_bytes == 0) return tarn_dtype_check(dtype);
  const tarn_status status = tarn__tensor_check_alignment(address, dtype);
  return status == TARN_OK ? offset_in_elements(offset_bytes, *element_bytes, offset) : status;
}

/* Elements that a run of size_bytes holds. Hardly any element asks for the division. */
static int64_t capacity_of(size_t size_bytes, size_t element_bytes) {
  const size_t count = tarn_is_power_of_two(element_bytes)
                           ? size_bytes >> __builtin_ctzll(element_bytes)
                           : size_bytes / element_bytes;
  return count > INT64_MAX ? INT64_MAX : (int64_t)count;
}

tarn_status tarn_tensor_create(tarn_pool *pool, tarn_dtype dtype, int32_t rank,
                               const int64_t *shape, tarn_stream *stream, tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  *tensor = (tarn_tensor){0};
  tarn_tensor made = {.dtype = dtype};
  size_t size_bytes;
  tarn_status status = tarn_dtype_check(dtype);
  if (status != TARN_OK) return status;
  status = tarn_layout_init(&made.layout, rank, shape);
  if (status != TARN_OK) return status;
  size_t element_bytes = tarn_dtype_size_bytes(dtype);
  int64_t count = tarn_layout_element_count(&made.layout);
  if (!tarn_size_mul((size_t)count, element_bytes, &size_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%" PRId64 " elements of %zu bytes", count, element_bytes);
  }
  status = tarn_storage_create(pool, size_bytes, stream, &made.storage);
  if (status == TARN_OK) *tensor = made;
  return status;
}

tarn_status tarn_tensor_of_storage(tarn_storage *storage, tarn_dtype dtype, int32_t rank,
                                   const int64_t *shape, size_t offset_bytes, tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  *tensor = (tarn_tensor){0};
  if (storage == NULL) return fail_without_storage();
  tarn_tensor made = {.storage = storage, .dtype = dtype};
  int64_t offset, row_major[TARN_RANK_MAX];
  size_t element_bytes;
  tarn_status status =
      check_place(tarn_storage_data(storage), dtype, offset_bytes, &element_bytes, &offset);
  if (status == TARN_OK) status = tarn__layout_check_shape(rank, shape);
  if (status != TARN_OK) return status;
  tarn__layout_row_major(rank, shape, row_major);
  status = tarn_layout_as_strided(&made.layout, rank, shape, row_major, offset,
                                  capacity_of(tarn_storage_size_bytes(storage), element_bytes));
  if (status != TARN_OK) return status;
  tarn_storage_retain(storage);
  *tensor = made;
  return TARN_OK;
}

/* Whether the elements lie in a blob of size_bytes, 0 being as many as it takes. */
static tarn_status fit_blob(tarn__reach reach, size_t element_bytes, size_t *size_bytes) {
  size_t end_bytes;
  if (!tarn_size_mul((size_t)reach.end, element_bytes, &end_bytes) || end_bytes > PTRDIFF_MAX) {
    return tarn_fail(TARN_TOO_LARGE, "a blob of %" PRId64 " elements of %zu bytes", reach.end,
                     element_bytes);
  }
  if (*size_bytes == 0) *size_bytes = end_bytes;
  if (reach.first >= 0 && end_bytes <= *size_bytes) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "elements %" PRId64 " to %" PRId64 " of %zu bytes do not lie in a blob of %zu",
                   reach.first, reach.end - 1, element_bytes, *size_bytes);
}

/* tarn_tensor_wrap that leaves *tensor undefined where it fails. Nothing is copied as a whole: that
 * would wait for the numbers just written. */
static tarn_status wrap_in_place(const tarn_blob *blob, tarn_dtype dtype, int32_t rank,
                                 const int64_t *shape, const int64_t *strides, size_t offset_bytes,
                                 tarn_tensor *tensor) {
  if (blob == NULL || blob->struct_size != sizeof *blob) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_blob with struct_size %zu is needed",
                     sizeof *blob);
  }
  int64_t offset;
  size_t element_bytes, size_bytes = blob->size_bytes;
  tarn__reach reach;
  tarn_status status = check_place(blob->address, dtype, offset_bytes, &element_bytes, &offset);
  if (status != TARN_OK) return status;
  if (strides == NULL) {
    status = tarn__layout_make_row_major(rank, shape, offset, &tensor->layout, &reach);
  } else {
    status = tarn__layout_make_strided(rank, shape, strides, offset, &tensor->layout, &reach);
  }
  if (status == TARN_OK) status = fit_blob(reach, element_bytes, &size_bytes);
  if (status != TARN_OK) return status;
  tensor->dtype = dtype;
  if (size_bytes == blob->size_bytes) return tarn_storage_wrap(blob, &tensor->storage);
  tarn_blob sized = *blob;
  sized.size_bytes = size_bytes;
  return tarn_storage_wrap(&sized, &tensor->storage);
}
tarn_status tarn_tensor_wrap(const tarn_blob *blob, tarn_dtype dtype, int32_t rank,
                             const int64_t *shape, const int64_t *strides, size_t offset_bytes,
                             tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  const tarn_status status = wrap_in_place(blob, dtype, rank, shape, strides, offset_bytes, tensor);
  if (status != TARN_OK) *tensor = (tarn_tensor){0};
  return status;
}

void tarn_tensor_retain(tarn_tensor *tensor) {
  if (tensor->storage != NULL) tarn_storage_retain(tensor->storage);
}

/* In pieces: compilers set more bytes at once by a string instruction, which takes longer than all
 * the rest of a release. */
static void clear(tarn_tensor *tensor) {
  enum { HALF = TARN_RANK_MAX / 2 };
  tarn_layout *layout = &tensor->layout;
  tensor->storage = NULL;
  tensor->dtype = (tarn_dtype){0};
  layout->rank = 0;
  layout->offset = 0;
  memset(layout->shape, 0, HALF * sizeof(int64_t));
  memset(layout->shape + HALF, 0, (TARN_RANK_MAX - HALF) * sizeof(int64_t));
  memset(layout->strides, 0, HALF * sizeof(int64_t));
  memset(layout->strides + HALF, 0, (TARN_RANK_MAX - HALF) * sizeof(int64_t));
}

void tarn_tensor_release(tarn_tensor *tensor) {
  if (tensor == NULL) return;
  tarn_storage_release(tensor->storage);
  clear(tensor);
}

/* False for a zeroed tensor, whose layout is that of a scalar. */
static bool has_elements(const tarn_tensor *tensor) {
  return tensor->storage != NULL && tarn_layout_element_count(&tensor->layout) > 0;
}

static int64_t offset_bytes_of(const tarn_tensor *tensor) {
  return tensor->layout.offset * (int64_t)tarn_dtype_checked_bytes(tensor->dtype);
}

const void *tarn_tensor_data(const tarn_tensor *tensor) {
  if (!has_elements(tensor)) return NULL;
  return (const char *)tarn_storage_data(tensor->storage) + offset_bytes_of(tensor);
}

void *tarn_tensor_data_mutable(const tarn_tensor *tensor) {
  if (!has_elements(tensor)) return NULL;
  char *data = tarn_storage_data_mutable(tensor->storage);
  return data == NULL ? NULL : data + offset_bytes_of(tensor);
}

void tarn_tensor_strides_bytes(const tarn_tensor *tensor, int64_t strides_bytes[TARN_RANK_MAX]) {
  const int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(tensor->dtype);
  for (int32_t dim = 0; dim < tensor->layout.rank; dim++) {
    int64_t *stride = &strides_bytes[dim];
    if (!tarn_int64_mul(tensor->layout.strides[dim], element_bytes, stride)) *stride = 0;
  }
}

tarn_device tarn_tensor_device(const tarn_tensor *tensor) {
  if (tensor->storage == NULL) return (tarn_device){0};
  return tarn_storage_device(tensor->storage);
}

int64_t tarn_tensor_element_count(const tarn_tensor *tensor) {
  return tensor->storage == NULL ? 0 : tarn_layout_element_count(&tensor->layout);
}

size_t tarn_tensor_size_bytes(const tarn_tensor *tensor) {
  size_t size_bytes, element_bytes = tarn_dtype_size_bytes(tensor->dtype);
  bool fits = tarn_size_mul((size_t)tarn_tensor_element_count(tensor), element_bytes, &size_bytes);
  return fits ? size_bytes : SIZE_MAX; /* an expanded tensor may name more than memory holds */
}

int64_t tarn_tensor_capacity(const tarn_tensor *tensor) {
  if (tensor->storage == NULL) return -1;
  const size_t element_bytes = tarn_dtype_checked_bytes(tensor->dtype);
  return capacity_of(tarn_storage_size_bytes(tensor->storage), element_bytes);
}

bool tarn_tensor_is_contiguous(const tarn_tensor *tensor) {
  return tarn_layout_is_contiguous(&tensor->layout);
}

/* The reshape that moves: a packed copy, which every shape of as many elements is a view of. */
static tarn_status reshape_by_copy(const tarn_tensor *tensor, int32_t rank, const int64_t *shape,
                                   tarn_pool *pool, tarn_stream *stream, tarn_tensor *reshaped) {
  tarn_tensor packed;
  tarn_status status = tarn_tensor_create(pool, tensor->dtype, tensor->layout.rank,
                                          tensor->layout.shape, stream, &packed);
  if (status != TARN_OK) return status;
  status = tarn_tensor_copy(&packed, tensor, stream, NULL);
  if (status == TARN_OK) status = tarn_layout_view(&packed.layout, rank, shape);
  if (status != TARN_OK) {
    tarn_tensor_release(&packed);
    return status;
  }
  *reshaped = packed;
  return TARN_OK;
}

tarn_status tarn_tensor_reshape(const tarn_tensor *tensor, int32_t rank, const int64_t *shape,
                                tarn_pool *pool, tarn_stream *stream, tarn_tensor *reshaped,
                                bool *copied) {
  if (copied != NULL) *copied = false;
  if (reshaped == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  /* A copy, for `reshaped` may be the same variable. */
  const tarn_tensor source = tensor != NULL ? *tensor : (tarn_tensor){0};
  *reshaped = (tarn_tensor){0};
  if (source.storage == NULL) return fail_without_storage();
  tarn_tensor viewed = source;
  viewed.layout.rank = rank;
  tarn_status status = tarn__layout_resolve_shape(&source.layout, rank, shape, viewed.layout.shape);
  if (status != TARN_OK) return status;
  if (tarn__layout_view_strides(&source.layout, rank, viewed.layout.shape, viewed.layout.strides)) {
    tarn_storage_retain(source.storage);
    *reshaped = viewed;
    return TARN_OK;
  }
  status = reshape_by_copy(&source, rank, viewed.layout.shape, pool, stream, reshaped);
  if (status == TARN_OK && copied != NULL) *copied = true;
  return status;
}
