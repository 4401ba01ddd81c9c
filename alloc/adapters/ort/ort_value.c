/* ort_value.c: a tensor as the runtime's OrtValue, and the way back, on the same bytes. */
#include <stdlib.h>

#include "alloc/adapters/ort/ort.h"

/* --- element types --- */

/* Which place of the table has tarn's type; 0 where none has. */
static int type_of_dtype(tarn_dtype dtype) {
#define TYPE_ROW(name, number, code_of, bits_of) \
  if (dtype.code == (code_of) && dtype.bits == (bits_of) && dtype.lanes == 1) return number;
  ORT_ABI_DTYPE_TABLE(TYPE_ROW)
#undef TYPE_ROW
  return 0;
}

static tarn_status dtype_of_type(int type, tarn_dtype *dtype) {
  switch (type) {
#define DTYPE_ROW(name, number, code_of, bits_of)  \
  case number:                                     \
    *dtype = tarn_dtype_make(code_of, bits_of, 1); \
    return TARN_OK;
    ORT_ABI_DTYPE_TABLE(DTYPE_ROW)
#undef DTYPE_ROW
    default:
      return tarn_fail(TARN_NOT_SUPPORTED, "no element type of tarn's is ONNX's number %d", type);
  }
}

/* --- a tensor as a value --- */

/* The deleter that the runtime gets: what holds the storage until Free. */
typedef struct value_owner {
  ort_abi_allocator abi; /* the first member: an OrtAllocator's address is this one's */
  tarn_ort *ort;
  tarn_storage *storage;
  struct OrtMemoryInfo *info; /* NULL: the tarn_ort's own */
  bool *was_freed;            /* on the stack of the call that makes the value; else NULL */
} value_owner;

static void end_owner(value_owner *owner) {
  tarn_storage_release(owner->storage);
  if (owner->info != NULL) owner->ort->calls.ReleaseMemoryInfo(owner->info);
  tarn_ort_release(owner->ort);
  free(owner);
}

static void *owner_allocates_nothing(struct OrtAllocator *self, size_t size) {
  (void)self;
  (void)size;
  return NULL;
}

static void owner_free(struct OrtAllocator *self, void *address) {
  value_owner *const owner = (value_owner *)(void *)self;
  (void)address;
  if (owner->was_freed != NULL) *owner->was_freed = true;
  end_owner(owner);
}

static const struct OrtMemoryInfo *owner_info(const struct OrtAllocator *self) {
  const value_owner *const owner = (const value_owner *)(const void *)self;
  return owner->info != NULL ? owner->info : owner->ort->cpu;
}

/* A value wants an address even where it has no elements. */
static char nowhere;

typedef struct value_parts {
  void *data;
  size_t size_bytes;
  int type;
  bool is_cpu;
} value_parts;

static tarn_status check_tensor(const tarn_tensor *tensor, uint32_t flags, value_parts *parts) {
  char name[32];
  parts->type = type_of_dtype(tensor->dtype);
  if (parts->type == 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, "ONNX Runtime has no element type %s",
                     tarn_dtype_name(tensor->dtype, name, sizeof name));
  }
  if (!tarn_tensor_is_contiguous(tensor)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "the tensor is not row-major, and a value has no strides: copy it first");
  }
  if ((flags & TARN_ORT_INPUT) == 0 && tarn_storage_is_read_only(tensor->storage)) {
    return tarn_fail(TARN_READ_ONLY, "a read-only tensor can only be an input (TARN_ORT_INPUT)");
  }
  const tarn_device device = tarn_tensor_device(tensor);
  parts->is_cpu = device.type == TARN_DEVICE_CPU ||
                  ((flags & TARN_ORT_AS_CPU) != 0 && tarn_device_is_host(device));
  parts->size_bytes = tarn_tensor_size_bytes(tensor);
  /* The runtime's interface has no const; TARN_ORT_INPUT is the caller's word that none is lost. */
  parts->data = parts->size_bytes == 0 ? &nowhere : (void *)(uintptr_t)tarn_tensor_data(tensor);
  return TARN_OK;
}

static tarn_status value_borrowed(tarn_ort *ort, const tarn_tensor *tensor,
                                  const value_parts *parts, struct OrtMemoryInfo *info,
                                  struct OrtValue **value) {
  struct OrtStatus *const refusal = ort->calls.CreateTensorWithDataAsOrtValue(
      info != NULL ? info : ort->cpu, parts->data, parts->size_bytes, tensor->layout.shape,
      (size_t)tensor->layout.rank, parts->type, value);
  if (info != NULL) ort->calls.ReleaseMemoryInfo(info); /* the value has a copy */
  return tarn__ort_check(ort, refusal, "CreateTensorWithDataAsOrtValue");
}

/* Takes `info` in any case. */
static tarn_status value_owning(tarn_ort *ort, const tarn_tensor *tensor, const value_parts *parts,
                                struct OrtMemoryInfo *info, struct OrtValue **value) {
  value_owner *const owner = calloc(1, sizeof *owner);
  if (owner == NULL) {
    if (info != NULL) ort->calls.ReleaseMemoryInfo(info);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for what owns a value");
  }
  bool was_freed = false;
  owner->abi.version = ort->version;
  owner->abi.Alloc = owner_allocates_nothing;
  owner->abi.Free = owner_free;
  owner->abi.Info = owner_info;
  owner->ort = ort;
  owner->storage = tensor->storage;
  owner->info = info;
  owner->was_freed = &was_freed;
  tarn_ort_retain(ort);
  tarn_storage_retain(tensor->storage);
  struct OrtStatus *const refusal = ort->calls.CreateTensorWithDataAndDeleterAsOrtValue(
      (struct OrtAllocator *)(void *)owner, parts->data, parts->size_bytes, tensor->layout.shape,
      (size_t)tensor->layout.rank, parts->type, value);
  if (refusal == NULL) {
    owner->was_freed = NULL;
    return TARN_OK;
  }
  /* A runtime that fails late has freed what it was given already. */
  const tarn_status status =
      tarn__ort_check(ort, refusal, "CreateTensorWithDataAndDeleterAsOrtValue");
  if (!was_freed) end_owner(owner);
  return status;
}

tarn_status tarn_ort_value_of_tensor(tarn_ort *ort, const tarn_tensor *tensor, uint32_t flags,
                                     struct OrtValue **value) {
  static const uint32_t known = TARN_ORT_AS_CPU | TARN_ORT_INPUT | TARN_ORT_BORROW;
  if (value == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "value is NULL");
  *value = NULL;
  if (ort == NULL || tensor == NULL || tensor->storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "ort or tensor is NULL, or it has no storage");
  }
  if ((flags & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown flags 0x%x for a value", flags);
  }
  const bool is_borrowed = (flags & TARN_ORT_BORROW) != 0;
  if (!is_borrowed && ort->version < ORT_ABI_OWNED_VALUES) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "ONNX Runtime 1.%u makes values that own nothing: pass TARN_ORT_BORROW",
                     ort->version);
  }
  value_parts parts = {0};
  tarn_status status = check_tensor(tensor, flags, &parts);
  if (status != TARN_OK) return status;
  struct OrtMemoryInfo *info = NULL;
  if (!parts.is_cpu) {
    status = tarn__ort_memory_info(ort, tarn_tensor_device(tensor), flags, &info);
    if (status != TARN_OK) return status;
  }
  return is_borrowed ? value_borrowed(ort, tensor, &parts, info, value)
                     : value_owning(ort, tensor, &parts, info, value);
}

/* --- a value as a tensor --- */

typedef struct held_value {
  tarn_ort *ort;
  struct OrtValue *value;
} held_value;

static void release_value(void *context) {
  held_value *const held = context;
  held->ort->calls.ReleaseValue(held->value);
  tarn_ort_release(held->ort);
  free(held);
}

typedef struct value_shape {
  tarn_dtype dtype;
  int32_t rank;
  int64_t shape[TARN_RANK_MAX];
  size_t size_bytes;
} value_shape;

static tarn_status read_dimensions(const tarn_ort *ort, struct OrtTensorTypeAndShapeInfo *info,
                                   value_shape *read) {
  size_t rank = 0;
  int type = 0;
  tarn_status status =
      tarn__ort_check(ort, ort->calls.GetTensorElementType(info, &type), "GetTensorElementType");
  if (status == TARN_OK) status = dtype_of_type(type, &read->dtype);
  if (status == TARN_OK) {
    status = tarn__ort_check(ort, ort->calls.GetDimensionsCount(info, &rank), "GetDimensionsCount");
  }
  if (status != TARN_OK) return status;
  if (rank > TARN_RANK_MAX) {
    return tarn_fail(TARN_NOT_SUPPORTED, "a value of %zu dimensions; tensors have at most %d", rank,
                     TARN_RANK_MAX);
  }
  read->rank = (int32_t)rank;
  status = tarn__ort_check(ort, ort->calls.GetDimensions(info, read->shape, rank), "GetDimensions");
  read->size_bytes = tarn_dtype_size_bytes(read->dtype);
  for (size_t dim = 0; dim < rank && status == TARN_OK; dim++) {
    if (read->shape[dim] < 0 ||
        !tarn_size_mul(read->size_bytes, (size_t)read->shape[dim], &read->size_bytes)) {
      status = tarn_fail(TARN_TOO_LARGE, "dimension %zu of the value is %lld", dim,
                         (long long)read->shape[dim]);
    }
  }
  return status;
}

static tarn_status read_shape(const tarn_ort *ort, const struct OrtValue *value,
                              value_shape *read) {
  int is_tensor = 0;
  tarn_status status = tarn__ort_check(ort, ort->calls.IsTensor(value, &is_tensor), "IsTensor");
  if (status != TARN_OK) return status;
  if (!is_tensor) return tarn_fail(TARN_NOT_SUPPORTED, "the value is not a dense tensor");
  struct OrtTensorTypeAndShapeInfo *info = NULL;
  status =
      tarn__ort_check(ort, ort->calls.GetTensorTypeAndShape(value, &info), "GetTensorTypeAndShape");
  if (status != TARN_OK) return status;
  status = read_dimensions(ort, info, read);
  ort->calls.ReleaseTensorTypeAndShapeInfo(info);
  return status;
}

static tarn_status read_blob(const tarn_ort *ort, struct OrtValue *value, tarn_blob *blob) {
  const struct OrtMemoryInfo *info = NULL;
  tarn_status status =
      tarn__ort_check(ort, ort->calls.GetTensorMemoryInfo(value, &info), "GetTensorMemoryInfo");
  if (status == TARN_OK) status = tarn__ort_device_of(ort, info, &blob->device);
  if (status != TARN_OK) return status;
  return tarn__ort_check(ort, ort->calls.GetTensorMutableData(value, &blob->address),
                         "GetTensorMutableData");
}

tarn_status tarn_ort_tensor_of_value(tarn_ort *ort, struct OrtValue *value, tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "tensor is NULL");
  *tensor = (tarn_tensor){0};
  if (ort == NULL || value == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "ort or value is NULL");
  }
  value_shape read = {0};
  tarn_blob blob = {.struct_size = sizeof blob, .deleter = release_value};
  tarn_status status = read_shape(ort, value, &read);
  if (status == TARN_OK) status = read_blob(ort, value, &blob);
  if (status != TARN_OK) return status;
  held_value *const held = malloc(sizeof *held);
  if (held == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for what holds a value");
  *held = (held_value){ort, value};
  blob.context = held;
  blob.size_bytes = read.size_bytes;
  status = tarn_tensor_wrap(&blob, read.dtype, read.rank, read.shape, NULL, 0, tensor);
  if (status != TARN_OK) {
    free(held);
    return status;
  }
  tarn_ort_retain(ort);
  return TARN_OK;
}
