/* dlpack_import.c: tensors taken from other libraries, none of which is believed. */
#include "tensor/dlpack.h"

#include <inttypes.h>

#include "tensor/layout.h"

/* What a DLTensor says, checked: the memory that can be reached, beside the layout over it. */
typedef struct import_plan {
  tarn_blob blob;
  size_t element_bytes;
  int64_t first; /* elements from the one at index 0 to the lowest, at most 0 */
  int64_t end;   /* and behind the highest; `first` where there are none */
} import_plan;

/* --- checks --- */

static tarn_status check_rank(const tarn_dl_tensor *dl) {
  if (dl->ndim < 0) return tarn_fail(TARN_BAD_FORMAT, "a DLTensor with ndim %d", (int)dl->ndim);
  if (dl->ndim > TARN_RANK_MAX) {
    return tarn_fail(TARN_NOT_SUPPORTED, "a DLTensor with ndim %d, more than %d", (int)dl->ndim,
                     TARN_RANK_MAX);
  }
  if (dl->ndim > 0 && dl->shape == NULL) {
    return tarn_fail(TARN_BAD_FORMAT, "a DLTensor with ndim %d and no shape", (int)dl->ndim);
  }
  return TARN_OK;
}

static tarn_status check_dtype(tarn_dtype dtype, bool is_padded, bool is_any_welcome) {
  char name[64];
  if (dtype.lanes == 1 && dtype.bits >= 8 && dtype.code != TARN_CODE_OPAQUE) {
    return TARN_OK; /* the rest is for tarn_dtype_size_bytes to know */
  }
  const tarn_status status = tarn_dtype_check(dtype);
  if (status != TARN_OK) return status;
  if (dtype.bits < 8 && is_padded != (dtype.bits == 6)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "values of %s %s",
                     tarn_dtype_name(dtype, name, sizeof name),
                     is_padded ? "with a byte for each" : "packed without gaps");
  }
  if (is_any_welcome) return TARN_OK;
  if (dtype.code == TARN_CODE_OPAQUE || (dtype.lanes != 1 && dtype.bits >= 8)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "elements of %s, unless they are asked for",
                     tarn_dtype_name(dtype, name, sizeof name));
  }
  return TARN_OK;
}

/* As tarn numbers them; see tarn_dl_tensor. */
static tarn_status read_device(tarn_device from, tarn_device *device) {
  *device = from;
  if (tarn_device_is_host(from)) {
    device->index = 0;
    return TARN_OK;
  }
  if (from.type != TARN_DEVICE_CUDA) {
    return tarn_fail(TARN_NOT_SUPPORTED, "memory of DLPack's device type %d", (int)from.type);
  }
  if (from.index >= 0) return TARN_OK;
  return tarn_fail(TARN_BAD_FORMAT, "a DLTensor on CUDA device %d", (int)from.index);
}

/* Says in words what the loop of read_layout has stumbled over. */
static __attribute__((noinline)) tarn_status refuse_layout(const tarn_dl_tensor *dl) {
  int64_t row_major[TARN_RANK_MAX];
  for (int32_t d = 0; d < dl->ndim; d++) {
    if (dl->shape[d] < 0) {
      return tarn_fail(TARN_BAD_FORMAT, "a DLTensor with size %" PRId64 " in dimension %d",
                       dl->shape[d], (int)d);
    }
  }
  tarn_status status = tarn__layout_check_shape(dl->ndim, dl->shape);
  if (status != TARN_OK) return status;
  tarn__layout_row_major(dl->ndim, dl->shape, row_major);
  status = tarn__layout_fail_strided(dl->ndim, dl->shape,
                                     dl->strides != NULL ? dl->strides : row_major, 0);
  TARN_ASSERT(status != TARN_OK);
  return status;
}

/* Shape, strides and what they reach, in one walk: the promises of a layout (layout.c) hold after
 * it. */
static tarn_status read_layout(const tarn_dl_tensor *dl, tarn_layout *layout, import_plan *plan) {
  int64_t count = 1, first = 0, end = 1;
  bool has_elements = true;
  layout->rank = dl->ndim;
  layout->offset = 0;
  for (int32_t d = dl->ndim - 1; d >= 0; d--) {
    const int64_t size = dl->shape[d];
    const int64_t stride = dl->strides != NULL ? dl->strides[d] : count;
    int64_t span = 0;
    if (size > 1) {
      if (!tarn_int64_mul(count, size, &count)) return refuse_layout(dl);
      if (!tarn_int64_mul(size - 1, stride, &span)) return refuse_layout(dl);
      /* Not by a pointer to one of the two, which would keep both out of registers. */
      const bool fits =
          span < 0 ? tarn_int64_add(first, span, &first) : tarn_int64_add(end, span, &end);
      if (!fits) return refuse_layout(dl);
    } else if (size < 1) {
      if (size < 0) return refuse_layout(dl);
      has_elements = false;
    }
    layout->shape[d] = size;
    layout->strides[d] = stride;
  }
  plan->first = first;
  plan->end = has_elements ? end : first;
  return TARN_OK;
}

static bool signed_add(uintptr_t address, int64_t distance, uintptr_t *sum) {
  return !__builtin_add_overflow(address, distance, sum);
}

static tarn_status refuse_alignment(const tarn_dl_tensor *dl, uintptr_t origin) {
  char name[64];
  return tarn_fail(TARN_NOT_SUPPORTED, "%p is not aligned to the %zu bytes that %s needs",
                   (void *)origin, tarn_dtype_alignment_bytes(dl->dtype),
                   tarn_dtype_name(dl->dtype, name, sizeof name));
}

/* The bytes from the lowest element to the end of the highest. Strides may be negative, so the
 * element at index 0 need not be the lowest. */
static tarn_status read_memory(const tarn_dl_tensor *dl, tarn_layout *layout, import_plan *plan) {
  const int64_t element_bytes = (int64_t)plan->element_bytes;
  int64_t first_bytes, end_bytes;
  uintptr_t origin, lowest, behind;
  if (dl->byte_offset != 0 && dl->byte_offset % plan->element_bytes != 0) {
    return tarn_fail(TARN_BAD_FORMAT,
                     "a byte_offset of %" PRIu64 " is no multiple of the %" PRId64 " of an element",
                     dl->byte_offset, element_bytes);
  }
  if (plan->first == plan->end) return TARN_OK;
  if (dl->data == NULL) return tarn_fail(TARN_BAD_FORMAT, "a DLTensor with elements and no data");
  if (!tarn_int64_mul(plan->first, element_bytes, &first_bytes) ||
      !tarn_int64_mul(plan->end, element_bytes, &end_bytes) ||
      __builtin_add_overflow((uintptr_t)dl->data, dl->byte_offset, &origin) ||
      !signed_add(origin, first_bytes, &lowest) || !signed_add(origin, end_bytes, &behind) ||
      behind - lowest > PTRDIFF_MAX) {
    return tarn_fail(TARN_TOO_LARGE,
                     "elements %" PRId64 " to %" PRId64 " of %" PRId64 " bytes, %" PRIu64
                     " bytes behind %p, leave the address space",
                     plan->first, plan->end - 1, element_bytes, dl->byte_offset, dl->data);
  }
  /* A power of two. */
  if ((origin & (tarn_dtype_alignment_bytes(dl->dtype) - 1)) != 0)
    return refuse_alignment(dl, origin);
  plan->blob.address = (void *)lowest;
  plan->blob.size_bytes = behind - lowest;
  layout->offset = -plan->first;
  return TARN_OK;
}

static tarn_status check_options(const tarn_dlpack_import_options *options) {
  const uint32_t known = TARN_DLPACK_IMPORT_READ_ONLY | TARN_DLPACK_IMPORT_ANY_DTYPE;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_dlpack_import_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if ((options->flags & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown import flags 0x%x", options->flags);
  }
  return TARN_OK;
}

static tarn_status verify_memory(const tarn_dlpack_import_options *options, const tarn_blob *blob) {
  if (options->verify == NULL || blob->size_bytes == 0) return TARN_OK;
  return options->verify(options->verify_context, blob->address, blob->size_bytes, blob->device);
}

/* Reads nothing that `dl` does not vouch for, and takes nothing. Fills in *tensor but for the
 * storage; on failure it is undefined. */
static tarn_status read_tensor(const tarn_dl_tensor *dl, bool is_padded,
                               const tarn_dlpack_import_options *options, tarn_tensor *tensor,
                               import_plan *plan) {
  plan->blob = (tarn_blob){.struct_size = sizeof plan->blob};
  tarn_status status = options != NULL ? check_options(options) : TARN_OK;
  if (status == TARN_OK) status = check_rank(dl);
  if (status == TARN_OK) {
    const bool is_any = options != NULL && (options->flags & TARN_DLPACK_IMPORT_ANY_DTYPE) != 0;
    status = check_dtype(dl->dtype, is_padded, is_any);
  }
  if (status == TARN_OK) status = read_device(dl->device, &plan->blob.device);
  if (status != TARN_OK) return status;
  tensor->dtype = dl->dtype;
  plan->element_bytes = tarn_dtype_size_bytes(dl->dtype);
  if (plan->element_bytes == 0) return tarn_dtype_check(dl->dtype);
  status = read_layout(dl, &tensor->layout, plan);
  if (status == TARN_OK) status = read_memory(dl, &tensor->layout, plan);
  if (status == TARN_OK && options != NULL) status = verify_memory(options, &plan->blob);
  return status;
}

static uint32_t storage_flags(bool is_read_only, const tarn_dlpack_import_options *options) {
  if (options != NULL && (options->flags & TARN_DLPACK_IMPORT_READ_ONLY)) is_read_only = true;
  return is_read_only ? TARN_STORAGE_READ_ONLY : 0;
}

/* --- taking --- */

static void delete_versioned(void *context) {
  tarn_dl_managed_tensor_versioned *managed = context;
  managed->deleter(managed);
}

static void delete_legacy(void *context) {
  tarn_dl_managed_tensor *managed = context;
  managed->deleter(managed);
}

/* The tensor as a view of the storage that it came from, where it is one: nobody has to have left
 * the managed tensor as it was. */
static bool is_view_of(const import_plan *plan, const tarn_storage *storage, tarn_layout *layout) {
  const uintptr_t distance = (uintptr_t)plan->blob.address - (uintptr_t)tarn_storage_data(storage);
  const size_t size_bytes = tarn_storage_size_bytes(storage);
  const bool is_read_only = (plan->blob.flags & TARN_STORAGE_READ_ONLY) != 0;
  if (is_read_only != tarn_storage_is_read_only(storage)) return false;
  if (plan->blob.size_bytes == 0) return true;
  /* In front of the storage, the distance is larger than any. */
  if (distance > size_bytes || plan->blob.size_bytes > size_bytes - distance) return false;
  if (distance == 0) return true;
  if (distance % plan->element_bytes != 0) return false;
  layout->offset += (int64_t)(distance / plan->element_bytes);
  return true;
}

/* Makes the storage. `own` is that of an export of ours, whose reference is moved where it fits. */
static tarn_status take(import_plan *plan, tarn_storage *own, void *managed, tarn_tensor *tensor) {
  if (own != NULL && is_view_of(plan, own, &tensor->layout)) {
    tensor->storage = own;
    tarn__dlpack_forget(managed);
    return TARN_OK;
  }
  plan->blob.context = managed;
  return tarn_storage_wrap(&plan->blob, &tensor->storage);
}

/* What may be said of another major version: that it is one. */
static tarn_status refuse_version(tarn_dl_managed_tensor_versioned *managed) {
  const tarn_dl_version version = managed->version;
  if (managed->deleter != NULL) managed->deleter(managed);
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "a managed tensor of DLPack %" PRIu32 ".%" PRIu32
                   ", and only %d.x is understood",
                   version.major, version.minor, TARN_DLPACK_MAJOR);
}

static tarn_status refuse_flags(uint64_t flags) {
  return tarn_fail(TARN_NOT_SUPPORTED, "a managed tensor with unknown flags 0x%" PRIx64, flags);
}

static tarn_status import_versioned(tarn_dl_managed_tensor_versioned *managed,
                                    const tarn_dlpack_import_options *options,
                                    tarn_tensor *tensor) {
  const uint64_t known = TARN_DL_READ_ONLY | TARN_DL_IS_COPIED | TARN_DL_SUBBYTE_PADDED;
  import_plan plan;
  if (managed == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no managed tensor");
  if (managed->version.major != TARN_DLPACK_MAJOR) return refuse_version(managed);
  if ((managed->flags & ~known) != 0) return refuse_flags(managed->flags);
  const bool is_padded = (managed->flags & TARN_DL_SUBBYTE_PADDED) != 0;
  tarn_status status = read_tensor(&managed->dl_tensor, is_padded, options, tensor, &plan);
  if (status != TARN_OK) return status;
  plan.blob.flags = storage_flags((managed->flags & TARN_DL_READ_ONLY) != 0, options);
  if (managed->deleter != NULL) plan.blob.deleter = delete_versioned;
  return take(&plan, tarn__dlpack_storage_of(managed), managed, tensor);
}

static tarn_status import_legacy(tarn_dl_managed_tensor *managed,
                                 const tarn_dlpack_import_options *options, tarn_tensor *tensor) {
  import_plan plan;
  if (managed == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no managed tensor");
  tarn_status status =
      read_tensor(&managed->dl_tensor, /*is_padded=*/false, options, tensor, &plan);
  if (status != TARN_OK) return status;
  plan.blob.flags = storage_flags(/*is_read_only=*/false, options);
  if (managed->deleter != NULL) plan.blob.deleter = delete_legacy;
  return take(&plan, tarn__dlpack_storage_of_legacy(managed), managed, tensor);
}

static tarn_status view(const tarn_dl_tensor *described, const tarn_dlpack_import_options *options,
                        tarn_tensor *tensor) {
  import_plan plan;
  if (described == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no DLTensor");
  tarn_status status = read_tensor(described, /*is_padded=*/false, options, tensor, &plan);
  if (status != TARN_OK) return status;
  plan.blob.flags = storage_flags(/*is_read_only=*/false, options);
  return take(&plan, NULL, NULL, tensor);
}

/* --- the calls: a failure leaves a zeroed tensor, a success what is behind its rank --- */

tarn_status tarn_dlpack_import(tarn_dl_managed_tensor_versioned *managed,
                               const tarn_dlpack_import_options *options, tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  const tarn_status status = import_versioned(managed, options, tensor);
  if (status != TARN_OK) *tensor = (tarn_tensor){0};
  return status;
}

tarn_status tarn_dlpack_import_legacy(tarn_dl_managed_tensor *managed,
                                      const tarn_dlpack_import_options *options,
                                      tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  const tarn_status status = import_legacy(managed, options, tensor);
  if (status != TARN_OK) *tensor = (tarn_tensor){0};
  return status;
}

tarn_status tarn_dlpack_view(const tarn_dl_tensor *described,
                             const tarn_dlpack_import_options *options, tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  const tarn_status status = view(described, options, tensor);
  if (status != TARN_OK) *tensor = (tarn_tensor){0};
  return status;
}
