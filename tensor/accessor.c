/* accessor.c: makes accessors, and says what is wrong with an index. */
#include "tensor/tarn_accessor.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "tensor/element.h"

static _Atomic(tarn_check_handler) check_handler;

tarn_check_handler tarn_accessor_set_check_handler(tarn_check_handler handler) {
  /* Release pairs with acquire: what the handler uses is there when it is called. */
  return atomic_exchange_explicit(&check_handler, handler, memory_order_acq_rel);
}

/* --- making --- */

static tarn_status check(const tarn_tensor *tensor, tarn_dtype dtype, int32_t rank,
                         uint32_t flags) {
  char asked[64], had[64];
  tarn_status status = tarn__element_check(tensor, "an accessor of");
  if (status != TARN_OK) return status;
  if ((flags & ~(uint32_t)(TARN_ACCESSOR_WRITE | TARN_ACCESSOR_DEVICE)) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown accessor flags 0x%x", flags);
  }
  if (!tarn_dtype_equal(dtype, tensor->dtype)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "an accessor for %s of a tensor of %s",
                     tarn_dtype_name(dtype, asked, sizeof asked),
                     tarn_dtype_name(tensor->dtype, had, sizeof had));
  }
  if (rank != tensor->layout.rank || rank < 1 || rank > TARN_ACCESSOR_RANK_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "an accessor of rank %d, at most %d, to rank %d", rank,
                     TARN_ACCESSOR_RANK_MAX, tensor->layout.rank);
  }
  if ((flags & TARN_ACCESSOR_DEVICE) == 0 && !tarn_device_is_host(tarn_tensor_device(tensor))) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "an accessor for the CPU to memory of device type %d",
                     tarn_tensor_device(tensor).type);
  }
  if ((flags & TARN_ACCESSOR_WRITE) != 0 && tarn_storage_is_read_only(tensor->storage)) {
    return tarn_fail(TARN_READ_ONLY, "an accessor to write a read-only storage");
  }
  return TARN_OK;
}

tarn_status tarn_accessor_init(const tarn_tensor *tensor, tarn_dtype dtype, int32_t rank,
                               uint32_t flags, tarn_accessor *accessor) {
  if (accessor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the accessor");
  *accessor = (tarn_accessor){0};
  tarn_status status = check(tensor, dtype, rank, flags);
  if (status != TARN_OK) return status;
  *accessor = (tarn_accessor){.data = (void *)(uintptr_t)tarn_tensor_data(tensor),
                              .rank = rank,
                              .dtype = dtype,
                              .flags = flags};
  for (int32_t d = 0; d < TARN_ACCESSOR_RANK_MAX; d++) {
    accessor->shape[d] = d < rank ? tensor->layout.shape[d] : 1;
    accessor->strides[d] = d < rank ? tensor->layout.strides[d] : 0;
  }
  return TARN_OK;
}

/* Every sum of index times stride, from the element at index 0, is an int32_t, and so is every
 * number that makes it. */
static bool fits_32_bits(const tarn_layout *layout) {
  int64_t first, end;
  tarn_layout_bounds(layout, &first, &end);
  if (end == 0 && first == 0) return true; /* no elements: nothing is ever computed */
  if (first - layout->offset < INT32_MIN || end - 1 - layout->offset > INT32_MAX) return false;
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] > INT32_MAX) return false;
  }
  return true;
}

tarn_status tarn_accessor32_init(const tarn_tensor *tensor, tarn_dtype dtype, int32_t rank,
                                 uint32_t flags, tarn_accessor32 *accessor) {
  tarn_accessor wide;
  if (accessor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the accessor");
  *accessor = (tarn_accessor32){0};
  tarn_status status = tarn_accessor_init(tensor, dtype, rank, flags, &wide);
  if (status != TARN_OK) return status;
  if (!fits_32_bits(&tensor->layout)) {
    return tarn_fail(TARN_TOO_LARGE, "%" PRId64 " elements do not lie within 32 bits of the first",
                     tarn_layout_element_count(&tensor->layout));
  }
  accessor->data = wide.data;
  accessor->rank = rank;
  accessor->dtype = dtype;
  accessor->flags = flags;
  const bool is_empty = wide.data == NULL;
  for (int32_t d = 0; d < TARN_ACCESSOR_RANK_MAX; d++) {
    /* A stride that is never stepped may be anything, and more than 32 bits. */
    const bool is_stepped = wide.shape[d] > 1 && !is_empty;
    accessor->shape[d] = wide.shape[d] > INT32_MAX ? INT32_MAX : (int32_t)wide.shape[d];
    accessor->strides[d] = is_stepped ? (int32_t)wide.strides[d] : 0;
  }
  return TARN_OK;
}

tarn_status tarn_accessor_transpose(tarn_accessor *accessor, int32_t a, int32_t b) {
  if (accessor == NULL || a < 0 || b < 0 || a >= accessor->rank || b >= accessor->rank) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "dimensions %d and %d of an accessor of rank %d", a, b,
                     accessor == NULL ? 0 : accessor->rank);
  }
  const int64_t size = accessor->shape[a], stride = accessor->strides[a];
  accessor->shape[a] = accessor->shape[b];
  accessor->strides[a] = accessor->strides[b];
  accessor->shape[b] = size;
  accessor->strides[b] = stride;
  return TARN_OK;
}

/* --- checking --- */

/* `status` is a use of tarn_fail: its text is the message. */
static void report(tarn_status status, tarn_element_use use) {
  (void)status;
  const tarn_error *error = tarn_last_error();
  const tarn_check_handler handler = atomic_load_explicit(&check_handler, memory_order_acquire);
  if (handler != NULL) handler(error->message, use.file, use.line);
  tarn_assert_failed(error->message, use.file, use.line);
}

/* The C type against the element type. */
static bool type_fits(tarn_dtype dtype, tarn_element_use use) {
  const int code = (use.type_code & ~TARN_TYPE_CONST) - 1;
  const bool has_name =
      dtype.lanes == 1 &&
      (dtype.code == TARN_CODE_INT || dtype.code == TARN_CODE_UINT ||
       dtype.code == TARN_CODE_BOOL || (dtype.code == TARN_CODE_FLOAT && dtype.bits >= 32));
  if (use.type_bytes != tarn_dtype_size_bytes(dtype)) return false;
  if (has_name) return code == dtype.code;
  return code < 0 || code == TARN_CODE_UINT;
}

static void check_use(tarn_dtype dtype, int32_t rank, const int64_t *shape, bool is_read_only,
                      tarn_element_use use, const int64_t *index) {
  char name[64];
  if (use.index_count != rank) {
    report(tarn_fail(TARN_INVALID_ARGUMENT, "%d indices for a tensor of rank %d", use.index_count,
                     rank),
           use);
  }
  if (!type_fits(dtype, use)) {
    report(tarn_fail(TARN_INVALID_ARGUMENT, "a C type of %zu bytes is not that of %s",
                     use.type_bytes, tarn_dtype_name(dtype, name, sizeof name)),
           use);
  }
  for (int32_t d = 0; d < rank; d++) {
    if (index[d] >= 0 && index[d] < shape[d]) continue;
    report(tarn_fail(TARN_INVALID_ARGUMENT,
                     "index %" PRId64 " is not in dimension %d of size %" PRId64, index[d], d,
                     shape[d]),
           use);
  }
  if (is_read_only && (use.type_code & TARN_TYPE_CONST) == 0) {
    report(tarn_fail(TARN_READ_ONLY, "an element to write of a read-only storage"), use);
  }
}

void tarn_element_check(const tarn_tensor *tensor, tarn_element_use use, int64_t i, int64_t j,
                        int64_t k, int64_t l, int64_t m, int64_t n) {
  const int64_t index[TARN_ACCESSOR_RANK_MAX] = {i, j, k, l, m, n};
  if (tensor == NULL || tensor->storage == NULL) {
    report(tarn_fail(TARN_INVALID_ARGUMENT, "an element of a tensor without a storage"), use);
    return;
  }
  if (!tarn_device_is_host(tarn_tensor_device(tensor))) {
    report(tarn_fail(TARN_INVALID_ARGUMENT, "an element for the CPU in memory of device type %d",
                     tarn_tensor_device(tensor).type),
           use);
  }
  check_use(tensor->dtype, tensor->layout.rank, tensor->layout.shape,
            tarn_storage_is_read_only(tensor->storage), use, index);
  const tarn_status status = tarn__element_check(tensor, "an element of");
  if (status != TARN_OK) report(status, use);
}

void tarn_accessor_check(const tarn_accessor *accessor, tarn_element_use use, int64_t i, int64_t j,
                         int64_t k, int64_t l, int64_t m, int64_t n) {
  const int64_t index[TARN_ACCESSOR_RANK_MAX] = {i, j, k, l, m, n};
  if ((accessor->flags & TARN_ACCESSOR_DEVICE) != 0) {
    report(tarn_fail(TARN_INVALID_ARGUMENT, "an element for the CPU of a device's accessor"), use);
  }
  check_use(accessor->dtype, accessor->rank, accessor->shape,
            (accessor->flags & TARN_ACCESSOR_WRITE) == 0, use, index);
}
