/* dlpack_import.c: tensors taken from other libraries, none of which is believed. */
#include "tensor/dlpack.h"

#include <inttypes.h>

#include "tensor/layout.h"

/* What a DLTensor says, checked: the memory that can be reached, and the layout over it. */
typedef struct import_plan {
  tarn_blob blob; /* without flags and deleter */
  tarn_dtype dtype;
  tarn_layout layout;
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
  for (int32_t d = 0; d < dl->ndim; d++) {
    if (dl->shape[d] < 0) {
      return tarn_fail(TARN_BAD_FORMAT, "a DLTensor with size %" PRId64 " in dimension %d",
                       dl->shape[d], (int)d);
    }
  }
  return TARN_OK;
}

static tarn_status check_dtype(tarn_dtype dtype, bool is_padded, bool is_any_welcome) {
  char name[64];
  const tarn_status status = tarn_dtype_check(dtype);
  if (status != TARN_OK) return status;
  if (is_padded != (dtype.bits == 6)) {
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

static tarn_status read_layout(const tarn_dl_tensor *dl, tarn_layout *layout) {
  if (dl->strides == NULL || dl->ndim == 0) {
    return tarn_layout_init(layout, dl->ndim, dl->shape);
  }
  return tarn__layout_make_strided(dl->ndim, dl->shape, dl->strides, /*offset=*/0, layout);
}

static bool signed_add(uintptr_t address, int64_t distance, uintptr_t *sum) {
  return !__builtin_add_overflow(address, distance, sum);
}

/* The bytes from the lowest element to the end of the highest. Strides may be negative, so the
 * element at index 0 need not be the lowest. */
static tarn_status read_memory(const tarn_dl_tensor *dl, import_plan *plan) {
  char name[64];
  const int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(dl->dtype);
  int64_t first, end, first_bytes, end_bytes;
  uintptr_t origin, lowest, behind;
  if (dl->byte_offset % (uint64_t)element_bytes != 0) {
    return tarn_fail(TARN_BAD_FORMAT,
                     "a byte_offset of %" PRIu64 " is no multiple of the %" PRId64 " of an element",
                     dl->byte_offset, element_bytes);
  }
  tarn_layout_bounds(&plan->layout, &first, &end);
  if (first == end) {
    plan->layout.offset = 0;
    return TARN_OK;
  }
  if (dl->data == NULL) return tarn_fail(TARN_BAD_FORMAT, "a DLTensor with elements and no data");
  if (!tarn_int64_mul(first, element_bytes, &first_bytes) ||
      !tarn_int64_mul(end, element_bytes, &end_bytes) ||
      __builtin_add_overflow((uintptr_t)dl->data, dl->byte_offset, &origin) ||
      !signed_add(origin, first_bytes, &lowest) || !signed_add(origin, end_bytes, &behind) ||
      behind - lowest > PTRDIFF_MAX) {
    return tarn_fail(TARN_TOO_LARGE,
                     "elements %" PRId64 " to %" PRId64 " of %" PRId64 " bytes, %" PRIu64
                     " bytes behind %p, leave the address space",
                     first, end - 1, element_bytes, dl->byte_offset, dl->data);
  }
  const size_t alignment = tarn_dtype_alignment_bytes(dl->dtype);
  if (origin % alignment != 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, "%p is not aligned to the %zu bytes that %s needs",
                     (void *)origin, alignment, tarn_dtype_name(dl->dtype, name, sizeof name));
  }
  plan->blob.address = (void *)lowest;
  plan->blob.size_bytes = behind - lowest;
  plan->layout.offset = -first;
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

/* Reads nothing that `dl` does not vouch for, and takes nothing. */
static tarn_status read_tensor(const tarn_dl_tensor *dl, bool is_padded,
                               const tarn_dlpack_import_options *options, import_plan *plan) {
  const uint32_t flags = options != NULL ? options->flags : 0;
  *plan = (import_plan){.blob = {.struct_size = sizeof plan->blob}, .dtype = dl->dtype};
  tarn_status status = options != NULL ? check_options(options) : TARN_OK;
  if (status == TARN_OK) status = check_rank(dl);
  if (status == TARN_OK) {
    status = check_dtype(dl->dtype, is_padded, (flags & TARN_DLPACK_IMPORT_ANY_DTYPE) != 0);
  }
  if (status == TARN_OK) status = read_device(dl->device, &plan->blob.device);
  if (status == TARN_OK) status = read_layout(dl, &plan->layout);
  if (status == TARN_OK) status = read_memory(dl, plan);
  if (status == TARN_OK && options != NULL && options->verify != NULL &&
      plan->blob.size_bytes != 0) {
    status = options->verify(options->verify_context, plan->blob.address, plan->blob.size_bytes,
                             plan->blob.device);
  }
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

static tarn_status wrap(import_plan *plan, tarn_tensor *tensor) {
  tarn_storage *storage;
  const tarn_status status = tarn_storage_wrap(&plan->blob, &storage);
  if (status != TARN_OK) return status;
  *tensor = (tarn_tensor){.storage = storage, .dtype = plan->dtype, .layout = plan->layout};
  return TARN_OK;
}

/* The tensor as a view of the storage that it came from, where it is one: nobody has to have left
 * the managed tensor as it was. */
static bool is_view_of(import_plan *plan, const tarn_storage *storage) {
  const uintptr_t base = (uintptr_t)tarn_storage_data(storage);
  const uintptr_t lowest = (uintptr_t)plan->blob.address;
  const size_t element_bytes = tarn_dtype_size_bytes(plan->dtype);
  const bool is_read_only = (plan->blob.flags & TARN_STORAGE_READ_ONLY) != 0;
  if (is_read_only != tarn_storage_is_read_only(storage)) return false;
  if (plan->blob.size_bytes == 0) return true;
  if (lowest < base || lowest - base > tarn_storage_size_bytes(storage) ||
      plan->blob.size_bytes > tarn_storage_size_bytes(storage) - (lowest - base) ||
      (lowest - base) % element_bytes != 0) {
    return false;
  }
  plan->layout.offset += (int64_t)((lowest - base) / element_bytes);
  return true;
}

/* Moves the export's reference into *tensor, where it is one of ours. */
static bool take_over(import_plan *plan, tarn_storage *storage, void *managed,
                      tarn_tensor *tensor) {
  if (storage == NULL || !is_view_of(plan, storage)) return false;
  *tensor = (tarn_tensor){.storage = storage, .dtype = plan->dtype, .layout = plan->layout};
  tarn__dlpack_forget(managed);
  return true;
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

tarn_status tarn_dlpack_import(tarn_dl_managed_tensor_versioned *managed,
                               const tarn_dlpack_import_options *options, tarn_tensor *tensor) {
  const uint64_t known = TARN_DL_READ_ONLY | TARN_DL_IS_COPIED | TARN_DL_SUBBYTE_PADDED;
  import_plan plan;
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  *tensor = (tarn_tensor){0};
  if (managed == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no managed tensor");
  if (managed->version.major != TARN_DLPACK_MAJOR) return refuse_version(managed);
  if ((managed->flags & ~known) != 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, "a managed tensor with unknown flags 0x%" PRIx64,
                     managed->flags);
  }
  tarn_status status = read_tensor(&managed->dl_tensor,
                                   (managed->flags & TARN_DL_SUBBYTE_PADDED) != 0, options, &plan);
  if (status != TARN_OK) return status;
  plan.blob.flags = storage_flags((managed->flags & TARN_DL_READ_ONLY) != 0, options);
  if (take_over(&plan, tarn__dlpack_storage_of(managed), managed, tensor)) return TARN_OK;
  if (managed->deleter != NULL) plan.blob.deleter = delete_versioned;
  plan.blob.context = managed;
  return wrap(&plan, tensor);
}

tarn_status tarn_dlpack_import_legacy(tarn_dl_managed_tensor *managed,
                                      const tarn_dlpack_import_options *options,
                                      tarn_tensor *tensor) {
  import_plan plan;
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  *tensor = (tarn_tensor){0};
  if (managed == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no managed tensor");
  tarn_status status = read_tensor(&managed->dl_tensor, /*is_padded=*/false, options, &plan);
  if (status != TARN_OK) return status;
  plan.blob.flags = storage_flags(/*is_read_only=*/false, options);
  if (take_over(&plan, tarn__dlpack_storage_of_legacy(managed), managed, tensor)) return TARN_OK;
  if (managed->deleter != NULL) plan.blob.deleter = delete_legacy;
  plan.blob.context = managed;
  return wrap(&plan, tensor);
}

tarn_status tarn_dlpack_view(const tarn_dl_tensor *described,
                             const tarn_dlpack_import_options *options, tarn_tensor *tensor) {
  import_plan plan;
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  *tensor = (tarn_tensor){0};
  if (described == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no DLTensor");
  tarn_status status = read_tensor(described, /*is_padded=*/false, options, &plan);
  if (status != TARN_OK) return status;
  plan.blob.flags = storage_flags(/*is_read_only=*/false, options);
  return wrap(&plan, tensor);
}
